//! The schedule of paced messages.

/// Equally spaced times. A message that is sent late keeps its scheduled time, so that a server that blocks the writers
/// cannot hide the delay (coordinated omission).
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    start: u64,
    /// Time between two messages in ns.
    step: f64,
    next: u32,
}

impl Schedule {
    /// `rate` messages per second, beginning at `start` (in ns).
    pub(super) fn new(start: u64, rate: f64) -> Self {
        Self { start, step: 1e9 / rate, next: 0 }
    }

    /// Scheduled time of the next message. Computed from the start, so that rounding errors do not accumulate.
    pub(super) fn next(&self) -> u64 {
        self.start + (f64::from(self.next) * self.step) as u64
    }

    /// Takes the next message if it is due, and returns its scheduled time.
    pub(super) fn take(&mut self, now: u64) -> Option<u64> {
        let due = self.next();
        (due <= now).then(|| {
            self.next += 1;
            due
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_messages_keep_their_scheduled_times() {
        let mut schedule = Schedule::new(1000, 3.0);
        assert_eq!(schedule.take(999), None);
        assert_eq!(schedule.take(1000), Some(1000));
        assert_eq!(schedule.take(1000), None);
        // Nothing was sent for one second.
        let late: Vec<_> = std::iter::from_fn(|| schedule.take(1_000_001_000)).collect();
        assert_eq!(late, [333_334_333, 666_667_666, 1_000_001_000]);
        assert_eq!(schedule.next(), 1_333_334_333);
    }
}
