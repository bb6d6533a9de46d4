//! What Redis holds and tells of a room, as bytes: payloads of pub/sub and entries of a stream. Pure; no input panics.

use bytes::Bytes;
use redis::Value;
use trunkline_domain::{Entry, Message, Position, PresenceChange};

use super::names::Names;

/// A payload of a room's channel: a kind byte, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    /// `e<pos> <prev> <at> <id> <user>\n<text>`, written by the publish script. `<prev>` is `-` where it is the offset
    /// before in the same epoch.
    Entry(Entry),
    /// `w`, and the whisper.
    Whisper(Bytes),
    /// `p`, and a change of presence as its script writes it.
    Presence(PresenceChange),
}

impl Payload {
    /// `None` for what no gateway of this version wrote.
    pub(super) fn decode(payload: &[u8], names: &mut Names) -> Option<Self> {
        let (kind, rest) = payload.split_first()?;
        match kind {
            b'e' => entry(std::str::from_utf8(rest).ok()?, names).map(Self::Entry),
            b'w' => Some(Self::Whisper(Bytes::copy_from_slice(rest))),
            b'p' => super::presence::change(std::str::from_utf8(rest).ok()?).map(Self::Presence),
            _ => None,
        }
    }

    /// A whisper as it is published.
    pub(super) fn whisper(bytes: &[u8]) -> Vec<u8> {
        [b"w", bytes].concat()
    }
}

fn entry(rest: &str, names: &mut Names) -> Option<Entry> {
    let (header, text) = rest.split_once('\n')?;
    let mut words = header.splitn(5, ' ');
    let pos: Position = words.next()?.parse().ok()?;
    let prev = match words.next()? {
        "-" => pos.before_in_epoch()?,
        prev => prev.parse().ok()?,
    };
    let at = words.next()?.parse().ok()?;
    let id = words.next()?.parse().ok()?;
    let user = names.parse(words.next()?)?;
    Some(Entry { prev, message: Message { pos, id, user, text: text.parse().ok()?, at } })
}

/// An entry of a room's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// As the publish script wrote it.
    Whole(Entry),
    /// Something else wrote or changed it, but its id and its place in the chain are known.
    Damaged {
        /// Its id.
        pos: Position,
        /// What it follows, as far as that can be told.
        prev: Option<Position>,
    },
}

impl Stored {
    pub(super) fn pos(&self) -> Position {
        match self {
            Self::Whole(entry) => entry.message.pos,
            Self::Damaged { pos, .. } => *pos,
        }
    }

    /// What it follows.
    pub(super) fn prev(&self) -> Option<Position> {
        match self {
            Self::Whole(entry) => Some(entry.prev),
            Self::Damaged { prev, .. } => *prev,
        }
    }

    /// Reads one element of the answer to XRANGE: `[id, [field, value, …]]`. `None` if it has no such form.
    fn decode(element: &Value, names: &mut Names) -> Option<Self> {
        let Value::Array(parts) = element else { return None };
        let [id, fields] = parts.as_slice() else { return None };
        let pos: Position = text(id)?.parse().ok()?;
        let fields = if let Value::Array(fields) = fields { fields.as_slice() } else { &[] };
        let field =
            |name: &str| fields.chunks_exact(2).find(|pair| text(&pair[0]) == Some(name)).and_then(|p| text(&p[1]));
        let prev = match pos.before_in_epoch() {
            None => field("prev").and_then(|prev| prev.parse().ok()),
            prev => prev,
        };
        let mut message = || {
            Some(Message {
                pos,
                id: field("id")?.parse().ok()?,
                user: names.parse(field("user")?)?,
                text: field("text")?.parse().ok()?,
                at: field("at")?.parse().ok()?,
            })
        };
        Some(match (prev, message()) {
            (Some(prev), Some(message)) => Self::Whole(Entry { prev, message }),
            _ => Self::Damaged { pos, prev },
        })
    }
}

