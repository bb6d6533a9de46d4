//! Names, rooms, texts, ids and positions: which are valid, and that parsing inverts formatting.

use proptest::prelude::*;
use trunkline_domain::{
    CloseCode, DisplayName, EventName, InvalidName, InvalidText, Member, MessageId, MessageText, Position, ReactionKey,
    Reconnect, Room, UserId, UserName,
};

#[test]
fn ordinary_names_are_valid() {
    for name in ["ann", "Bob", "O'Neil", "zoë", "Анна", "李雷", "さくら子", "user-7", "a.b_c", "7"] {
        assert_eq!(name.parse::<UserName>().map(|n| n.to_string()), Ok(name.to_owned()));
    }
    assert_eq!("zoe\u{308}".parse::<UserName>(), "zoë".parse());
}

#[test]
fn misleading_and_malformed_names_are_invalid() {
    let long = "x".repeat(33);
    let huge = "x".repeat(1 << 20);
    let table = [
        ("", InvalidName::Empty),
        ("   ", InvalidName::Empty),
        (long.as_str(), InvalidName::TooLong),
        (huge.as_str(), InvalidName::TooLong),
        ("a b", InvalidName::Characters),
        ("a\u{0}b", InvalidName::Characters),
        ("a\u{202e}b", InvalidName::Characters),
        ("<b>", InvalidName::Characters),
        // Normalisation composes the first two characters to U+226F, which is not allowed.
        (">\u{338}0", InvalidName::Characters),
        ("ann@home", InvalidName::Characters),
        ("...", InvalidName::NoLetter),
        ("pаypal", InvalidName::MixedScripts),
        ("admin", InvalidName::Reserved),
        ("ADMIN", InvalidName::Reserved),
        ("sуstеm", InvalidName::MixedScripts),
        ("r00t", InvalidName::Reserved),
    ];
    for (name, why) in table {
        assert_eq!(name.parse::<UserName>(), Err(why), "{name:?}");
    }
}

#[test]
fn names_that_look_alike_share_a_skeleton() {
    let skeleton = |name: &str| name.parse::<UserName>().unwrap().skeleton();
    for (one, other) in [("ann", "ANN"), ("paul", "pau1"), ("сор", "cop"), ("bob", "b0b")] {
        assert_eq!(skeleton(one), skeleton(other), "{one} and {other}");
    }
    assert_ne!(skeleton("ann"), skeleton("anna"));
}

#[test]
fn texts_are_judged_by_size_then_controls_then_blankness() {
    let parse = str::parse::<MessageText>;
    assert!(parse("hi\n\tthere 👋").is_ok());
    assert!(parse(&"é".repeat(2048)).is_ok());
    assert_eq!(parse(&"é".repeat(2049)), Err(InvalidText::TooLong));
    assert_eq!(parse("a\u{7}"), Err(InvalidText::Control));
    assert_eq!(parse("a\r"), Err(InvalidText::Control));
    assert_eq!(parse(" \n\u{3000}"), Err(InvalidText::Blank));
    assert_eq!(parse(""), Err(InvalidText::Blank));
    for invisible in ["\u{200b}", "\u{2800}", "\u{3164}", "\u{feff}", "\u{200d}\u{fe0f}"] {
        assert_eq!(parse(invisible), Err(InvalidText::Blank), "{}", invisible.escape_unicode());
    }
    assert!(parse("a\u{200b}").is_ok());
}

/// The page decides alike: `web/tests/text.test.js` reads the same file.
#[test]
fn blank_characters_are_those_of_the_shared_vectors() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/vectors/text/blank.json");
    let vectors: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let code = |text: &serde_json::Value| u32::from_str_radix(text.as_str().unwrap(), 16).unwrap();
    let ranges = vectors["ranges"].as_array().unwrap();
    let ranges: Vec<_> = ranges.iter().map(|range| code(&range[0])..=code(&range[1])).collect();
    for c in '\0'..=char::MAX {
        let blank = ranges.iter().any(|range| range.contains(&u32::from(c)));
        assert_eq!(MessageText::is_blank(c), blank, "U+{:04X}", u32::from(c));
    }
}

#[test]
fn user_ids_are_opaque_texts_without_white_space_and_control_characters() {
    let long = "x".repeat(128);
    for id in ["7", "auth0|123", "ann@example.com", "6f1c0a52-77aa-4c1e-9f27-0d8d2f1b8f11", "Zoë", &long] {
        assert_eq!(id.parse::<UserId>().unwrap().as_str(), id);
    }
    for id in [
        "",
        " ",
        "a b",
        " a",
        "a\u{a0}b",
        "a\u{3000}b",
        "a\tb",
        "a\n",
        "a\u{0}",
        "a\u{7f}",
        "a\u{85}",
        &format!("{long}x"),
    ] {
        assert!(id.parse::<UserId>().is_err(), "{id:?}");
    }
    // Compared byte for byte: neither case nor composition is folded.
    assert_ne!("ann".parse::<UserId>(), "Ann".parse());
    assert_ne!("zoë".parse::<UserId>(), "zoe\u{308}".parse());
}

#[test]
fn display_names_have_1_to_64_characters_one_of_which_is_visible() {
    let long = "ë".repeat(64);
    for name in ["Ann", "Ann Lee", " Ann", "李雷", &long] {
        assert_eq!(name.parse::<DisplayName>().unwrap().as_str(), name);
    }
    for name in ["", "  ", "\u{200b}\u{3164}", "Ann\n", "a\u{7f}", &format!("{long}x")] {
        assert!(name.parse::<DisplayName>().is_err(), "{name:?}");
    }
}

