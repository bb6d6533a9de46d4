//! Payloads of a room's channel: entries, ephemeral events, presence changes.
//!
//! Invariant: a decoded payload, encoded as the Lua scripts do, decodes to itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trunkline_bus::fuzzing::{BusPayload, decode_payload};
use trunkline_domain::{Body, ChangeKind, Content, Entry, Member, Message, PresenceChange};

fuzz_target!(|payload: &[u8]| {
    if let Some(decoded) = decode_payload(payload) {
        assert_eq!(decode_payload(&encode(&decoded)), Some(decoded));
    }
});

fn encode(payload: &BusPayload) -> Vec<u8> {
    match payload {
        BusPayload::Entry(entry) => encode_entry(entry),
        BusPayload::Ephemeral(bytes) => [b"w", &bytes[..]].concat(),
        BusPayload::Presence(PresenceChange { version, instance, kind }) => {
            let lines = match kind {
                ChangeKind::Replaced(users) => format!("\n={}", list("\n", users)),
                ChangeKind::Updated { joined, left } => list("\n-", left) + &list("\n+", joined),
                ChangeKind::Left => String::new(),
                ChangeKind::Expired => "\n!".to_owned(),
            };
            format!("p{version} {instance}{lines}").into_bytes()
        }
    }
}

fn encode_entry(Entry { prev, message }: &Entry) -> Vec<u8> {
    let Message { pos, id, user, name, body, at } = message;
    let Body::Content(content) = body else { panic!("nothing is published as deleted") };
    if let (None, Content::Text { text, reply_to: None }) = (name, content) {
        return format!("e{pos} {prev} {at} {id} {user}\n{}", text.as_str()).into_bytes();
    }
    let fields = content.fields();
    let reference = fields.reference.map_or_else(|| "-".to_owned(), |reference| reference.to_string());
    let name = name.as_ref().map(ToString::to_string).unwrap_or_default();
    let body = fields.data.as_ref().map(|data| data.as_str()).or(fields.text).unwrap_or_default();
    let event = fields.event.unwrap_or("-");
    format!("x{pos} {prev} {at} {id} {user} {reference} {event}\n{name}\n{body}").into_bytes()
}

fn list(before: &str, users: &[Member]) -> String {
    users.iter().map(|user| format!("{before}{user}")).collect()
}
