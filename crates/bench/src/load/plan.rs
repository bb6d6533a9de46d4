//! Who sits where: the sockets of a run, worked out before the first is opened. Pure.

use std::net::Ipv4Addr;

use super::{LoadArguments, LoadKind};
use crate::dialect::SocketRole;

/// Sockets that connect from one address. A port is taken by one socket of an address at a time, and Linux has some 28,000
/// of them to give (`ip_local_port_range`).
const FROM_ONE_ADDRESS: usize = 8_000;
/// Share of the sockets of a mixed load that come and go, one in this many.
const RESTLESS: usize = 10;

/// One socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PlannedSocket {
    pub(super) role: SocketRole,
    pub(super) room: usize,
    pub(super) target: usize,
    /// Comes and goes while others write, so no message is expected there.
    pub(super) restless: bool,
}

/// All sockets, and who writes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SocketPlan {
    pub(super) sockets: Vec<PlannedSocket>,
    /// Of each room, the sockets that write, as indices into `sockets`.
    pub(super) writers: Vec<Vec<usize>>,
    /// Of each room, the members that every message is expected at.
    pub(super) expected: Vec<u32>,
}

impl SocketPlan {
    pub(super) fn new(arguments: &LoadArguments) -> Self {
        let (rooms, targets) = (arguments.rooms, arguments.targets.len());
        let sizes = match arguments.workload {
            LoadKind::Mixed => uneven(arguments.sockets, rooms),
            _ => (0..rooms)
                .map(|room| arguments.sockets / rooms + usize::from(room < arguments.sockets % rooms))
                .collect(),
        };
        let writers = match arguments.workload {
            LoadKind::Connect | LoadKind::Idle => 0,
            _ => arguments.writers.div_ceil(rooms),
        };
        let members_write = arguments.dialect.members_write();
        let mut plan = Self { sockets: Vec::new(), writers: Vec::new(), expected: Vec::new() };
        for (room, size) in sizes.into_iter().enumerate() {
            let first = plan.sockets.len();
            let place = |role| move |nth| PlannedSocket { role, room, target: (nth + room) % targets, restless: false };
            plan.sockets.extend((0..size).map(place(SocketRole::Member)));
            if members_write {
                plan.writers.push((first..first + writers.min(size)).collect());
            } else {
                plan.writers.push((first + size..first + size + writers).collect());
                plan.sockets.extend((0..writers).map(place(SocketRole::Writer)));
            }
            // Those at the end, so that writers stay.
            let restless = if arguments.workload == LoadKind::Mixed { size / RESTLESS } else { 0 };
            plan.sockets[first + size - restless..first + size].iter_mut().for_each(|place| place.restless = true);
            plan.expected.push((size - restless) as u32);
        }
        plan
    }
}

/// Sizes of rooms as people fill them: the second has half as many as the first, the third a third (Zipf's law); each at
/// least one.
fn uneven(sockets: usize, rooms: usize) -> Vec<usize> {
    let harmonic: f64 = (1..=rooms).map(|rank| 1.0 / rank as f64).sum();
    let spare = sockets - rooms;
    let mut sizes: Vec<_> = (1..=rooms).map(|rank| 1 + (spare as f64 / harmonic / rank as f64) as usize).collect();
    sizes[0] += sockets - sizes.iter().sum::<usize>();
    sizes
}

/// The loopback address from which a socket connects.
pub(super) fn source(index: usize) -> Ipv4Addr {
    // Two million sockets would be needed to leave the range.
    Ipv4Addr::new(127, 0, 0, u8::try_from(1 + index / FROM_ONE_ADDRESS).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn plan(line: &str) -> SocketPlan {
        #[derive(Parser)]
        struct Flags {
            #[command(flatten)]
            arguments: LoadArguments,
        }
        SocketPlan::new(&Flags::parse_from(["load"].into_iter().chain(line.split(' '))).arguments)
    }

    const TARGETS: &str = "--target 127.0.0.1:1 127.0.0.1:2 127.0.0.1:3";

    #[test]
    fn every_target_gets_its_share_of_every_room() {
        let plan = plan(&format!("--dialect trunkline --workload rooms --sockets 600 --rooms 100 {TARGETS}"));
        assert_eq!((plan.sockets.len(), plan.writers.len()), (600, 100));
        assert_eq!(plan.expected, [6; 100]);
        for room in 0..100 {
            let at = |target| plan.sockets.iter().filter(|place| place.room == room && place.target == target).count();
            assert_eq!([at(0), at(1), at(2)], [2, 2, 2]);
        }
        // One writer a room, and these are spread, too.
        let targets: Vec<_> = plan.writers.iter().map(|writers| plan.sockets[writers[0]].target).collect();
        assert_eq!(targets[..4], [0, 1, 2, 0]);
        assert!(plan.sockets.iter().all(|place| place.role == SocketRole::Member));
    }

    #[test]
    fn who_cannot_write_as_a_member_has_writers_beside() {
        let plan = plan(&format!("--dialect floor --workload flat --sockets 10 {TARGETS}"));
        assert_eq!((plan.sockets.len(), &plan.expected[..]), (14, &[10][..]));
        assert_eq!(plan.writers, [[10, 11, 12, 13]]);
        assert!(plan.writers[0].iter().all(|index| plan.sockets[*index].role == SocketRole::Writer));
    }

    #[test]
    fn nobody_writes_where_only_connections_count() {
        for workload in ["idle", "connect"] {
            let plan = plan(&format!("--dialect nats --workload {workload} --sockets 10 {TARGETS}"));
            assert_eq!((plan.sockets.len(), &plan.writers[..]), (10, &[vec![]][..]));
        }
    }

    #[test]
    fn a_mixed_load_has_large_and_small_rooms_and_a_tenth_that_comes_and_goes() {
        let plan = plan(&format!("--dialect trunkline --workload mixed --sockets 1000 --rooms 50 {TARGETS}"));
        let sizes: Vec<_> =
            (0..50).map(|room| plan.sockets.iter().filter(|place| place.room == room).count()).collect();
        assert_eq!(sizes.iter().sum::<usize>(), 1000);
        assert!(sizes.is_sorted_by(|before, after| before >= after) && sizes[0] > 200 && sizes[49] >= 1, "{sizes:?}");
        let restless = plan.sockets.iter().filter(|place| place.restless).count();
        assert!((60..=100).contains(&restless), "{restless}");
        assert_eq!(plan.expected.iter().sum::<u32>() as usize, 1000 - restless);
        for writer in plan.writers.iter().flatten() {
            assert!(!plan.sockets[*writer].restless);
        }
    }

    #[test]
    fn more_sockets_than_ports_come_from_more_addresses() {
        assert_eq!(source(0), Ipv4Addr::LOCALHOST);
        assert_eq!(source(7_999), Ipv4Addr::LOCALHOST);
        assert_eq!(source(8_000), Ipv4Addr::new(127, 0, 0, 2));
    }
}
