//! Decoding of what Redis stores and publishes about a room: pub/sub payloads, stream entries, presence. Pure; no input
//! panics.

use std::{collections::HashSet, str::FromStr};

use bytes::Bytes;
use redis::Value;
use trunkline_domain::{
    Body, ChangeKind, Content, DisplayName, Entry, Member, Message, Position, PresenceChange, PresenceSnapshot, UserId,
};

/// A payload of a room's channel: one byte for its kind, then the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    /// Written by publish.lua. A plain text is `e<pos> <prev> <at> <id> <user>\n<text>`; anything else is
    /// `x<pos> <prev> <at> <id> <user> <ref> <event>\n<name>\n<text or data>`. `-` for `<prev>` means the previous offset of
    /// the same epoch; `-` for `<ref>` and `<event>`, and an empty name, mean that there is none.
    Entry(Entry),
    /// `w`, then the bytes of the ephemeral event.
    Ephemeral(Bytes),
    /// `p`, then a presence change, written by presence.lua.
    Presence(PresenceChange),
}

impl Payload {
    /// `None` if no gateway of this version wrote the payload.
    pub(super) fn decode(payload: &[u8]) -> Option<Self> {
        let (kind, content) = payload.split_first()?;
        match kind {
            b'e' => plain_text(std::str::from_utf8(content).ok()?).map(Self::Entry),
            b'x' => any_content(std::str::from_utf8(content).ok()?).map(Self::Entry),
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

fn plain_text(payload: &str) -> Option<Entry> {
    let (header, text) = payload.split_once('\n')?;
    let mut words = header.splitn(5, ' ');
    entry_header(
        &mut words,
        |user| user.parse::<UserId>().ok().map(Member::from),
        Content::from_body(None, None, text).ok()?,
    )
}

fn any_content(payload: &str) -> Option<Entry> {
    let (header, rest) = payload.split_once('\n')?;
    let (name, body) = rest.split_once('\n')?;
    let (header, event) = header.rsplit_once(' ')?;
    let (header, reference) = header.rsplit_once(' ')?;
    let name: Option<DisplayName> = optional(name, "")?;
    let event: Option<String> = optional(event, "-")?;
    let content = Content::from_body(event.as_deref(), optional(reference, "-")?, body).ok()?;
    entry_header(&mut header.splitn(5, ' '), |user| Some(Member { user: user.parse().ok()?, name }), content)
}

/// `Some(None)` if `text` is the mark of an absent value.
fn optional<T: FromStr>(text: &str, absent: &str) -> Option<Option<T>> {
    if text == absent { Some(None) } else { text.parse().ok().map(Some) }
}

/// The entry with the words `<pos> <prev> <at> <id> <user>`.
fn entry_header<'a>(
    words: &mut impl Iterator<Item = &'a str>,
    author: impl FnOnce(&str) -> Option<Member>,
    content: Content,
) -> Option<Entry> {
    let pos: Position = words.next()?.parse().ok()?;
    let prev = match words.next()? {
        "-" => pos.before_in_epoch()?,
        prev => prev.parse().ok()?,
    };
    let at = words.next()?.parse().ok()?;
    let id = words.next()?.parse().ok()?;
    let Member { user, name } = author(words.next()?)?;
    Some(Entry { prev, message: Message { pos, id, user, name, body: Body::Content(content), at } })
}

/// `<version> <instance>`, then, each after a newline: `=` and all users; or `+user` and `-user`; or `!` if another instance
/// expired the lease; or nothing if all users left.
fn presence_change(content: &str) -> Option<PresenceChange> {
    let mut lines = content.split('\n');
    let (version, instance) = lines.next()?.split_once(' ')?;
    let (version, instance) = (version.parse().ok()?, instance.parse().ok()?);
    let (mut joined, mut left) = (Vec::new(), Vec::new());
    let (mut all, mut expired) = (None::<Vec<Member>>, false);
    for line in lines {
        if let Some(all) = &mut all {
            all.push(line.parse().ok()?);
            continue;
        }
        match line.split_at_checked(1)? {
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
    fn decode(element: &Value) -> Option<Self> {
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
        let message = || {
            let event = field("event");
            let reference = field("ref").map(str::parse).transpose().ok()?;
            let body = field("text").or_else(|| field("data"))?;
            Some(Message {
                pos,
                id: field("id")?.parse().ok()?,
                user: field("user")?.parse().ok()?,
                name: field("name").map(str::parse).transpose().ok()?,
                body: Body::Content(Content::from_body(event, reference, body).ok()?),
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
    elements.iter().map(StreamEntry::decode).collect()
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

/// The positions of deleted texts, from the reply to HGETALL of a room's `meta`.
pub(super) fn deleted_positions(reply: &Value) -> Option<HashSet<Position>> {
    let pairs: Vec<(&Value, &Value)> = match reply {
        Value::Array(values) => values.chunks_exact(2).map(|pair| (&pair[0], &pair[1])).collect(),
        Value::Map(pairs) => pairs.iter().map(|(field, value)| (field, value)).collect(),
        _ => return None,
    };
    let deleted = pairs.into_iter().filter_map(|(field, _)| text(field)?.strip_prefix(DELETED_PREFIX)?.parse().ok());
    Some(deleted.collect())
}

/// Beginning of the fields of `meta` that name deleted texts.
const DELETED_PREFIX: &str = "d:";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trunkline_domain::InstanceId;

    use super::*;

    fn positions() -> impl Strategy<Value = Position> {
        (any::<u64>(), any::<u64>()).prop_map(|(epoch, offset)| Position::new(epoch, offset))
    }

    fn entries() -> impl Strategy<Value = Entry> {
        let author = ("[!-~\u{e4}]{1,64}", prop::option::of("[ -~\u{e4}]{0,20}x"));
        let message = (positions(), "[A-Za-z0-9_-]{1,64}", author, contents(), any::<u64>());
        let prev = prop::option::of(positions());
        (prev, message).prop_filter_map(
            "a first position without prev",
            |(prev, (pos, id, (user, name), content, at))| {
                let prev = prev.or(pos.before_in_epoch())?;
                let (user, name) = (user.parse().unwrap(), name.map(|name| name.parse().unwrap()));
                let message = Message { pos, id: id.parse().unwrap(), user, name, body: Body::Content(content), at };
                Some(Entry { prev, message })
            },
        )
    }

    fn contents() -> impl Strategy<Value = Content> {
        let text = || "[ -~\n\t\u{e4}]{0,50}x".prop_map(|text| text.parse().unwrap());
        prop_oneof![
            (text(), prop::option::of(positions())).prop_map(|(text, reply_to)| Content::Text { text, reply_to }),
            ("[a-z0-9][a-z0-9._-]{6,63}", "[0-9]{1,9}|\"[a-z\n]*\"|null|\\{ \"b\": 1.50 ,\"a\":\\[\\]\\}")
                .prop_filter_map("no JSON", |(event, data)| Some(Content::Event {
                    event: event.parse().unwrap(),
                    data: data.parse().ok()?
                })),
            (positions(), text()).prop_map(|(of, text)| Content::Edit { of, text }),
            positions().prop_map(|of| Content::Delete { of }),
            (positions(), "[!-~\u{1f44d}]{1,16}", any::<bool>()).prop_map(|(of, key, on)| Content::React {
                of,
                key: key.parse().unwrap(),
                on
            }),
        ]
    }

    /// The fields of the stream, as publish.lua writes them.
    fn stored_fields(message: &Message) -> Vec<(&'static str, String)> {
        let Body::Content(content) = &message.body else { panic!("nothing is stored as deleted") };
        let parts = content.fields();
        let body = match &parts.data {
            Some(data) => ("data", data.as_str().to_owned()),
            None => ("text", parts.text.unwrap_or_default().to_owned()),
        };
        let mut fields = vec![
            ("id", message.id.to_string()),
            ("user", message.user.to_string()),
            body,
            ("at", message.at.to_string()),
        ];
        fields.extend(message.name.as_ref().map(|name| ("name", name.to_string())));
        fields.extend(parts.reference.map(|reference| ("ref", reference.to_string())));
        fields.extend(parts.event.map(|event| ("event", event.to_owned())));
        fields
    }

    /// As publish.lua writes it.
    fn encode(Entry { prev, message }: &Entry) -> Vec<u8> {
        let Message { pos, id, user, name, body, at } = message;
        let prev = if pos.before_in_epoch() == Some(*prev) { "-".to_owned() } else { prev.to_string() };
        match (name, body) {
            (None, Body::Content(Content::Text { text, reply_to: None })) => {
                format!("e{pos} {prev} {at} {id} {user}\n{}", text.as_str()).into_bytes()
            }
            _ => {
                let fields = stored_fields(message);
                let field = |name: &str| fields.iter().find(|field| field.0 == name).map(|field| field.1.as_str());
                let (reference, event) = (field("ref").unwrap_or("-"), field("event").unwrap_or("-"));
                let (name, body) = (field("name").unwrap_or_default(), fields[2].1.as_str());
                format!("x{pos} {prev} {at} {id} {user} {reference} {event}\n{name}\n{body}").into_bytes()
            }
        }
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
            let decoded = Payload::decode(&encode(&entry));
            prop_assert_eq!(decoded, Some(Payload::Entry(entry)));
        }

        #[test]
        fn ephemeral_event_decodes_to_itself(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let decoded = Payload::decode(&Payload::encode_ephemeral(&bytes));
            prop_assert_eq!(decoded, Some(Payload::Ephemeral(bytes.into())));
        }

        #[test]
        fn stored_entry_decodes_to_itself(entry in entries()) {
            let pos = &entry.message.pos;
            let prev = if pos.offset > 1 { pos.before_in_epoch().unwrap() } else { entry.prev };
            let mut fields = stored_fields(&entry.message);
            fields.push(("prev", prev.to_string()));
            let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let reply = Value::Array(vec![element(&pos.to_string(), &fields)]);
            prop_assert_eq!(stream_entries(&reply), Some(vec![StreamEntry::Intact(Entry { prev, ..entry.clone() })]));
        }

        #[test]
        fn no_payload_panics(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Payload::decode(&bytes);
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
            let _ = Payload::decode(&bytes);
            bytes.truncate(at);
            let _ = Payload::decode(&bytes);
        }
    }

    #[test]
    fn damaged_entry_keeps_its_position() {
        let decode = |element| StreamEntry::decode(&element);
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
        let (ann, bob): (Member, Member) = ("ann".parse().unwrap(), "bob- Bob B.".parse().unwrap());
        let instance = InstanceId(10);
        let decode = |lines: &str| presence_change(&format!("7 {instance}{lines}")).map(|change| change.kind);
        assert_eq!(decode(""), Some(ChangeKind::Left));
        assert_eq!(decode("\n!"), Some(ChangeKind::Expired));
        assert_eq!(decode("\n=\nann\nbob- Bob B."), Some(ChangeKind::Replaced(vec![ann.clone(), bob.clone()])));
        let Some(ChangeKind::Updated { joined, left }) = decode("\n-ann\n+bob- Bob B.") else { panic!("an update") };
        assert_eq!((&joined[..], &left[..]), (&[bob][..], &[ann][..]));
        assert_eq!(joined[0].name.as_ref().unwrap().as_str(), "Bob B.");
        for lines in ["\n", "\nann", "\n=", "\n*ann", "\n+a\u{1}", "\n+", "\n+ ann"] {
            assert!(!matches!(decode(lines), Some(ChangeKind::Updated { .. } | ChangeKind::Left)), "{lines:?}");
        }
    }
}
