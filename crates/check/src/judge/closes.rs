//! 10: every close code fits the fault; memory, file descriptors and threads of the gateways return to where they were.

use std::collections::HashMap;

use super::{
    Invariant,
    facts::Facts,
    record::{Record, What},
    verdict::{Breaches, Ruling},
};
use crate::history::Stage;

/// Codes that a fault explains unless it says otherwise: going away, broken, restart, no sign of life in time.
const EXPLAINED: [u16; 4] = [1001, 1006, 1012, 4408];
/// File descriptors that a gateway may hold more of afterwards: a pool of eight connections to Redis, opened as needed,
/// and what a balancer and those who ask for its health keep open.
pub(crate) const MORE_FDS: u64 = 12;
/// Threads that a gateway may have more of afterwards: runtimes start blocking threads and let them idle.
const MORE_THREADS: u64 = 16;
/// Resident bytes that a gateway may hold more of afterwards, beside half of what it had: allocators keep pages, and the
/// rooms of the run stay warm for a while.
const MORE_RSS: u64 = 64 << 20;

#[derive(Debug, Default)]
pub(super) struct Closes {
    before: HashMap<u32, [u64; 3]>,
    breaches: Breaches,
}

impl Invariant for Closes {
    fn see(&mut self, record: &Record, facts: &Facts) {
        let Record { t, client, ref what } = *record;
        match *what {
            What::Close { code, .. } if !explained(facts, t, Some(code)) => {
                self.breaches.add(|| {
                    format!("client {client} was closed with {code} at {} s, which nothing explains", t / 1_000_000)
                });
            }
            What::Rejected { status } if !explained(facts, t, None) => {
                self.breaches.add(|| {
                    format!("client {client} was refused with {status} at {} s, which nothing explains", t / 1_000_000)
                });
            }
            What::Unreadable => self.breaches.add(|| format!("client {client} got a frame that no gateway sends")),
            What::Gauge { pid, stage: Stage::Before, rss, fds, threads } => {
                self.before.insert(pid, [rss, fds, threads]);
            }
            What::Gauge { pid, stage: Stage::After, rss, fds, threads } => self.compare(pid, [rss, fds, threads]),
            _ => {}
        }
    }

    fn rule(&mut self, _: &Facts) -> Ruling {
        let mut ruling = self.breaches.ruling(10, "every close fits the fault; gateways return to their baseline");
        if self.before.is_empty() {
            ruling.note = Some("memory and file descriptors were not measured (no --pid)".to_owned());
        }
        ruling
    }
}

impl Closes {
    fn compare(&mut self, pid: u32, after: [u64; 3]) {
        let Some(before) = self.before.get(&pid) else { return };
        let allowed = [before[0] + before[0] / 2 + MORE_RSS, before[1] + MORE_FDS, before[2] + MORE_THREADS];
        for (index, what) in ["resident bytes", "file descriptors", "threads"].into_iter().enumerate() {
            if after[index] > allowed[index] {
                self.breaches.add(|| format!("process {pid} went from {} to {} {what}", before[index], after[index]));
            }
        }
    }
}

/// Whether a fault of the time explains it: a close by its code, a refusal in any case.
fn explained(facts: &Facts, t: u64, code: Option<u16>) -> bool {
    facts.faults.iter().filter(|window| window.covers(t)).any(|window| {
        let explained = window.fault.closes.as_deref().unwrap_or(&EXPLAINED);
        code.is_none_or(|code| explained.contains(&code))
    })
}
