//! The workload `growth`: the same load over more and more rooms, sockets or instances, and rooms without messages.

use std::time::{Duration, Instant};

use trunkline_testbed::StopSignal;

use super::{
    deployment::PeerDeployment,
    figures::{FigureValues, LoadResult, figures},
    growth_axis::GrowthAxis,
    plan::{BenchCell, BenchPlan, Peer},
    programs::PreparedPeers,
    spread::{HeldLoads, SocketSpread},
};
use crate::error::Result;

/// Maximum time of a measurement, beside the time in which its sockets are opened.
const LOAD_TIMEOUT: Duration = Duration::from_secs(300);

/// Measures one peer in one cell, once.
pub(super) fn measure(
    cell: &BenchCell,
    peer: Peer,
    plan: BenchPlan,
    prepared: &PreparedPeers,
    stop: &StopSignal,
) -> Result<FigureValues> {
    let mut share = *cell;
    if cell.axis == Some(GrowthAxis::Sockets) {
        let SocketSpread { instances, sockets } = SocketSpread::on_this_machine(cell.sockets)?;
        share = BenchCell { instances, sockets, rate: cell.rate / instances, ..share };
    }
    let deployment = PeerDeployment::start(peer, share.instances, 0, prepared, stop)?;
    let deadline = Instant::now() + LOAD_TIMEOUT + Duration::from_secs(u64::from(cell.sockets) / 200);
    let loads = HeldLoads::open(&share, peer, plan, (&deployment, prepared), deadline, stop)?;
    Ok(figures(cell, peer, &LoadResult::sum(loads.measure(deadline, stop)?)))
}
