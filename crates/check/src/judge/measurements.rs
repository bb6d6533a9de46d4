//! Counts, latencies and recovery times. They are part of the verdict, but no invariant depends on them.

use std::collections::HashSet;

use trunkline_client::SocketId;

use super::{
    event::{EventKind, HistoryEvent, MessageNumber},
    phases::PhaseTracker,
    quantiles::{Quantiles, TimeHistogram},
    silence::SilenceTracker,
    state::HistoryState,
    verdict::{FaultReport, PhaseReport, RunCounts, TimelineSecond},
};
use crate::history::{ClientNumber, InjectedFault, Micros};

/// Longest timeline in seconds: one day. Later events count in its last second.
const TIMELINE_SECONDS_MAX: usize = 86_400;

/// Everything that is measured.
#[derive(Debug)]
pub(crate) struct Measurements {
    pub(crate) counts: RunCounts,
    /// Amendments without an acknowledgement.
    amendments: HashSet<MessageNumber>,
    delivery: TimeHistogram,
    acknowledgement: TimeHistogram,
    recovery: TimeHistogram,
    silence: SilenceTracker,
    faults: Vec<FaultMeasurement>,
    phases: PhaseTracker,
    timeline: Vec<TimelineSecond>,
    /// Delivery latencies of the current second.
    current_second: TimeHistogram,
    /// Per client: since when it has been disconnected, if it is.
    disconnected: Vec<Option<Disconnection>>,
    /// Number of clients with a socket.
    connected: u64,
}

#[derive(Debug)]
struct FaultMeasurement {
    report: FaultReport,
    anytime: bool,
    recovery: TimeHistogram,
}

#[derive(Clone, Debug)]
struct Disconnection {
    since: Micros,
    /// Index of the fault that explains it, if one does.
    fault: Option<usize>,
}

impl Default for Measurements {
    fn default() -> Self {
        Self {
            counts: RunCounts::default(),
            amendments: HashSet::new(),
            delivery: TimeHistogram::new(3),
            acknowledgement: TimeHistogram::new(3),
            recovery: TimeHistogram::new(3),
            silence: SilenceTracker::default(),
            faults: Vec::new(),
            phases: PhaseTracker::default(),
            timeline: Vec::new(),
            current_second: TimeHistogram::new(2),
            disconnected: Vec::new(),
            connected: 0,
        }
    }
}

impl Measurements {
    /// Observes an event with the state before it.
    pub(crate) fn observe(&mut self, event: &HistoryEvent, state: &HistoryState) {
        let HistoryEvent { t, client, ref kind } = *event;
        self.advance_timeline(t);
        match *kind {
            EventKind::Client => self.counts.clients += 1,
            EventKind::Open { .. } if state.clients.get(client as usize).is_none_or(|c| c.socket.is_none()) => {
                self.connected += 1;
            }
            EventKind::Send { message, kind, .. } => {
                if kind.is_amendment() {
                    self.amendments.insert(message);
                }
                self.counts.attempts += 1;
                if state.fate(message).attempts == 0 {
                    self.counts.sent += 1;
                    self.in_current_second(|second| second.sent += 1);
                }
            }
            EventKind::Sent { message, .. } if !state.fate(message).acked => {
                self.counts.acknowledged += 1;
                self.counts.amended += u64::from(self.amendments.remove(&message));
                self.in_current_second(|second| second.acknowledged += 1);
                let latency = t.saturating_sub(state.fate(message).due);
                self.acknowledgement.record(latency);
                self.phases.acknowledged(latency);
                for FaultMeasurement { report, .. } in &mut self.faults {
                    let since_healed = report.healed.map(|healed| t.saturating_sub(healed));
                    report.written_again = report.written_again.or(since_healed);
                }
            }
            EventKind::Refused { definite, .. } => {
                self.in_current_second(|second| second.refused += 1);
                self.phases.count(|report| report.refused += 1);
                if !definite {
                    self.in_current_fault(state, t, |report| report.unavailable += 1);
                }
            }
            EventKind::Message { room, message, .. } => {
                let fate = state.fate(message);
                let silence = self.silence.delivered((client, room), t, fate);
                for FaultMeasurement { report, .. } in
                    self.faults.iter_mut().filter(|fault| fault.report.healed.is_none())
                {
                    report.silence = report.silence.max(silence);
                }
                self.counts.delivered += 1;
                self.in_current_second(|second| second.delivered += 1);
                if fate.attempts > 0 {
                    let latency = t.saturating_sub(fate.due);
                    self.delivery.record(latency);
                    self.current_second.record(latency);
                    self.phases.delivered(latency);
                }
            }
            EventKind::Joined { room, resumed, .. } => {
                if resumed {
                    self.counts.resumed += 1;
                } else if state.view(client, room).is_some_and(|view| view.asked_to_resume || view.joined) {
                    self.counts.gaps_reported += 1;
                }
            }
            EventKind::Refreshed => self.counts.refreshed += 1,
            EventKind::Leave { room } => self.silence.left((client, room)),
            EventKind::Closing => self.in_current_fault(state, t, |report| report.closing += 1),
            EventKind::Rejected { .. } => {
                self.counts.rejected += 1;
                self.phases.count(|report| report.rejected += 1);
                self.in_current_fault(state, t, |report| report.rejected += 1);
            }
            EventKind::Close { socket, .. } => {
                self.counts.closed += 1;
                self.phases.count(|report| report.closed += 1);
                self.in_current_second(|second| second.closed += 1);
                self.in_current_fault(state, t, |report| report.closed += 1);
                self.socket_lost(client, socket, t, state);
            }
            EventKind::ClientClose { socket } => self.socket_lost(client, socket, t, state),
            EventKind::Fault(ref fault) => self.faults.push(FaultMeasurement::new(t, fault)),
            EventKind::Phase { ref name } => self.phases.begin(t, name),
            EventKind::Healed => {
                for fault in self.faults.iter_mut().filter(|fault| fault.report.healed.is_none()) {
                    fault.report.healed = Some(t);
                }
            }
            _ => {}
        }
    }

