//! Values that are valid once parsed: rooms, user names, texts, ids, positions.
//!
//! Invariant: a parsed value, printed, parses to itself, and keeps what its documentation promises.
#![no_main]

use std::{fmt, str::FromStr};

use libfuzzer_sys::fuzz_target;
use trunkline_domain::{InstanceId, MessageId, MessageText, Position, Room, UserName};
use trunkline_session::{LoginAttempt, Sid};

fuzz_target!(|text: &str| {
    if let Some(room) = printed_and_parsed::<Room>(text) {
        assert_eq!(room.as_str(), text);
        assert!(text.len() <= Room::MAX_BYTES);
    }
    if let Some(name) = printed_and_parsed::<UserName>(text) {
        assert!((1..=UserName::MAX_CHARS).contains(&name.as_str().chars().count()));
        assert!(!name.as_str().contains(|c: char| c.is_whitespace() || c.is_control() || "<>&\"@/".contains(c)));
        assert!(!name.skeleton().is_empty());
    }
    if let Ok(message) = text.parse::<MessageText>() {
        assert_eq!(message.as_str(), text);
        assert!((1..=MessageText::MAX_BYTES).contains(&text.len()));
        assert!(!text.contains(|c: char| c.is_control() && c != '\n' && c != '\t'));
        assert!(!text.chars().all(MessageText::is_blank));
    }
    if let Some(id) = printed_and_parsed::<MessageId>(text) {
        assert_eq!(id.as_str(), text);
    }
    if let Some(pos) = printed_and_parsed::<Position>(text) {
        assert_eq!(pos.to_string(), text);
        assert!(pos.before_in_epoch().is_none_or(|before| before < pos && before.next_in_epoch() == pos));
    }
    printed_and_parsed::<InstanceId>(text);
    printed_and_parsed::<Sid>(text);
    printed_and_parsed::<LoginAttempt>(text);
});

fn printed_and_parsed<T: FromStr + fmt::Display + fmt::Debug + PartialEq>(text: &str) -> Option<T> {
    let value: T = text.parse().ok()?;
    assert_eq!(value.to_string().parse().ok().as_ref(), Some(&value));
    Some(value)
}
