//! The parts of the checker's JSON verdict that scenarios use. Times are µs since the start of the run.

use std::ops::Range;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct CheckerVerdict {
    pub(crate) passed: bool,
    pub(crate) counts: VerdictCounts,
    pub(crate) invariants: Vec<InvariantResult>,
    pub(crate) delivery: Quantiles,
    pub(crate) recovery: Quantiles,
    pub(crate) silence: Quantiles,
    pub(crate) faults: Vec<FaultOutcome>,
    pub(crate) unknown_users: Vec<UnknownUser>,
    pub(crate) timeline: Vec<TimelineSecond>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize)]
pub(crate) struct VerdictCounts {
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
    pub(crate) skipped: u64,
    pub(crate) gaps_reported: u64,
    pub(crate) closed: u64,
    pub(crate) rejected: u64,
    pub(crate) flickers: u64,
    pub(crate) amended: u64,
    pub(crate) redacted: u64,
    pub(crate) refreshed: u64,
}

/// A user outside the run, as the clients of the checker saw them.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct UnknownUser {
    pub(crate) user: String,
    pub(crate) views: u64,
    pub(crate) views_left: u64,
    pub(crate) views_left_again: u64,
    pub(crate) last_left: Option<u64>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct InvariantResult {
    pub(crate) number: u8,
    pub(crate) title: String,
    /// `None` if the invariant was not judged.
    pub(crate) holds: Option<bool>,
    pub(crate) examples: Vec<String>,
    pub(crate) note: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize)]
pub(crate) struct Quantiles {
    pub(crate) count: u64,
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct FaultOutcome {
    pub(crate) name: String,
    pub(crate) t: u64,
    pub(crate) healed: Option<u64>,
    pub(crate) closed: u64,
    pub(crate) rejected: u64,
    pub(crate) unavailable: u64,
    pub(crate) silence: u64,
    pub(crate) last_lost: Option<u64>,
    pub(crate) written_again: Option<u64>,
    pub(crate) closing: u64,
    pub(crate) recovery: Quantiles,
    pub(crate) never_back: u64,
}

#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
pub(crate) struct TimelineSecond {
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
    pub(crate) delivered: u64,
    pub(crate) connected: u64,
    pub(crate) p99: u64,
}

impl CheckerVerdict {
    /// Numbers of the violated invariants.
    pub(crate) fn broken(&self) -> Vec<u8> {
        self.invariants.iter().filter(|ruling| ruling.holds == Some(false)).map(|ruling| ruling.number).collect()
    }

    /// Times from the fault that closed most sockets until clients had received what they missed. Without such a fault:
    /// times from each lost socket.
    pub(crate) fn recovery(&self) -> Quantiles {
        let worst = self.faults.iter().map(|fault| fault.recovery).max_by_key(|recovery| recovery.count);
        worst.filter(|recovery| recovery.count > 0).unwrap_or(self.recovery)
    }

    /// The usual p99 of delivery latencies, in µs: the median over the whole seconds of `time` with deliveries. A single
    /// slow second is noise of the machine; a fault causes many.
    pub(crate) fn usual_p99(&self, time: Range<u64>) -> u64 {
        let [from, to] = [time.start, time.end].map(|t| usize::try_from(t / 1_000_000).unwrap_or(usize::MAX));
        let busy = self.timeline.iter().take(to).skip(from + 1).filter(|second| second.delivered > 0);
        let mut times: Vec<u64> = busy.map(|second| second.p99).collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or(0)
    }
}

/// A time in µs as text in ms.
pub(crate) fn millis(time: Option<u64>) -> String {
    time.map_or("never".to_owned(), |time| format!("{} ms", time / 1000))
}
