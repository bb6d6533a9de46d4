//! What is measured: who takes part, which loads they get, and in which order. Pure.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

/// Who is measured. The floor is what the kernel costs; see `trunkline-bench floor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Peer {
    /// One write for each delivery, and nothing else.
    Floor,
    /// All that is pending for a socket in one write.
    FloorBatched,
    /// Socket.IO, fan-out by Redis pub/sub.
    SocketioRedis,
    /// Socket.IO, fan-out by a Redis stream, with connection state recovery.
    SocketioStreams,
    /// socketioxide, fan-out by Redis pub/sub.
    Socketioxide,
    /// nginx with nchan, fan-out by Redis.
    Nchan,
    /// nats-server over WebSocket, no Redis.
    Nats,
    /// This project.
    Trunkline,
    /// Its routes in somebody's App; see the gateway's example of that name.
    TrunklineMounted,
}

impl Peer {
    pub(crate) fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// Those that Trunkline is compared with: neither the floor nor itself.
    pub(crate) fn rivals() -> impl Iterator<Item = Self> {
        Self::all().iter().copied().filter(|peer| !peer.is_floor() && !peer.is_ours())
    }

    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Self::Trunkline | Self::TrunklineMounted)
    }

    pub(crate) fn is_floor(self) -> bool {
        matches!(self, Self::Floor | Self::FloorBatched)
    }

    /// What the load generator calls its protocol.
    pub(crate) fn dialect(self) -> &'static str {
        match self {
            Self::Floor | Self::FloorBatched => "floor",
            Self::SocketioRedis | Self::SocketioStreams => "socketio",
            Self::Socketioxide => "socketioxide",
            Self::Nchan => "nchan",
            Self::Nats => "nats",
            Self::Trunkline | Self::TrunklineMounted => "trunkline",
        }
    }

    /// Whether its instances pass messages on by Redis.
    pub(crate) fn has_redis(self) -> bool {
        !self.is_floor() && self != Self::Nats
    }
}

/// Shows the name that the command line takes.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self, f)
    }
}

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Workload {
    /// One room, 20,000 deliveries a second offered: the cost of a delivery, and its time.
    Paced,
    /// One room, as fast as it goes, with a bounded number of messages under way.
    Flat,
    /// Many rooms of five, one message a second in each.
    Rooms,
    /// Sockets that are logged in and say nothing: memory.
    Idle,
    /// Handshakes as fast as they go, with the look-up of the session where there is one.
    Connect,
    /// Acknowledged sends into one room, as fast as they go, with hardly anybody reading.
    Publish,
    /// A thousand rooms of one, all at one of three instances: what the other two spend.
    Bystander,
    /// Rooms of very different sizes, sends, joins and leaves.
    Mixed,
    /// All sockets lost at once and back, with their positions where there are any, while somebody writes.
    Herd,
    /// One of three servers is killed while 1,000 clients read: what each of them missed.
    Recovery,
}

impl Workload {
    /// Whether this peer can do it at all.
    fn suits(self, peer: Peer) -> bool {
        use Peer::{FloorBatched, Nats, SocketioRedis, SocketioStreams, Trunkline, TrunklineMounted};
        match self {
            Self::Paced | Self::Idle if peer == TrunklineMounted => true,
            _ if peer == TrunklineMounted => false,
            Self::Flat => true,
            Self::Paced | Self::Rooms | Self::Idle | Self::Connect => peer != FloorBatched,
            // NATS acknowledges nothing.
            Self::Publish => !peer.is_floor() && peer != Nats,
            Self::Bystander | Self::Mixed | Self::Herd => !peer.is_floor(),
            Self::Recovery => [SocketioRedis, SocketioStreams, Trunkline].contains(&peer),
        }
    }
}

/// Shows the name that the command line takes.
impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self, f)
    }
}

fn show(value: &impl ValueEnum, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let value = value.to_possible_value();
    f.pad(value.as_ref().map_or("", |value| value.get_name()))
}

