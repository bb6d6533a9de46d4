//! Contents of messages: which fields make which content, and that data is passed through byte for byte.

use proptest::prelude::*;
use trunkline_domain::{Body, Command, Content, Data, ErrorCode, Event, InvalidData, Message, Position};

use crate::strategies::{content, data, json};

fn send(fields: &str) -> Result<Content, ErrorCode> {
    let frame = format!(r#"{{"type":"send","room":"lobby","id":"a"{fields}}}"#);
    match Command::decode(&frame) {
        Ok(Command::Send { content, .. }) => Ok(content),
        Ok(other) => panic!("not a send: {other:?}"),
        Err(refusal) => {
            assert_eq!((refusal.room.as_deref(), refusal.id.as_deref()), (Some("lobby"), Some("a")), "{fields}");
            Err(refusal.code)
        }
    }
}

fn text_content(text: &str, reply_to: Option<Position>) -> Content {
    Content::Text { text: text.parse().unwrap(), reply_to }
}

fn event(name: &str, data: &str) -> Content {
    Content::Event { event: name.parse().unwrap(), data: data.parse().unwrap() }
}

const OF: Position = Position::new(5, 7);

#[test]
fn fields_make_a_content() {
    let react = |on| Content::React { of: OF, key: "👍".parse().unwrap(), on };
    let table = [
        (r#","text":"hi""#, text_content("hi", None)),
        (r#","text":"hi","ref":"5-7""#, text_content("hi", Some(OF))),
        (r#","text":"hi","event":null,"data":null,"ref":null"#, text_content("hi", None)),
        (r#","text":"hi","deleted":true"#, text_content("hi", None)),
        (r#","event":"shipped","data":{"by":"ups"}"#, event("shipped", r#"{"by":"ups"}"#)),
        (r#","event":"shipped","data":null"#, event("shipped", "null")),
        (r#","event":"shipped""#, event("shipped", "null")),
        (r#","event":"edit","ref":"5-7","text":"ho""#, Content::Edit { of: OF, text: "ho".parse().unwrap() }),
        (r#","event":"delete","ref":"5-7""#, Content::Delete { of: OF }),
        (r#","event":"react","ref":"5-7","data":{"key":"👍","on":true}"#, react(true)),
        (r#","event":"react","ref":"5-7","data":{"on":false,"key":"\ud83d\udc4d","skin":2}"#, react(false)),
    ];
    for (fields, content) in table {
        assert_eq!(send(fields), Ok(content), "{fields}");
    }
}

#[test]
fn fields_that_do_not_belong_together_are_bad_frames() {
    let table = [
        "",
        r#","ref":"5-7""#,
        r#","text":7"#,
        r#","text":"hi","ref":7"#,
        r#","text":"hi","ref":"x""#,
        r#","text":"hi","data":1"#,
        r#","data":1"#,
        r#","event":7,"data":1"#,
        r#","event":"shipped","text":"hi""#,
        r#","event":"shipped","text":"hi","data":1"#,
        r#","event":"shipped","data":1,"ref":"5-7""#,
        r#","event":"edit","text":"ho""#,
        r#","event":"edit","ref":"5-7""#,
        r#","event":"edit","ref":"5-7","text":"ho","data":1"#,
        r#","event":"delete""#,
        r#","event":"delete","ref":"5-7","text":"ho""#,
        r#","event":"delete","ref":"5-7","data":{}"#,
        r#","event":"react","ref":"5-7""#,
        r#","event":"react","data":{"key":"a","on":true}"#,
        r#","event":"react","ref":"5-7","text":"a","data":{"key":"a","on":true}"#,
        r#","event":"react","ref":"5-7","data":{"key":"a"}"#,
        r#","event":"react","ref":"5-7","data":{"key":"a","on":1}"#,
        r#","event":"react","ref":"5-7","data":{"key":7,"on":true}"#,
        r#","event":"react","ref":"5-7","data":["a",true]"#,
        r#","event":"react","ref":"5-7","data":"a""#,
    ];
    for fields in table {
        assert_eq!(send(fields), Err(ErrorCode::BadFrame), "{fields}");
    }
}

#[test]
fn invalid_values_have_codes_of_their_own() {
    let long = "x".repeat(4097);
    let long_key = "x".repeat(65);
    let table = [
        (r#","event":"Shipped","data":1"#.to_owned(), ErrorCode::BadEvent),
        (r#","event":"","data":1"#.to_owned(), ErrorCode::BadEvent),
        (r#","event":"react","ref":"5-7","data":{"key":"","on":true}"#.to_owned(), ErrorCode::BadEvent),
        (r#","event":"react","ref":"5-7","data":{"key":"a b","on":true}"#.to_owned(), ErrorCode::BadEvent),
        (format!(r#","event":"react","ref":"5-7","data":{{"key":"{long_key}","on":true}}"#), ErrorCode::BadEvent),
        (r#","text":" ""#.to_owned(), ErrorCode::BadText),
        (r#","event":"edit","ref":"5-7","text":" ""#.to_owned(), ErrorCode::BadText),
        (format!(r#","text":"{long}""#), ErrorCode::TooLong),
        (format!(r#","event":"edit","ref":"5-7","text":"{long}""#), ErrorCode::TooLong),
    ];
    for (fields, code) in table {
        assert_eq!(send(&fields), Err(code), "{fields}");
    }
}

/// A string of `bytes` bytes as JSON.
fn string(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes - 2))
}

#[test]
fn data_has_at_most_16_kib_as_sent() {
    let fields = |bytes| format!(r#","event":"e","data":{}"#, string(bytes));
    assert!(matches!(send(&fields(16 << 10)), Ok(Content::Event { data, .. }) if data.as_str().len() == 16 << 10));
    assert_eq!(send(&fields((16 << 10) + 1)), Err(ErrorCode::TooLong));
    // White space counts, and so do escapes.
    let spaces = format!("[{}]", " ".repeat(16 << 10));
    assert_eq!(spaces.parse::<Data>(), Err(InvalidData::TooLong));
    assert_eq!(Data::encode(&"x".repeat(16 << 10)).unwrap_err(), InvalidData::TooLong);
}

#[test]
fn data_of_a_signal_has_at_most_4_kib() {
    let frame = |bytes| format!(r#"{{"type":"signal","room":"lobby","event":"e","data":{}}}"#, string(bytes));
    assert!(matches!(Command::decode(&frame(4 << 10)), Ok(Command::Signal { .. })));
    assert_eq!(Command::decode(&frame((4 << 10) + 1)).unwrap_err().code, ErrorCode::TooLong);
    for (frame, code) in [
        (r#"{"type":"signal","room":"lobby"}"#, ErrorCode::BadFrame),
        (r#"{"type":"signal","room":"lobby","event":"A"}"#, ErrorCode::BadEvent),
        (r#"{"type":"signal","room":"lobby","event":"react","data":1}"#, ErrorCode::BadEvent),
        (r#"{"type":"signal","event":"a"}"#, ErrorCode::BadFrame),
    ] {
        assert_eq!(Command::decode(frame).unwrap_err().code, code, "{frame}");
    }
}

#[test]
fn data_is_at_most_100_levels_deep() {
    let nested = |open: &str, close: &str, depth| format!("{}0{}", open.repeat(depth), close.repeat(depth));
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let fields = |depth| format!(r#","event":"e","data":{}"#, nested(open, close, depth));
        assert!(send(&fields(100)).is_ok());
        assert_eq!(send(&fields(101)), Err(ErrorCode::BadFrame));
        assert_eq!(
            send(&fields(5000)).unwrap_err(),
            if open == "[" { ErrorCode::BadFrame } else { ErrorCode::TooLong }
        );
    }
    // Brackets in strings do not count, and neither do siblings.
    let harmless = format!(r#"["{}","\"[",{}0]"#, "[".repeat(200), "[],".repeat(200));
    assert!(harmless.parse::<Data>().is_ok());
}

#[test]
fn deleting_removes_the_text_of_the_message_and_of_its_edits() {
    let of =
        |pos, body| Message { pos, id: "a".parse().unwrap(), user: "ann".parse().unwrap(), name: None, body, at: 1 };
    let (one, other) = (Position::new(5, 1), Position::new(5, 2));
    let mut text = of(one, Body::Content(text_content("secret", Some(other))));
    let mut edit = of(other, Body::Content(Content::Edit { of: one, text: "secret".parse().unwrap() }));
    let mut event = of(one, Body::Content(event("e", "1")));
    assert!(!text.redact(|pos| pos == other) && !edit.redact(|pos| pos == other) && !event.redact(|pos| pos == one));
    assert!(text.redact(|pos| pos == one) && edit.redact(|pos| pos == one));
    assert_eq!(
        (&text.body, &edit.body),
        (&Body::DeletedText { reply_to: Some(other) }, &Body::DeletedEdit { of: one })
    );
    assert_eq!((text.text(), edit.text()), (None, None));
    for message in [text, edit] {
        let frame = Event::Message { room: "lobby".parse().unwrap(), message: message.clone() }.encode();
        assert!(frame.contains(r#""deleted":true"#) && !frame.contains("secret"), "{frame}");
        assert_eq!(Event::decode(&frame).unwrap(), Event::Message { room: "lobby".parse().unwrap(), message });
    }
}

proptest! {
    /// The spelling of numbers, the order and repetition of keys, white space and escapes remain.
    #[test]
    fn data_passes_through_every_frame_byte_for_byte(json in json()) {
        let frame = format!(r#"{{"type":"send","room":"r","id":"a","event":"e","data":  {json} }}"#);
        let Ok(Command::Send { content, .. }) = Command::decode(&frame) else { panic!("{frame}") };
        let Content::Event { data: sent, .. } = &content else { panic!("{frame}") };
        prop_assert_eq!(sent.as_str(), &json);
        let quoted = format!("\"data\":{json}");
        let command = Command::Send { room: "r".parse().unwrap(), id: "a".parse().unwrap(), content: content.clone() };
        prop_assert!(command.encode().contains(&quoted), "{}", command.encode());
        let message = Message {
            pos: OF,
            id: "a".parse().unwrap(),
            user: "ann".parse().unwrap(),
            name: None,
            body: Body::Content(content.clone()),
            at: 1,
        };
        let room: trunkline_domain::Room = "r".parse().unwrap();
        let (live, page) = (
            Event::Message { room: room.clone(), message: message.clone() },
            Event::History { room: room.clone(), before: None, messages: vec![message], more: false },
        );
        let signal = Event::Signal { room, user: "ann".parse().unwrap(), event: "e".parse().unwrap(), data: sent.clone() };
        for event in [live, page, signal] {
            let frame = event.encode();
            prop_assert!(frame.contains(&quoted), "{}", frame);
            prop_assert_eq!(Event::decode(&frame).unwrap().encode(), frame);
        }
    }

    #[test]
    fn data_equals_data_of_the_same_bytes_only(one in data(), other in data()) {
        prop_assert_eq!(one == other, one.as_str() == other.as_str());
        prop_assert_eq!(one.as_str().parse::<Data>(), Ok(one.clone()));
    }

    #[test]
    fn fields_of_a_content_make_the_same_content(content in content()) {
        let fields = content.fields();
        let data = fields.data.as_ref().map(|data| serde_json::value::RawValue::from_string(data.as_str().to_owned()).unwrap());
        prop_assert_eq!(Content::from_fields(fields.event, fields.reference, fields.text, data.as_deref()), Ok(content.clone()));
        let reserved = matches!(fields.event, Some(Content::EDIT | Content::DELETE | Content::REACT));
        prop_assert_eq!(reserved, content.amends().is_some());
    }
}
