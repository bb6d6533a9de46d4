//! Events, amendments and read marks.

use trunkline_domain::{Body, Content, Draft, Position, Room};

use super::{Store, draft_of, expect_subscribed, next_delivery, publish_one, read_page, ready, room, within};
use crate::{Bus, Delivery, ErrorKind, Range, Subscriptions};

fn amendment(user: &str, id: &str, content: Content) -> Draft {
    Draft { content, ..draft_of(user, id, "replaced") }
}

fn edit(of: Position, text: &str) -> Content {
    Content::Edit { of, text: text.parse().expect("a text") }
}

fn react(of: Position) -> Content {
    Content::React { of, key: "\u{1f44d}".parse().expect("a key"), on: true }
}

async fn refused(bus: &impl Bus, room: &Room, draft: Draft) -> ErrorKind {
    within(bus.publish(room, draft)).await.expect_err("a refusal").kind()
}

/// Texts with a name and a `ref`, events with their bytes of data, and amendments.
pub async fn every_content_is_read_and_delivered_as_it_was_sent(store: &impl Store) {
    let (bus, lobby) = (ready(store).await, room("lobby"));
    let (subscriptions, mut deliveries) = bus.open();
    subscriptions.subscribe(&lobby);
    expect_subscribed(&mut deliveries, &lobby).await;
    let first = publish_one(&bus, &lobby, draft_of("ann", "1", "hi\nthere")).await.pos;
    let event = Content::Event {
        event: "order.shipped".parse().expect("a name"),
        data: " { \"b\": 1.50, \"a\": [null]\n}".trim().parse().expect("data"),
    };
    let answer = Content::Text { text: "yes".parse().expect("a text"), reply_to: Some(first) };
    let contents = [event, answer, edit(first, "hi"), react(first), Content::Delete { of: first }];
    for (number, content) in contents.iter().enumerate() {
        let mut draft = amendment("ann", &format!("m{number}"), content.clone());
        draft.name = Some("Ann Example".parse().expect("a name"));
        publish_one(&bus, &lobby, draft).await;
    }
    let page = read_page(&bus, &lobby, Range::Latest(10)).await;
    for entry in &page.entries {
        let Delivery::Entry(_, delivered) = next_delivery(&mut deliveries).await else { panic!("an entry") };
        assert_eq!((delivered.prev, delivered.message.pos), (entry.prev, entry.message.pos));
        assert_eq!(delivered.message.name, entry.message.name);
        let Body::Content(content) = &delivered.message.body else { panic!("delivered before the deletion") };
        match entry.message.pos.offset {
            1 => assert_eq!(entry.message.body, Body::DeletedText { reply_to: None }),
            4 => assert_eq!(entry.message.body, Body::DeletedEdit { of: first }),
            offset => {
                assert_eq!(entry.message.body, Body::Content(content.clone()));
                assert_eq!(*content, contents[offset as usize - 2]);
                assert_eq!(entry.message.name.as_ref().map(ToString::to_string), Some("Ann Example".to_owned()));
            }
        }
    }
    assert_eq!(page.entries.len(), 6);
}

/// Everything else is refused, and nothing is appended. A retry of an accepted amendment returns its position, even though
/// the message is deleted by then.
pub async fn amendments_need_a_retained_text_of_the_same_author(store: &impl Store) {
    let (bus, other, lobby) = (ready(store).await, ready(store).await, room("lobby"));
    let text = publish_one(&bus, &lobby, draft_of("ann", "1", "hi")).await.pos;
    let event = Content::Event { event: "e".parse().expect("a name"), data: trunkline_domain::Data::null() };
    let event = publish_one(&bus, &lobby, amendment("ann", "2", event)).await.pos;
    let reaction = publish_one(&other, &lobby, amendment("bob", "3", react(text))).await.pos;
    let edited = publish_one(&other, &lobby, amendment("ann", "4", edit(text, "ho"))).await.pos;
    for (number, of) in [Position::ORIGIN, event, reaction, edited, edited.next_in_epoch()].into_iter().enumerate() {
        for content in [edit(of, "no"), Content::Delete { of }, react(of)] {
            let draft = amendment("ann", &format!("n{number}"), content);
            assert_eq!(refused(&bus, &lobby, draft).await, ErrorKind::NotFound, "{of}");
        }
    }
    for content in [edit(text, "no"), Content::Delete { of: text }] {
        assert_eq!(refused(&bus, &lobby, amendment("bob", "5", content)).await, ErrorKind::Forbidden);
    }
    assert_eq!(refused(&bus, &room("other"), amendment("ann", "6", react(text))).await, ErrorKind::NotFound);
    let deletion = amendment("ann", "7", Content::Delete { of: text });
    let deleted = publish_one(&bus, &lobby, deletion.clone()).await.pos;
    assert_eq!(deleted, edited.next_in_epoch(), "nothing else was appended");
    for content in [edit(text, "no"), Content::Delete { of: text }, react(text)] {
        assert_eq!(refused(&other, &lobby, amendment("ann", "8", content)).await, ErrorKind::NotFound);
    }
    let again = publish_one(&other, &lobby, deletion).await;
    assert!(again.repeated && again.pos == deleted);
}

