//! Reading.

use trunkline_domain::{Position, Room};

use super::{RETAIN, Store, fill, positions, publish_one, read_page, ready, room, within};
use crate::{Bus, Page, Range};

/// An empty log continues only the origin: at any other position, entries are missing.
pub async fn empty_log_follows_only_the_origin(store: &impl Store) {
    let (bus, lobby) = (ready(store).await, room("lobby"));
    let empty = Page { entries: Vec::new(), follows: true, more: false, head: Position::ORIGIN };
    for range in [
        Range::After(Position::ORIGIN, 10),
        Range::Latest(10),
        Range::Latest(0),
        Range::Before(Position::new(9, 9), 10),
        Range::Before(Position::ORIGIN, 10),
    ] {
        assert_eq!(read_page(&bus, &lobby, range).await, empty, "{range:?}");
    }
    let shorter = read_page(&bus, &lobby, Range::After(Position::new(9, 9), 10)).await;
    assert_eq!(shorter, Page { follows: false, ..empty });
}

/// `After` returns the oldest entries after the position, at most `limit`, and whether there are more.
pub async fn reading_forward_returns_the_oldest_entries_up_to_the_limit(store: &impl Store) {
    let (bus, lobby) = (ready(store).await, room("lobby"));
    let all = fill(&bus, &lobby, 0..6).await;
    let head = all[5];
    for start in 0..=6_usize {
        let after = start.checked_sub(1).map_or(Position::ORIGIN, |before| all[before]);
        for limit in 0..=7_usize {
            let page = read_page(&bus, &lobby, Range::After(after, limit)).await;
            let end = all.len().min(start + limit);
            assert_eq!(positions(&page.entries), all[start..end], "{limit} after {after}");
            assert_eq!((page.follows, page.more, page.head), (true, end < all.len(), head), "{limit} after {after}");
        }
    }
}

/// `Before` and `Latest` return the newest `limit` entries, oldest first, and whether there are older ones.
pub async fn reading_backward_returns_the_newest_entries_up_to_the_limit(store: &impl Store) {
    let (bus, lobby) = (ready(store).await, room("lobby"));
    let all = fill(&bus, &lobby, 0..6).await;
    let epoch = all[0].epoch;
    let ends = (0..6).map(|end| (all[end], end)).chain([
        (Position::ORIGIN, 0),
        (Position::new(epoch - 1, 77), 0),
        (Position::new(epoch, 0), 0),
        (Position::new(epoch, 99), 6),
        (Position::new(epoch + 1, 0), 6),
        (Position::new(u64::MAX, u64::MAX), 6),
    ]);
    for (before, end) in ends {
        for limit in 0..=7_usize {
            let page = read_page(&bus, &lobby, Range::Before(before, limit)).await;
            let start = end.saturating_sub(limit);
            assert_eq!(positions(&page.entries), all[start..end], "{limit} before {before}");
            assert_eq!((page.follows, page.more, page.head), (true, start > 0, all[5]), "{limit} before {before}");
        }
    }
    for limit in 0..=7_usize {
        let page = read_page(&bus, &lobby, Range::Latest(limit)).await;
        let start = all.len().saturating_sub(limit);
        assert_eq!(positions(&page.entries), all[start..], "latest {limit}");
        assert_eq!((page.follows, page.more, page.head), (true, start > 0, all[5]), "latest {limit}");
    }
}

/// A position that this log never assigned does not prove continuity: the log is shorter, or another one.
pub async fn unknown_position_does_not_prove_continuity(store: &impl Store) {
    let (bus, lobby) = (ready(store).await, room("lobby"));
    let all = fill(&bus, &lobby, 0..3).await;
    let epoch = all[0].epoch;
    for foreign in [(epoch, 4), (epoch, 1000), (epoch - 1, 3), (epoch + 1, 1), (epoch, 0), (1, 1), (0, 1)] {
        let after = Position::new(foreign.0, foreign.1);
        let page = read_page(&bus, &lobby, Range::After(after, 10)).await;
        assert_eq!(page, Page { entries: Vec::new(), follows: false, more: false, head: all[2] }, "{after}");
    }
}

