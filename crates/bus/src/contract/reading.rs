//! Reading.

use trunkline_domain::Position;

use super::{RETAIN, Store, fill, positions, publish, read, ready, room, within};
use crate::{Bus, Page, Range};

/// Nothing is there, and only who has seen nothing has missed nothing.
pub async fn an_empty_room_has_nothing_after_its_origin(store: &impl Store) {
    let (bus, lobby) = (ready(store).await, room("lobby"));
    let empty = Page { entries: Vec::new(), follows: true, more: false, head: Position::ORIGIN };
    for range in [
        Range::After(Position::ORIGIN, 10),
        Range::Latest(10),
        Range::Latest(0),
        Range::Before(Position::new(9, 9), 10),
        Range::Before(Position::ORIGIN, 10),
    ] {
        assert_eq!(read(&bus, &lobby, range).await, empty, "{range:?}");
    }
    let shorter = read(&bus, &lobby, Range::After(Position::new(9, 9), 10)).await;
    assert_eq!(shorter, Page { follows: false, ..empty });
}

/// `After` gives the oldest first, at most `limit`, and says whether there are more.
pub async fn reading_forward_keeps_to_the_limit(store: &impl Store) {
    let (bus, lobby) = (ready(store).await, room("lobby"));
    let all = fill(&bus, &lobby, 0..6).await;
    let head = all[5];
    for start in 0..=6_usize {
        let after = start.checked_sub(1).map_or(Position::ORIGIN, |before| all[before]);
        for limit in 0..=7_usize {
            let page = read(&bus, &lobby, Range::After(after, limit)).await;
            let end = all.len().min(start + limit);
            assert_eq!(positions(&page.entries), all[start..end], "{limit} after {after}");
            assert_eq!((page.follows, page.more, page.head), (true, end < all.len(), head), "{limit} after {after}");
        }
    }
}

/// `Before` and `Latest` give the newest that fit, oldest first, and say whether there are older ones.
pub async fn reading_backward_keeps_to_the_limit(store: &impl Store) {
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
            let page = read(&bus, &lobby, Range::Before(before, limit)).await;
            let start = end.saturating_sub(limit);
            assert_eq!(positions(&page.entries), all[start..end], "{limit} before {before}");
            assert_eq!((page.follows, page.more, page.head), (true, start > 0, all[5]), "{limit} before {before}");
        }
    }
    for limit in 0..=7_usize {
        let page = read(&bus, &lobby, Range::Latest(limit)).await;
        let start = all.len().saturating_sub(limit);
        assert_eq!(positions(&page.entries), all[start..], "latest {limit}");
        assert_eq!((page.follows, page.more, page.head), (true, start > 0, all[5]), "latest {limit}");
    }
}

/// A position that this log never gave proves nothing: the log is shorter, or another one.
pub async fn only_what_is_in_the_log_proves_continuity(store: &impl Store) {
    let (bus, lobby) = (ready(store).await, room("lobby"));
    let all = fill(&bus, &lobby, 0..3).await;
    let epoch = all[0].epoch;
    for foreign in [(epoch, 4), (epoch, 1000), (epoch - 1, 3), (epoch + 1, 1), (epoch, 0), (1, 1), (0, 1)] {
        let after = Position::new(foreign.0, foreign.1);
        let page = read(&bus, &lobby, Range::After(after, 10)).await;
        assert_eq!(page, Page { entries: Vec::new(), follows: false, more: false, head: all[2] }, "{after}");
    }
}

/// The log keeps what it should and not much more; who comes back too late is not told that all is well.
pub async fn old_entries_go_and_the_gap_is_told(store: &impl Store) {
    let (bus, lobby) = (ready(store).await, room("lobby"));
    let all = fill(&bus, &lobby, 0..RETAIN * 5).await;
    let kept = read(&bus, &lobby, Range::Latest(usize::MAX >> 16)).await;
    assert!(!kept.more);
    assert!((RETAIN..RETAIN * 4).contains(&kept.entries.len()), "{} kept", kept.entries.len());
    assert_eq!(positions(&kept.entries), all[all.len() - kept.entries.len()..]);

    // The entry itself is gone, but the oldest one kept says that it follows it.
    let oldest = &kept.entries[0];
    let page = read(&bus, &lobby, Range::After(oldest.prev, 2)).await;
    assert!(page.follows && page.more);
    assert_eq!(page.entries, kept.entries[..2]);
    // One further back, something is missing.
    for after in [Position::ORIGIN, all[0], Position::new(oldest.prev.epoch, oldest.prev.offset - 1)] {
        let page = read(&bus, &lobby, Range::After(after, 2)).await;
        assert_eq!((page.follows, page.entries.len(), page.head), (false, 0, all[all.len() - 1]), "{after}");
    }
    // What was trimmed is still remembered.
    let again = publish(&bus, &lobby, super::draft(0)).await;
    assert_eq!((again.pos, again.repeated), (all[0], true));
}

/// One head a room, the origin for an empty one; keeping rooms changes nothing that can be read.
pub async fn heads_come_in_the_order_asked_for(store: &impl Store) {
    let bus = ready(store).await;
    let (a, b, empty) = (room("a"), room("b"), room("empty"));
    let head_a = *fill(&bus, &a, 0..2).await.last().expect("two");
    let head_b = *fill(&bus, &b, 0..3).await.last().expect("three");
    let rooms = [b, empty, a];
    within(bus.refresh_expiry(&rooms)).await.expect("kept");
    let heads = within(bus.heads(&rooms)).await.expect("heads");
    assert_eq!(heads, [head_b, Position::ORIGIN, head_a]);
    assert_eq!(within(bus.heads(&[])).await.expect("none"), []);
}
