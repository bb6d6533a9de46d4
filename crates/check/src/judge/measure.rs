//! Counts, latencies and recovery times.

use std::collections::HashMap;

use hdrhistogram::Histogram;

use super::{
    facts::{Facts, Sending},
    record::{Record, RoomNumber, What},
    verdict::{Counts, FaultReport, Quantiles, Second},
};
use crate::history::{ClientNumber, Micros};

/// Longest time told apart, in microseconds: an hour.
const LONGEST: u64 = 3_600_000_000;

/// Times in microseconds, to three digits.
#[derive(Debug)]
struct Times(Histogram<u64>);

impl Times {
    fn new(digits: u8) -> Self {
        // Bounds and digits are within what the constructor takes.
        Self(Histogram::new_with_bounds(1, LONGEST, digits).unwrap_or_else(|e| unreachable!("{e}")))
    }

    fn note(&mut self, time: Micros) {
        self.0.saturating_record(time.max(1));
    }

    fn quantiles(&self) -> Quantiles {
        if self.0.is_empty() {
            return Quantiles::default();
        }
        Quantiles {
            count: self.0.len(),
            p50: self.0.value_at_quantile(0.5),
            p99: self.0.value_at_quantile(0.99),
            p999: self.0.value_at_quantile(0.999),
            max: self.0.max(),
        }
    }
}

/// Everything that is measured and not judged.
#[derive(Debug)]
pub(super) struct Measure {
    pub(super) counts: Counts,
    delivery: Times,
    acknowledgement: Times,
    recovery: Times,
    silences: Silences,
    faults: Vec<FaultTimes>,
    timeline: Vec<Second>,
    /// The latencies of the present second.
    present: Times,
    /// By client: when its socket was lost, and which faults it must recover from.
    away: Vec<Option<Away>>,
    connected: u64,
}

/// How long each client waited, at most, for a message of a room while one was due. Whatever else it is shown meanwhile,
/// and however often it reconnects, it waits.
#[derive(Debug, Default)]
struct Silences(HashMap<(ClientNumber, RoomNumber), Silence>);

#[derive(Debug, Default)]
struct Silence {
    /// When the client was last shown a message.
    last: Option<Micros>,
    longest: Micros,
}

impl Silences {
    /// A message is shown: it ends a silence that began with the one before it or, if that is later, when this one was
    /// due. So a room in which nothing is written is not silent. How long it was.
    fn shown(&mut self, view: (ClientNumber, RoomNumber), t: Micros, sending: Sending) -> Micros {
        let silence = self.0.entry(view).or_default();
        let last = silence.last.replace(t).filter(|_| sending.attempts > 0);
        let ended = last.map_or(0, |last| t.saturating_sub(last.max(sending.due)));
        silence.longest = silence.longest.max(ended);
        ended
    }

    fn left(&mut self, view: (ClientNumber, RoomNumber)) {
        if let Some(silence) = self.0.get_mut(&view) {
            silence.last = None;
        }
    }

    /// Of the longest of each client and room.
    fn quantiles(&self) -> Quantiles {
        let mut times = Times::new(3);
        self.0.values().for_each(|silence| times.note(silence.longest));
        times.quantiles()
    }
}

#[derive(Debug)]
struct FaultTimes {
    report: FaultReport,
    recovery: Times,
}

#[derive(Clone, Debug)]
struct Away {
    since: Micros,
    /// The latest fault whose time it was.
    fault: Option<usize>,
}

impl Measure {
    pub(super) fn new() -> Self {
        Self {
            counts: Counts::default(),
            delivery: Times::new(3),
            acknowledgement: Times::new(3),
            recovery: Times::new(3),
            silences: Silences::default(),
            faults: Vec::new(),
            timeline: Vec::new(),
            present: Times::new(2),
            away: Vec::new(),
            connected: 0,
        }
    }

    /// Sees a record with the facts of before.
    pub(super) fn see(&mut self, record: &Record, facts: &Facts) {
        let Record { t, client, ref what } = *record;
        self.turn_to(t);
        match *what {
            What::Client => self.counts.clients += 1,
            What::Open { .. } if facts.clients.get(client as usize).is_none_or(|c| c.socket.is_none()) => {
                self.connected += 1;
            }
            What::Send { message, .. } => {
                self.counts.attempts += 1;
                if facts.sending(message).attempts == 0 {
                    self.counts.sent += 1;
                    self.second(|second| second.sent += 1);
                }
            }
            What::Sent { message, .. } if !facts.sending(message).acked => {
                self.counts.acknowledged += 1;
                self.second(|second| second.acknowledged += 1);
                self.acknowledgement.note(t.saturating_sub(facts.sending(message).due));
                for FaultTimes { report, .. } in &mut self.faults {
                    let again = report.healed.map(|healed| t.saturating_sub(healed));
                    report.written_again = report.written_again.or(again);
                }
            }
            What::Refused { definite, .. } => {
                self.second(|second| second.refused += 1);
                if !definite {
                    self.each_fault(facts, t, |report| report.unavailable += 1);
                }
            }
            What::Message { room, message, .. } => {
                let silence = self.silences.shown((client, room), t, facts.sending(message));
                for FaultTimes { report, .. } in self.faults.iter_mut().filter(|fault| fault.report.healed.is_none()) {
                    report.silence = report.silence.max(silence);
                }
                self.counts.delivered += 1;
                self.second(|second| second.delivered += 1);
                let sending = facts.sending(message);
                if sending.attempts > 0 {
                    let time = t.saturating_sub(sending.due);
                    self.delivery.note(time);
                    self.present.note(time);
                }
            }
            What::Joined { room, resumed, .. } => {
                if resumed {
                    self.counts.resumed += 1;
                } else if facts.view(client, room).is_some_and(|view| view.asked_after || view.joined) {
                    self.counts.gaps_told += 1;
                }
            }
            What::Leave { room } => self.silences.left((client, room)),
            What::Closing => self.each_fault(facts, t, |report| report.closing += 1),
            What::Rejected { .. } => {
                self.counts.rejected += 1;
                self.each_fault(facts, t, |report| report.rejected += 1);
            }
            What::Close { socket, .. } => {
                self.counts.closed += 1;
                self.second(|second| second.closed += 1);
                self.each_fault(facts, t, |report| report.closed += 1);
                self.lost(client, socket, t, facts);
            }
            What::GaveUp { socket } => self.lost(client, socket, t, facts),
            What::Fault(ref fault) => self.faults.push(FaultTimes {
                report: FaultReport {
                    name: fault.name.clone().into_owned(),
                    t,
                    healed: None,
                    closed: 0,
                    rejected: 0,
                    unavailable: 0,
                    silence: 0,
                    last_lost: None,
                    written_again: None,
                    closing: 0,
                    recovery: Quantiles::default(),
                    never_back: 0,
                },
                recovery: Times::new(3),
            }),
            What::Healed => {
                for fault in self.faults.iter_mut().filter(|fault| fault.report.healed.is_none()) {
                    fault.report.healed = Some(t);
                }
            }
            _ => {}
        }
    }

