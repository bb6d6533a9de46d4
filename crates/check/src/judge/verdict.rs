//! The verdict on a history.

use serde::Serialize;

use super::quantiles::Quantiles;
use crate::history::Micros;

/// The verdict on a history. `trunkline-check run --json` writes it as JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// Whether no invariant is broken. The run was not vacuous, because invariant 11 demands that.
    pub passed: bool,
    /// Counts of messages, deliveries and sockets.
    pub counts: RunCounts,
    /// Results of the invariants in `docs/GUARANTEES.md`, in the order of their numbers.
    pub invariants: Vec<InvariantResult>,
    /// Delivery latency: from the scheduled time of a send to each delivery.
    pub delivery: Quantiles,
    /// Acknowledgement latency: from the scheduled time of a send to its acknowledgement.
    pub acknowledgement: Quantiles,
    /// Recovery time: from the loss of a socket until the client has caught up in all its rooms, over all losses.
    pub recovery: Quantiles,
    /// Longest silence of each client and room: the time in which a message was due and the client received none. It begins
    /// with the previous delivery or, if that is later, when the next delivered message was due.
    pub silence: Quantiles,
    /// Injected faults, in the order of injection.
    pub faults: Vec<FaultReport>,
    /// Phases of the run, in the order of their beginning. Empty unless the run marks phases.
    pub phases: Vec<PhaseReport>,
    /// Users that are not clients of the run and that `presence` frames named; at most 100.
    pub unknown_users: Vec<UnknownUser>,
    /// Counts and latencies per second of the run.
    pub timeline: Vec<TimelineSecond>,
}

/// Counts of messages, deliveries and sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RunCounts {
    /// Clients.
    pub clients: u64,
    /// Messages that were sent at least once.
    pub sent: u64,
    /// `send` frames, including retries.
    pub attempts: u64,
    /// Acknowledged messages.
    pub acknowledged: u64,
    /// Messages without a definite answer: each may or may not be in the log.
    pub indeterminate: u64,
    /// Messages for which every attempt got a definite error.
    pub refused: u64,
    /// Received `message` frames.
    pub delivered: u64,
    /// Deliveries that a client was entitled to and did not get.
    pub lost: u64,
    /// Deliveries of a message that the client had already received, plus messages with several positions.
    pub duplicated: u64,
    /// Deliveries that arrived after a later message.
    pub reordered: u64,
    /// Deliveries that skipped positions without a reported gap.
    pub skipped: u64,
    /// Gaps that gateways reported to clients (`joined` with `resumed: false`).
    pub gaps_reported: u64,
    /// Joins that continued at the position of the client.
    pub resumed: u64,
    /// Sockets that the server closed or that broke.
    pub closed: u64,
    /// Session probes and handshakes that were refused or failed.
    pub rejected: u64,
    /// `presence` frames that reported a user as gone while a socket of that user was subscribed.
    pub flickers: u64,
    /// Acknowledged edits, deletions and reactions.
    pub amended: u64,
    /// Received messages and edits without their text, because it was deleted.
    pub redacted: u64,
    /// Tokens that replaced earlier ones on open sockets.
    pub refreshed: u64,
}

/// Result of one invariant.
#[derive(Clone, Debug, Serialize)]
pub struct InvariantResult {
    /// Number of the invariant in `docs/GUARANTEES.md`.
    pub number: u8,
    /// Statement of the invariant.
    pub title: &'static str,
    /// Whether it holds; `None` if it could not be judged.
    pub holds: Option<bool>,
    /// Number of violations.
    pub broken: u64,
    /// Descriptions of the first five violations.
    pub examples: Vec<String>,
    /// Reason why the invariant could not be judged, or a remark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl InvariantResult {
    pub(crate) fn not_judged(number: u8, title: &'static str, note: impl Into<String>) -> Self {
        Self { number, title, holds: None, broken: 0, examples: Vec::new(), note: Some(note.into()) }
    }
}

/// A user that is not a client of the run, with what `presence` frames reported of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnknownUser {
    /// Name of the user.
    pub user: String,
    /// Views (a client in a room) that named the user.
    pub views: u64,
    /// Views that reported the user as gone.
    pub views_left: u64,
    /// Views that reported the user as gone more than once.
    pub views_left_again: u64,
    /// Time of the last report that the user was gone.
    pub last_left: Option<Micros>,
}

/// Effects of a fault on the clients.
#[derive(Clone, Debug, Serialize)]
pub struct FaultReport {
    /// Name of the fault.
    pub name: String,
    /// Time of the injection.
    pub t: Micros,
    /// Time at which the fault ended.
    pub healed: Option<Micros>,
    /// Sockets lost.
    pub closed: u64,
    /// Session probes and handshakes that failed.
    pub rejected: u64,
    /// Sends that were refused as `unavailable`.
    pub unavailable: u64,
    /// Longest [silence](Verdict::silence) that ended before the fault did.
    pub silence: Micros,
    /// Time from the injection to the last lost socket.
    pub last_lost: Option<Micros>,
    /// Time from the end of the fault to the first acknowledgement after it.
    pub written_again: Option<Micros>,
    /// Received `closing` frames.
    pub closing: u64,
    /// Time from the injection until a client that lost its socket has caught up in all its rooms. With `--faults`: from the
    /// loss of the socket.
    pub recovery: Quantiles,
    /// Clients that lost their socket and never caught up.
    pub never_back: u64,
}

/// Latencies and errors of one phase of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PhaseReport {
    /// Name of the phase.
    pub name: String,
    /// Time at which the phase began.
    pub t: Micros,
    /// Delivery latency.
    pub delivery: Quantiles,
    /// Acknowledgement latency.
    pub acknowledgement: Quantiles,
    /// Sockets that the server closed or that broke.
    pub closed: u64,
    /// Session probes and handshakes that were refused or failed.
    pub rejected: u64,
    /// `error` frames.
    pub refused: u64,
}

impl PhaseReport {
    /// Returns the number of errors of all kinds.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.closed + self.rejected + self.refused
    }
}

/// Counts and latencies of one second of a run.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct TimelineSecond {
    /// Messages sent for the first time.
    pub sent: u64,
    /// Acknowledged messages.
    pub acknowledged: u64,
    /// Deliveries.
    pub delivered: u64,
    /// Refused sends.
    pub refused: u64,
    /// Lost sockets.
    pub closed: u64,
    /// Connected clients at the end of the second.
    pub connected: u64,
    /// Median delivery latency.
    pub p50: Micros,
    /// 99th percentile of the delivery latency.
    pub p99: Micros,
}
