//! The decoders that the targets in `fuzz/` feed. Not part of the public interface.

use bytes::Bytes;
use redis::Value;
use trunkline_domain::{Entry, Position, PresenceChange, PresenceSnapshot};

use super::{
    codec::{Payload, presence_snapshot, stream_entries},
    read::PageReader,
};
use crate::{Page, Range};

/// A payload of a room's channel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the same as the codec's")]
pub enum BusPayload {
    Entry(Entry),
    Ephemeral(Bytes),
    Presence(PresenceChange),
}

/// Decodes a pub/sub payload. `None` if no gateway of this version wrote it.
#[must_use]
pub fn decode_payload(payload: &[u8]) -> Option<BusPayload> {
    Payload::decode(payload).map(|payload| match payload {
        Payload::Entry(entry) => BusPayload::Entry(entry),
        Payload::Ephemeral(bytes) => BusPayload::Ephemeral(bytes),
        Payload::Presence(change) => BusPayload::Presence(change),
    })
}

/// Reads a page from a stream that returns this reply to the first query and nothing to the next ones. The text form of
/// the reply: one element per line, and in a line `id`, `field`, `value`, … separated by tabs; `~` is nil.
///
/// Returns `None` if the reply is malformed.
#[must_use]
pub fn read_page(range: Range, head: Position, reply: &str) -> Option<Page> {
    let elements = reply.split('\n').filter(|line| !line.is_empty()).map(|line| match line.split_once('\t') {
        Some((id, fields)) => Value::Array(vec![value(id), Value::Array(fields.split('\t').map(value).collect())]),
        None if line == "~" => Value::Nil,
        None => Value::Array(vec![value(line), Value::Nil]),
    });
    let mut reply = Value::Array(elements.collect());
    let mut reader = PageReader::new(range);
    while let Some(query) = reader.next_query() {
        reader.add_reply(&query, stream_entries(&reply)?);
        reply = Value::Array(Vec::new());
    }
    Some(reader.into_page(head))
}

/// Decodes a reply of presence.lua. The text form: the version in the first line; then, per line, an instance and its
/// users, separated by tabs.
#[must_use]
pub fn decode_presence_snapshot(reply: &str) -> Option<PresenceSnapshot> {
    let mut lines = reply.split('\n');
    let mut values = vec![value(lines.next()?)];
    for line in lines {
        let (instance, users) = line.split_once('\t').unwrap_or((line, ""));
        values.extend([value(instance), Value::Array(users.split('\t').map(value).collect())]);
    }
    presence_snapshot(&values)
}

fn value(text: &str) -> Value {
    if text == "~" { Value::Nil } else { Value::BulkString(text.as_bytes().to_vec()) }
}
