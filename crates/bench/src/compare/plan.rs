//! The plan: workloads, sizes and their order. Pure.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

use super::growth_axis::GrowthAxis;
pub(crate) use super::peer::Peer;
use super::peer::show;

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Workload {
    /// One room, 20,000 deliveries per second: CPU per delivery and latency.
    Paced,
    /// One room at the highest rate, with a bounded number of undelivered messages.
    Flat,
    /// Many rooms of five, one message per second in each.
    Rooms,
    /// Logged-in sockets without messages: memory.
    Idle,
    /// Handshakes at the highest rate, with a session lookup where there are sessions.
    Connect,
    /// Acknowledged sends to one room at the highest rate, with few readers.
    Publish,
    /// 1,000 rooms of one, all on one of three instances: CPU of the other two.
    Bystander,
    /// Rooms of different sizes with sends, joins and leaves.
    Mixed,
    /// A reconnect storm: all sockets close at once and reconnect, with their positions where supported, during sends.
    Herd,
    /// One of three servers is killed while 1,000 clients read: messages that each client misses.
    Recovery,
    /// Fixed rates of messages: latencies from the intended send, and CPU time per delivery.
    Latency,
    /// The highest rate of messages with a p99 latency of at most 50 ms and without loss.
    Capacity,
    /// Idle sockets in growing numbers, up to what the machine holds: memory of servers and kernel.
    Memory,
    /// A Redis Cluster of one, three and six masters: CPU per send, connections, and a killed master.
    Shards,
    /// More rooms, sockets or instances while the load stays the same, and 100,000 rooms without messages: CPU per delivery,
    /// send and join, and how fast it grows.
    Growth,
}

impl Workload {
    /// Whether the peer supports this workload.
    fn suits(self, peer: Peer) -> bool {
        use Peer::{FloorBatched, Nats, SocketioRedis, SocketioStreams, Trunkline, TrunklineMounted};
        match self {
            Self::Paced | Self::Idle if peer == TrunklineMounted => true,
            _ if peer == TrunklineMounted => false,
            // What recovery costs shows in the messages, and every peer makes a run longer.
            _ if peer == Peer::SockudoRecovery => matches!(self, Self::Latency | Self::Capacity),
            Self::Flat => true,
            Self::Paced | Self::Rooms | Self::Idle | Self::Connect | Self::Latency | Self::Capacity => {
                peer != FloorBatched
            }
            Self::Memory | Self::Growth => [Peer::Floor, Trunkline].contains(&peer),
            Self::Shards => peer == Trunkline,
            // NATS and client events of Sockudo have no acknowledgements.
            Self::Publish => !peer.is_floor() && ![Nats, Peer::Sockudo].contains(&peer),
            Self::Bystander | Self::Mixed | Self::Herd => !peer.is_floor(),
            Self::Recovery => [SocketioRedis, SocketioStreams, Trunkline].contains(&peer),
        }
    }
}

/// The name on the command line.
impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self, f)
    }
}

/// `paced`: deliveries per second.
const PACED_DELIVERIES_PER_S: u32 = 20_000;
/// `paced`: minimum number of messages in a window.
const PACED_MIN_MESSAGES: u32 = 24;

/// `latency`: length of the window in seconds. At 100 messages per second to 5 sockets it contains 3,000 deliveries, enough
/// for the quantile 99.9 %.
const LATENCY_SECONDS: u32 = 6;
/// `capacity`: length of each step in seconds.
const CAPACITY_STEP_SECONDS: u32 = 2;
/// `capacity`: maximum p99 latency in ms.
const CAPACITY_P99_MS: &str = "50";
/// `capacity`, `latency`, `shards` and `growth`: number of sessions, which the sockets share. Logging in thousands of users
/// takes long and does not change the load.
const SHARED_SESSIONS: &str = "50";

/// `growth`: length of a window in seconds.
const GROWTH_SECONDS: u32 = 6;
/// `growth` over sockets: minimum number of messages in a window.
const GROWTH_MIN_MESSAGES: u32 = 12;
/// `growth`, quiet rooms: messages per second of a load that sends one message at its start, and no second one.
const QUIET_SENDS_PER_S: &str = "0.001";
/// `growth`, quiet rooms: time in seconds from the last message to the window. A gateway compares the head of a room with
/// its log 10, 30, 70 and 130 s after the room's last message, and then every 60 s.
const QUIET_WARM_UP_SECONDS: &str = "75";
/// `growth`, quiet rooms: length of the window in seconds. Each room is compared once in it.
const QUIET_SECONDS: u32 = 60;