/// Paced: deliveries a second.
const RATE: u32 = 20_000;
/// Paced: least messages in a window.
const MESSAGES: u32 = 24;

/// A workload in one size: what is measured of each peer, one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct BenchCell {
    pub(crate) workload: Workload,
    pub(crate) sockets: u32,
    pub(crate) rooms: u32,
    pub(crate) instances: u32,
}

impl BenchCell {
    const fn new(workload: Workload, sockets: u32, rooms: u32, instances: u32) -> Self {
        Self { workload, sockets, rooms, instances }
    }

    /// Whether this peer takes part. The floor has one instance, and so has what is mounted.
    pub(crate) fn suits(&self, peer: Peer) -> bool {
        let alone = peer.is_floor() || peer == Peer::TrunklineMounted;
        self.workload.suits(peer) && (self.instances == 1 || !alone)
    }

    /// What the load generator is told beside where the servers are.
    pub(crate) fn arguments(&self, scale: BenchPlan) -> Vec<String> {
        let workload = match self.workload {
            Workload::Bystander => Workload::Rooms,
            other => other,
        };
        let seconds = self.seconds(scale).to_string();
        let (sockets, rooms, workload) = (self.sockets.to_string(), self.rooms.to_string(), workload.to_string());
        let rate = RATE.to_string();
        let mut arguments = vec!["--workload", &workload, "--sockets", &sockets, "--rooms", &rooms, "--for", &seconds];
        match self.workload {
            Workload::Paced => arguments.extend(["--rate", &rate]),
            Workload::Flat => arguments.extend(["--window", "32"]),
            Workload::Rooms | Workload::Bystander => arguments.extend(["--sends", &rooms]),
            Workload::Publish => arguments.extend(["--writers", &sockets, "--window", "256"]),
            Workload::Idle | Workload::Connect | Workload::Mixed | Workload::Herd | Workload::Recovery => {}
        }
        arguments.into_iter().map(str::to_owned).collect()
    }

    /// Length of the measured window. A message to many sockets takes its time: paced, the window is as long as
    /// [`MESSAGES`] of them take, or the one that its edges cut would count for too much.
    fn seconds(&self, scale: BenchPlan) -> u32 {
        match self.workload {
            Workload::Paced => scale.seconds().max(MESSAGES * self.sockets / RATE),
            _ => scale.seconds(),
        }
    }
}

/// Shows it as `paced 1000×1`: sockets and instances.
impl fmt::Display for BenchCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} {}×{}", self.workload, self.sockets, self.instances))
    }
}

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BenchPlan {
    /// To see whether anything has changed much.
    Quick,
    /// What reports are made of.
    Full,
}

impl BenchPlan {
    /// How many of the cells, from the first, are measured again in each later round where nobody chose others: all that
    /// goals compare.
    pub(crate) const REPEATED: usize = 12;

    /// Length of a measured window, where the cell needs no longer one.
    fn seconds(self) -> u32 {
        match self {
            Self::Quick => 2,
            Self::Full => 3,
        }
    }

    /// All cells of the first round. What goals compare comes first: time may run out.
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_is_in_the_full_plan_and_suits_trunkline() {
        for workload in Workload::value_variants() {
            let cell = BenchPlan::Full.cells().iter().find(|cell| cell.workload == *workload);
            assert!(cell.is_some_and(|cell| cell.suits(Peer::Trunkline)), "{workload}");
        }
        for cell in BenchPlan::Quick.cells() {
            assert_eq!(cell.instances, 1, "{cell} takes long");
        }
    }

    #[test]
    fn the_floor_is_one_process_and_not_its_own_rival() {
        assert!(BenchPlan::Full.cells().iter().filter(|cell| cell.instances > 1).all(|cell| !cell.suits(Peer::Floor)));
        assert_eq!(Peer::rivals().count(), Peer::all().len() - 4);
    }

    #[test]
    fn a_cell_becomes_arguments() {
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
    }
}
