//! Decoding of what Redis stores and publishes about a room: pub/sub payloads, stream entries, presence. Pure; no input
//! panics.

use std::collections::HashMap;

use bytes::Bytes;
use redis::Value;
use trunkline_domain::{ChangeKind, Entry, Message, Position, PresenceChange, PresenceSnapshot, UserName};

/// A payload of a room's channel: one byte for its kind, then the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    /// `e<pos> <prev> <at> <id> <user>\n<text>`, written by publish.lua. `-` for `<prev>` means the previous offset of the
    /// same epoch.
    Entry(Entry),
    /// `w`, then the bytes of the ephemeral event.
    Ephemeral(Bytes),
    /// `p`, then a presence change, written by presence.lua.
    Presence(PresenceChange),
}

impl Payload {
    /// `None` if no gateway of this version wrote the payload.
    pub(super) fn decode(payload: &[u8], names: &mut UserNameCache) -> Option<Self> {
        let (kind, content) = payload.split_first()?;
        match kind {
            b'e' => entry(std::str::from_utf8(content).ok()?, names).map(Self::Entry),
            b'w' => Some(Self::Ephemeral(Bytes::copy_from_slice(content))),
            b'p' => presence_change(std::str::from_utf8(content).ok()?).map(Self::Presence),
            _ => None,
        }
    }

    /// The payload of an ephemeral event.
    pub(super) fn encode_ephemeral(bytes: &[u8]) -> Vec<u8> {
        [b"w", bytes].concat()
    }
}

fn entry(content: &str, names: &mut UserNameCache) -> Option<Entry> {
    let (header, text) = content.split_once('\n')?;
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

/// `<version> <instance>`, then, each after a space: `=` and all users; or `+user` and `-user`; or `!` if another instance
/// expired the lease; or nothing if all users left.
fn presence_change(content: &str) -> Option<PresenceChange> {
    let mut words = content.split(' ');
    let version = words.next()?.parse().ok()?;
    let instance = words.next()?.parse().ok()?;
    let (mut joined, mut left) = (Vec::new(), Vec::new());
    let (mut all, mut expired) = (None::<Vec<UserName>>, false);
    for word in words {
        if let Some(all) = &mut all {
            all.push(word.parse().ok()?);
            continue;
        }
        match word.split_at_checked(1)? {
            ("=", "") => all = Some(Vec::new()),
            ("!", "") => expired = true,
            ("+", user) => joined.push(user.parse().ok()?),
            ("-", user) => left.push(user.parse().ok()?),
            _ => return None,
        }
    }
    let kind = match all {
        Some(users) => ChangeKind::Replaced(users),
        None if expired => ChangeKind::Expired,
        None if joined.is_empty() && left.is_empty() => ChangeKind::Left,
        None => ChangeKind::Updated { joined, left },
    };
    Some(PresenceChange { version, instance, kind })
}

/// Decodes the reply of the operation `snapshot` of presence.lua. Skips names that are no user names.
pub(super) fn presence_snapshot(reply: &[Value]) -> Option<PresenceSnapshot> {
    let (version, instances) = reply.split_first()?;
    let mut snapshot = PresenceSnapshot { version: text(version)?.parse().ok()?, instances: Vec::new() };
    for pair in instances.chunks_exact(2) {
        let Value::Array(users) = &pair[1] else { return None };
        let users = users.iter().filter_map(|user| text(user)?.parse().ok()).collect();
        snapshot.instances.push((text(&pair[0])?.parse().ok()?, users));
    }
    Some(snapshot)
}

/// An entry of a room's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StreamEntry {
    /// As the publish script wrote it.
    Intact(Entry),
    /// Another program wrote or changed it, but its id and its place in the order are known.
    Damaged {
        /// Its id.
        pos: Position,
        /// The position before it, if known.
        prev: Option<Position>,
    },
}

impl StreamEntry {
    pub(super) fn pos(&self) -> Position {
        match self {
            Self::Intact(entry) => entry.message.pos,
            Self::Damaged { pos, .. } => *pos,
        }
    }

    /// The position before it, if known.
    pub(super) fn prev(&self) -> Option<Position> {
        match self {
            Self::Intact(entry) => Some(entry.prev),
            Self::Damaged { prev, .. } => *prev,
        }
    }

    /// Decodes one element of a reply to XRANGE: `[id, [field, value, …]]`. `None` if it has another form.
    fn decode(element: &Value, names: &mut UserNameCache) -> Option<Self> {
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
            (Some(prev), Some(message)) => Self::Intact(Entry { prev, message }),
            _ => Self::Damaged { pos, prev },
        })
    }
}

/// Decodes the reply to XRANGE or XREVRANGE, in its order.
pub(super) fn stream_entries(reply: &Value) -> Option<Vec<StreamEntry>> {
    let Value::Array(elements) = reply else { return None };
    let mut names = UserNameCache::default();
    elements.iter().map(|element| StreamEntry::decode(element, &mut names)).collect()
}