    /// Sees it again, with the facts of after: whether a client has caught up now.
    pub(super) fn see_after(&mut self, record: &Record, facts: &Facts) {
        let Record { t, client, ref what } = *record;
        if !matches!(what, What::Joined { .. } | What::Message { .. }) {
            return;
        }
        let Some(place) = self.away.get_mut(client as usize).filter(|away| away.is_some()) else { return };
        let Some(state) = facts.clients.get(client as usize).filter(|client| client.socket.is_some()) else { return };
        if state.views.iter().any(|(_, view)| view.wanted && (!view.joined || view.is_behind())) {
            return;
        }
        if let Some(away) = place.take() {
            self.recovery.note(t.saturating_sub(away.since));
            if let Some(fault) = away.fault.and_then(|fault| self.faults.get_mut(fault)) {
                fault.recovery.note(t.saturating_sub(fault.report.t));
            }
        }
    }

    /// The socket is lost; unless another one has replaced it already, its client is away.
    fn lost(&mut self, client: ClientNumber, socket: trunkline_client::SocketId, t: Micros, facts: &Facts) {
        if facts.clients.get(client as usize).and_then(|client| client.socket) != Some(socket) {
            return;
        }
        self.connected = self.connected.saturating_sub(1);
        if !facts.over {
            self.each_fault(facts, t, |report| report.last_lost = Some(t.saturating_sub(report.t)));
        }
        let index = client as usize;
        if index >= self.away.len() {
            self.away.resize(index + 1, None);
        }
        if self.away[index].is_none() && !facts.over {
            let fault = facts.faults.iter().rposition(|window| window.covers(t));
            self.away[index] = Some(Away { since: t, fault });
        }
    }

    fn each_fault(&mut self, facts: &Facts, t: Micros, note: impl Fn(&mut FaultReport)) {
        // The latest fault of the time: an effect is counted once.
        if let Some(index) = facts.faults.iter().rposition(|window| window.covers(t)) {
            note(&mut self.faults[index].report);
        }
    }

    fn second(&mut self, note: impl FnOnce(&mut Second)) {
        if let Some(second) = self.timeline.last_mut() {
            note(second);
        }
    }

    /// Goes on to the second of `t`. Lines of one process may be microseconds out of order; they count as now.
    fn turn_to(&mut self, t: Micros) {
        let seconds = usize::try_from(t / 1_000_000).unwrap_or(usize::MAX).min(86_400);
        while self.timeline.len() <= seconds {
            self.finish_second();
            self.timeline.push(Second::default());
        }
    }

    fn finish_second(&mut self) {
        let Quantiles { p50, p99, .. } = self.present.quantiles();
        let connected = self.connected;
        self.second(|second| {
            second.p50 = p50;
            second.p99 = p99;
            second.connected = connected;
        });
        self.present.0.reset();
    }

    pub(super) fn delivery(&self) -> Quantiles {
        self.delivery.quantiles()
    }

    pub(super) fn acknowledgement(&self) -> Quantiles {
        self.acknowledgement.quantiles()
    }

    pub(super) fn silence(&self) -> Quantiles {
        self.silences.quantiles()
    }

    pub(super) fn recovery(&self) -> Quantiles {
        self.recovery.quantiles()
    }

    /// The faults, with whom they cost for good among the clients that should still be there.
    pub(super) fn faults(&self, facts: &Facts) -> Vec<FaultReport> {
        let wanted = |client: usize| {
            facts.clients.get(client).is_some_and(|client| client.views.iter().any(|(_, view)| view.wanted))
        };
        (0..)
            .zip(&self.faults)
            .map(|(number, fault)| {
                let away = (0..).zip(&self.away).filter(|(client, away)| {
                    away.as_ref().is_some_and(|away| away.fault == Some(number)) && wanted(*client)
                });
                FaultReport {
                    recovery: fault.recovery.quantiles(),
                    never_back: away.count() as u64,
                    ..fault.report.clone()
                }
            })
            .collect()
    }

    pub(super) fn timeline(&mut self) -> Vec<Second> {
        self.finish_second();
        std::mem::take(&mut self.timeline)
    }
}
