//! Payloads of a room's channel: entries, ephemeral events, presence changes.
//!
//! Invariant: a decoded payload, encoded as the Lua scripts do, decodes to itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trunkline_bus::fuzzing::{BusPayload, decode_payload};
use trunkline_domain::{ChangeKind, Entry, Message, PresenceChange, UserName};

fuzz_target!(|payload: &[u8]| {
    if let Some(decoded) = decode_payload(payload) {
        assert_eq!(decode_payload(&encode(&decoded)), Some(decoded));
    }
});

fn encode(payload: &BusPayload) -> Vec<u8> {
    match payload {
        BusPayload::Entry(Entry { prev, message: Message { pos, id, user, text, at } }) => {
            format!("e{pos} {prev} {at} {id} {user}\n{}", text.as_str()).into_bytes()
        }
        BusPayload::Ephemeral(bytes) => [b"w", &bytes[..]].concat(),
        BusPayload::Presence(PresenceChange { version, instance, kind }) => {
            let words = match kind {
                ChangeKind::Replaced(users) => format!(" ={}", list(" ", users)),
                ChangeKind::Updated { joined, left } => list(" -", left) + &list(" +", joined),
                ChangeKind::Left => String::new(),
                ChangeKind::Expired => " !".to_owned(),
            };
            format!("p{version} {instance}{words}").into_bytes()
        }
    }
}

fn list(before: &str, users: &[UserName]) -> String {
    users.iter().map(|user| format!("{before}{user}")).collect()
}
