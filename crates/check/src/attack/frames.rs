//! Frames that are too big, or not frames at all.

use std::{io, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep},
};
use trunkline_client::ClientSession;

use super::{
    Ending,
    raw::{BINARY, FIN, Raw, TEXT, frame_bytes, head_bytes},
};

/// How long a server may take to end a socket that broke the rules.
const LIMIT: Duration = Duration::from_secs(15);

/// Announces 2^40 bytes and sends at most `most` of them, until the server says or does something about it.
pub(super) async fn giant(session: &ClientSession, most: u64) -> io::Result<Value> {
    let mut raw = Raw::open(session, None).await?;
    let since = Instant::now();
    raw.stream.write_all(&head_bytes(FIN | TEXT, 1 << 40, true)).await?;
    let (mut read, mut write) = raw.stream.split();
    let mut taken = 0;
    let sending = async {
        let piece = vec![b'x'; 64 * 1024];
        while taken < most {
            match write.write(&piece).await {
                Ok(bytes) => taken += bytes as u64,
                Err(_) => break,
            }
        }
        // What the server has to say may still be on its way.
        sleep(LIMIT).await;
    };
    let hearing = async {
        let mut seen = Vec::new();
        loop {
            let ended = !matches!(read.read_buf(&mut seen).await, Ok(1..));
            if let Some(code) = close_code(&seen).or(ended.then_some(1006)) {
                return code;
            }
        }
    };
    let close = tokio::select! {
        code = hearing => Some(code),
        () = sending => None,
    };
    // What networks and balancers between hold counts as taken.
    Ok(json!({"attack": "giant", "ending": Ending::new(since, close), "bytes_taken": taken}))
}

/// The code of the close frame that ends `bytes`, if one does: 0x88, a length without mask, the code.
fn close_code(bytes: &[u8]) -> Option<u16> {
    let at = bytes.windows(4).rposition(|window| window[0] == 0x88 && (2..126).contains(&window[1]))?;
    Some(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]))
}

/// Each kind of bad frame on its own socket.
pub(super) async fn malformed(session: &ClientSession) -> io::Result<Value> {
    let unmasked = [head_bytes(FIN | TEXT, 2, false), b"{}".to_vec()].concat();
    let cases: [(&str, Vec<u8>); 12] = [
        ("no JSON, three times", frame_bytes(FIN | TEXT, b"hello").repeat(3)),
        ("unknown type, three times", frame_bytes(FIN | TEXT, br#"{"type":"dance"}"#).repeat(3)),
        ("binary", frame_bytes(FIN | BINARY, b"\x00\x01\x02")),
        ("bad UTF-8", frame_bytes(FIN | TEXT, b"\xc3\x28")),
        ("not masked", unmasked),
        ("reserved bits", frame_bytes(FIN | 0x40 | TEXT, b"{}")),
        ("reserved opcode", frame_bytes(FIN | 3, b"")),
        ("fragmented ping", frame_bytes(9, b"")),
        ("long ping", frame_bytes(FIN | 9, &[b'x'; 126])),
        ("continuation of nothing", frame_bytes(FIN, b"x")),
        ("20 KiB of text", frame_bytes(FIN | TEXT, &[b'x'; 20 * 1024])),
        ("close code that must not be sent", frame_bytes(FIN | 8, &1005u16.to_be_bytes())),
    ];
    let mut seen = Vec::new();
    for (name, bytes) in cases {
        let mut raw = Raw::open(session, None).await?;
        let since = Instant::now();
        raw.stream.write_all(&bytes).await?;
        let mut errors = Vec::new();
        let close = raw.end(LIMIT, |text| errors.extend(text.get("code").cloned())).await;
        seen.push(json!({"case": name, "ending": Ending::new(since, close), "errors": errors}));
    }
    Ok(json!({"attack": "malformed", "cases": seen}))
}
