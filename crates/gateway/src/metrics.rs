//! The counters of this instance, for Prometheus.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// The counters of one gateway. An update is one atomic addition.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    /// Open sockets.
    pub(crate) sockets: Gauge,
    /// Sockets that were opened.
    pub(crate) opened: Counter,
    /// Commands that were refused.
    pub(crate) refused: Counter,
    /// Sends, by outcome.
    pub(crate) published: Family<SendOutcome, Counter>,
    /// Messages handed to sockets.
    pub(crate) delivered: Counter,
    /// Reads of logs: openings, repairs and pages.
    pub(crate) log_reads: Counter,
    /// Rooms with members on this instance.
    pub(crate) rooms: Gauge,
    /// Users in rooms on this instance, each counted once per room.
    pub(crate) users: Gauge,
    /// Reads of a room's presence: when it is opened, and after a change was missed.
    pub(crate) roster_reads: Counter,
    /// Events that did not fit into a worker's mailbox and were requested again.
    pub(crate) mailbox_overflows: Counter,
}

/// The outcome of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct SendOutcome {
    /// `sent`, `repeated` or `unavailable`.
    pub(crate) outcome: &'static str,
}

impl Metrics {
    /// Creates counters at zero.
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("trunkline");
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let opened = counter("sockets_opened", "Sockets that were opened");
        let refused = counter("refusals", "Commands of sockets that were refused");
        let delivered = counter("deliveries", "Messages handed to sockets");
        let log_reads = counter("log_reads", "Reads of room logs: openings, repairs and pages");
        let mailbox_overflows =
            counter("mailbox_overflows", "Events that did not fit into a worker's mailbox and were requested again");
        let roster_reads = counter("roster_reads", "Reads of a room's presence: openings and repairs");
        let mut gauge = |name: &str, help: &str| {
            let gauge: Gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let sockets = gauge("sockets", "Open sockets");
        let rooms = gauge("rooms", "Rooms with members on this instance");
        let users = gauge("users", "Users in rooms on this instance, each counted once per room");
        let published = Family::default();
        registry.register("sends", "Messages that clients sent, by outcome", published.clone());
        Self {
            registry,
            sockets,
            opened,
            refused,
            published,
            delivered,
            log_reads,
            rooms,
            users,
            roster_reads,
            mailbox_overflows,
        }
    }

    /// Returns the counters in the OpenMetrics text format.
    pub(crate) fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}
