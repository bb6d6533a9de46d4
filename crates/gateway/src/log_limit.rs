//! Limits how often a log line is written that clients cause, so that no client can flood the log.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Maximum number of lines per second of one place in the code. A larger value shows more of an attack and lets it write
/// more bytes.
const MAX_LINES_PER_SECOND: u32 = 10;

/// Logs at level `info`, at most [`MAX_LINES_PER_SECOND`] times per second. The next line after suppressed ones has their
/// number in its field `suppressed`.
macro_rules! info_limited {
    ($($line:tt)*) => {{
        static LIMIT: $crate::log_limit::LineLimit = $crate::log_limit::LineLimit::new();
        if let Some(suppressed) = LIMIT.admit(::std::time::Instant::now()) {
            let suppressed = (suppressed > 0).then_some(suppressed);
            ::tracing::info!(suppressed, $($line)*);
        }
    }};
}
pub(crate) use info_limited;

/// The lines of one place in the code.
pub(crate) struct LineLimit(Mutex<LineCounts>);

struct LineCounts {
    /// Start of the second in which `lines` were written.
    since: Option<Instant>,
    lines: u32,
    suppressed: u64,
}

impl LineLimit {
    /// A limit of which nothing is used.
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(LineCounts { since: None, lines: 0, suppressed: 0 }))
    }

    /// Counts a line at `now`. Returns the number of lines suppressed since the last one, or `None` if this one is
    /// suppressed as well.
    pub(crate) fn admit(&self, now: Instant) -> Option<u64> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.since.is_none_or(|since| now.saturating_duration_since(since) >= Duration::from_secs(1)) {
            (counts.since, counts.lines) = (Some(now), 0);
        }
        if counts.lines >= MAX_LINES_PER_SECOND {
            counts.suppressed += 1;
            return None;
        }
        counts.lines += 1;
        Some(std::mem::take(&mut counts.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_over_the_limit_are_suppressed_and_counted() {
        let (limit, start) = (LineLimit::new(), Instant::now());
        let admitted: Vec<_> = (0..100).map(|_| limit.admit(start)).collect();
        assert_eq!(admitted[..10], [Some(0); 10]);
        assert_eq!(admitted[10..], [None; 90]);
        let later = start + Duration::from_secs(1);
        assert_eq!([limit.admit(later), limit.admit(later)], [Some(90), Some(0)]);
    }
}