    /// Observes the event again, with the state after it, to find out whether a client has caught up.
    pub(crate) fn observe_after(&mut self, event: &HistoryEvent, state: &HistoryState) {
        let HistoryEvent { t, client, ref kind } = *event;
        if !matches!(kind, EventKind::Joined { .. } | EventKind::Message { .. }) {
            return;
        }
        let Some(slot) = self.disconnected.get_mut(client as usize).filter(|slot| slot.is_some()) else { return };
        let Some(client) = state.clients.get(client as usize).filter(|client| client.socket.is_some()) else { return };
        if client.views.iter().any(|(_, view)| view.wanted && (!view.joined || view.is_behind())) {
            return;
        }
        if let Some(disconnection) = slot.take() {
            self.recovery.record(t.saturating_sub(disconnection.since));
            if let Some(fault) = disconnection.fault.and_then(|fault| self.faults.get_mut(fault)) {
                let since = if fault.anytime { disconnection.since } else { fault.report.t };
                fault.recovery.record(t.saturating_sub(since));
            }
        }
    }

    /// A socket is lost. The client is disconnected unless another socket has replaced this one already.
    fn socket_lost(&mut self, client: ClientNumber, socket: SocketId, t: Micros, state: &HistoryState) {
        if state.clients.get(client as usize).and_then(|client| client.socket) != Some(socket) {
            return;
        }
        self.connected = self.connected.saturating_sub(1);
        if state.disconnecting {
            return;
        }
        self.in_current_fault(state, t, |report| report.last_lost = Some(t.saturating_sub(report.t)));
        let index = client as usize;
        if index >= self.disconnected.len() {
            self.disconnected.resize(index + 1, None);
        }
        if self.disconnected[index].is_none() {
            let fault = state.faults.iter().rposition(|window| window.covers(t));
            self.disconnected[index] = Some(Disconnection { since: t, fault });
        }
    }

    /// Updates the report of the latest fault that covers `t`, so that each effect is counted once.
    fn in_current_fault(&mut self, state: &HistoryState, t: Micros, update: impl Fn(&mut FaultReport)) {
        if let Some(index) = state.faults.iter().rposition(|window| window.covers(t)) {
            update(&mut self.faults[index].report);
        }
    }

    fn in_current_second(&mut self, update: impl FnOnce(&mut TimelineSecond)) {
        if let Some(second) = self.timeline.last_mut() {
            update(second);
        }
    }

    /// Extends the timeline to the second of `t`. An event that is older than the last second counts in the last second.
    fn advance_timeline(&mut self, t: Micros) {
        let seconds = usize::try_from(t / 1_000_000).unwrap_or(usize::MAX).min(TIMELINE_SECONDS_MAX);
        while self.timeline.len() <= seconds {
            self.finish_second();
            self.timeline.push(TimelineSecond::default());
        }
    }

    fn finish_second(&mut self) {
        let Quantiles { p50, p99, .. } = self.current_second.quantiles();
        let connected = self.connected;
        self.in_current_second(|second| {
            second.p50 = p50;
            second.p99 = p99;
            second.connected = connected;
        });
        self.current_second.clear();
    }

    pub(crate) fn delivery(&self) -> Quantiles {
        self.delivery.quantiles()
    }

    pub(crate) fn acknowledgement(&self) -> Quantiles {
        self.acknowledgement.quantiles()
    }

    pub(crate) fn silence(&self) -> Quantiles {
        self.silence.quantiles()
    }

    pub(crate) fn recovery(&self) -> Quantiles {
        self.recovery.quantiles()
    }

    /// Returns the reports of all faults. A client that should be in a room and never caught up again counts as never back.
    pub(crate) fn faults(&self, state: &HistoryState) -> Vec<FaultReport> {
        let is_wanted = |client: usize| {
            state.clients.get(client).is_some_and(|client| client.views.iter().any(|(_, view)| view.wanted))
        };
        (0..)
            .zip(&self.faults)
            .map(|(number, fault)| {
                let never_back = (0..).zip(&self.disconnected).filter(|(client, slot)| {
                    slot.as_ref().is_some_and(|slot| slot.fault == Some(number)) && is_wanted(*client)
                });
                FaultReport {
                    recovery: fault.recovery.quantiles(),
                    never_back: never_back.count() as u64,
                    ..fault.report.clone()
                }
            })
            .collect()
    }

    pub(crate) fn phases(&self) -> Vec<PhaseReport> {
        self.phases.reports()
    }

    /// Takes the timeline out.
    pub(crate) fn timeline(&mut self) -> Vec<TimelineSecond> {
        self.finish_second();
        std::mem::take(&mut self.timeline)
    }
}

impl FaultMeasurement {
    fn new(t: Micros, fault: &InjectedFault<'_>) -> Self {
        let report = FaultReport {
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
        };
        Self { report, anytime: fault.anytime, recovery: TimeHistogram::new(3) }
    }
}
