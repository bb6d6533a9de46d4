//! Listening.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;
use trunkline_domain::{Position, follows};

use super::{RETAIN, Store, draft, fill, hear, in_order, publish, read, ready, room, silent, subscribed, within};
use crate::{Bus, Delivery, Range, Subscriptions};

/// Every listener hears every entry, as the log has it, in the log's order; whichever bus it was published on.
pub async fn two_listeners_hear_the_same_in_order(store: &impl Store) {
    let (one, other, lobby) = (ready(store).await, ready(store).await, room("lobby"));
    let (interest, mut near) = one.open();
    let (other_interest, mut far) = other.open();
    interest.subscribe(&lobby);
    other_interest.subscribe(&lobby);
    subscribed(&mut near, &lobby).await;
    subscribed(&mut far, &lobby).await;
    fill(&one, &lobby, 0..20).await;
    fill(&other, &lobby, 20..40).await;
    let page = read(&one, &lobby, Range::After(Position::ORIGIN, 100)).await;
    assert_eq!(page.entries.len(), 40);
    for entry in page.entries {
        let expected = Delivery::Entry(lobby.clone(), entry);
        assert_eq!(hear(&mut near).await, expected);
        assert_eq!(hear(&mut far).await, expected);
    }
    // A repetition is no entry.
    publish(&other, &lobby, draft(0)).await;
    silent(&mut near).await;
}

/// Rooms nobody asked for are not heard.
pub async fn nothing_is_heard_without_interest(store: &impl Store) {
    let bus = ready(store).await;
    let (interest, mut deliveries) = bus.open();
    fill(&bus, &room("lobby"), 0..3).await;
    interest.subscribe(&room("other"));
    subscribed(&mut deliveries, &room("other")).await;
    fill(&bus, &room("lobby"), 3..6).await;
    silent(&mut deliveries).await;
}

/// `Subscribed` is the first thing heard of a room, and asking twice does not repeat it; whatever is published
/// afterwards is heard.
pub async fn subscribed_comes_once_before_any_entry(store: &impl Store) {
    let (bus, lobby) = (ready(store).await, room("lobby"));
    let (interest, mut deliveries) = bus.open();
    // Published all the while, so that entries would come early if they could.
    let publishing = async {
        for number in 0..RETAIN {
            publish(&bus, &lobby, draft(number)).await;
            if number == RETAIN / 4 {
                interest.subscribe(&lobby);
                interest.subscribe(&lobby);
            }
        }
    };
    let listening = async {
        subscribed(&mut deliveries, &lobby).await;
        // What came before is read; the rest is heard, to the last.
        let mut head = read(&bus, &lobby, Range::After(Position::ORIGIN, RETAIN)).await.head;
        interest.subscribe(&lobby);
        while head.offset < RETAIN as u64 {
            match hear(&mut deliveries).await {
                Delivery::Entry(_, entry) if entry.message.pos <= head => {}
                Delivery::Entry(_, entry) => {
                    assert!(follows(entry.prev, head));
                    head = entry.message.pos;
                }
                other => panic!("heard {other:?}"),
            }
        }
        silent(&mut deliveries).await;
    };
    tokio::join!(publishing, listening);
}

/// After `unwant` the room falls silent; `want` starts over with `Subscribed`, however fast the change of mind.
pub async fn unwanted_rooms_fall_silent_until_wanted_again(store: &impl Store) {
    let (bus, lobby) = (ready(store).await, room("lobby"));
    let (interest, mut deliveries) = bus.open();
    interest.subscribe(&lobby);
    subscribed(&mut deliveries, &lobby).await;
    interest.unsubscribe(&lobby);
    fill(&bus, &lobby, 0..3).await;
    silent(&mut deliveries).await;
    interest.subscribe(&lobby);
    subscribed(&mut deliveries, &lobby).await;
    interest.unsubscribe(&lobby);
    interest.subscribe(&lobby);
    subscribed(&mut deliveries, &lobby).await;
    fill(&bus, &lobby, 3..4).await;
    assert!(matches!(hear(&mut deliveries).await, Delivery::Entry(_, entry) if entry.message.id.as_str() == "m3"));
    interest.unsubscribe(&lobby);
    interest.unsubscribe(&room("never-wanted"));
    silent(&mut deliveries).await;
}

/// A whisper reaches who listens, whatever bytes it is, and leaves no trace.
pub async fn whispers_are_heard_and_not_logged(store: &impl Store) {
    let (bus, other, lobby) = (ready(store).await, ready(store).await, room("lobby"));
    let (interest, mut deliveries) = other.open();
    interest.subscribe(&lobby);
    subscribed(&mut deliveries, &lobby).await;
    for bytes in [&b"typing ann"[..], b"", &[0, 255, b'\n']] {
        within(bus.publish_ephemeral(&lobby, Bytes::copy_from_slice(bytes))).await.expect("whispered");
        assert_eq!(hear(&mut deliveries).await, Delivery::Ephemeral(lobby.clone(), Bytes::copy_from_slice(bytes)));
    }
    within(bus.publish_ephemeral(&room("other"), Bytes::from_static(b"x"))).await.expect("nobody needs to listen");
    silent(&mut deliveries).await;
    assert_eq!(read(&bus, &lobby, Range::Latest(1)).await.head, Position::ORIGIN);
}

/// Who takes deliveries slowly gets them late, or is told to read; with that, everything is seen once and in order.
pub async fn a_slow_listener_is_never_deceived(store: &impl Store) {
    let (bus, lobby) = (ready(store).await, room("lobby"));
    let count = RETAIN * 30;
    let (interest, mut deliveries) = bus.open();
    interest.subscribe(&lobby);
    subscribed(&mut deliveries, &lobby).await;
    let publishing = async {
        for start in (0..count).step_by(RETAIN) {
            let calls = (start..start + RETAIN).map(|number| bus.publish(&lobby, draft(number))).collect();
            assert!(in_order(calls).await.iter().all(Result::is_ok));
        }
    };
    let listening = async {
        sleep(Duration::from_millis(300)).await;
        let mut head = Position::ORIGIN;
        while head.offset < count as u64 {
            match hear(&mut deliveries).await {
                Delivery::Entry(_, entry) if entry.message.pos <= head => {}
                Delivery::Entry(_, entry) => {
                    assert!(follows(entry.prev, head), "a gap, and no word about it");
                    head = entry.message.pos;
                }
                // What is retained may be less than what was missed; that is told by the page, and not the matter here.
                Delivery::Subscribed(_) => head = read(&bus, &lobby, Range::Latest(1)).await.head,
                Delivery::Ephemeral(..) | Delivery::Presence(..) => panic!("nobody whispered, came or went"),
            }
        }
    };
    within(async { tokio::join!(publishing, listening) }).await;
}

/// Dropping the last clone of the interest ends the stream of deliveries.
pub async fn a_listener_ends_with_its_interest(store: &impl Store) {
    let bus = ready(store).await;
    let (interest, mut deliveries) = bus.open();
    let clone = interest.clone();
    drop(interest);
    clone.subscribe(&room("lobby"));
    subscribed(&mut deliveries, &room("lobby")).await;
    drop(clone);
    assert_eq!(within(deliveries.recv()).await, None);
}