/// Sizes of rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RoomSizes {
    /// All rooms have the same size.
    Equal,
    /// Different sizes, and a tenth of the sockets reconnects again and again, as in the workload `mixed`.
    Mixed,
}

/// A workload in one size. All peers are measured in it, one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct BenchCell {
    pub(crate) workload: Workload,
    pub(crate) sockets: u32,
    pub(crate) rooms: u32,
    pub(crate) instances: u32,
    /// `latency` and `growth`: messages per second; over sockets, deliveries per second. `capacity`: messages per second of
    /// the first step. Otherwise 0.
    pub(crate) rate: u32,
    pub(crate) sizes: RoomSizes,
    /// Masters of a Redis Cluster. 0 stands for a single server.
    pub(crate) masters: u32,
    /// Rooms that each socket joins.
    pub(crate) rooms_per_socket: u32,
    /// `growth`: what grows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) axis: Option<GrowthAxis>,
}

impl BenchCell {
    pub(super) const fn new(workload: Workload, sockets: u32, rooms: u32, instances: u32) -> Self {
        let (sizes, rooms_per_socket) = (RoomSizes::Equal, 1);
        Self { workload, sockets, rooms, instances, rate: 0, sizes, masters: 0, rooms_per_socket, axis: None }
    }

    pub(super) const fn latency(sockets: u32, rooms: u32, rate: u32, instances: u32) -> Self {
        Self { rate, ..Self::new(Workload::Latency, sockets, rooms, instances) }
    }

    pub(super) const fn capacity(sockets: u32, rooms: u32, sizes: RoomSizes, first_rate: u32, instances: u32) -> Self {
        Self { rate: first_rate, sizes, ..Self::new(Workload::Capacity, sockets, rooms, instances) }
    }

    /// Idle sockets in rooms of about a thousand; 0 stands for as many as the machine holds. The number of instances
    /// follows from the limit of open files.
    pub(super) const fn memory(sockets: u32) -> Self {
        Self::new(Workload::Memory, sockets, 0, 1)
    }

    pub(super) const fn shards(masters: u32) -> Self {
        // A cluster is for loads that keep a master busy: with few messages, masters wake for each one.
        Self { rate: 3000, masters, ..Self::new(Workload::Shards, 3000, 600, 2) }
    }

    /// The load over more rooms: 1,000 messages per second, and one member in each room.
    pub(super) const fn growing_rooms(rooms: u32) -> Self {
        let cell = Self::new(Workload::Growth, rooms / 10, rooms, 1);
        Self { rate: 1000, rooms_per_socket: 10, axis: Some(GrowthAxis::Rooms), ..cell }
    }

    /// The load over more sockets, which are in one room of each instance. The number of instances follows from the limit of
    /// open files.
    pub(super) const fn growing_sockets(sockets: u32) -> Self {
        let cell = Self::new(Workload::Growth, sockets, 1, 1);
        Self { rate: PACED_DELIVERIES_PER_S, axis: Some(GrowthAxis::Sockets), ..cell }
    }

    /// The load over more instances: 1,000 messages per second in rooms of five.
    pub(super) const fn growing_instances(instances: u32) -> Self {
        let cell = Self::new(Workload::Growth, 5000, 1000, instances);
        Self { rate: 1000, axis: Some(GrowthAxis::Instances), ..cell }
    }

    /// Rooms that have had one message, and get no more.
    pub(super) const fn quiet_rooms(rooms: u32) -> Self {
        let cell = Self::new(Workload::Growth, rooms / 100, rooms, 1);
        Self { rooms_per_socket: 100, axis: Some(GrowthAxis::QuietRooms), ..cell }
    }

    /// Whether the peer takes part. The floor and the mounted gateway have one instance only.
    pub(crate) fn suits(&self, peer: Peer) -> bool {
        let alone = peer.is_floor() || peer == Peer::TrunklineMounted;
        // Rooms of different sizes come with reconnects, which say nothing about the floor.
        let reconnects = self.sizes == RoomSizes::Mixed;
        // The floor has one room per socket, and no instances that work together.
        let grows = self.axis.is_none_or(|axis| axis == GrowthAxis::Sockets || !peer.is_floor());
        self.workload.suits(peer) && (self.instances == 1 || !alone) && !(reconnects && peer.is_floor()) && grows
    }

