//! What this instance counts, for Prometheus.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// The counters of one gateway. Cheap to update: one atomic addition each.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    /// Sockets that are open.
    pub(crate) sockets: Gauge,
    /// Sockets that were opened.
    pub(crate) opened: Counter,
    /// Commands that were refused.
    pub(crate) refused: Counter,
    /// Messages that the log took.
    pub(crate) published: Family<Outcome, Counter>,
    /// Messages handed to sockets.
    pub(crate) delivered: Counter,
    /// Reads of the log: openings, repairs and pages.
    pub(crate) log_reads: Counter,
    /// Rooms with members on this instance.
    pub(crate) rooms: Gauge,
    /// Users in rooms on this instance, each counted once a room.
    pub(crate) users: Gauge,
    /// Reads of who is in a room: at its opening, and where a change was missed.
    pub(crate) roster_reads: Counter,
    /// Letters that did not fit into a worker's mailbox and were asked for again.
    pub(crate) mailbox_overflows: Counter,
}

/// What became of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Outcome {
    /// `sent`, `repeated` or `unavailable`.
    pub(crate) outcome: &'static str,
}

impl Metrics {
    /// All at zero.
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
        let mailbox_overflows = counter("mailbox_overflows", "Letters that did not fit into a worker's mailbox");
        let roster_reads = counter("roster_reads", "Reads of who is in a room: openings and repairs");
        let mut gauge = |name: &str, help: &str| {
            let gauge: Gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let sockets = gauge("sockets", "Sockets that are open");
        let rooms = gauge("rooms", "Rooms with members on this instance");
        let users = gauge("users", "Users in rooms on this instance, each counted once a room");
        let published = Family::default();
        registry.register("sends", "Messages given to the log, by outcome", published.clone());
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

    /// The Prometheus text format.
    pub(crate) fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}
