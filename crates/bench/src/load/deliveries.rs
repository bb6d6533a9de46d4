//! What was sent, and what of it came.

use std::{collections::VecDeque, ops::Range};

use hdrhistogram::Histogram;

use crate::stamp::Stamp;

/// Longest latency that is told apart, in microseconds: a minute.
const LATENCY_MOST: u64 = 60_000_000;

/// The book of a run. Times are nanoseconds since the run began.
#[derive(Debug)]
pub(super) struct DeliveryTracker {
    /// Number of the first message of `open`.
    first: u32,
    /// Messages from the oldest on that is not complete, each with the deliveries that are still expected. As long as
    /// what is under way; a message that is lost keeps all that were sent after it, four bytes each.
    open: VecDeque<u32>,
    /// Of `open`, those not complete.
    incomplete: u32,
    /// Up to here messages are not waited for any more.
    written_off: u32,
    /// Numbers of the messages that were sent inside the window.
    window: Range<u32>,
    /// Whether the window is open.
    counting: bool,
    acknowledged: u32,
    counts: WindowCounts,
    latency: Histogram<u64>,
}

/// What happened inside the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WindowCounts {
    pub(super) sent: u64,
    pub(super) acknowledged: u64,
    /// Deliveries that came while the window was open.
    pub(super) delivered: u64,
    /// Deliveries of messages of the window that have not come until now.
    pub(super) lost: u64,
    /// Deliveries beyond those expected.
    pub(super) repeated: u64,
}

impl DeliveryTracker {
    pub(super) fn new() -> Self {
        Self {
            first: 0,
            open: VecDeque::new(),
            incomplete: 0,
            written_off: 0,
            window: 0..0,
            counting: false,
            acknowledged: 0,
            counts: WindowCounts::default(),
            latency: Histogram::new_with_bounds(1, LATENCY_MOST, 3)
                .expect("the bounds are in order, three digits allowed"),
        }
    }

    /// Number of the next message.
    pub(super) fn next(&self) -> u32 {
        self.first + self.open.len() as u32
    }

    /// The next message was sent; so many deliveries are expected of it.
    pub(super) fn sent(&mut self, expected: u32) {
        self.open.push_back(expected);
        self.incomplete += u32::from(expected > 0);
        self.counts.sent += u64::from(self.counting);
    }

    pub(super) fn acknowledged(&mut self) {
        self.acknowledged += 1;
        self.counts.acknowledged += u64::from(self.counting);
    }

    /// A message came. `expected`: to a socket that is counted among those it is expected at.
    pub(super) fn seen(&mut self, stamp: Stamp, expected: bool, now: u64) {
        self.counts.delivered += u64::from(self.counting);
        if self.window.contains(&stamp.number) {
            self.latency.saturating_record((now.saturating_sub(stamp.intended) / 1000).max(1));
        }
        if !expected {
            return;
        }
        let at = stamp.number.checked_sub(self.first).map(|at| at as usize);
        let Some(missing) = at.and_then(|at| self.open.get_mut(at)).filter(|missing| **missing > 0) else {
            self.counts.repeated += 1;
            return;
        };
        *missing -= 1;
        if *missing > 0 {
            return;
        }
        if stamp.number >= self.written_off {
            self.incomplete -= 1;
        }
        while self.open.front() == Some(&0) {
            self.open.pop_front();
            self.first += 1;
        }
    }

    /// Messages that have not come everywhere, and are waited for.
    pub(super) fn incomplete(&self) -> u32 {
        self.incomplete
    }

    /// Messages that were not acknowledged, over the whole run.
    pub(super) fn unacknowledged(&self) -> u32 {
        self.next().saturating_sub(self.acknowledged)
    }

    /// Stops waiting for what has not come until now. It still counts if it comes, and is lost if not.
    pub(super) fn write_off(&mut self) {
        self.written_off = self.next();
        self.incomplete = 0;
        self.acknowledged = self.next();
    }

