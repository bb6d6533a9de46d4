//! The plan: peers, workloads, sizes and their order. Pure.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

/// A server that is measured. The floor shows the cost of the kernel; see `trunkline-bench floor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Peer {
    /// The floor with one write per delivery.
    Floor,
    /// The floor with one write for all pending messages of a socket.
    FloorBatched,
    /// Socket.IO with fan-out by Redis pub/sub.
    SocketioRedis,
    /// Socket.IO with fan-out by a Redis stream and connection state recovery.
    SocketioStreams,
    /// socketioxide with fan-out by Redis pub/sub.
    Socketioxide,
    /// nginx and nchan with fan-out by Redis.
    Nchan,
    /// nats-server over WebSocket, without Redis.
    Nats,
    /// Sockudo with fan-out by Redis pub/sub.
    Sockudo,
    /// Sockudo with positions and connection recovery.
    SockudoRecovery,
    /// Trunkline.
    Trunkline,
    /// Trunkline's routes in an actix-web App; see the gateway's example `mounted`.
    TrunklineMounted,
}

impl Peer {
    pub(crate) fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// The peers that Trunkline is compared with: neither the floor nor Trunkline.
    pub(crate) fn rivals() -> impl Iterator<Item = Self> {
        Self::all().iter().copied().filter(|peer| !peer.is_floor() && !peer.is_ours())
    }

    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Self::Trunkline | Self::TrunklineMounted)
    }

    pub(crate) fn is_floor(self) -> bool {
        matches!(self, Self::Floor | Self::FloorBatched)
    }

    /// The load generator's name of its protocol.
    pub(crate) fn dialect(self) -> &'static str {
        match self {
            Self::Floor | Self::FloorBatched => "floor",
            Self::SocketioRedis | Self::SocketioStreams => "socketio",
            Self::Socketioxide => "socketioxide",
            Self::Nchan => "nchan",
            Self::Nats => "nats",
            Self::Sockudo => "sockudo",
            Self::SockudoRecovery => "sockudo-recovery",
            Self::Trunkline | Self::TrunklineMounted => "trunkline",
        }
    }

    /// Whether its instances exchange messages through Redis.
    pub(crate) fn has_redis(self) -> bool {
        !self.is_floor() && self != Self::Nats
    }
}

/// The name on the command line.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self, f)
    }
}

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
            Self::Memory => [Peer::Floor, Trunkline].contains(&peer),
            Self::Shards => peer == Trunkline,
            // NATS has no acknowledgements.
            Self::Publish => !peer.is_floor() && peer != Nats,
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

fn show(value: &impl ValueEnum, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let value = value.to_possible_value();
    f.pad(value.as_ref().map_or("", |value| value.get_name()))
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
/// `capacity` and `latency`: number of sessions, which the sockets share. Logging in thousands of users takes long and does
/// not change the load.
const SHARED_SESSIONS: &str = "50";

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
    /// `latency`: messages per second. `capacity`: messages per second of the first step. Otherwise 0.
    pub(crate) rate: u32,
    pub(crate) sizes: RoomSizes,
    /// Masters of a Redis Cluster. 0 stands for a single server.
    pub(crate) masters: u32,
}

impl BenchCell {
    const fn new(workload: Workload, sockets: u32, rooms: u32, instances: u32) -> Self {
        Self { workload, sockets, rooms, instances, rate: 0, sizes: RoomSizes::Equal, masters: 0 }
    }

    const fn latency(sockets: u32, rooms: u32, rate: u32, instances: u32) -> Self {
        Self { rate, ..Self::new(Workload::Latency, sockets, rooms, instances) }
    }

    const fn capacity(sockets: u32, rooms: u32, sizes: RoomSizes, first_rate: u32, instances: u32) -> Self {
        Self { rate: first_rate, sizes, ..Self::new(Workload::Capacity, sockets, rooms, instances) }
    }

    /// Idle sockets in rooms of about a thousand; 0 stands for as many as the machine holds. The number of instances
    /// follows from the limit of open files.
    const fn memory(sockets: u32) -> Self {
        Self::new(Workload::Memory, sockets, 0, 1)
    }

    const fn shards(masters: u32) -> Self {
        Self { rate: 1500, masters, ..Self::new(Workload::Shards, 3000, 600, 2) }
    }

    /// Whether the peer takes part. The floor and the mounted gateway have one instance only.
    pub(crate) fn suits(&self, peer: Peer) -> bool {
        let alone = peer.is_floor() || peer == Peer::TrunklineMounted;
        // Rooms of different sizes come with reconnects, which say nothing about the floor.
        let reconnects = self.sizes == RoomSizes::Mixed;
        self.workload.suits(peer) && (self.instances == 1 || !alone) && !(reconnects && peer.is_floor())
    }

