//! The workload `memory`: idle sockets in growing numbers, and the memory of servers and kernel for each of them.
//!
//! A process may open a limited number of files, so the sockets are spread over as many servers and load generators as are
//! needed. What a process costs without sockets is not counted.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use rustix::param::page_size;
use trunkline_testbed::StopSignal;

use super::{
    deployment::PeerDeployment,
    figures::{Figure, FigureValues},
    plan::{BenchCell, BenchPlan, Peer},
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
const ROOM_SIZE: u32 = 1000;
/// Source addresses of a load generator: its sockets are numbered from a multiple of this. See `--first-socket`.
const NUMBERS_PER_LOAD: u32 = 64_000;

/// Sockets, and the servers over which they are spread.
#[derive(Debug, PartialEq, Eq)]
struct SocketSpread {
    instances: u32,
    /// Sockets of each of them.
    sockets: u32,
}

impl SocketSpread {
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

/// Memory of the kernel for sockets, in KiB.
#[derive(Clone, Copy, Debug, PartialEq)]
struct KernelMemory {
    /// Buffers of TCP, without those in the objects themselves.
    buffers: f64,
    /// Objects of all kinds: sockets, files, entries of epoll.
    slab: f64,
}

impl KernelMemory {
    fn read() -> Result<Self> {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self::parse(&text("/proc/net/sockstat"), &text("/proc/meminfo"))
            .ok_or_else(|| BenchError::Measurement("/proc/net/sockstat or /proc/meminfo cannot be read".to_owned()))
    }

    /// From the texts of `/proc/net/sockstat` and `/proc/meminfo` (proc_net(5), proc_meminfo(5)).
    fn parse(sockstat: &str, meminfo: &str) -> Option<Self> {
        let tcp = sockstat.lines().find_map(|line| line.strip_prefix("TCP: "))?;
        let (_, pages) = tcp.rsplit_once("mem ")?;
        let pages: f64 = pages.trim().parse().ok()?;
        Some(Self { buffers: pages * page_size() as f64 / 1024.0, slab: meminfo_kib(meminfo, "Slab")? })
    }

    /// KiB per socket. The other end of each connection is on the same machine.
    fn per_socket(self, before: Self, sockets: f64) -> f64 {
        let ends = 2.0 * sockets;
        (self.buffers - before.buffers + self.slab - before.slab) / ends
    }
}

fn meminfo_kib(meminfo: &str, name: &str) -> Option<f64> {
    let value = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.trim().strip_suffix(" kB")?.parse().ok()
}

/// Measures one peer in one cell, once.
pub(super) fn measure(
    cell: &BenchCell,
    peer: Peer,
    plan: BenchPlan,
    prepared: &PreparedPeers,
    stop: &StopSignal,
) -> Result<FigureValues> {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = meminfo_kib(&meminfo, "MemAvailable").unwrap_or_default();
    let spread = SocketSpread::new(cell.sockets, raise_file_limit(0)?, available as u64)?;
    let deployment = PeerDeployment::start(peer, spread.instances, 0, prepared, stop)?;
    let deadline = Instant::now() + Duration::from_secs(120 + u64::from(spread.instances * spread.sockets) / 200);
    let before = KernelMemory::read()?;
    let share = BenchCell { sockets: spread.sockets, rooms: spread.sockets.div_ceil(ROOM_SIZE), ..*cell };
    let mut loads = Vec::new();
    for ((port, pids), number) in deployment.ports().zip(deployment.pids()).zip(0..) {
        let mut command = Command::new(&prepared.programs.bench);
        command.args(["load", "--dialect", peer.dialect()]).args(share.arguments(plan));
        command.arg("--target").arg(format!("127.0.0.1:{port}"));
        command.arg("--first-socket").arg((number * NUMBERS_PER_LOAD).to_string());
        pids.iter().for_each(|pid| _ = command.arg("--server-pid").arg(pid.to_string()));
        let mut load = RunningLoad::start(command)?;
        // One after another: more handshakes at once would only time out.
        load.wait_open(deadline, stop)?;
        loads.push(load);
    }
    let sockets = f64::from(spread.instances * spread.sockets);
    let kernel = KernelMemory::read()?.per_socket(before, sockets);
    let mut grown = 0.0;
    loads.iter_mut().try_for_each(RunningLoad::release)?;
    for load in loads {
        let result = load.finish(deadline, stop)?;
        grown += result.pss_kib_after.unwrap_or_default() - result.pss_kib_before.unwrap_or_default();
    }
    Ok(FigureValues::from([
        (Figure::Sockets, sockets),
        (Figure::Memory, grown / sockets),
        (Figure::KernelMemory, kernel),
    ]))
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

    #[test]
    fn memory_of_the_kernel_is_read_and_divided_by_both_ends() {
        let sockstat = "sockets: used 223\nTCP: inuse 166 orphan 0 tw 854 alloc 166 mem 3\nUDP: inuse 0 mem 9\n";
        let meminfo = "MemTotal: 100 kB\nSlab:           740 kB\nSlabs: 1 kB\n";
        let now = KernelMemory::parse(sockstat, meminfo).unwrap();
        assert_eq!(now, KernelMemory { buffers: 3.0 * page_size() as f64 / 1024.0, slab: 740.0 });
        let before = KernelMemory { buffers: now.buffers - 8.0, slab: 700.0 };
        assert!((now.per_socket(before, 4.0) - 6.0).abs() < 1e-9);
        assert_eq!(KernelMemory::parse("TCP: inuse 1", meminfo), None);
        assert_eq!(KernelMemory::parse(sockstat, "Slab: none"), None);
        assert!(KernelMemory::read().unwrap().slab > 0.0);
    }
}
