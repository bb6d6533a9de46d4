//! Codecs of both directions: `decode(encode(x)) = x`, and no input makes decoding panic.

use proptest::{collection::vec, option, prelude::*};
use trunkline_domain::{
    Command, ErrorCode, Event, JoinFrom, Message, MessageId, MessageText, Position, Refusal, Room, UserName,
    WelcomeLimits,
};

fn room() -> impl Strategy<Value = Room> {
    "[a-z0-9][a-z0-9._-]{0,63}".prop_map(|text| text.parse().unwrap())
}

fn id() -> impl Strategy<Value = MessageId> {
    "[A-Za-z0-9_-]{1,64}".prop_map(|text| text.parse().unwrap())
}

fn user() -> impl Strategy<Value = UserName> {
    "[b-k]{4,12}".prop_map(|text| text.parse().unwrap())
}

fn text() -> impl Strategy<Value = MessageText> {
    "\\PC{1,200}".prop_filter_map("blank", |text| text.parse().ok())
}

fn position() -> impl Strategy<Value = Position> {
    (any::<u64>(), any::<u64>()).prop_map(|(epoch, offset)| Position::new(epoch, offset))
}

fn message() -> impl Strategy<Value = Message> {
    (position(), id(), user(), text(), any::<u64>()).prop_map(|(pos, id, user, text, at)| Message {
        pos,
        id,
        user,
        text,
        at,
    })
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        (room(), option::of(position()), 0..=200_usize)
            .prop_map(|(room, after, recent)| Command::Join { room, from: JoinFrom { after, recent } }),
        room().prop_map(|room| Command::Leave { room }),
        (room(), id(), text()).prop_map(|(room, id, text)| Command::Send { room, id, text }),
        (room(), option::of(position()), 1..=200_usize).prop_map(|(room, before, limit)| Command::History {
            room,
            before,
            limit
        }),
        room().prop_map(|room| Command::Typing { room }),
        Just(Command::Pong),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let names = || option::of(vec(user(), 0..4));
    let code = prop_oneof![Just(ErrorCode::BadFrame), Just(ErrorCode::RateLimited), Just(ErrorCode::Unavailable)];
    prop_oneof![
        (user(), ".{0,20}", any::<u64>()).prop_map(|(user, instance, ping_interval_ms)| Event::Welcome {
            user,
            instance,
            ping_interval_ms,
            limits: WelcomeLimits { text_bytes: 4096, rooms: 128 },
        }),
        (room(), any::<bool>(), position()).prop_map(|(room, resumed, head)| Event::Joined { room, resumed, head }),
        (room(), message()).prop_map(|(room, message)| Event::Message { room, message }),
        room().prop_map(|room| Event::Left { room }),
        (room(), id(), position()).prop_map(|(room, id, pos)| Event::Sent { room, id, pos }),
        (room(), any::<usize>(), names(), names(), names())
            .prop_map(|(room, count, here, came, went)| Event::Presence { room, count, here, came, went }),
        (room(), user()).prop_map(|(room, user)| Event::Typing { room, user }),
        (room(), option::of(position()), vec(message(), 0..4), any::<bool>())
            .prop_map(|(room, before, messages, more)| Event::History { room, before, messages, more }),
        (code, ".{0,40}", option::of(".{0,9}"), option::of(".{0,9}"), option::of(any::<u64>())).prop_map(
            |(code, detail, room, id, retry_after_ms)| Event::Error(Refusal { code, detail, room, id, retry_after_ms })
        ),
        (".{0,9}", any::<u64>()).prop_map(|(reason, reconnect_after_ms)| Event::Closing { reason, reconnect_after_ms }),
        Just(Event::Ping),
    ]
}

proptest! {
    #[test]
    fn encoded_command_decodes_to_itself(command in command()) {
        prop_assert_eq!(Command::decode(&command.encode()), Ok(command));
    }

    #[test]
    fn encoded_event_decodes_to_itself(event in event()) {
        prop_assert_eq!(Event::decode(&event.encode()).unwrap(), event);
    }

    #[test]
    fn decoding_never_panics(text in any::<String>()) {
        let _ = (Command::decode(&text), Event::decode(&text));
    }

    #[test]
    fn decoding_a_damaged_frame_never_panics(command in command(), cut in any::<prop::sample::Index>(), with in "\\PC{0,3}") {
        let mut text = command.encode();
        let cut = text.floor_char_boundary(cut.index(text.len()));
        text.replace_range(cut..text.ceil_char_boundary(cut + 1).min(text.len()), &with);
        let _ = (Command::decode(&text), Event::decode(&text));
    }
}

#[test]
fn bad_command_is_refused_with_its_code_and_repeats_room_and_id() {
    let table = [
        ("nope", ErrorCode::BadFrame),
        ("[]", ErrorCode::BadFrame),
        ("{}", ErrorCode::BadFrame),
        (r#"{"type":7}"#, ErrorCode::BadFrame),
        (r#"{"type":"dance","room":"lobby"}"#, ErrorCode::UnknownType),
        (r#"{"type":"join"}"#, ErrorCode::BadFrame),
        (r#"{"type":"join","room":"Lobby"}"#, ErrorCode::BadRoom),
        (r#"{"type":"join","room":"lobby","recent":201}"#, ErrorCode::BadFrame),
        (r#"{"type":"join","room":"lobby","recent":-1}"#, ErrorCode::BadFrame),
        (r#"{"type":"join","room":"lobby","after":"x"}"#, ErrorCode::BadFrame),
        (r#"{"type":"history","room":"lobby","limit":0}"#, ErrorCode::BadFrame),
        (r#"{"type":"send","room":"lobby","id":"","text":"x"}"#, ErrorCode::BadId),
        (r#"{"type":"send","room":"lobby","id":"a","text":" "}"#, ErrorCode::BadText),
        (r#"{"type":"send","room":"lobby","id":"a","text":5}"#, ErrorCode::BadFrame),
    ];
    for (frame, code) in table {
        assert_eq!(Command::decode(frame).unwrap_err().code, code, "{frame}");
    }
    let long = format!(r#"{{"type":"send","room":"lobby","id":"a7","text":"{}"}}"#, "x".repeat(4097));
    let refusal = Command::decode(&long).unwrap_err();
    assert_eq!(
        (refusal.code, refusal.room.as_deref(), refusal.id.as_deref()),
        (ErrorCode::TooLong, Some("lobby"), Some("a7"))
    );
}

#[test]
fn unknown_fields_and_unknown_events_are_ignored() {
    let join = Command::decode(r#"{"type":"join","room":"lobby","colour":"red"}"#).unwrap();
    let from = JoinFrom { after: None, recent: JoinFrom::DEFAULT_RECENT };
    assert_eq!(join, Command::Join { room: "lobby".parse().unwrap(), from });
    assert_eq!(Event::decode(r#"{"type":"fanfare","loud":true}"#).unwrap(), Event::Unknown);
    assert_eq!(Event::decode(r#"{"type":"ping","extra":1}"#).unwrap(), Event::Ping);
}