    /// Arguments of `trunkline-bench load`, except targets and process ids.
    pub(crate) fn arguments(&self, plan: BenchPlan) -> Vec<String> {
        let workload = match (self.workload, self.sizes) {
            (Workload::Bystander, _) => Workload::Rooms,
            (Workload::Latency | Workload::Capacity | Workload::Shards, RoomSizes::Equal) => Workload::Paced,
            (Workload::Memory, _) => Workload::Idle,
            (Workload::Latency | Workload::Capacity, RoomSizes::Mixed) => Workload::Mixed,
            (other, _) => other,
        };
        let seconds = self.seconds(plan).to_string();
        let (sockets, rooms, workload) = (self.sockets.to_string(), self.rooms.to_string(), workload.to_string());
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
            _ => plan.seconds(),
        }
    }
}

/// For example `paced 1000×1`: workload, sockets and instances.
impl fmt::Display for BenchCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workload, sockets, rooms, instances, rate, sizes, masters } = self;
        match (workload, sizes) {
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

    /// All cells of the first round. Cells that goals compare come first, because the time may run out.
    pub(crate) fn cells(self) -> &'static [BenchCell] {
        use Workload::{Bystander, Connect, Flat, Herd, Idle, Mixed, Paced, Publish, Recovery, Rooms};
        const QUICK: &[BenchCell] = &[
            BenchCell::new(Paced, 1000, 1, 1),
            BenchCell::new(Flat, 1000, 1, 1),
            BenchCell::new(Paced, 100, 1, 1),
            BenchCell::new(Flat, 100, 1, 1),
            BenchCell::new(Idle, 1000, 1, 1),
            BenchCell::new(Connect, 1000, 1, 1),
            BenchCell::new(Publish, 8, 1, 1),
        ];
        const FULL: &[BenchCell] = &[
            BenchCell::new(Paced, 1000, 1, 1),
            BenchCell::new(Flat, 1000, 1, 1),
            BenchCell::new(Paced, 5000, 1, 1),
            BenchCell::new(Flat, 5000, 1, 1),
            BenchCell::new(Paced, 1000, 1, 3),
            BenchCell::new(Paced, 5000, 1, 3),
            BenchCell::new(Rooms, 5000, 1000, 1),
            BenchCell::new(Rooms, 5000, 1000, 3),
            BenchCell::new(Publish, 8, 1, 1),
            BenchCell::new(Connect, 5000, 1, 1),
            BenchCell::new(Idle, 5000, 1, 1),
            BenchCell::new(Bystander, 1000, 1000, 3),
            BenchCell::new(Recovery, 1000, 20, 3),
            BenchCell::new(Flat, 1000, 1, 3),
            BenchCell::new(Flat, 5000, 1, 3),
            BenchCell::new(Herd, 5000, 1, 1),
            BenchCell::new(Mixed, 1000, 50, 1),
            BenchCell::new(Paced, 100, 1, 1),
            BenchCell::new(Flat, 100, 1, 1),
            BenchCell::new(Paced, 10_000, 1, 1),
        ];
        match self {
            Self::Quick => QUICK,
            Self::Full => FULL,
        }
    }

    /// Cells of workloads that are measured only if `--only` names them, because they take long.
    pub(crate) fn cells_on_request() -> &'static [BenchCell] {
        const CELLS: &[BenchCell] = &[
            BenchCell::latency(5000, 1000, 100, 1),
            BenchCell::latency(5000, 1000, 1000, 1),
            BenchCell::latency(5000, 1000, 3000, 1),
            BenchCell::latency(5000, 1000, 1000, 3),
            BenchCell::latency(5000, 1000, 3000, 3),
            BenchCell::latency(100, 1, 200, 1),
            BenchCell::capacity(1000, 1, RoomSizes::Equal, 16, 1),
            BenchCell::capacity(5000, 1000, RoomSizes::Equal, 1000, 1),
            BenchCell::capacity(1000, 50, RoomSizes::Mixed, 200, 1),
            BenchCell::capacity(1000, 1, RoomSizes::Equal, 16, 3),
            BenchCell::capacity(5000, 1000, RoomSizes::Equal, 1000, 3),
            BenchCell::capacity(1000, 50, RoomSizes::Mixed, 200, 3),
            BenchCell::memory(2000),
            BenchCell::memory(20_000),
            BenchCell::memory(0),
            BenchCell::shards(1),
            BenchCell::shards(3),
            BenchCell::shards(6),
        ];
        CELLS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_is_planned_and_suits_trunkline() {
        for workload in Workload::value_variants() {
            let mut cells = BenchPlan::Full.cells().iter().chain(BenchPlan::cells_on_request());
            let cell = cells.find(|cell| cell.workload == *workload);
            assert!(cell.is_some_and(|cell| cell.suits(Peer::Trunkline)), "{workload}");
        }
        for cell in BenchPlan::Quick.cells() {
            assert_eq!(cell.instances, 1, "{cell} takes long");
        }
    }

    #[test]
    fn floor_has_one_instance_and_is_not_its_own_rival() {
        assert!(BenchPlan::Full.cells().iter().filter(|cell| cell.instances > 1).all(|cell| !cell.suits(Peer::Floor)));
        assert_eq!(Peer::rivals().count(), Peer::all().len() - 4);
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
            arguments(BenchCell::shards(3), BenchPlan::Full),
            "--workload paced --sockets 3000 --rooms 600 --for 6 --sends 1500 --sessions 50"
        );
    }
}