/// Reads the answer to XRANGE or XREVRANGE, in its order.
pub(super) fn stored(answer: &Value) -> Option<Vec<Stored>> {
    let Value::Array(elements) = answer else { return None };
    let mut names = Names::default();
    elements.iter().map(|element| Stored::decode(element, &mut names)).collect()
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn positions() -> impl Strategy<Value = Position> {
        (any::<u64>(), any::<u64>()).prop_map(|(epoch, offset)| Position::new(epoch, offset))
    }

    fn entries() -> impl Strategy<Value = Entry> {
        let message =
            (positions(), "[A-Za-z0-9_-]{1,64}", "[a-z][a-z0-9._-]{0,20}", "[ -~\n\t\u{e4}]{0,50}x", any::<u64>());
        let prev = prop::option::of(positions());
        (prev, message).prop_filter_map("a reserved name", |(prev, (pos, id, user, text, at))| {
            let user = user.parse().ok()?;
            let prev = prev.or(pos.before_in_epoch())?;
            let message = Message { pos, id: id.parse().unwrap(), user, text: text.parse().unwrap(), at };
            Some(Entry { prev, message })
        })
    }

    /// As publish.lua writes it.
    fn encode(Entry { prev, message }: &Entry) -> Vec<u8> {
        let Message { pos, id, user, text, at } = message;
        let prev = if pos.before_in_epoch() == Some(*prev) { "-".to_owned() } else { prev.to_string() };
        format!("e{pos} {prev} {at} {id} {user}\n{}", text.as_str()).into_bytes()
    }

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn element(id: &str, fields: &[(&str, &str)]) -> Value {
        let fields = fields.iter().flat_map(|(name, value)| [bulk(name), bulk(value)]).collect();
        Value::Array(vec![bulk(id), Value::Array(fields)])
    }

    proptest! {
        #[test]
        fn entries_survive_pub_sub(entry in entries()) {
            prop_assert_eq!(Payload::decode(&encode(&entry), &mut Names::default()), Some(Payload::Entry(entry)));
        }

        #[test]
        fn whispers_survive_pub_sub(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let decoded = Payload::decode(&Payload::whisper(&bytes), &mut Names::default());
            prop_assert_eq!(decoded, Some(Payload::Whisper(bytes.into())));
        }

        #[test]
        fn entries_survive_the_stream(entry in entries()) {
            let Message { pos, id, user, text, at } = &entry.message;
            let prev = if pos.offset > 1 { pos.before_in_epoch().unwrap() } else { entry.prev };
            let fields = [("id", id.as_str()), ("user", user.as_str()), ("text", text.as_str()),
                ("at", &at.to_string()), ("prev", &prev.to_string())];
            let answer = Value::Array(vec![element(&pos.to_string(), &fields)]);
            prop_assert_eq!(stored(&answer), Some(vec![Stored::Whole(Entry { prev, ..entry.clone() })]));
        }

        #[test]
        fn no_payload_panics(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Payload::decode(&bytes, &mut Names::default());
        }

        #[test]
        fn no_near_payload_panics(entry in entries(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = encode(&entry);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = Payload::decode(&bytes, &mut Names::default());
            bytes.truncate(at);
            let _ = Payload::decode(&bytes, &mut Names::default());
        }
    }

    #[test]
    fn damaged_entries_keep_their_place() {
        let damaged = |element| Stored::decode(&element, &mut Names::default());
        let pos = Position::new(5, 3);
        let prev = Some(Position::new(5, 2));
        assert_eq!(damaged(element("5-3", &[("foo", "bar")])), Some(Stored::Damaged { pos, prev }));
        assert_eq!(
            damaged(element("5-1", &[("id", "x")])),
            Some(Stored::Damaged { pos: Position::new(5, 1), prev: None })
        );
        assert_eq!(damaged(Value::Array(vec![bulk("5-3"), Value::Nil])), Some(Stored::Damaged { pos, prev }));
        assert_eq!(damaged(Value::Nil), None);
    }
}
