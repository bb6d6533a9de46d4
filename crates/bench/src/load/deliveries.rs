//! Counts sent messages and their deliveries.

use std::{collections::VecDeque, ops::Range};

use hdrhistogram::Histogram;

use crate::stamp::Stamp;

/// Maximum latency that the histogram distinguishes, in µs: one minute.
const MAX_LATENCY_US: u64 = 60_000_000;

/// Tracks which deliveries of each message are outstanding. Times are ns since the start of the run.
#[derive(Debug)]
pub(super) struct DeliveryTracker {
    /// Number of the first message in `open`.
    first: u32,
    /// Expected deliveries that are outstanding, per message, beginning with the oldest incomplete message. A lost message
    /// keeps all later messages in this queue, at four bytes each.
    open: VecDeque<u32>,
    /// Number of incomplete messages in `open`.
    incomplete: u32,
    /// Number of the first message that is still waited for.
    written_off: u32,
    /// Numbers of the messages that were sent in the measured window.
    window: Range<u32>,
    /// Whether the window is open.
    counting: bool,
    acknowledged: u32,
    counts: WindowCounts,
    latency: Histogram<u64>,
}

/// Counts of the measured window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WindowCounts {
    pub(super) sent: u64,
    pub(super) acknowledged: u64,
    /// Deliveries while the window was open.
    pub(super) delivered: u64,
    /// Outstanding deliveries of messages that were sent in the window.
    pub(super) lost: u64,
    /// Deliveries in excess of those expected.
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
            latency: Histogram::new_with_bounds(1, MAX_LATENCY_US, 3)
                .expect("the bounds are in order, three digits allowed"),
        }
    }

    /// Number of the next message.
    pub(super) fn next(&self) -> u32 {
        self.first + self.open.len() as u32
    }

    /// Records that the next message was sent, with its number of expected deliveries.
    pub(super) fn sent(&mut self, expected: u32) {
        self.open.push_back(expected);
        self.incomplete += u32::from(expected > 0);
        self.counts.sent += u64::from(self.counting);
    }

    pub(super) fn acknowledged(&mut self) {
        self.acknowledged += 1;
        self.counts.acknowledged += u64::from(self.counting);
    }

    /// Records a delivery. `expected`: the socket is one of those that the message is expected on.
    pub(super) fn delivered(&mut self, stamp: Stamp, expected: bool, now: u64) {
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

    /// Number of messages that are waited for and not delivered everywhere.
    pub(super) fn incomplete(&self) -> u32 {
        self.incomplete
    }

    /// Number of messages that are not acknowledged, over the whole run.
    pub(super) fn unacknowledged(&self) -> u32 {
        self.next().saturating_sub(self.acknowledged)
    }

    /// Stops waiting for all outstanding deliveries. They are counted if they arrive, and are lost otherwise.
    pub(super) fn write_off(&mut self) {
        self.written_off = self.next();
        self.incomplete = 0;
        self.acknowledged = self.next();
    }

    /// Starts the measured window.
    pub(super) fn open_window(&mut self) {
        self.counting = true;
        self.counts = WindowCounts::default();
        self.latency.reset();
        self.window = self.next()..u32::MAX;
    }

    /// Ends the measured window. Later messages do not count; deliveries of earlier messages do.
    pub(super) fn close_window(&mut self) {
        self.counting = false;
        self.window.end = self.next();
    }

    /// The counts, with outstanding deliveries as lost.
    pub(super) fn counts(&self) -> WindowCounts {
        let numbered = (self.first..).zip(&self.open);
        let lost = numbered.filter(|(number, _)| self.window.contains(number)).map(|(_, missing)| u64::from(*missing));
        WindowCounts { lost: lost.sum(), ..self.counts }
    }

    /// Latencies of deliveries of the window's messages, in µs.
    pub(super) fn latency(&self) -> &Histogram<u64> {
        &self.latency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn see(deliveries: &mut DeliveryTracker, number: u32, times: usize) {
        (0..times).for_each(|_| deliveries.delivered(Stamp { number, intended: 1_000_000 }, true, 3_000_000));
    }

    #[test]
    fn outstanding_deliveries_are_lost() {
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
        // Message 0 was sent before the window, and one of its deliveries arrived inside. Message 1 was not delivered.
        assert_eq!(deliveries.counts(), WindowCounts { sent: 3, delivered: 4, lost: 2, ..WindowCounts::default() });
        assert_eq!(deliveries.latency().len(), 4);
        assert!(deliveries.latency().value_at_quantile(0.5).abs_diff(2000) <= 1);
    }

    #[test]
    fn repeated_deliveries_do_not_hide_lost_ones() {
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
    fn written_off_messages_count_when_they_arrive() {
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
    fn deliveries_to_reconnecting_sockets_are_counted_but_not_expected() {
        let mut deliveries = DeliveryTracker::new();
        deliveries.open_window();
        deliveries.sent(1);
        deliveries.delivered(Stamp { number: 0, intended: 0 }, false, 1);
        assert_eq!(deliveries.counts(), WindowCounts { sent: 1, delivered: 1, lost: 1, ..WindowCounts::default() });
    }
}
