//! When messages are due.

/// Equal steps from a beginning. A message that is sent late keeps the time at which it was due, so a server that holds
/// the writers up cannot hide it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    start: u64,
    /// Nanoseconds between two messages.
    step: f64,
    next: u32,
}

impl Schedule {
    /// `rate` messages a second from `start` on, in nanoseconds.
    pub(super) fn new(start: u64, rate: f64) -> Self {
        Self { start, step: 1e9 / rate, next: 0 }
    }

    /// When the next message is due. Counted from the beginning, so that no error adds up.
    pub(super) fn next(&self) -> u64 {
        self.start + (f64::from(self.next) * self.step) as u64
    }

    /// The time of a message that is due, which is then taken.
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
    fn messages_keep_the_times_at_which_they_were_due() {
        let mut schedule = Schedule::new(1000, 3.0);
        assert_eq!(schedule.take(999), None);
        assert_eq!(schedule.take(1000), Some(1000));
        assert_eq!(schedule.take(1000), None);
        // A second passes in which nothing could be sent.
        let late: Vec<_> = std::iter::from_fn(|| schedule.take(1_000_001_000)).collect();
        assert_eq!(late, [333_334_333, 666_667_666, 1_000_001_000]);
        assert_eq!(schedule.next(), 1_333_334_333);
    }
}
