//! The workload `memory`: idle sockets in growing numbers, and the memory of servers and kernel for each of them.
//!
//! What a process costs without sockets is not counted.

use std::{
    fs,
    time::{Duration, Instant},
};

use rustix::param::page_size;
use trunkline_testbed::StopSignal;

use super::{
    deployment::PeerDeployment,
    figures::{Figure, FigureValues, LoadResult},
    plan::{BenchCell, BenchPlan, Peer},
    programs::PreparedPeers,
    spread::{HeldLoads, SocketSpread, meminfo_kib},
};
use crate::error::{BenchError, Result};

const ROOM_SIZE: u32 = 1000;

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

/// Measures one peer in one cell, once.
pub(super) fn measure(
    cell: &BenchCell,
    peer: Peer,
    plan: BenchPlan,
    prepared: &PreparedPeers,
    stop: &StopSignal,
) -> Result<FigureValues> {
    let spread = SocketSpread::on_this_machine(cell.sockets)?;
    let deployment = PeerDeployment::start(peer, spread.instances, 0, prepared, stop)?;
    let deadline = Instant::now() + Duration::from_secs(120 + u64::from(spread.instances * spread.sockets) / 200);
    let before = KernelMemory::read()?;
    let share = BenchCell { sockets: spread.sockets, rooms: spread.sockets.div_ceil(ROOM_SIZE), ..*cell };
    let loads = HeldLoads::open(&share, peer, plan, (&deployment, prepared), deadline, stop)?;
    let sockets = f64::from(spread.instances * spread.sockets);
    let kernel = KernelMemory::read()?.per_socket(before, sockets);
    let results = loads.measure(deadline, stop)?;
    let growth =
        |result: &LoadResult| result.pss_kib_after.unwrap_or_default() - result.pss_kib_before.unwrap_or_default();
    let grown: f64 = results.iter().map(growth).sum();
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
