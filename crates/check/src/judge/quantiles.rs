//! Distributions of times.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::history::Micros;

/// Longest time that a histogram distinguishes, in microseconds: one hour. Longer times count as one hour.
const LONGEST: Micros = 3_600_000_000;

/// Quantiles of a distribution of times, in microseconds. All are 0 if nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Quantiles {
    /// Number of measured times.
    pub count: u64,
    /// Median.
    pub p50: Micros,
    /// 99th percentile.
    pub p99: Micros,
    /// 99.9th percentile.
    pub p999: Micros,
    /// Longest time.
    pub max: Micros,
}

/// A histogram of times in microseconds, in constant memory.
#[derive(Clone, Debug)]
pub(crate) struct TimeHistogram(Histogram<u64>);

impl TimeHistogram {
    /// Creates a histogram that keeps `digits` significant decimal digits, 1 to 5.
    pub(crate) fn new(digits: u8) -> Self {
        // Fails only for other bounds or digits.
        Self(Histogram::new_with_bounds(1, LONGEST, digits).unwrap_or_else(|e| unreachable!("{e}")))
    }

    pub(crate) fn record(&mut self, time: Micros) {
        self.0.saturating_record(time.max(1));
    }

    pub(crate) fn clear(&mut self) {
        self.0.reset();
    }

    pub(crate) fn quantiles(&self) -> Quantiles {
        if self.0.is_empty() {
            return Quantiles::default();
        }
        Quantiles {
            count: self.0.len(),
            p50: self.0.value_at_quantile(0.5),
            p99: self.0.value_at_quantile(0.99),
            p999: self.0.value_at_quantile(0.999),
            max: self.0.max(),
        }
    }
}
