//! Deliveries.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;
use trunkline_domain::{Position, follows};

use super::{
    RETAIN, Store, draft, expect_silence, expect_subscribed, fill, in_order, next_delivery, publish_one, read_page,
    ready, room, within,
};
use crate::{Bus, Delivery, Range, Subscriptions};

/// Every subscriber receives every entry as it is in the log, in log order, whichever bus published it.
pub async fn all_subscribers_receive_every_entry_in_log_order(store: &impl Store) {
    let (one, other, lobby) = (ready(store).await, ready(store).await, room("lobby"));
    let (subscriptions, mut near) = one.open();
    let (other_subscriptions, mut far) = other.open();
    subscriptions.subscribe(&lobby);
    other_subscriptions.subscribe(&lobby);
    expect_subscribed(&mut near, &lobby).await;
    expect_subscribed(&mut far, &lobby).await;
    fill(&one, &lobby, 0..20).await;
    fill(&other, &lobby, 20..40).await;
    let page = read_page(&one, &lobby, Range::After(Position::ORIGIN, 100)).await;
    assert_eq!(page.entries.len(), 40);
    for entry in page.entries {
        let expected = Delivery::Entry(lobby.clone(), entry);
        assert_eq!(next_delivery(&mut near).await, expected);
        assert_eq!(next_delivery(&mut far).await, expected);
    }
    // A repeated id appends nothing, so nothing is delivered.
    publish_one(&other, &lobby, draft(0)).await;
    expect_silence(&mut near).await;
}

/// Entries of a room that is not subscribed are not delivered.
pub async fn rooms_that_are_not_subscribed_deliver_nothing(store: &impl Store) {
    let bus = ready(store).await;
    let (subscriptions, mut deliveries) = bus.open();
    fill(&bus, &room("lobby"), 0..3).await;
    subscriptions.subscribe(&room("other"));
    expect_subscribed(&mut deliveries, &room("other")).await;
    fill(&bus, &room("lobby"), 3..6).await;
    expect_silence(&mut deliveries).await;
}

/// `Subscribed` is the first delivery of a room, and a second `subscribe` does not repeat it. Everything published
/// afterwards is delivered.
pub async fn subscribed_is_delivered_once_before_any_entry(store: &impl Store) {
    let (bus, lobby) = (ready(store).await, room("lobby"));
    let (subscriptions, mut deliveries) = bus.open();
    // Publishes all the time, so that an entry that is delivered too early is noticed.
    let publishing = async {
        for number in 0..RETAIN {
            publish_one(&bus, &lobby, draft(number)).await;
            if number == RETAIN / 4 {
                subscriptions.subscribe(&lobby);
                subscriptions.subscribe(&lobby);
            }
        }
    };
    let consuming = async {
        expect_subscribed(&mut deliveries, &lobby).await;
        // Earlier entries are in the log; all others are delivered.
        let mut head = read_page(&bus, &lobby, Range::After(Position::ORIGIN, RETAIN)).await.head;
        subscriptions.subscribe(&lobby);
        while head.offset < RETAIN as u64 {
            match next_delivery(&mut deliveries).await {
                Delivery::Entry(_, entry) if entry.message.pos <= head => {}
                Delivery::Entry(_, entry) => {
                    assert!(follows(entry.prev, head));
                    head = entry.message.pos;
                }
                other => panic!("received {other:?}"),
            }
        }
        expect_silence(&mut deliveries).await;
    };
    tokio::join!(publishing, consuming);
}

