//! `docs/PROTOCOL.md` against the code: its frames are test vectors, and its tables of codes are complete.

use std::collections::BTreeSet;

use trunkline_domain::{CloseCode, Command, ErrorCode, Event, Reconnect};

const DOCUMENT: &str = include_str!("../../../../docs/PROTOCOL.md");

/// The lines of all fenced code blocks whose info string starts with `kind`, each with the rest of that string.
fn frames(kind: &str) -> Vec<(&'static str, &'static str)> {
    let mut found = Vec::new();
    let mut block = None;
    for line in DOCUMENT.lines() {
        match (line.strip_prefix("```"), block) {
            (Some(_), Some(_)) => block = None,
            (Some(info), None) => block = Some(info),
            (None, Some(info)) => {
                if let Some(rest) = info.strip_prefix(kind) {
                    found.push((rest.trim(), line));
                }
            }
            (None, None) => {}
        }
    }
    found
}

/// The rows of the table below a heading, without its header, as trimmed cells.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, section) = DOCUMENT.split_once(heading).expect("the heading exists");
    let rows = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    rows.skip(2).map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

#[test]
fn documented_client_frames_decode_or_are_refused_with_the_documented_code() {
    let frames = frames("json client");
    assert!(frames.len() > 10);
    for (refused, frame) in frames {
        let verdict = Command::decode(frame).map_err(|refusal| serde_json::to_value(refusal.code).unwrap());
        match verdict {
            Ok(command) => {
                assert_eq!(refused, "", "{frame}");
                assert_eq!(Command::decode(&command.encode()), Ok(command), "{frame}");
            }
            Err(code) => assert_eq!(code, refused, "{frame}"),
        }
    }
}

#[test]
fn documented_server_frames_decode_and_encode_to_themselves() {
    let frames = frames("json server");
    assert!(frames.len() > 10);
    for (_, frame) in frames {
        let event = Event::decode(frame).unwrap_or_else(|error| panic!("{frame}: {error}"));
        assert_ne!(event, Event::Unknown, "{frame}");
        let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(json(&event.encode()), json(frame));
    }
}

#[test]
fn every_frame_type_has_a_documented_example() {
    let types = |kind: &str| -> BTreeSet<String> {
        let examples = frames(kind).into_iter().filter(|(refused, _)| refused.is_empty());
        let value = |frame| serde_json::from_str::<serde_json::Value>(frame).unwrap();
        examples.map(|(_, frame)| value(frame)["type"].as_str().unwrap().to_owned()).collect()
    };
    let client = ["history", "join", "leave", "pong", "refresh", "seen", "send", "signal", "typing"];
    assert_eq!(types("json client"), client.map(String::from).into());
    let server = [
        "closing",
        "error",
        "history",
        "joined",
        "left",
        "message",
        "ping",
        "presence",
        "refreshed",
        "seen",
        "sent",
        "signal",
        "typing",
        "welcome",
    ];
    assert_eq!(types("json server"), server.map(String::from).into());
}

#[test]
fn documented_error_codes_are_those_of_the_code() {
    let documented: Vec<&str> = table("### Error codes").iter().map(|row| row[0].trim_matches('`')).collect();
    let all = [
        ErrorCode::BadFrame,
        ErrorCode::UnknownType,
        ErrorCode::BadRoom,
        ErrorCode::BadId,
        ErrorCode::BadText,
        ErrorCode::BadEvent,
        ErrorCode::TooLong,
        ErrorCode::NotJoined,
        ErrorCode::TooManyRooms,
        ErrorCode::Forbidden,
        ErrorCode::NotFound,
        ErrorCode::BadToken,
        ErrorCode::RateLimited,
        ErrorCode::Unavailable,
    ];
    let known = all.map(|code| {
        // Does not compile if a variant is missing here.
        match code {
            ErrorCode::BadFrame
            | ErrorCode::UnknownType
            | ErrorCode::BadRoom
            | ErrorCode::BadId
            | ErrorCode::BadText
            | ErrorCode::BadEvent
            | ErrorCode::TooLong
            | ErrorCode::NotJoined
            | ErrorCode::TooManyRooms
            | ErrorCode::Forbidden
            | ErrorCode::NotFound
            | ErrorCode::BadToken
            | ErrorCode::RateLimited
            | ErrorCode::Unavailable => serde_json::to_value(code).unwrap().as_str().unwrap().to_owned(),
        }
    });
    assert_eq!(documented, known);
}

#[test]
fn documented_close_codes_are_those_of_the_code() {
    let rows = table("### Close codes");
    let documented: Vec<u16> = rows.iter().map(|row| row[0].parse().unwrap()).collect();
    assert_eq!(documented, CloseCode::ALL.map(CloseCode::code));
    for row in rows {
        let code = CloseCode::from_code(row[0].parse().unwrap()).unwrap();
        let advice = match code.reconnect() {
            Reconnect::WithBackoff => "reconnects with back-off",
            Reconnect::AfterDelay => "reconnects after `reconnect_after_ms`",
            Reconnect::LoginFirst => "does not reconnect; shows the login page",
            Reconnect::OnRequest => "does not reconnect by itself",
        };
        assert!(row[2].starts_with(advice), "{code:?}: {}", row[2]);
    }
}
