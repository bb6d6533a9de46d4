//! One measurement: starts the servers, runs `trunkline-bench load`, and ends the servers.

use std::{process::Command, time::Duration};

use trunkline_testbed::{Progress, StopSignal};

use super::{
    deployment::PeerDeployment,
    figures::{FigureValues, LoadResult, Measured},
    growth, memory,
    plan::{BenchCell, BenchPlan, Peer, Workload},
    programs::{PreparedPeers, output},
    shards,
};
use crate::error::{BenchError, Result};

/// Maximum time of one load, including logins, warm-up and settling.
const LOAD_TIMEOUT: Duration = Duration::from_secs(120);
/// Maximum time of a search for the capacity, which has up to 14 steps.
const CAPACITY_TIMEOUT: Duration = Duration::from_secs(300);

/// Measures one peer in one cell, once.
pub(crate) fn measure(
    cell: &BenchCell,
    peer: Peer,
    plan: BenchPlan,
    prepared: &PreparedPeers,
    stop: &StopSignal,
) -> Result<Measured> {
    match cell.workload {
        Workload::Memory => return memory::measure(cell, peer, plan, prepared, stop).map(without_steps),
        Workload::Growth => return growth::measure(cell, peer, plan, prepared, stop).map(without_steps),
        Workload::Shards => return shards::measure(cell, peer, plan, prepared, stop).map(without_steps),
        _ => {}
    }
    let deployment = PeerDeployment::start(peer, cell.instances, cell.masters, prepared, stop)?;
    let mut command = Command::new(&prepared.programs.bench);
    command.args(["load", "--dialect", peer.dialect()]).args(cell.arguments(plan));
    // A bystander serves no socket of the rooms, and its CPU time is the figure.
    let (serving, skipped) = match cell.workload {
        Workload::Bystander => (1, 1),
        _ => (usize::MAX, 0),
    };
    for port in deployment.ports().take(serving) {
        command.arg("--target").arg(format!("127.0.0.1:{port}"));
    }
    for pid in deployment.pids().skip(skipped).flatten() {
        command.arg("--server-pid").arg(pid.to_string());
    }
    for pid in deployment.redis_pids()? {
        command.arg("--redis-pid").arg(pid.to_string());
    }
    let timeout = if cell.workload == Workload::Capacity { CAPACITY_TIMEOUT } else { LOAD_TIMEOUT };
    let text = output("trunkline-bench load", command, timeout, &StopOnly(stop))?;
    Ok(Measured::new(cell, peer, parsed(&text)?))
}

fn without_steps(figures: FigureValues) -> Measured {
    Measured { figures, steps: Vec::new() }
}

/// The output of `trunkline-bench load`.
pub(super) fn parsed(text: &str) -> Result<LoadResult> {
    serde_json::from_str(text)
        .map_err(|e| BenchError::Measurement(format!("the output of trunkline-bench load cannot be parsed: {e}")))
}

/// Prints nothing; cancels after a signal.
struct StopOnly<'a>(&'a StopSignal);

impl Progress for StopOnly<'_> {
    fn step(&self, _: &str) {}

    fn cancelled(&self) -> bool {
        self.0.is_requested()
    }
}
