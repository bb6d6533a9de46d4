//! The metrics of this instance, for Prometheus.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// The metrics of one gateway. An update is one atomic addition.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    /// Open sockets.
    pub(crate) sockets: Gauge,
    /// Sockets opened since the start.
    pub(crate) opened: Counter,
    /// Sockets refused because the process has no descriptors left for them.
    pub(crate) refused_sockets: Counter,
    /// A copy of [`LOG_LINES_DROPPED`], taken when the metrics are read.
    log_lines_dropped: Counter,
    /// Refused commands of sockets.
    pub(crate) refused: Counter,
    /// Sends, by outcome.
    pub(crate) published: Family<SendOutcome, Counter>,
    /// Messages delivered to sockets.
    pub(crate) delivered: Counter,
    /// Reads of room logs: when a room is opened, to repair a gap, and for a page.
    pub(crate) log_reads: Counter,
    /// Rooms with members on this instance.
    pub(crate) rooms: Gauge,
    /// Users in rooms on this instance, counted once per room.
    pub(crate) users: Gauge,
    /// Reads of a room's presence: when a room is opened, and after a missed change.
    pub(crate) roster_reads: Counter,
    /// Events that did not fit into a worker's mailbox. The worker reads the affected rooms again.
    pub(crate) mailbox_overflows: Counter,
}

/// Log lines that the process dropped. Not a field of [`Metrics`], because a process has one log and can have several gateways.
static LOG_LINES_DROPPED: AtomicU64 = AtomicU64::new(0);

/// Adds to the metric `trunkline_log_lines_dropped_total`, for a program whose log writer drops lines.
pub fn count_dropped_log_lines(count: u64) {
    LOG_LINES_DROPPED.fetch_add(count, Ordering::Relaxed);
}

/// The outcome of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct SendOutcome {
    /// `sent`; `repeated` for a retry whose message was already logged; or `unavailable`.
    pub(crate) outcome: &'static str,
}

impl Metrics {
    /// Returns metrics at zero.
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("trunkline");
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let opened = counter("sockets_opened", "Sockets opened since the start");
        let refused_sockets =
            counter("sockets_refused", "Sockets refused because the process has no file descriptors left for them");
        let log_lines_dropped =
            counter("log_lines_dropped", "Log lines dropped because standard error was not read fast enough");
        let refused = counter("refusals", "Refused commands: rate limits, malformed frames, policy");
        let delivered = counter("deliveries", "Messages delivered to sockets");
        let log_reads = counter("log_reads", "Reads of room logs: rooms opened, gaps repaired, history pages");
        let mailbox_overflows = counter("mailbox_overflows", "Events that did not fit into the mailbox of a worker");
        let roster_reads = counter("roster_reads", "Reads of the presence of a room: rooms opened, changes missed");
        let mut gauge = |name: &str, help: &str| {
            let gauge: Gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let sockets = gauge("sockets", "Open sockets");
        let rooms = gauge("rooms", "Rooms with members on this instance");
        let users = gauge("users", "Users in rooms on this instance, counted once per room");
        let published = Family::default();
        registry.register("sends", "Sends by outcome: sent, repeated or unavailable", published.clone());
        Self {
            registry,
            sockets,
            opened,
            refused_sockets,
            log_lines_dropped,
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

    /// Returns the metrics in the OpenMetrics text format.
    pub(crate) fn encode(&self) -> String {
        self.log_lines_dropped.inner().store(LOG_LINES_DROPPED.load(Ordering::Relaxed), Ordering::Relaxed);
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}
