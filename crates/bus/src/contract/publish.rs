//! Publishing.

use std::time::Duration;

use tokio::time::sleep;
use trunkline_domain::{Body, MessageText, Position};

use super::{
    Call, RETAIN, Store, draft, draft_of, fill, finish, in_order, poll_once, positions, publish_one, read_page, ready,
    room, within,
};
use crate::{Bus, Range, Receipt};

/// The offsets of an epoch are 1, 2, 3, …
pub async fn offsets_count_up_from_one(store: &impl Store) {
    let bus = ready(store).await;
    for name in ["lobby", "another.room"] {
        let positions = fill(&bus, &room(name), 0..5).await;
        let epoch = positions[0].epoch;
        assert!(epoch > 0);
        assert_eq!(positions, (1..=5).map(|offset| Position::new(epoch, offset)).collect::<Vec<_>>());
    }
}

/// The `prev` of each entry is the position before it, that of the first entry the origin. The entry contains what was
/// sent.
pub async fn prev_of_each_entry_is_the_position_before_it(store: &impl Store) {
    let (bus, lobby) = (ready(store).await, room("lobby"));
    fill(&bus, &lobby, 0..5).await;
    let page = read_page(&bus, &lobby, Range::After(Position::ORIGIN, 10)).await;
    let mut head = Position::ORIGIN;
    let mut at = 0;
    for (number, entry) in page.entries.iter().enumerate() {
        assert_eq!(entry.prev, head);
        head = entry.message.pos;
        let sent = draft(number);
        assert_eq!((&entry.message.id, &entry.message.user), (&sent.id, &sent.user));
        assert_eq!(entry.message.body, Body::Content(sent.content));
        assert!(entry.message.at > 0 && entry.message.at >= at);
        at = entry.message.at;
    }
    assert_eq!(page.entries.len(), 5);
}

/// A second attempt, on any bus, returns the position of the first one and appends nothing.
pub async fn repeated_id_returns_the_first_position_and_appends_nothing(store: &impl Store) {
    let (bus, other, lobby) = (ready(store).await, ready(store).await, room("lobby"));
    let first = publish_one(&bus, &lobby, draft_of("ann", "id-1", "first\nof\ttwo lines")).await;
    assert!(!first.repeated);
    publish_one(&other, &lobby, draft_of("ann", "id-2", "between")).await;
    let again = Receipt { pos: first.pos, repeated: true };
    assert_eq!(publish_one(&bus, &lobby, draft_of("ann", "id-1", "second")).await, again);
    assert_eq!(publish_one(&other, &lobby, draft_of("ann", "id-1", "third")).await, again);
    let page = read_page(&other, &lobby, Range::Latest(10)).await;
    let texts: Vec<_> = page.entries.iter().filter_map(|entry| entry.message.text()).map(MessageText::as_str).collect();
    assert_eq!(texts, ["first\nof\ttwo lines", "between"]);
}

/// The same id from another user, or in another room, is another message.
pub async fn ids_are_scoped_to_room_and_user(store: &impl Store) {
    let (bus, lobby) = (ready(store).await, room("lobby"));
    let sends = [("ann", "x", &lobby), ("bob", "x", &lobby), ("ann", "y", &lobby), ("ann", "x", &room("other"))];
    for (user, id, room) in sends {
        assert!(!publish_one(&bus, room, draft_of(user, id, "hi")).await.repeated);
    }
    // A name may contain the separator with which an implementation joins names and ids.
    assert!(!publish_one(&bus, &lobby, draft_of("ann-x", "1", "hi")).await.repeated);
    assert!(!publish_one(&bus, &lobby, draft_of("ann", "x-1", "hi")).await.repeated);
}

/// Concurrent calls are executed in the order in which they were first polled, however many there are.
pub async fn calls_are_executed_in_the_order_of_their_first_poll(store: &impl Store) {
    let (bus, lobby) = (ready(store).await, room("lobby"));
    let start = |numbers: std::ops::Range<usize>| numbers.map(|number| Call::new(bus.publish(&lobby, draft(number))));
    // More calls than an implementation has under way at once.
    let mut total = 0;
    for many in [RETAIN / 2, RETAIN * 3, RETAIN * 6] {
        let mut calls: Vec<_> = start(total..total + many).collect();
        poll_once(&mut calls).await;
        // Replies arrive and make room for more calls, while the last of the first calls still wait for it: calls that
        // start now must not overtake them.
        sleep(Duration::from_millis(300)).await;
        poll_once(&mut calls[..many - RETAIN / 5]).await;
        let mut late: Vec<_> = start(total + many..total + many + RETAIN).collect();
        poll_once(&mut late).await;
        calls.extend(late);
        let receipts = within(finish(calls)).await;
        let offsets: Vec<_> = receipts.into_iter().map(|receipt| receipt.expect("published").pos.offset).collect();
        let expected = (total + 1..=total + many + RETAIN).map(|offset| offset as u64);
        assert_eq!(offsets, expected.collect::<Vec<_>>());
        total += many + RETAIN;
    }
}

/// Publishers on two buses get distinct, contiguous positions.
pub async fn concurrent_publishers_share_one_sequence(store: &impl Store) {
    let lobby = room("lobby");
    let (one, other) = (ready(store).await, ready(store).await);
    let mut calls = Vec::new();
    for number in 0..RETAIN / 2 {
        calls.push(super::boxed(one.publish(&lobby, draft_of("ann", &number.to_string(), "hi"))));
        calls.push(super::boxed(other.publish(&lobby, draft_of("bob", &number.to_string(), "hi"))));
    }
    let receipts = within(in_order(calls)).await;
    let mut given: Vec<_> = receipts.into_iter().map(|receipt| receipt.expect("published").pos).collect();
    given.sort_unstable();
    let page = read_page(&one, &lobby, Range::After(Position::ORIGIN, RETAIN)).await;
    assert!(page.follows && !page.more);
    assert_eq!(positions(&page.entries), given);
    assert!(page.entries.windows(2).all(|pair| pair[1].prev == pair[0].message.pos));
}