#[test]
fn member_is_stored_as_its_id_and_its_name_if_that_differs() {
    let bob = Member::new("u-17".parse().unwrap(), Some("Bob  Lee".parse().unwrap()));
    assert_eq!(bob.to_string(), "u-17 Bob  Lee");
    let ann = Member::new("ann".parse().unwrap(), Some("ann".parse().unwrap()));
    assert_eq!((ann.to_string().as_str(), &ann.name), ("ann", &None));
    assert_eq!(serde_json::to_string(&ann).unwrap(), r#"{"user":"ann"}"#);
    assert_eq!(serde_json::to_string(&bob).unwrap(), r#"{"user":"u-17","name":"Bob  Lee"}"#);
    for text in ["", " ", "ann ", " ann", "ann \u{200b}"] {
        assert!(text.parse::<Member>().is_err(), "{text:?}");
    }
    assert_eq!(bob, Member::from(bob.user.clone()), "the id alone identifies a member");
}

#[test]
fn event_names_are_those_of_the_pattern_without_the_reserved_names() {
    let long = "e".repeat(64);
    for name in ["shipped", "7", "cursor.moved", "a_b-c", "edited", &long] {
        assert_eq!(name.parse::<EventName>().unwrap().as_str(), name);
    }
    for name in ["", ".a", "-a", "Shipped", "a b", "é", "edit", "delete", "react", &format!("{long}e")] {
        assert!(name.parse::<EventName>().is_err(), "{name:?}");
    }
}

#[test]
fn reaction_keys_have_1_to_64_bytes_without_white_space() {
    let long = "👍".repeat(16);
    for key in ["👍", "❤️", ":+1:", "__proto__", &long] {
        assert_eq!(key.parse::<ReactionKey>().unwrap().as_str(), key);
    }
    for key in ["", " ", "a b", "👍\n", "\u{2003}", "\u{0}", &format!("{long}.")] {
        assert!(key.parse::<ReactionKey>().is_err(), "{key:?}");
    }
}

#[test]
fn positions_have_one_canonical_form() {
    for bad in ["", "0", "1-", "-1", "01-1", "1-01", "+1-1", "1-1-1", "99999999999999999999-1", "a-b"] {
        assert!(bad.parse::<Position>().is_err(), "{bad:?}");
    }
    assert_eq!("0-0".parse(), Ok(Position::ORIGIN));
}

#[test]
fn close_codes_are_found_by_number_and_advise_the_client() {
    for code in CloseCode::ALL {
        assert_eq!(CloseCode::from_code(code.code()), Some(code));
    }
    assert_eq!(CloseCode::from_code(1005), None);
    assert_eq!(CloseCode::SessionEnded.reconnect(), Reconnect::LoginFirst);
    assert_eq!(CloseCode::Restart.reconnect(), Reconnect::AfterDelay);
}

proptest! {
    #[test]
    fn parsing_never_panics(text in any::<String>()) {
        let _ = (text.parse::<UserName>(), text.parse::<Room>(), text.parse::<MessageText>());
        let _ = (text.parse::<MessageId>(), text.parse::<Position>());
        let _ = (text.parse::<UserId>(), text.parse::<DisplayName>(), text.parse::<Member>());
        let _ = (text.parse::<EventName>(), text.parse::<ReactionKey>());
    }

    #[test]
    fn formatted_member_parses_to_itself(user in "[\\PC&&[^\\s]]{1,40}", name in proptest::option::of("\\PC{1,64}")) {
        if let (Ok(user), Ok(name)) = (user.parse::<UserId>(), name.map(|name| name.parse::<DisplayName>()).transpose()) {
            let member = Member::new(user, name);
            let parsed: Member = member.to_string().parse().unwrap();
            prop_assert_eq!(&parsed.name, &member.name);
            prop_assert_eq!(parsed, member);
        }
    }

    /// A name of the login is the id of its user.
    #[test]
    fn valid_name_is_a_user_id(text in "\\PC{1,40}") {
        if let Ok(name) = text.parse::<UserName>() {
            let id = UserId::from(name.clone());
            prop_assert_eq!(id.as_str().parse::<UserId>(), Ok(id.clone()));
            prop_assert_eq!(id.as_str(), name.as_str());
        }
    }

    #[test]
    fn valid_name_parses_to_itself(text in "\\PC{1,8}") {
        if let Ok(name) = text.parse::<UserName>() {
            prop_assert_eq!(name.as_str().parse::<UserName>(), Ok(name.clone()));
            prop_assert!(name.as_str().chars().count() <= UserName::MAX_CHARS);
        }
    }

    #[test]
    fn valid_rooms_are_those_of_the_pattern(text in "[a-z0-9._A-Z/-]{0,66}") {
        let bytes = text.as_bytes();
        let fits = !bytes.is_empty() && bytes.len() <= 64
            && (bytes[0].is_ascii_lowercase() || bytes[0].is_ascii_digit())
            && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(b));
        prop_assert_eq!(text.parse::<Room>().is_ok(), fits);
    }

    #[test]
    fn formatted_position_parses_to_itself(epoch in any::<u64>(), offset in any::<u64>()) {
        let position = Position::new(epoch, offset);
        prop_assert_eq!(position.to_string().parse(), Ok(position));
    }
}