    /// Arguments of `trunkline-bench load`, except targets and process ids.
    pub(crate) fn arguments(&self, plan: BenchPlan) -> Vec<String> {
        let workload = match (self.workload, self.sizes) {
            (Workload::Bystander, _) => Workload::Rooms,
            (Workload::Latency | Workload::Capacity | Workload::Shards | Workload::Growth, RoomSizes::Equal) => {
                Workload::Paced
            }
            (Workload::Memory, _) => Workload::Idle,
            (Workload::Latency | Workload::Capacity, RoomSizes::Mixed) => Workload::Mixed,
            (other, _) => other,
        };
        let seconds = self.seconds(plan).to_string();
        let (sockets, rooms, workload) = (self.sockets.to_string(), self.rooms.to_string(), workload.to_string());
        let rooms_per_socket = self.rooms_per_socket.to_string();
        let (rate, sends) = (PACED_DELIVERIES_PER_S.to_string(), self.rate.to_string());
        let mut arguments = vec!["--workload", &workload, "--sockets", &sockets, "--rooms", &rooms, "--for", &seconds];
        match self.workload {
            Workload::Paced => arguments.extend(["--rate", &rate]),
            Workload::Flat => arguments.extend(["--window", "32"]),
            Workload::Rooms | Workload::Bystander => arguments.extend(["--sends", &rooms]),
            Workload::Publish => arguments.extend(["--writers", &sockets, "--window", "256"]),
            Workload::Latency | Workload::Shards => {
                arguments.extend(["--sends", &sends, "--sessions", SHARED_SESSIONS]);
            }
            Workload::Capacity => {
                arguments.extend(["--sends", &sends, "--sessions", SHARED_SESSIONS]);
                arguments.extend(["--warm-up", "0.5", "--capacity-p99", CAPACITY_P99_MS]);
            }
            Workload::Memory => arguments.push("--hold"),
            Workload::Growth => {
                arguments.extend(["--sessions", SHARED_SESSIONS, "--hold", "--rooms-per-socket", &rooms_per_socket]);
                match self.axis {
                    Some(GrowthAxis::QuietRooms) => {
                        arguments.extend(["--sends", QUIET_SENDS_PER_S, "--warm-up", QUIET_WARM_UP_SECONDS]);
                    }
                    Some(GrowthAxis::Sockets) => arguments.extend(["--rate", &sends]),
                    _ => arguments.extend(["--sends", &sends]),
                }
            }
            Workload::Idle | Workload::Connect | Workload::Mixed | Workload::Herd | Workload::Recovery => {}
        }
        arguments.into_iter().map(str::to_owned).collect()
    }

    /// Length of the measured window in seconds. A `paced` window contains at least [`PACED_MIN_MESSAGES`], because a
    /// message that crosses the window's edges would otherwise distort the figures of large rooms.
    fn seconds(&self, plan: BenchPlan) -> u32 {
        match self.workload {
            Workload::Paced => plan.seconds().max(PACED_MIN_MESSAGES * self.sockets / PACED_DELIVERIES_PER_S),
            Workload::Latency | Workload::Shards => LATENCY_SECONDS,
            Workload::Capacity => CAPACITY_STEP_SECONDS,
            Workload::Growth => match self.axis {
                Some(GrowthAxis::QuietRooms) => QUIET_SECONDS,
                Some(GrowthAxis::Sockets) => GROWTH_SECONDS.max(GROWTH_MIN_MESSAGES * self.sockets / self.rate.max(1)),
                _ => GROWTH_SECONDS,
            },
            _ => plan.seconds(),
        }
    }
}

