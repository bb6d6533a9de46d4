//! Time as state machines see it, and how periodic work is divided among ticks.

use std::{num::NonZeroU64, ops::Add, ops::Range, time::Duration};

use trunkline_domain::millis;

/// A point in time on a worker's clock, in ms since the worker started.
///
/// The clock stands still while the worker does: after a process was stopped for a minute, its sockets are read before
/// their heartbeats are judged. Every connection holds several optional ticks, so zero is left out and `Option<Tick>` takes
/// 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(NonZeroU64);

impl Tick {
    /// Returns the tick at `elapsed` after the worker started.
    pub(crate) fn at(elapsed: Duration) -> Self {
        Self(NonZeroU64::MIN) + elapsed
    }
}

impl Add<Duration> for Tick {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }
}

/// Divides a table into ten slices and returns one per tick, so that a tick examines a tenth of the entries.
#[derive(Debug, Default)]
pub(crate) struct TickSlicer {
    next: usize,
}

impl TickSlicer {
    /// Number of ticks in which every entry is examined once. At 10 ticks per second that is 1 s; a larger value makes
    /// ticks shorter and timers coarser.
    const TICKS_PER_ROUND: usize = 10;

    /// Returns the indices to examine in this tick, for a table of `len` entries. If an entry is removed and the last one
    /// takes its index, the moved entry may be examined one round later.
    pub(crate) fn next(&mut self, len: usize) -> Range<usize> {
        let first = if self.next < len { self.next } else { 0 };
        self.next = (first + len.div_ceil(Self::TICKS_PER_ROUND)).min(len);
        first..self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_examined_within_ten_ticks() {
        for len in 0..100 {
            let mut slicer = TickSlicer::default();
            let mut examined: Vec<usize> = (0..10).flat_map(|_| slicer.next(len)).collect();
            examined.sort_unstable();
            examined.dedup();
            assert_eq!(examined, (0..len).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_table_of_three_is_examined_one_entry_per_tick() {
        let mut slicer = TickSlicer::default();
        assert_eq!((0..5).map(|_| slicer.next(3)).collect::<Vec<_>>(), [0..1, 1..2, 2..3, 0..1, 1..2]);
    }

    #[test]
    fn a_table_that_shrinks_starts_a_new_round() {
        let mut slicer = TickSlicer::default();
        assert_eq!((slicer.next(40), slicer.next(40)), (0..4, 4..8));
        assert_eq!(slicer.next(5), 0..1);
        assert_eq!(slicer.next(0), 0..0);
    }
}