    /// From now on everything counts.
    pub(super) fn open_window(&mut self) {
        self.counting = true;
        self.counts = WindowCounts::default();
        self.window = self.next()..u32::MAX;
    }

    /// Messages that are sent from now on do not count, deliveries only of those before.
    pub(super) fn close_window(&mut self) {
        self.counting = false;
        self.window.end = self.next();
    }

    /// The counts, with what is missing now as lost.
    pub(super) fn counts(&self) -> WindowCounts {
        let numbered = (self.first..).zip(&self.open);
        let lost = numbered.filter(|(number, _)| self.window.contains(number)).map(|(_, missing)| u64::from(*missing));
        WindowCounts { lost: lost.sum(), ..self.counts }
    }

    /// Latencies of the deliveries of the window's messages, in microseconds.
    pub(super) fn latency(&self) -> &Histogram<u64> {
        &self.latency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn see(deliveries: &mut DeliveryTracker, number: u32, times: usize) {
        (0..times).for_each(|_| deliveries.seen(Stamp { number, intended: 1_000_000 }, true, 3_000_000));
    }

    #[test]
    fn what_was_sent_and_did_not_come_is_lost() {
        let mut deliveries = DeliveryTracker::new();
        deliveries.sent(2);
        see(&mut deliveries, 0, 1);
        deliveries.open_window();
        for _ in 0..3 {
            deliveries.sent(2);
        }
        see(&mut deliveries, 0, 1);
        see(&mut deliveries, 2, 2);
        see(&mut deliveries, 3, 1);
        assert_eq!(deliveries.incomplete(), 2);
        deliveries.close_window();
        see(&mut deliveries, 3, 1);
        deliveries.sent(2);
        // Message 0 was sent before the window, and one delivery came inside; 1 came nowhere.
        assert_eq!(deliveries.counts(), WindowCounts { sent: 3, delivered: 4, lost: 2, ..WindowCounts::default() });
        assert_eq!(deliveries.latency().len(), 4);
        assert!(deliveries.latency().value_at_quantile(0.5).abs_diff(2000) <= 1);
    }

    #[test]
    fn what_comes_again_does_not_hide_what_is_lost() {
        let mut deliveries = DeliveryTracker::new();
        deliveries.open_window();
        deliveries.sent(3);
        deliveries.sent(3);
        see(&mut deliveries, 0, 2);
        see(&mut deliveries, 1, 4);
        assert_eq!(
            deliveries.counts(),
            WindowCounts { sent: 2, delivered: 6, lost: 1, repeated: 1, ..WindowCounts::default() }
        );
        see(&mut deliveries, 7, 1);
        assert_eq!(deliveries.counts().repeated, 2);
    }

    #[test]
    fn what_is_written_off_is_not_waited_for_but_counts() {
        let mut deliveries = DeliveryTracker::new();
        deliveries.open_window();
        deliveries.sent(1);
        deliveries.write_off();
        deliveries.sent(1);
        assert_eq!((deliveries.incomplete(), deliveries.unacknowledged(), deliveries.counts().lost), (1, 1, 2));
        see(&mut deliveries, 0, 1);
        assert_eq!((deliveries.incomplete(), deliveries.counts().lost), (1, 1));
        see(&mut deliveries, 1, 1);
        assert_eq!((deliveries.incomplete(), deliveries.counts().lost, deliveries.next()), (0, 0, 2));
    }

    #[test]
    fn a_socket_that_comes_and_goes_is_served_but_not_relied_on() {
        let mut deliveries = DeliveryTracker::new();
        deliveries.open_window();
        deliveries.sent(1);
        deliveries.seen(Stamp { number: 0, intended: 0 }, false, 1);
        assert_eq!(deliveries.counts(), WindowCounts { sent: 1, delivered: 1, lost: 1, ..WindowCounts::default() });
    }
}