/// For example `paced 1000×1`: workload, sockets and instances.
impl fmt::Display for BenchCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workload, sockets, rooms, instances, rate, sizes, masters, axis, .. } = self;
        match (workload, sizes) {
            (Workload::Growth, _) => {
                let axis = axis.unwrap_or(GrowthAxis::Sockets);
                f.pad(&format!("{workload} {} {}", axis.value(self), axis.name()))
            }
            (Workload::Memory, _) if *sockets == 0 => f.pad("memory most"),
            (Workload::Memory, _) => f.pad(&format!("{workload} {sockets}")),
            (Workload::Shards, _) => f.pad(&format!("{workload} {masters}")),
            (Workload::Latency, _) => f.pad(&format!("{workload} {sockets}×{instances} {rate}/s")),
            (Workload::Capacity, RoomSizes::Equal) => f.pad(&format!("{workload} {sockets}/{rooms}×{instances}")),
            (Workload::Capacity, RoomSizes::Mixed) => f.pad(&format!("{workload} mixed×{instances}")),
            _ => f.pad(&format!("{workload} {sockets}×{instances}")),
        }
    }
}

/// The amount of measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BenchPlan {
    /// To notice large changes.
    Quick,
    /// For reports.
    Full,
}

impl BenchPlan {
    /// Number of cells, from the first, that later rounds measure again by default: those that goals compare.
    pub(crate) const REPEATED: usize = 12;

    /// Minimum length of a measured window in seconds.
    fn seconds(self) -> u32 {
        match self {
            Self::Quick => 2,
            Self::Full => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floor_has_one_instance_and_is_not_its_own_rival() {
        assert!(BenchPlan::Full.cells().iter().filter(|cell| cell.instances > 1).all(|cell| !cell.suits(Peer::Floor)));
        assert_eq!(Peer::rivals().count(), Peer::all().len() - 4);
        let grows = |cell: BenchCell| cell.suits(Peer::Floor);
        assert!(grows(BenchCell::growing_sockets(100)) && !grows(BenchCell::growing_rooms(10)));
    }

    #[test]
    fn cell_is_converted_to_load_arguments() {
        let arguments = |cell: BenchCell, scale| cell.arguments(scale).join(" ");
        assert_eq!(
            arguments(BenchCell::new(Workload::Bystander, 1000, 1000, 3), BenchPlan::Full),
            "--workload rooms --sockets 1000 --rooms 1000 --for 3 --sends 1000"
        );
        assert_eq!(
            arguments(BenchCell::new(Workload::Paced, 5000, 1, 1), BenchPlan::Quick),
            "--workload paced --sockets 5000 --rooms 1 --for 6 --rate 20000"
        );
        assert_eq!(
            arguments(BenchCell::new(Workload::Paced, 1000, 1, 1), BenchPlan::Quick),
            "--workload paced --sockets 1000 --rooms 1 --for 2 --rate 20000"
        );
        assert_eq!(
            arguments(BenchCell::latency(5000, 1000, 3000, 3), BenchPlan::Full),
            "--workload paced --sockets 5000 --rooms 1000 --for 6 --sends 3000 --sessions 50"
        );
        assert_eq!(
            arguments(BenchCell::capacity(1000, 50, RoomSizes::Mixed, 200, 1), BenchPlan::Full),
            "--workload mixed --sockets 1000 --rooms 50 --for 2 --sends 200 --sessions 50 --warm-up 0.5 --capacity-p99 50"
        );
        assert_eq!(
            arguments(BenchCell { rooms: 20, ..BenchCell::memory(20_000) }, BenchPlan::Full),
            "--workload idle --sockets 20000 --rooms 20 --for 3 --hold"
        );
        assert_eq!(
            arguments(BenchCell::growing_rooms(10_000), BenchPlan::Full),
            "--workload paced --sockets 1000 --rooms 10000 --for 6 --sessions 50 --hold --rooms-per-socket 10 --sends 1000"
        );
        assert_eq!(
            arguments(BenchCell::growing_sockets(18_000), BenchPlan::Full),
            "--workload paced --sockets 18000 --rooms 1 --for 10 --sessions 50 --hold --rooms-per-socket 1 --rate 20000"
        );
        assert_eq!(
            arguments(BenchCell::quiet_rooms(100_000), BenchPlan::Full),
            "--workload paced --sockets 1000 --rooms 100000 --for 60 --sessions 50 --hold --rooms-per-socket 100 \
             --sends 0.001 --warm-up 75"
        );
        assert_eq!(
            arguments(BenchCell::shards(3), BenchPlan::Full),
            "--workload paced --sockets 3000 --rooms 600 --for 6 --sends 3000 --sessions 50"
        );
    }
}
