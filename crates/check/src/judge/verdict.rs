//! What a judgement says.

use serde::Serialize;

use crate::history::Micros;

/// Most examples that a finding keeps.
const EXAMPLES: usize = 5;

/// The verdict on a history.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// Whether every invariant that could be judged holds and the run was not vacuous.
    pub passed: bool,
    /// What was counted.
    pub counts: Counts,
    /// The invariants of GUARANTEES, by number.
    pub invariants: Vec<Ruling>,
    /// From the intended time of a send to each delivery, in microseconds.
    pub delivery: Quantiles,
    /// From the intended time of a send to its acknowledgement, in microseconds.
    pub acknowledgement: Quantiles,
    /// From the loss of a socket to caught up in every room, in microseconds, over all clients and losses.
    pub recovery: Quantiles,
    /// The longest silence of each client and room, in microseconds: the time in which the client was shown no message
    /// there though one was due, from its last message or, if later, from when the next one it was shown was due.
    pub silence: Quantiles,
    /// The faults, in order.
    pub faults: Vec<FaultReport>,
    /// Users of the rooms who are no clients of the run, and what its clients were told of them; the first 100.
    pub strangers: Vec<Stranger>,
    /// Second by second.
    pub timeline: Vec<Second>,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Clients.
    pub clients: u64,
    /// Messages sent at least once.
    pub sent: u64,
    /// `send` frames: attempts.
    pub attempts: u64,
    /// Messages acknowledged.
    pub acknowledged: u64,
    /// Messages without any definite answer: they may or may not stand.
    pub indeterminate: u64,
    /// Messages of which every attempt was refused for certain.
    pub refused: u64,
    /// Deliveries seen.
    pub delivered: u64,
    /// Deliveries that a client was entitled to and never got.
    pub lost: u64,
    /// Deliveries of what was shown before, and messages that stand twice.
    pub duplicated: u64,
    /// Deliveries that came after a later one.
    pub reordered: u64,
    /// Positions passed over without a word.
    pub skipped: u64,
    /// Gaps that clients were told of.
    pub gaps_told: u64,
    /// Joins that continued where the client was.
    pub resumed: u64,
    /// Sockets that the server closed or that broke.
    pub closed: u64,
    /// Probes and handshakes that were refused or failed.
    pub rejected: u64,
    /// Times that a client was told that a user had gone, while a socket of that user was there.
    pub flickers: u64,
}

/// What is said of one invariant.
#[derive(Clone, Debug, Serialize)]
pub struct Ruling {
    /// Its number in GUARANTEES.
    pub number: u8,
    /// What it says.
    pub title: &'static str,
    /// Whether it holds; `None`: not judged.
    pub holds: Option<bool>,
    /// How often it is broken.
    pub broken: u64,
    /// The first few times.
    pub examples: Vec<String>,
    /// Why it was not judged, or what else there is to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A user who is no client of the run, as its clients were told of them in `presence` frames.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stranger {
    /// Who.
    pub user: String,
    /// Clients that were told of them, counted once a room.
    pub told: u64,
    /// Of these, those that were told that they went.
    pub went: u64,
    /// Of these, those that were told so more than once.
    pub went_again: u64,
    /// When the last of them was told so.
    pub last_went: Option<Micros>,
}

/// Breaches of one invariant.
#[derive(Debug, Default)]
pub(crate) struct Breaches {
    count: u64,
    examples: Vec<String>,
}

impl Breaches {
    /// Notes one; `tell` is called only for the first few.
    pub(crate) fn add(&mut self, tell: impl FnOnce() -> String) {
        self.add_many(1, tell);
    }

    /// Notes `count` with one example for all.
    pub(crate) fn add_many(&mut self, count: u64, tell: impl FnOnce() -> String) {
        self.count += count;
        if self.examples.len() < EXAMPLES {
            self.examples.push(tell());
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn ruling(&mut self, number: u8, title: &'static str) -> Ruling {
        let examples = std::mem::take(&mut self.examples);
        Ruling { number, title, holds: Some(self.count == 0), broken: self.count, examples, note: None }
    }
}

impl Ruling {
    pub(crate) fn not_judged(number: u8, title: &'static str, note: impl Into<String>) -> Self {
        Self { number, title, holds: None, broken: 0, examples: Vec::new(), note: Some(note.into()) }
    }
}

/// A distribution of times in microseconds; zeros where nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Quantiles {
    /// How many were measured.
    pub count: u64,
    /// Half of them took no longer.
    pub p50: Micros,
    /// 99 of 100 took no longer.
    pub p99: Micros,
    /// 999 of 1000 took no longer.
    pub p999: Micros,
    /// The longest.
    pub max: Micros,
}

/// What a fault did to the clients.
#[derive(Clone, Debug, Serialize)]
pub struct FaultReport {
    /// Its name.
    pub name: String,
    /// When it was injected.
    pub t: Micros,
    /// When it was over.
    pub healed: Option<Micros>,
    /// Sockets that it cost.
    pub closed: u64,
    /// Probes and handshakes that failed meanwhile.
    pub rejected: u64,
    /// Sends that were refused as `unavailable` meanwhile.
    pub unavailable: u64,
    /// The longest [silence](Verdict::silence) that ended meanwhile.
    pub silence: Micros,
    /// From the fault to the last socket that it cost, closed by the server or given up by its client.
    pub last_lost: Option<Micros>,
    /// From its end to the first acknowledgement after it.
    pub written_again: Option<Micros>,
    /// `closing` frames that came meanwhile.
    pub closing: u64,
    /// From the fault to caught up in every room, over the clients that lost their socket.
    pub recovery: Quantiles,
    /// Clients that lost their socket and never caught up again.
    pub never_back: u64,
}

/// One second of a run.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Second {
    /// Messages first sent.
    pub sent: u64,
    /// Messages acknowledged.
    pub acknowledged: u64,
    /// Deliveries.
    pub delivered: u64,
    /// Sends refused.
    pub refused: u64,
    /// Sockets lost.
    pub closed: u64,
    /// Clients connected at its end.
    pub connected: u64,
    /// Half of its deliveries took no longer, in microseconds.
    pub p50: Micros,
    /// 99 of 100 of its deliveries took no longer, in microseconds.
    pub p99: Micros,
}
