//! Frames that violate RFC 6455 or the protocol.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::target::{AttackOutcome, AttackTarget, Observation, answer_to, close_name};
use crate::attack::{
    invalid_frames::send_giant_frame,
    raw_socket::{BINARY, FIN, PING, TEXT, frame_bytes, header_bytes},
};

/// Longest time for a server to close a socket after a violation.
const CLOSE_LIMIT: Duration = Duration::from_secs(15);
/// Amount of the giant frame that the attack sends at most: 200 MiB.
const GIANT_BYTES_MAX: u64 = 200 << 20;
/// Amount of the giant frame that kernel and balancer buffers may take: 16 MiB.
const BUFFERED_BYTES_MAX: u64 = 16 << 20;

/// Sends each sequence of bytes on its own socket and checks the close code.
async fn expect_close<const N: usize>(
    target: &AttackTarget,
    cases: [(&str, Vec<u8>); N],
    expected: u16,
) -> AttackOutcome {
    let mut unexpected = Vec::new();
    for (name, bytes) in cases {
        let mut socket = target.open_socket().await?;
        socket.stream.write_all(&bytes).await?;
        let close = socket.receive_until_end(CLOSE_LIMIT, |_| {}).await;
        if close != Some(expected) {
            unexpected.push(format!("{name}: {}", close_name(close)));
        }
    }
    Ok(match unexpected.is_empty() {
        true => Observation::new(true, format!("close {expected} for {N} of {N}")),
        false => Observation::new(false, unexpected.join("; ")),
    })
}

pub(super) async fn giant_frame(target: &AttackTarget) -> AttackOutcome {
    let result = send_giant_frame(&target.session, GIANT_BYTES_MAX).await?;
    let close = result["ending"]["close"].as_u64().and_then(|code| u16::try_from(code).ok());
    let taken = result["bytes_taken"].as_u64().unwrap_or(u64::MAX);
    let ok = close == Some(1009) && taken < BUFFERED_BYTES_MAX;
    Ok(Observation::new(ok, format!("{} after {} KiB", close_name(close), taken >> 10)))
}

pub(super) async fn oversized_text(target: &AttackTarget) -> AttackOutcome {
    expect_close(target, [("40 KiB", frame_bytes(FIN | TEXT, &[b'x'; 40 * 1024]))], 1009).await
}

pub(super) async fn oversized_message(target: &AttackTarget) -> AttackOutcome {
    let part = [b'x'; 8 * 1024];
    let bytes = [frame_bytes(TEXT, &part), frame_bytes(0, &part).repeat(3), frame_bytes(FIN, &part)].concat();
    expect_close(target, [("fragments", bytes)], 1009).await
}

pub(super) async fn binary_frame(target: &AttackTarget) -> AttackOutcome {
    expect_close(target, [("binary", frame_bytes(FIN | BINARY, b"\x00\x01\x02"))], 1003).await
}

pub(super) async fn bad_utf8(target: &AttackTarget) -> AttackOutcome {
    let cases = [
        ("one frame", frame_bytes(FIN | TEXT, b"\xc3\x28")),
        ("two fragments", [frame_bytes(TEXT, b"\xc3"), frame_bytes(FIN, b"\x28")].concat()),
        ("surrogate", frame_bytes(FIN | TEXT, b"\"\xed\xa0\x80\"")),
        ("overlong", frame_bytes(FIN | TEXT, b"\"\xc0\xaf\"")),
    ];
    expect_close(target, cases, 1007).await
}

pub(super) async fn unmasked_frame(target: &AttackTarget) -> AttackOutcome {
    let unmasked = [header_bytes(FIN | TEXT, 2, false), b"{}".to_vec()].concat();
    expect_close(target, [("unmasked", unmasked)], 1002).await
}

pub(super) async fn reserved_bits(target: &AttackTarget) -> AttackOutcome {
    let cases = [
        ("RSV1", frame_bytes(FIN | 0x40 | TEXT, b"{}")),
        ("RSV3", frame_bytes(FIN | 0x10 | TEXT, b"{}")),
        ("opcode 3", frame_bytes(FIN | 3, b"")),
        ("opcode 15", frame_bytes(FIN | 15, b"")),
    ];
    expect_close(target, cases, 1002).await
}

pub(super) async fn invalid_control_frames(target: &AttackTarget) -> AttackOutcome {
    let cases = [
        ("fragmented ping", frame_bytes(PING, b"")),
        ("ping of 126 bytes", frame_bytes(FIN | PING, &[b'x'; 126])),
        ("continuation of nothing", frame_bytes(FIN, b"x")),
        ("text within a fragmented text", [frame_bytes(TEXT, b"{"), frame_bytes(FIN | TEXT, b"{}")].concat()),
        ("close code 1005", frame_bytes(FIN | 8, &1005_u16.to_be_bytes())),
        ("close payload of 1 byte", frame_bytes(FIN | 8, b"x")),
    ];
    expect_close(target, cases, 1002).await
}

pub(super) async fn invalid_json(target: &AttackTarget) -> AttackOutcome {
    let nested = frame_bytes(FIN | TEXT, &[b'['; 8 * 1024]);
    let cases = [("text", frame_bytes(FIN | TEXT, b"hello").repeat(3)), ("nested arrays", nested.repeat(3))];
    expect_close(target, cases, 1008).await
}

/// Sends invalid values between valid commands, because three invalid frames in a row close the socket.
pub(super) async fn invalid_values(target: &AttackTarget) -> AttackOutcome {
    let room = &target.room;
    let send = |id: &str, text: &str| json!({"type": "send", "room": room, "id": id, "text": text});
    let join = |room: &str| json!({"type": "join", "room": room});
    let cases: [(Value, &str); 16] = [
        (join("Lobby"), "bad_room"),
        (join("a/b"), "bad_room"),
        (join(""), "bad_room"),
        (join("..%2f"), "bad_room"),
        (join(&"x".repeat(65)), "bad_room"),
        (send("no spaces", "x"), "bad_id"),
        (send(&"x".repeat(65), "x"), "bad_id"),
        (send("blank", "  \n "), "bad_text"),
        (send("control", "a\u{0}b"), "bad_text"),
        (send("long", &"x".repeat(4097)), "too_long"),
        (json!({"type": "join", "room": room, "recent": 201}), "bad_frame"),
        (json!({"type": "join", "room": room, "recent": -1}), "bad_frame"),
        (json!({"type": "join", "room": room, "after": "99999999999999999999-1"}), "bad_frame"),
        (json!({"type": "history", "room": room, "limit": 1e300}), "bad_frame"),
        (json!({"type": "dance", "room": room}), "unknown_type"),
        (json!(["join", room]), "bad_frame"),
    ];
    let mut socket = target.open_socket().await?;
    socket.send(&json!({"type": "join", "room": room, "recent": 0})).await?;
    answer_to(&mut socket, "joined").await?;
    let (count, mut unexpected) = (cases.len(), Vec::new());
    for (command, expected) in cases {
        socket.send(&command).await?;
        let answer = answer_to(&mut socket, "error").await?;
        if answer["code"] != expected {
            unexpected.push(format!("{expected} expected, got {}", answer["code"]));
        }
        socket.send(&json!({"type": "history", "room": room, "limit": 1})).await?;
        answer_to(&mut socket, "history").await?;
    }
    Ok(match unexpected.is_empty() {
        true => Observation::new(true, format!("{count} errors with the documented codes; the socket stays open")),
        false => Observation::new(false, unexpected.join("; ")),
    })
}