/// The position of the first entry in the reply to XRANGE or XREVRANGE; the origin if there is none. Does not decode the
/// entry.
pub(super) fn last_position(reply: &Value) -> Option<Position> {
    let Value::Array(elements) = reply else { return None };
    let Some(last) = elements.first() else { return Some(Position::ORIGIN) };
    let Value::Array(parts) = last else { return None };
    text(parts.first()?)?.parse().ok()
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// Parses user names, and each distinct name once: validating a name (its scripts, what it can be confused with) costs more
/// than the rest of decoding an entry, and a room has few authors. Holds at most 1,024 names; when full, it is emptied.
#[derive(Debug, Default)]
pub(super) struct UserNameCache(HashMap<Box<str>, UserName>);

impl UserNameCache {
    const MAX_NAMES: usize = 1024;

    /// The name, if the text is a valid one.
    fn parse(&mut self, text: &str) -> Option<UserName> {
        if let Some(name) = self.0.get(text) {
            return Some(name.clone());
        }
        let name: UserName = text.parse().ok()?;
        if self.0.len() == Self::MAX_NAMES {
            self.0.clear();
        }
        self.0.insert(text.into(), name.clone());
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trunkline_domain::InstanceId;

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
        fn published_entry_decodes_to_itself(entry in entries()) {
            let decoded = Payload::decode(&encode(&entry), &mut UserNameCache::default());
            prop_assert_eq!(decoded, Some(Payload::Entry(entry)));
        }

        #[test]
        fn ephemeral_event_decodes_to_itself(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let decoded = Payload::decode(&Payload::encode_ephemeral(&bytes), &mut UserNameCache::default());
            prop_assert_eq!(decoded, Some(Payload::Ephemeral(bytes.into())));
        }

        #[test]
        fn stored_entry_decodes_to_itself(entry in entries()) {
            let Message { pos, id, user, text, at } = &entry.message;
            let prev = if pos.offset > 1 { pos.before_in_epoch().unwrap() } else { entry.prev };
            let fields = [("id", id.as_str()), ("user", user.as_str()), ("text", text.as_str()),
                ("at", &at.to_string()), ("prev", &prev.to_string())];
            let reply = Value::Array(vec![element(&pos.to_string(), &fields)]);
            prop_assert_eq!(stream_entries(&reply), Some(vec![StreamEntry::Intact(Entry { prev, ..entry.clone() })]));
        }

        #[test]
        fn no_payload_panics(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Payload::decode(&bytes, &mut UserNameCache::default());
        }

        #[test]
        fn no_presence_change_panics(content in ".*") {
            let _ = presence_change(&content);
        }

        #[test]
        fn no_damaged_payload_panics(entry in entries(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = encode(&entry);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = Payload::decode(&bytes, &mut UserNameCache::default());
            bytes.truncate(at);
            let _ = Payload::decode(&bytes, &mut UserNameCache::default());
        }
    }

    #[test]
    fn damaged_entry_keeps_its_position() {
        let decode = |element| StreamEntry::decode(&element, &mut UserNameCache::default());
        let pos = Position::new(5, 3);
        let prev = Some(Position::new(5, 2));
        assert_eq!(decode(element("5-3", &[("foo", "bar")])), Some(StreamEntry::Damaged { pos, prev }));
        assert_eq!(
            decode(element("5-1", &[("id", "x")])),
            Some(StreamEntry::Damaged { pos: Position::new(5, 1), prev: None })
        );
        assert_eq!(decode(Value::Array(vec![bulk("5-3"), Value::Nil])), Some(StreamEntry::Damaged { pos, prev }));
        assert_eq!(decode(Value::Nil), None);
    }

    #[test]
    fn presence_changes_decode_as_the_script_writes_them() {
        let (ann, bob): (UserName, UserName) = ("ann".parse().unwrap(), "bob-".parse().unwrap());
        let instance = InstanceId(10);
        let decode = |words: &str| presence_change(&format!("7 {instance}{words}")).map(|change| change.kind);
        assert_eq!(decode(""), Some(ChangeKind::Left));
        assert_eq!(decode(" !"), Some(ChangeKind::Expired));
        assert_eq!(decode(" = ann bob-"), Some(ChangeKind::Replaced(vec![ann.clone(), bob.clone()])));
        assert_eq!(decode(" -ann +bob-"), Some(ChangeKind::Updated { joined: vec![bob], left: vec![ann] }));
        for words in [" ", " ann", " =", " *ann", " +a\u{1}", " + ann"] {
            assert!(!matches!(decode(words), Some(ChangeKind::Updated { .. } | ChangeKind::Left)), "{words:?}");
        }
    }

    #[test]
    fn name_cache_is_bounded() {
        let mut names = UserNameCache::default();
        for number in 0..3 * UserNameCache::MAX_NAMES {
            let text = format!("user{number}");
            for _ in 0..2 {
                assert_eq!(names.parse(&text).unwrap().as_str(), text);
            }
            assert!(names.0.len() <= UserNameCache::MAX_NAMES);
        }
        assert_eq!(names.parse("no name"), None);
    }
}
