//! Codecs of both directions: `decode(encode(x)) = x`, and no input makes decoding panic.

use proptest::{collection::vec, option, prelude::*};
use trunkline_domain::{Command, ErrorCode, Event, JoinFrom, Refusal, Token, WelcomeLimits};

use crate::strategies::{content, data, event_name, id, member, message, name, position, room, user};

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        (room(), option::of(position()), 0..=200_usize)
            .prop_map(|(room, after, recent)| Command::Join { room, from: JoinFrom { after, recent } }),
        room().prop_map(|room| Command::Leave { room }),
        (room(), id(), content()).prop_map(|(room, id, content)| Command::Send { room, id, content }),
        (room(), option::of(position()), 1..=200_usize).prop_map(|(room, before, limit)| Command::History {
            room,
            before,
            limit
        }),
        room().prop_map(|room| Command::Typing { room }),
        (room(), event_name(), data()).prop_map(|(room, event, data)| Command::Signal { room, event, data }),
        (room(), position()).prop_map(|(room, pos)| Command::Seen { room, pos }),
        "\\PC{0,80}".prop_map(|token| Command::Refresh { token: Token::new(token) }),
        Just(Command::Pong),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let members = || option::of(vec(member(), 0..4));
    let code = prop_oneof![Just(ErrorCode::BadFrame), Just(ErrorCode::RateLimited), Just(ErrorCode::NotFound)];
    prop_oneof![
        (user(), option::of(name()), ".{0,20}", any::<u64>()).prop_map(|(user, name, instance, ping_interval_ms)| {
            let limits = WelcomeLimits { text_bytes: 4096, rooms: 128, data_bytes: 16384 };
            Event::Welcome { user, name, instance, ping_interval_ms, limits }
        }),
        (room(), any::<bool>(), position(), option::of(position()))
            .prop_map(|(room, resumed, head, seen)| Event::Joined { room, resumed, head, seen }),
        (room(), message()).prop_map(|(room, message)| Event::Message { room, message }),
        room().prop_map(|room| Event::Left { room }),
        (room(), id(), position()).prop_map(|(room, id, pos)| Event::Sent { room, id, pos }),
        (room(), any::<usize>(), members(), members(), members())
            .prop_map(|(room, count, users, joined, left)| Event::Presence { room, count, users, joined, left }),
        (room(), user()).prop_map(|(room, user)| Event::Typing { room, user }),
        (room(), user(), event_name(), data()).prop_map(|(room, user, event, data)| Event::Signal {
            room,
            user,
            event,
            data
        }),
        (room(), position()).prop_map(|(room, pos)| Event::Seen { room, pos }),
        any::<u64>().prop_map(|expires_in| Event::Refreshed { expires_in }),
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
        let frame = event.encode();
        let decoded = Event::decode(&frame).unwrap();
        // Members and messages are equal if parts of them are; the frame shows all of them.
        prop_assert_eq!(decoded.encode(), frame);
        prop_assert_eq!(decoded, event);
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
        (r#"{"type":"seen","room":"lobby"}"#, ErrorCode::BadFrame),
        (r#"{"type":"seen","pos":"5-1"}"#, ErrorCode::BadFrame),
        (r#"{"type":"seen","room":"lobby","pos":"5"}"#, ErrorCode::BadFrame),
        (r#"{"type":"refresh"}"#, ErrorCode::BadFrame),
        (r#"{"type":"refresh","token":7}"#, ErrorCode::BadFrame),
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

#[test]
fn token_is_not_shown_by_debug() {
    let command = Command::decode(r#"{"type":"refresh","token":"secret"}"#).unwrap();
    assert_eq!(command, Command::Refresh { token: Token::new("secret") });
    assert!(!format!("{command:?}").contains("secret"));
}

#[test]
fn messages_that_no_gateway_sends_are_refused() {
    let message = |fields: &str| {
        Event::decode(&format!(r#"{{"type":"message","pos":"5-1","room":"r","id":"a","user":"ann"{fields},"at":1}}"#))
    };
    assert!(message(r#","text":"hi""#).is_ok());
    for fields in [
        "",
        r#","text":"hi","event":"shipped""#,
        r#","event":"shipped","deleted":true"#,
        r#","event":"edit","deleted":true"#,
        r#","event":"edit","ref":"5-1""#,
        r#","event":"react","ref":"5-1","data":null"#,
    ] {
        assert!(message(fields).is_err(), "{fields}");
    }
    assert!(
        Event::decode(r#"{"type":"message","pos":"5-1","id":"a","user":"ann","text":"hi","at":1}"#).is_err(),
        "no room"
    );
}
