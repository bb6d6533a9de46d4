//! The WebSocket decoder: bytes of a client's socket.
//!
//! The first byte is the size of the chunks in which the rest arrives. Invariants: the messages and the violation do not
//! depend on the chunks; no message exceeds 32 KiB, no ping 125 bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trunkline_gateway::fuzzing::{WebSocketMessage, decode_messages};

fuzz_target!(|input: &[u8]| {
    let Some((&size, stream)) = input.split_first() else { return };
    let (messages, violation) = decode_messages([stream]);
    for message in &messages {
        match message {
            WebSocketMessage::Text(text) => assert!(text.len() <= 32 << 10),
            WebSocketMessage::Binary(_) => panic!("binary messages are refused"),
            WebSocketMessage::Ping(payload) => assert!(payload.len() <= 125),
            WebSocketMessage::Pong | WebSocketMessage::Close(_) => {}
        }
    }
    for size in [1, usize::from(size).max(1)] {
        assert_eq!(decode_messages(stream.chunks(size)), (messages.clone(), violation), "in chunks of {size} bytes");
    }
});
