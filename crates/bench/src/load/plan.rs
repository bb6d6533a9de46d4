//! Rooms, roles and servers of all sockets of a run. Pure.

use std::net::Ipv4Addr;

use super::{LoadArguments, LoadKind};
use crate::dialect::SocketRole;

/// Number of sockets per source address. Each socket needs its own port of the address, and Linux has about 28,000
/// (`ip_local_port_range`).
const FROM_ONE_ADDRESS: usize = 8_000;
/// In a mixed load, one socket in this many reconnects again and again.
const RECONNECTING_ONE_IN: usize = 10;

/// One socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PlannedSocket {
    pub(super) role: SocketRole,
    /// The first of its rooms.
    pub(super) room: usize,
    pub(super) target: usize,
    /// Whether it reconnects again and again, so that no message is expected on it.
    pub(super) reconnecting: bool,
}

/// All sockets and the writers of each room.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SocketPlan {
    pub(super) sockets: Vec<PlannedSocket>,
    /// Per room, the sockets that send, as indices into `sockets`.
    pub(super) writers: Vec<Vec<usize>>,
    /// Per room, the number of sockets on which each message is expected.
    pub(super) expected: Vec<u32>,
}

impl SocketPlan {
    pub(super) fn new(arguments: &LoadArguments) -> Self {
        if arguments.rooms_per_socket > 1 {
            return Self::with_many_rooms(arguments);
        }
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
            let place =
                |role| move |nth| PlannedSocket { role, room, target: (nth + room) % targets, reconnecting: false };
            plan.sockets.extend((0..size).map(place(SocketRole::Member)));
            if members_write {
                plan.writers.push((first..first + writers.min(size)).collect());
            } else {
                plan.writers.push((first + size..first + size + writers).collect());
                plan.sockets.extend((0..writers).map(place(SocketRole::Writer)));
            }
            // The last sockets of the room, because the first ones are its writers.
            let reconnecting = if arguments.workload == LoadKind::Mixed { size / RECONNECTING_ONE_IN } else { 0 };
            plan.sockets[first + size - reconnecting..first + size]
                .iter_mut()
                .for_each(|place| place.reconnecting = true);
            plan.expected.push((size - reconnecting) as u32);
        }
        plan
    }
}

impl SocketPlan {
    /// Each socket is in several rooms: the first socket in the first rooms, the next one in the next, and after the last
    /// room again from the first.
    fn with_many_rooms(arguments: &LoadArguments) -> Self {
        let LoadArguments { rooms, rooms_per_socket, sockets, .. } = *arguments;
        let socket = |index| PlannedSocket {
            role: SocketRole::Member,
            room: index * rooms_per_socket % rooms,
            target: index % arguments.targets.len(),
            reconnecting: false,
        };
        let per_room = if arguments.workload == LoadKind::Idle { 0 } else { arguments.writers.div_ceil(rooms) };
        let (mut writers, mut expected) = (vec![Vec::new(); rooms], vec![0; rooms]);
        for membership in 0..arguments.memberships() {
            let (index, room) = (membership / rooms_per_socket, membership % rooms);
            expected[room] += 1;
            if writers[room].len() < per_room {
                writers[room].push(index);
            }
        }
        Self { sockets: (0..sockets).map(socket).collect(), writers, expected }
    }
}

/// Room sizes by Zipf's law: the second room has half as many members as the first, the third has a third, and each has
/// at least one.
fn uneven(sockets: usize, rooms: usize) -> Vec<usize> {
    let harmonic: f64 = (1..=rooms).map(|rank| 1.0 / rank as f64).sum();
    let spare = sockets - rooms;
    let mut sizes: Vec<_> = (1..=rooms).map(|rank| 1 + (spare as f64 / harmonic / rank as f64) as usize).collect();
    sizes[0] += sockets - sizes.iter().sum::<usize>();
    sizes
}

/// Loopback address from which a socket connects.
pub(super) fn source(index: usize) -> Ipv4Addr {
    // The range is sufficient for two million sockets.
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
    fn each_target_gets_its_share_of_each_room() {
        let plan = plan(&format!("--dialect trunkline --workload rooms --sockets 600 --rooms 100 {TARGETS}"));
        assert_eq!((plan.sockets.len(), plan.writers.len()), (600, 100));
        assert_eq!(plan.expected, [6; 100]);
        for room in 0..100 {
            let at = |target| plan.sockets.iter().filter(|place| place.room == room && place.target == target).count();
            assert_eq!([at(0), at(1), at(2)], [2, 2, 2]);
        }
        // The writers, one per room, are distributed too.
        let targets: Vec<_> = plan.writers.iter().map(|writers| plan.sockets[writers[0]].target).collect();
        assert_eq!(targets[..4], [0, 1, 2, 0]);
        assert!(plan.sockets.iter().all(|place| place.role == SocketRole::Member));
    }

    #[test]
    fn rooms_have_separate_writers_if_members_cannot_send() {
        let plan = plan(&format!("--dialect floor --workload flat --sockets 10 {TARGETS}"));
        assert_eq!((plan.sockets.len(), &plan.expected[..]), (14, &[10][..]));
        assert_eq!(plan.writers, [[10, 11, 12, 13]]);
        assert!(plan.writers[0].iter().all(|index| plan.sockets[*index].role == SocketRole::Writer));
    }

    #[test]
    fn sockets_in_many_rooms_fill_all_rooms_equally() {
        let line =
            "--dialect trunkline --workload paced --sockets 6 --rooms 4 --rooms-per-socket 2 --target 127.0.0.1:1";
        let plan = plan(line);
        assert_eq!(plan.sockets.iter().map(|socket| socket.room).collect::<Vec<_>>(), [0, 2, 0, 2, 0, 2]);
        assert_eq!((&plan.expected[..], &plan.writers[..]), (&[3; 4][..], &[vec![0], vec![0], vec![1], vec![1]][..]));
    }

    #[test]
    fn there_are_no_writers_if_only_connections_count() {
        for workload in ["idle", "connect"] {
            let plan = plan(&format!("--dialect nats --workload {workload} --sockets 10 {TARGETS}"));
            assert_eq!((plan.sockets.len(), &plan.writers[..]), (10, &[vec![]][..]));
        }
    }

    #[test]
    fn mixed_load_has_large_and_small_rooms_and_a_tenth_of_reconnecting_sockets() {
        let plan = plan(&format!("--dialect trunkline --workload mixed --sockets 1000 --rooms 50 {TARGETS}"));
        let sizes: Vec<_> =
            (0..50).map(|room| plan.sockets.iter().filter(|place| place.room == room).count()).collect();
        assert_eq!(sizes.iter().sum::<usize>(), 1000);
        assert!(sizes.is_sorted_by(|before, after| before >= after) && sizes[0] > 200 && sizes[49] >= 1, "{sizes:?}");
        let reconnecting = plan.sockets.iter().filter(|place| place.reconnecting).count();
        assert!((60..=100).contains(&reconnecting), "{reconnecting}");
        assert_eq!(plan.expected.iter().sum::<u32>() as usize, 1000 - reconnecting);
        for writer in plan.writers.iter().flatten() {
            assert!(!plan.sockets[*writer].reconnecting);
        }
    }

    #[test]
    fn sockets_beyond_the_port_range_use_other_addresses() {
        assert_eq!(source(0), Ipv4Addr::LOCALHOST);
        assert_eq!(source(7_999), Ipv4Addr::LOCALHOST);
        assert_eq!(source(8_000), Ipv4Addr::new(127, 0, 0, 2));
    }
}
