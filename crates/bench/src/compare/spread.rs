//! Sockets of one measurement in several processes, because a process may open a limited number of files: as many servers
//! and load generators as are needed.

use std::{fs, process::Command, time::Instant};

use trunkline_testbed::StopSignal;

use super::{
    deployment::PeerDeployment,
    figures::LoadResult,
    growth_axis::GrowthAxis,
    plan::{BenchCell, BenchPlan, Peer, Workload},
    programs::PreparedPeers,
    running_load::RunningLoad,
};
use crate::{
    error::{BenchError, Result},
    socket::raise_file_limit,
};

/// Files of a process besides its sockets. The gateway reserves up to 1,024 for probes and page loads; the rest is for Redis,
/// workers and libraries.
const OTHER_FILES: u64 = 1280;
/// Maximum number of servers.
const MAX_INSTANCES: u32 = 8;
/// Most sockets that are opened, because opening them takes long: about a minute on two cores.
const MOST_SOCKETS: u64 = 200_000;
/// Memory that a socket may need in all: server, kernel (both ends), load generator, session.
const KIB_PER_SOCKET: u64 = 32;
/// Source addresses of a load generator: its sockets are numbered from a multiple of this. See `--first-socket`.
const NUMBERS_PER_LOAD: u32 = 64_000;

/// Sockets, and the servers over which they are spread.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SocketSpread {
    pub(super) instances: u32,
    /// Sockets of each of them.
    pub(super) sockets: u32,
}

impl SocketSpread {
    /// `wanted` 0 stands for as many as fit.
    ///
    /// # Errors
    /// Returns [`BenchError::Measurement`] if the sockets do not fit.
    pub(super) fn on_this_machine(wanted: u32) -> Result<Self> {
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let available = meminfo_kib(&meminfo, "MemAvailable").unwrap_or_default();
        Self::new(wanted, raise_file_limit(0)?, available as u64)
    }

    /// `wanted` 0 stands for as many as fit. `files` is the limit of open files per process.
    fn new(wanted: u32, files: u64, available_kib: u64) -> Result<Self> {
        let per_process = files.saturating_sub(OTHER_FILES).min(u64::from(NUMBERS_PER_LOAD));
        let fit = (per_process * u64::from(MAX_INSTANCES)).min(available_kib / KIB_PER_SOCKET).min(MOST_SOCKETS);
        let sockets = if wanted == 0 { fit } else { u64::from(wanted) };
        if sockets > fit || fit == 0 {
            return Err(BenchError::Measurement(format!(
                "{wanted} sockets do not fit: {MAX_INSTANCES} processes of {files} files and {available_kib} KiB of memory \
                 hold {fit}"
            )));
        }
        let instances = sockets.div_ceil(per_process);
        // Both are at most `MOST_SOCKETS`.
        Ok(Self { instances: instances as u32, sockets: (sockets / instances) as u32 })
    }
}

/// Load generators whose sockets are open, and which send nothing yet.
pub(super) struct HeldLoads(Vec<RunningLoad>);

impl HeldLoads {
    /// Starts load generators with a cell's sockets: one for each server if `cell` is the share of one server, otherwise one
    /// for all servers. Returns when all sockets are open.
    pub(super) fn open(
        cell: &BenchCell,
        peer: Peer,
        plan: BenchPlan,
        (deployment, prepared): (&PeerDeployment, &PreparedPeers),
        deadline: Instant,
        stop: &StopSignal,
    ) -> Result<Self> {
        let is_share = cell.workload == Workload::Memory || cell.axis == Some(GrowthAxis::Sockets);
        let servers: Vec<_> = deployment.ports().zip(deployment.pids()).collect();
        let mut loads = Vec::new();
        for (servers, number) in servers.chunks(if is_share { 1 } else { servers.len() }).zip(0..) {
            let mut command = Command::new(&prepared.programs.bench);
            command.args(["load", "--dialect", peer.dialect()]).args(cell.arguments(plan));
            command.arg("--first-socket").arg((number * NUMBERS_PER_LOAD).to_string());
            if cell.workload == Workload::Growth {
                command.arg("--first-room").arg((number * cell.rooms).to_string());
            }
            for (port, pids) in servers {
                command.arg("--target").arg(format!("127.0.0.1:{port}"));
                pids.iter().for_each(|pid| _ = command.arg("--server-pid").arg(pid.to_string()));
            }
            // The time of Redis counts once.
            for pid in deployment.redis_pids()?.iter().filter(|_| number == 0) {
                command.arg("--redis-pid").arg(pid.to_string());
            }
            let mut load = RunningLoad::start(command)?;
            // One after another: more handshakes at once would only time out.
            load.wait_open(deadline, stop)?;
            loads.push(load);
        }
        Ok(Self(loads))
    }

    /// Lets all load generators begin, and returns their measurements.
    pub(super) fn measure(mut self, deadline: Instant, stop: &StopSignal) -> Result<Vec<LoadResult>> {
        self.0.iter_mut().try_for_each(RunningLoad::release)?;
        self.0.into_iter().map(|load| load.finish(deadline, stop)).collect()
    }
}

/// A value of `/proc/meminfo` in KiB (proc_meminfo(5)).
pub(super) fn meminfo_kib(meminfo: &str, name: &str) -> Option<f64> {
    let value = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_spread_over_as_few_processes_as_the_limit_of_files_allows() {
        let spread = |wanted, files, kib| SocketSpread::new(wanted, files, kib).map_err(|error| error.to_string());
        assert_eq!(spread(2000, 20_000, 1 << 24), Ok(SocketSpread { instances: 1, sockets: 2000 }));
        assert_eq!(spread(20_000, 20_000, 1 << 24), Ok(SocketSpread { instances: 2, sockets: 10_000 }));
        assert_eq!(spread(0, 20_000, 1 << 24), Ok(SocketSpread { instances: 8, sockets: 18_720 }));
        assert_eq!(spread(0, 1 << 20, 1 << 24), Ok(SocketSpread { instances: 4, sockets: 50_000 }));
        assert_eq!(spread(0, 1 << 20, 32_000), Ok(SocketSpread { instances: 1, sockets: 1000 }));
        assert!(spread(20_000, 2048, 1 << 24).unwrap_err().contains("hold 6144"));
        assert!(spread(0, 100, 1 << 24).is_err());
    }
}
