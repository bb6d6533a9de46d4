//! Frames that are too large or violate RFC 6455 or the protocol.

use std::{io, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep},
};
use trunkline_client::ClientSession;

use super::raw_socket::{BINARY, CONNECTION_BROKEN, FIN, PING, RawSocket, SocketEnd, TEXT, frame_bytes, header_bytes};

/// Longest time for a server to close a socket after a violation.
const CLOSE_LIMIT: Duration = Duration::from_secs(15);
/// Bytes per write of the giant frame: 64 KiB.
const CHUNK_BYTES: usize = 64 * 1024;

/// Announces a frame of 2^40 bytes and sends at most `bytes_max` of them, until the server closes the socket.
pub(super) async fn send_giant_frame(session: &ClientSession, bytes_max: u64) -> io::Result<Value> {
    let mut socket = RawSocket::open(session, None).await?;
    let since = Instant::now();
    socket.stream.write_all(&header_bytes(FIN | TEXT, 1 << 40, true)).await?;
    let (mut read, mut write) = socket.stream.split();
    let mut bytes_taken = 0;
    let send = async {
        let chunk = vec![b'x'; CHUNK_BYTES];
        while bytes_taken < bytes_max {
            match write.write(&chunk).await {
                Ok(bytes) => bytes_taken += bytes as u64,
                Err(_) => break,
            }
        }
        // The close frame may still be in flight.
        sleep(CLOSE_LIMIT).await;
    };
    let receive = async {
        let mut received = Vec::new();
        loop {
            let ended = !matches!(read.read_buf(&mut received).await, Ok(1..));
            if let Some(code) = close_code(&received).or(ended.then_some(CONNECTION_BROKEN)) {
                return code;
            }
        }
    };
    let close = tokio::select! {
        code = receive => Some(code),
        () = send => None,
    };
    // Includes what kernels, networks and balancers between client and server buffered.
    Ok(json!({"attack": "giant", "ending": SocketEnd::new(since, close), "bytes_taken": bytes_taken}))
}

/// Returns the code of the close frame at the end of `bytes`, if there is one: 0x88, a length without mask bit, the code.
fn close_code(bytes: &[u8]) -> Option<u16> {
    let at = bytes.windows(4).rposition(|window| window[0] == 0x88 && (2..126).contains(&window[1]))?;
    Some(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]))
}

/// Sends each kind of invalid frame on its own socket.
pub(super) async fn send_malformed_frames(session: &ClientSession) -> io::Result<Value> {
    let mut observed = Vec::new();
    for (name, bytes) in malformed_frames() {
        let mut socket = RawSocket::open(session, None).await?;
        let since = Instant::now();
        socket.stream.write_all(&bytes).await?;
        let mut errors = Vec::new();
        let close = socket.receive_until_end(CLOSE_LIMIT, |text| errors.extend(text.get("code").cloned())).await;
        observed.push(json!({"case": name, "ending": SocketEnd::new(since, close), "errors": errors}));
    }
    Ok(json!({"attack": "malformed", "cases": observed}))
}

/// Returns each kind of invalid frame with its name.
fn malformed_frames() -> [(&'static str, Vec<u8>); 12] {
    let unmasked = [header_bytes(FIN | TEXT, 2, false), b"{}".to_vec()].concat();
    [
        ("no JSON, three times", frame_bytes(FIN | TEXT, b"hello").repeat(3)),
        ("unknown type, three times", frame_bytes(FIN | TEXT, br#"{"type":"dance"}"#).repeat(3)),
        ("binary", frame_bytes(FIN | BINARY, b"\x00\x01\x02")),
        ("bad UTF-8", frame_bytes(FIN | TEXT, b"\xc3\x28")),
        ("not masked", unmasked),
        ("reserved bits", frame_bytes(FIN | 0x40 | TEXT, b"{}")),
        ("reserved opcode", frame_bytes(FIN | 3, b"")),
        ("fragmented ping", frame_bytes(PING, b"")),
        ("long ping", frame_bytes(FIN | PING, &[b'x'; 126])),
        ("continuation of nothing", frame_bytes(FIN, b"x")),
        ("40 KiB of text", frame_bytes(FIN | TEXT, &[b'x'; 40 * 1024])),
        ("close code that must not be sent", frame_bytes(FIN | 8, &1005u16.to_be_bytes())),
    ]
}
