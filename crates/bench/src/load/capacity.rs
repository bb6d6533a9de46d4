//! The search for the highest sustained rate. Pure.

/// Maximum number of steps.
const MAX_STEPS: u32 = 14;
/// The search gives up if a rate fails that is at most this share of the first one.
const MIN_SHARE: f64 = 1.0 / 16.0;
/// The search ends when the lowest rate that failed is at most this multiple of the highest rate that was sustained.
const PRECISION: f64 = 1.1;

/// Doubles the rate until a step fails, then halves the interval between the last two rates (in ratios) until it is small.
#[derive(Debug)]
pub(super) struct CapacitySearch {
    first: f64,
    sustained: Option<f64>,
    failed: Option<f64>,
    steps: u32,
}

impl CapacitySearch {
    /// Begins at the rate `first`.
    pub(super) fn new(first: f64) -> Self {
        Self { first, sustained: None, failed: None, steps: 0 }
    }

    /// The rate of the next step, or `None` when the search is complete.
    pub(super) fn rate(&self) -> Option<f64> {
        let rate = match (self.sustained, self.failed) {
            (None, None) => self.first,
            (Some(sustained), None) => sustained * 2.0,
            (None, Some(failed)) if failed > self.first * MIN_SHARE => failed / 2.0,
            (Some(sustained), Some(failed)) if failed > sustained * PRECISION => (sustained * failed).sqrt(),
            (_, Some(_)) => return None,
        };
        (self.steps < MAX_STEPS).then_some(rate)
    }

    /// Records whether the server sustained the rate.
    pub(super) fn record(&mut self, rate: f64, is_sustained: bool) {
        self.steps += 1;
        if is_sustained {
            self.sustained = Some(rate);
        } else {
            self.failed = Some(rate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Result and number of steps for a server that sustains up to `capacity`.
    fn search(first: f64, capacity: f64) -> (Option<f64>, u32) {
        let mut search = CapacitySearch::new(first);
        while let Some(rate) = search.rate() {
            search.record(rate, rate <= capacity);
        }
        (search.sustained, search.steps)
    }

    #[test]
    fn search_ends_within_a_tenth_below_the_capacity() {
        for capacity in [10.0, 33.0, 100.0, 4321.0] {
            let (found, steps) = search(100.0, capacity);
            let found = found.unwrap();
            assert!(found <= capacity && found * PRECISION >= capacity, "{found} of {capacity}");
            assert!(steps <= 11, "{steps} steps for {capacity}");
        }
    }

    #[test]
    fn search_is_bounded_if_nothing_or_everything_is_sustained() {
        assert_eq!(search(100.0, 0.0), (None, 5));
        assert_eq!(search(100.0, f64::INFINITY).1, MAX_STEPS);
    }
}
