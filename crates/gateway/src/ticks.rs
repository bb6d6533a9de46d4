//! Time as state machines see it, and how periodic work is divided among ticks.

use std::{num::NonZeroU32, ops::Add, ops::Range, time::Duration};

/// A point in time on a worker's clock, in units of 50 ms since the worker started.
///
/// The clock stands still while the worker does: after a process was stopped for a minute, its sockets are read before
/// their heartbeats are judged. Every connection holds several optional ticks, so zero is left out and `Option<Tick>` takes
/// 4 bytes. They last for 6.8 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(NonZeroU32);

impl Tick {
    /// Resolution. Workers look at their clocks every 250 ms; a larger value overflows later.
    pub(crate) const UNIT: Duration = Duration::from_millis(50);

    /// Returns the last tick that is not later than `elapsed` after the worker started.
    pub(crate) fn at(elapsed: Duration) -> Self {
        Self(NonZeroU32::MIN.saturating_add(units(elapsed.as_nanos() / Self::UNIT.as_nanos())))
    }

    /// Returns the time since the worker started.
    pub(crate) fn elapsed(self) -> Duration {
        Self::UNIT * (self.0.get() - 1)
    }
}

/// Rounded up: no wait is shorter than asked for.
impl Add<Duration> for Tick {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(units(duration.as_nanos().div_ceil(Self::UNIT.as_nanos()))))
    }
}

fn units(count: u128) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
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

/// Keys with the times at which they are to be examined: a hashed timer wheel (Varghese and Lauck, "Hashed and hierarchical
/// timing wheels", SOSP 1987). Scheduling takes constant time, and a tick costs nothing for keys that are not due.
///
/// Keys are never removed. Each has a [`Timer`], which tells the current schedule of the key from earlier ones.
#[derive(Debug)]
pub(crate) struct TimerWheel<K> {
    buckets: Vec<Vec<K>>,
    granularity: Duration,
    /// The number of the bucket that fires next. Bucket n fires at n times the granularity.
    next: u32,
}

/// When a key fires next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timer(u32);

impl Timer {
    /// The timer of a key that is not scheduled.
    pub(crate) const NONE: Self = Self(u32::MAX);
}

impl Default for Timer {
    fn default() -> Self {
        Self::NONE
    }
}

impl<K> TimerWheel<K> {
    /// Number of buckets. With a granularity of 100 ms the horizon is 256 s, more than any timer of a quiet room. Times beyond
    /// it fire early, at the horizon, and are then scheduled again; a bucket takes 24 bytes.
    const BUCKETS: u32 = 2560;

    /// Creates an empty wheel.
    pub(crate) fn new(granularity: Duration) -> Self {
        Self { buckets: (0..Self::BUCKETS).map(|_| Vec::new()).collect(), granularity, next: 1 }
    }

    /// Has the key of `timer` fire at `at` or up to one granularity later, unless it fires earlier anyway.
    pub(crate) fn schedule(&mut self, timer: &mut Timer, at: Duration, key: impl FnOnce() -> K) {
        let bucket = at.as_nanos().div_ceil(self.granularity.as_nanos());
        let bucket = u32::try_from(bucket).unwrap_or(u32::MAX).clamp(self.next, self.next + Self::BUCKETS - 1);
        if bucket < timer.0 {
            timer.0 = bucket;
            self.buckets[(bucket % Self::BUCKETS) as usize].push(key());
        }
    }

    /// Returns the keys that were scheduled for `now` or earlier. Each must be checked with [`has_fired`](Self::has_fired).
    pub(crate) fn poll(&mut self, now: Duration) -> Vec<K> {
        let last = u32::try_from(now.as_nanos() / self.granularity.as_nanos()).unwrap_or(u32::MAX - Self::BUCKETS);
        let mut due = Vec::new();
        for bucket in self.next..=last.min(self.next + Self::BUCKETS - 1) {
            // Taken, not drained: a bucket that was large once does not keep its memory.
            due.append(&mut std::mem::take(&mut self.buckets[(bucket % Self::BUCKETS) as usize]));
        }
        self.next = self.next.max(last + 1);
        due
    }

    /// Returns whether the timer has fired, and resets it. It has not if its key is from an earlier schedule.
    pub(crate) fn has_fired(&self, timer: &mut Timer) -> bool {
        let has_fired = timer.0 < self.next;
        if has_fired {
            *timer = Timer::NONE;
        }
        has_fired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_rounded_so_that_no_wait_is_shorter_than_asked_for() {
        let at = |ms| Tick::at(Duration::from_millis(ms));
        assert_eq!([at(0), at(149), at(150)].map(|tick| tick.elapsed().as_millis()), [0, 100, 150]);
        let waits = [0, 1, 50, 51].map(|ms| (at(100) + Duration::from_millis(ms)).elapsed().as_millis());
        assert_eq!(waits, [100, 150, 150, 200]);
        assert_eq!(Tick::at(Duration::MAX), at(0) + Duration::MAX, "saturated");
        assert_eq!(size_of::<Option<Tick>>(), 4);
    }

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

    #[test]
    fn timers_fire_at_their_time_or_at_the_horizon() {
        let at = Duration::from_millis;
        let mut wheel = TimerWheel::new(at(250));
        for (time, key) in [(0, "past"), (250, "soon"), (251, "next"), (3_600_000, "far")] {
            wheel.schedule(&mut Timer::default(), at(time), || key);
        }
        assert_eq!(wheel.poll(at(249)), [""; 0]);
        assert_eq!(wheel.poll(at(250)), ["past", "soon"]);
        assert_eq!(wheel.poll(at(499)), [""; 0]);
        assert_eq!(wheel.poll(at(500)), ["next"]);
        assert_eq!(wheel.poll(at(639_999)), [""; 0]);
        assert_eq!(wheel.poll(at(640_000)), ["far"], "early, at the horizon");
        wheel.schedule(&mut Timer::default(), at(1), || "late");
        assert_eq!(wheel.poll(at(10_000_000)), ["late"], "after a long standstill");
        wheel.schedule(&mut Timer::default(), at(10_000_001), || "again");
        assert_eq!(wheel.poll(at(10_000_250)), ["again"]);
    }

    #[test]
    fn a_timer_fires_once_for_its_earliest_schedule() {
        let at = Duration::from_millis;
        let (mut wheel, mut timer) = (TimerWheel::new(at(100)), Timer::default());
        for time in [900, 500, 700] {
            wheel.schedule(&mut timer, at(time), || ());
        }
        let mut fired = Vec::new();
        for now in (0..2000).step_by(100) {
            for () in wheel.poll(at(now)) {
                if wheel.has_fired(&mut timer) {
                    fired.push(now);
                }
            }
        }
        assert_eq!(fired, [500]);
    }
}
