//! One measurement: servers started, `trunkline-bench load` let at them, servers ended.

use std::{process::Command, time::Duration};

use trunkline_testbed::Progress;

use super::{
    deployment::Deployment,
    figures::{Figures, Measured, figures},
    plan::{Cell, Peer, Scale, Workload},
    stock::{Stock, output},
};
use crate::{
    error::{Error, Result},
    stop::Stop,
};

/// How long one load may take, logins and settling with it.
const LOAD: Duration = Duration::from_secs(120);

/// Measures a peer in a cell, once.
pub(crate) fn measure(cell: &Cell, peer: Peer, scale: Scale, stock: &Stock, stop: &Stop) -> Result<Figures> {
    let deployment = Deployment::start(peer, cell.instances, stock, stop)?;
    let mut command = Command::new(&stock.programs.bench);
    command.args(["load", "--dialect", peer.dialect()]).args(cell.arguments(scale));
    // A bystander serves nobody, and is what is looked at.
    let (serving, watched) = match cell.workload {
        Workload::Bystander => (1, 1),
        _ => (usize::MAX, 0),
    };
    for port in deployment.ports().take(serving) {
        command.arg("--target").arg(format!("127.0.0.1:{port}"));
    }
    for pid in deployment.pids().skip(watched).flatten() {
        command.arg("--server-pid").arg(pid.to_string());
    }
    if let Some(pid) = deployment.redis_pid() {
        command.arg("--redis-pid").arg(pid.to_string());
    }
    let told = output("trunkline-bench", command, LOAD, &Patience(stop))?;
    let measured: Measured =
        serde_json::from_str(&told).map_err(|e| Error::Row(format!("what the load told cannot be read: {e}")))?;
    Ok(figures(cell, peer, &measured))
}

/// Says nothing, and gives up when asked to.
pub(super) struct Patience<'a>(pub(super) &'a Stop);

impl Progress for Patience<'_> {
    fn step(&self, _: &str) {}

    fn cancelled(&self) -> bool {
        self.0.is_asked()
    }
}