/// The log retains [`RETAIN`] entries and fewer than four times as many. A reader behind them learns of the gap.
pub async fn trimmed_entries_are_reported_as_a_gap(store: &impl Store) {
    let (bus, lobby) = (ready(store).await, room("lobby"));
    let all = fill(&bus, &lobby, 0..RETAIN * 5).await;
    let retained = read_page(&bus, &lobby, Range::Latest(usize::MAX >> 16)).await;
    assert!(!retained.more);
    assert!((RETAIN..RETAIN * 4).contains(&retained.entries.len()), "{} retained", retained.entries.len());
    assert_eq!(positions(&retained.entries), all[all.len() - retained.entries.len()..]);

    // The entry at this position was trimmed, but it is the `prev` of the oldest retained entry.
    let oldest = &retained.entries[0];
    let page = read_page(&bus, &lobby, Range::After(oldest.prev, 2)).await;
    assert!(page.follows && page.more);
    assert_eq!(page.entries, retained.entries[..2]);
    // One position further back, an entry is missing.
    for after in [Position::ORIGIN, all[0], Position::new(oldest.prev.epoch, oldest.prev.offset - 1)] {
        let page = read_page(&bus, &lobby, Range::After(after, 2)).await;
        assert_eq!((page.follows, page.entries.len(), page.head), (false, 0, all[all.len() - 1]), "{after}");
    }
    // The id of a trimmed message is still remembered.
    let again = publish_one(&bus, &lobby, super::draft(0)).await;
    assert_eq!((again.pos, again.repeated), (all[0], true));
}

/// `heads` returns one head per room, the origin for an empty one. `refresh_expiry` changes nothing that can be read.
pub async fn heads_are_returned_in_the_order_of_the_rooms(store: &impl Store) {
    let bus = ready(store).await;
    let (a, b, empty) = (room("a"), room("b"), room("empty"));
    let head_a = *fill(&bus, &a, 0..2).await.last().expect("two");
    let head_b = *fill(&bus, &b, 0..3).await.last().expect("three");
    let rooms = [b, empty, a];
    within(bus.refresh_expiry(&rooms)).await.expect("retained");
    let heads = within(bus.heads(&rooms)).await.expect("heads");
    assert_eq!(heads, [head_b, Position::ORIGIN, head_a].map(Some));
    assert_eq!(within(bus.heads(&[])).await.expect("none"), []);
}

/// `changed_heads` returns the rooms whose log does not end where the caller says, in their order, however many there are.
pub async fn changed_heads_are_those_that_differ(store: &impl Store) {
    let bus = ready(store).await;
    let (a, b, empty) = (room("a"), room("b"), room("empty"));
    let all_a = fill(&bus, &a, 0..2).await;
    let all_b = fill(&bus, &b, 0..3).await;
    let changed = async |known: &[(Room, Position)]| within(bus.changed_heads(known)).await.expect("heads");
    let mut known = vec![(b.clone(), all_b[2]), (empty.clone(), Position::ORIGIN), (a.clone(), all_a[1])];
    assert_eq!(changed(&known).await, []);
    assert_eq!(changed(&[]).await, []);
    // A log may end later than the caller knows, and also earlier: it may have been lost.
    (known[0].1, known[1].1) = (all_b[0], Position::new(9, 9));
    let expected = [(b.clone(), all_b[2]), (empty.clone(), Position::ORIGIN)];
    assert_eq!(changed(&known).await, expected);
    known.splice(1..1, (0..600).map(|number| (room(&format!("quiet{number}")), Position::ORIGIN)));
    assert_eq!(changed(&known).await, expected);
    known[300].1 = Position::new(9, 9);
    let among_many = (room("quiet299"), Position::ORIGIN);
    assert_eq!(changed(&known).await, [expected[0].clone(), among_many, expected[1].clone()]);
}
