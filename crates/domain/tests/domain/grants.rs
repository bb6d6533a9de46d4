//! Grants: which rooms their patterns match, and what they allow there.

use trunkline_domain::{Grants, Permission, Room, RoomPattern};

fn room(name: &str) -> Room {
    name.parse().unwrap()
}

#[test]
fn patterns_match_one_room_or_all_that_begin_alike() {
    let matches = |pattern: &str, name: &str| pattern.parse::<RoomPattern>().unwrap().matches(&room(name));
    for (pattern, name, expected) in [
        ("lobby", "lobby", true),
        ("lobby", "lobby2", false),
        ("orders.*", "orders.42", true),
        ("orders.*", "orders.", true),
        ("orders.*", "orders", false),
        ("orders.*", "my-orders.42", false),
        ("o*", "orders", true),
        ("*", "anything", true),
    ] {
        assert_eq!(matches(pattern, name), expected, "{pattern} and {name}");
        assert_eq!(pattern.parse::<RoomPattern>().unwrap().to_string(), pattern);
    }
    let long = format!("{}*", "x".repeat(65));
    for pattern in ["", "**", "a*b", "*a", "Orders.*", "a b*", ".*", &long] {
        assert!(pattern.parse::<RoomPattern>().is_err(), "{pattern:?}");
    }
}

#[test]
fn anything_that_no_grant_allows_is_forbidden() {
    let grants: Grants = serde_json::from_str(
        r#"[{"room":"orders.*","can":["join","read"]},{"room":"orders.42","can":["send","fly"]},{"room":"*","can":[]}]"#,
    )
    .unwrap();
    let allowed = |name: &str| {
        use Permission::{Join, Moderate, Read, Send};
        [Join, Read, Send, Moderate].map(|permission| grants.allow(permission, &room(name)))
    };
    assert_eq!(allowed("orders.42"), [true, true, true, false], "grants of several patterns add up");
    assert_eq!(allowed("orders.43"), [true, true, false, false]);
    assert_eq!(allowed("lobby"), [false; 4], "unknown words allow nothing");
    assert!(!Grants::default().allow(Permission::Join, &room("lobby")));
}

#[test]
fn malformed_grants_are_refused() {
    for json in [
        r#"{"room":"a"}"#,
        r#"[{"room":"A","can":[]}]"#,
        r#"[{"can":["join"]}]"#,
        r#"[{"room":"a"}]"#,
        r#"[{"room":"a","can":"join"}]"#,
    ] {
        assert!(serde_json::from_str::<Grants>(json).is_err(), "{json}");
    }
}
