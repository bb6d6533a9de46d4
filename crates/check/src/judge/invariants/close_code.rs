//! Invariant 10: an injected fault explains every close code, and gateways return to their baseline of resources.

use std::collections::HashMap;

use crate::{
    history::{MeasurementStage, Micros},
    judge::{
        event::{EventKind, HistoryEvent},
        invariant::{Invariant, Violations},
        state::HistoryState,
        verdict::InvariantResult,
    },
};

/// Close codes that a fault explains by default: going away, connection broken, restart, ping timeout.
const CODES_EXPLAINED_BY_DEFAULT: [u16; 4] = [1001, 1006, 1012, 4408];
/// File descriptors that a gateway may hold in addition after the run. The pool of up to eight Redis connections opens them
/// as needed, and a balancer keeps connections open for its health checks.
pub(crate) const FD_GROWTH_MAX: u64 = 12;
/// Threads that a gateway may have in addition after the run. Runtimes start blocking threads and keep them idle.
const THREAD_GROWTH_MAX: u64 = 16;
/// Resident bytes that a gateway may hold in addition after the run, besides half of its baseline: 64 MiB. The allocator
/// keeps freed pages, and the rooms of the run stay in memory for a while.
const RSS_GROWTH_MAX: u64 = 64 << 20;

#[derive(Debug, Default)]
pub(crate) struct CloseCodeInvariant {
    /// Resident bytes, file descriptors and threads of each process before the run.
    baselines: HashMap<u32, [u64; 3]>,
    violations: Violations,
}

impl Invariant for CloseCodeInvariant {
    fn observe(&mut self, event: &HistoryEvent, state: &HistoryState) {
        let HistoryEvent { t, client, ref kind } = *event;
        match *kind {
            EventKind::Close { code, .. } if !is_explained(state, t, Some(code)) => self.violations.add(|| {
                let client = state.client_name(client);
                format!("{client} was closed with code {code} after {} s; no injected fault explains it", seconds(t))
            }),
            EventKind::Rejected { status } if !is_explained(state, t, None) => self.violations.add(|| {
                let client = state.client_name(client);
                let answer = if status == 0 { "no response".to_owned() } else { format!("HTTP status {status}") };
                format!("{client} got {answer} when connecting after {} s; no injected fault explains it", seconds(t))
            }),
            EventKind::InvalidFrame => self.violations.add(|| {
                let client = state.client_name(client);
                format!("{client} received a frame that is not part of the protocol after {} s", seconds(t))
            }),
            EventKind::ProcessUsage { pid, stage: MeasurementStage::Before, rss, fds, threads } => {
                self.baselines.insert(pid, [rss, fds, threads]);
            }
            EventKind::ProcessUsage { pid, stage: MeasurementStage::After, rss, fds, threads } => {
                self.compare_with_baseline(pid, [rss, fds, threads]);
            }
            _ => {}
        }
    }

    fn result(&mut self, _: &HistoryState) -> InvariantResult {
        let title = "an injected fault explains every close; gateways return to their baseline of resources";
        let mut result = self.violations.result(10, title);
        if self.baselines.is_empty() {
            result.note = Some("memory and file descriptors of gateways were not measured (no --pid)".to_owned());
        }
        result
    }
}

impl CloseCodeInvariant {
    fn compare_with_baseline(&mut self, pid: u32, after: [u64; 3]) {
        let Some(before) = self.baselines.get(&pid) else { return };
        let limits =
            [before[0] + before[0] / 2 + RSS_GROWTH_MAX, before[1] + FD_GROWTH_MAX, before[2] + THREAD_GROWTH_MAX];
        for (index, resource) in ["resident bytes", "file descriptors", "threads"].into_iter().enumerate() {
            if after[index] > limits[index] {
                self.violations.add(|| {
                    format!(
                        "process {pid} holds {} {resource} after the run and held {} before it (limit {})",
                        after[index], before[index], limits[index]
                    )
                });
            }
        }
    }
}

/// Returns whether a fault that covers `t` explains a close with `code`, or (`None`) a refused connection attempt.
fn is_explained(state: &HistoryState, t: Micros, code: Option<u16>) -> bool {
    state.faults.iter().filter(|window| window.covers(t)).any(|window| {
        let codes = window.fault.closes.as_deref().unwrap_or(&CODES_EXPLAINED_BY_DEFAULT);
        code.is_none_or(|code| codes.contains(&code))
    })
}

fn seconds(t: Micros) -> u64 {
    t / 1_000_000
}
