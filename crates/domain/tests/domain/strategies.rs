//! Generated values.

use proptest::{collection::vec, option, prelude::*};
use serde_json::value::RawValue;
use trunkline_domain::{
    Body, Content, Data, DisplayName, EventName, Member, Message, MessageId, MessageText, Position, ReactionKey, Room,
    UserId,
};

pub(crate) fn room() -> impl Strategy<Value = Room> {
    "[a-z0-9][a-z0-9._-]{0,63}".prop_map(|text| text.parse().unwrap())
}

pub(crate) fn id() -> impl Strategy<Value = MessageId> {
    "[A-Za-z0-9_-]{1,64}".prop_map(|text| text.parse().unwrap())
}

pub(crate) fn user() -> impl Strategy<Value = UserId> {
    "\\PC{1,20}".prop_filter_map("white space", |text| text.parse().ok())
}

pub(crate) fn name() -> impl Strategy<Value = DisplayName> {
    "\\PC{1,20}".prop_filter_map("blank", |text| text.parse().ok())
}

pub(crate) fn member() -> impl Strategy<Value = Member> {
    (user(), option::of(name())).prop_map(|(user, name)| Member::new(user, name))
}

pub(crate) fn text() -> impl Strategy<Value = MessageText> {
    "\\PC{1,200}".prop_filter_map("blank", |text| text.parse().ok())
}

pub(crate) fn position() -> impl Strategy<Value = Position> {
    (any::<u64>(), any::<u64>()).prop_map(|(epoch, offset)| Position::new(epoch, offset))
}

pub(crate) fn event_name() -> impl Strategy<Value = EventName> {
    "[a-z0-9][a-z0-9._-]{0,63}".prop_filter_map("reserved", |text| text.parse().ok())
}

fn reaction_key() -> impl Strategy<Value = ReactionKey> {
    "\\PC{1,10}".prop_filter_map("white space", |text| text.parse().ok())
}

/// JSON as people and programs write it: with spaces, any order and repetition of keys, and numbers of any spelling.
pub(crate) fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|truth| truth.to_string()),
        prop::sample::select(vec!["0", "-0", "1.0", "1e400", "-1E+2", "0.10", "123456789012345678901234567890"])
            .prop_map(str::to_owned),
        ".{0,12}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        prop::sample::select(vec![r#""\u0041""#, r#""\/""#, r#""]}{[\"""#, r#""\ud83d\udc4d""#])
            .prop_map(str::to_owned),
    ];
    let space = || prop::sample::select(vec!["", " ", "\n\t"]);
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            (vec(inner.clone(), 0..4), space())
                .prop_map(|(items, space)| format!("[{}]", items.join(&format!("{space},")))),
            (vec(("[a-c]{0,2}", inner), 0..4), space()).prop_map(|(fields, space)| {
                let fields: Vec<_> = fields.iter().map(|(key, value)| format!("\"{key}\":{space}{value}")).collect();
                format!("{{{space}{}}}", fields.join(","))
            }),
        ]
    })
}

pub(crate) fn data() -> impl Strategy<Value = Data> {
    json().prop_map(|json| Data::new(&RawValue::from_string(json).unwrap()).unwrap())
}

pub(crate) fn content() -> impl Strategy<Value = Content> {
    prop_oneof![
        3 => (text(), option::of(position())).prop_map(|(text, reply_to)| Content::Text { text, reply_to }),
        3 => (event_name(), data()).prop_map(|(event, data)| Content::Event { event, data }),
        1 => (position(), text()).prop_map(|(of, text)| Content::Edit { of, text }),
        1 => position().prop_map(|of| Content::Delete { of }),
        1 => (position(), reaction_key(), any::<bool>()).prop_map(|(of, key, on)| Content::React { of, key, on }),
    ]
}

pub(crate) fn message() -> impl Strategy<Value = Message> {
    let body = prop_oneof![
        6 => content().prop_map(Body::Content),
        1 => option::of(position()).prop_map(|reply_to| Body::DeletedText { reply_to }),
        1 => position().prop_map(|of| Body::DeletedEdit { of }),
    ];
    (position(), id(), member(), body, any::<u64>()).prop_map(|(pos, id, Member { user, name }, body, at)| Message {
        pos,
        id,
        user,
        name,
        body,
        at,
    })
}