/// `unsubscribe` ends the deliveries of a room. A later `subscribe` starts with `Subscribed`, even if it follows at once.
pub async fn unsubscribed_rooms_deliver_nothing_until_subscribed_again(store: &impl Store) {
    let (bus, lobby) = (ready(store).await, room("lobby"));
    let (subscriptions, mut deliveries) = bus.open();
    subscriptions.subscribe(&lobby);
    expect_subscribed(&mut deliveries, &lobby).await;
    subscriptions.unsubscribe(&lobby);
    fill(&bus, &lobby, 0..3).await;
    expect_silence(&mut deliveries).await;
    subscriptions.subscribe(&lobby);
    expect_subscribed(&mut deliveries, &lobby).await;
    subscriptions.unsubscribe(&lobby);
    subscriptions.subscribe(&lobby);
    expect_subscribed(&mut deliveries, &lobby).await;
    fill(&bus, &lobby, 3..4).await;
    assert!(
        matches!(next_delivery(&mut deliveries).await, Delivery::Entry(_, entry) if entry.message.id.as_str() == "m3")
    );
    subscriptions.unsubscribe(&lobby);
    subscriptions.unsubscribe(&room("never-subscribed"));
    expect_silence(&mut deliveries).await;
}

/// An ephemeral event reaches the subscribers unchanged, whatever its bytes, and is not in the log.
pub async fn ephemeral_events_are_delivered_and_not_logged(store: &impl Store) {
    let (bus, other, lobby) = (ready(store).await, ready(store).await, room("lobby"));
    let (subscriptions, mut deliveries) = other.open();
    subscriptions.subscribe(&lobby);
    expect_subscribed(&mut deliveries, &lobby).await;
    for bytes in [&b"typing ann"[..], b"", &[0, 255, b'\n']] {
        within(bus.publish_ephemeral(&lobby, Bytes::copy_from_slice(bytes))).await.expect("published");
        assert_eq!(
            next_delivery(&mut deliveries).await,
            Delivery::Ephemeral(lobby.clone(), Bytes::copy_from_slice(bytes))
        );
    }
    within(bus.publish_ephemeral(&room("other"), Bytes::from_static(b"x")))
        .await
        .expect("published without subscribers");
    expect_silence(&mut deliveries).await;
    assert_eq!(read_page(&bus, &lobby, Range::Latest(1)).await.head, Position::ORIGIN);
}

/// A slow consumer receives its deliveries late or receives another `Subscribed`. It sees every entry once and in order if
/// it then reads the log.
pub async fn slow_consumer_receives_everything_or_another_subscribed(store: &impl Store) {
    let (bus, lobby) = (ready(store).await, room("lobby"));
    let count = RETAIN * 30;
    let (subscriptions, mut deliveries) = bus.open();
    subscriptions.subscribe(&lobby);
    expect_subscribed(&mut deliveries, &lobby).await;
    let publishing = async {
        for start in (0..count).step_by(RETAIN) {
            let calls = (start..start + RETAIN).map(|number| bus.publish(&lobby, draft(number))).collect();
            assert!(in_order(calls).await.iter().all(Result::is_ok));
        }
    };
    let consuming = async {
        sleep(Duration::from_millis(300)).await;
        let mut head = Position::ORIGIN;
        while head.offset < count as u64 {
            match next_delivery(&mut deliveries).await {
                Delivery::Entry(_, entry) if entry.message.pos <= head => {}
                Delivery::Entry(_, entry) => {
                    assert!(follows(entry.prev, head), "a gap without Subscribed before it");
                    head = entry.message.pos;
                }
                // The log may retain less than was missed. The page reports that; it is not the subject of this test.
                Delivery::Subscribed(_) => head = read_page(&bus, &lobby, Range::Latest(1)).await.head,
                Delivery::Ephemeral(..) | Delivery::Presence(..) => panic!("only entries were published"),
            }
        }
    };
    within(async { tokio::join!(publishing, consuming) }).await;
}

/// Dropping the last clone of the handle closes the channel of deliveries.
pub async fn dropping_the_last_handle_ends_the_deliveries(store: &impl Store) {
    let bus = ready(store).await;
    let (subscriptions, mut deliveries) = bus.open();
    let clone = subscriptions.clone();
    drop(subscriptions);
    clone.subscribe(&room("lobby"));
    expect_subscribed(&mut deliveries, &room("lobby")).await;
    drop(clone);
    assert_eq!(within(deliveries.recv()).await, None);
}
