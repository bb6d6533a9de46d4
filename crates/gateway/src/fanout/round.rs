//! Looking at many things, a few at a time.

use std::ops::Range;

/// Whose turn it is among things that are all to be looked at once a second: a tenth of them with each tick, so that no
/// tick is long.
#[derive(Debug, Default)]
pub(crate) struct Round {
    next: usize,
}

impl Round {
    /// Ticks in which all get their turn.
    const TICKS: usize = 10;

    /// The places, of so many, whose turn it is with this tick. Where one is removed and the last put into its place,
    /// that one may have to wait for the next round.
    pub(crate) fn next(&mut self, places: usize) -> Range<usize> {
        let first = if self.next < places { self.next } else { 0 };
        self.next = (first + places.div_ceil(Self::TICKS)).min(places);
        first..self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_get_their_turn_in_ten_ticks() {
        for places in 0..100 {
            let mut round = Round::default();
            let mut looked_at: Vec<usize> = (0..10).flat_map(|_| round.next(places)).collect();
            looked_at.sort_unstable();
            looked_at.dedup();
            assert_eq!(looked_at, (0..places).collect::<Vec<_>>());
        }
    }

    #[test]
    fn few_get_it_with_each_tick() {
        let mut round = Round::default();
        assert_eq!((0..5).map(|_| round.next(3)).collect::<Vec<_>>(), [0..1, 1..2, 2..3, 0..1, 1..2]);
    }

    #[test]
    fn shrinking_begins_anew() {
        let mut round = Round::default();
        assert_eq!((round.next(40), round.next(40)), (0..4, 4..8));
        assert_eq!(round.next(5), 0..1);
        assert_eq!(round.next(0), 0..0);
    }
}