/// `may_moderate` allows deletions only.
pub async fn moderators_delete_the_texts_of_others_and_edit_none(store: &impl Store) {
    let (bus, lobby) = (ready(store).await, room("lobby"));
    let text = publish_one(&bus, &lobby, draft_of("ann", "1", "hi")).await.pos;
    let by_moderator = |id, content| Draft { may_moderate: true, ..amendment("mod", id, content) };
    assert_eq!(refused(&bus, &lobby, by_moderator("1", edit(text, "no"))).await, ErrorKind::Forbidden);
    publish_one(&bus, &lobby, by_moderator("2", Content::Delete { of: text })).await;
    let page = read_page(&bus, &lobby, Range::Latest(10)).await;
    assert_eq!(page.entries[0].message.body, Body::DeletedText { reply_to: None });
}

/// In either direction, with and without the deletion itself on the page, on any bus.
pub async fn deleted_texts_are_in_no_page(store: &impl Store) {
    let (bus, other, lobby) = (ready(store).await, ready(store).await, room("lobby"));
    let secret = publish_one(&bus, &lobby, draft_of("ann", "1", "secret")).await.pos;
    publish_one(&bus, &lobby, amendment("ann", "2", edit(secret, "secret too"))).await;
    let kept = publish_one(&bus, &lobby, draft_of("ann", "3", "kept")).await.pos;
    publish_one(&bus, &lobby, amendment("ann", "4", Content::Delete { of: secret })).await;
    for range in [
        Range::After(Position::ORIGIN, 1),
        Range::After(Position::ORIGIN, 10),
        Range::After(secret, 1),
        Range::Before(kept, 10),
        Range::Latest(10),
    ] {
        for bus in [&bus, &other] {
            let page = read_page(bus, &lobby, range).await;
            assert!(!page.entries.is_empty());
            let texts = page.entries.iter().filter_map(|entry| entry.message.text());
            assert!(texts.into_iter().all(|text| text.as_str() == "kept"), "{range:?}");
        }
    }
}

/// A mark never moves back, and a mark beyond the head counts as the head.
pub async fn read_marks_move_forward_up_to_the_head(store: &impl Store) {
    let (bus, other, lobby) = (ready(store).await, ready(store).await, room("lobby"));
    let (ann, bob) = ("ann".parse().expect("a user id"), "bob".parse().expect("a user id"));
    assert_eq!(within(bus.seen(&lobby, &ann)).await.expect("read"), None);
    assert_eq!(within(bus.mark_seen(&lobby, &ann, Position::new(9, 9))).await.expect("marked"), Position::ORIGIN);
    let mut sent = Vec::new();
    for number in 0..12 {
        sent.push(publish_one(&bus, &lobby, draft_of("ann", &number.to_string(), "hi")).await.pos);
    }
    for (mark, expected) in [(sent[1], sent[1]), (sent[9], sent[9]), (sent[2], sent[9])] {
        assert_eq!(within(other.mark_seen(&lobby, &ann, mark)).await.expect("marked"), expected);
        assert_eq!(within(bus.seen(&lobby, &ann)).await.expect("read"), Some(expected));
    }
    let beyond = Position::new(u64::from(u32::MAX) << 20, 5);
    assert_eq!(within(bus.mark_seen(&lobby, &ann, beyond)).await.expect("marked"), sent[11]);
    assert_eq!(within(bus.seen(&lobby, &bob)).await.expect("read"), None);
}
