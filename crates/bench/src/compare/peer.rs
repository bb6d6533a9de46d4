//! The servers that are compared. Pure.

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

/// Formats a value as on the command line.
pub(super) fn show(value: &impl ValueEnum, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let value = value.to_possible_value();
    f.pad(value.as_ref().map_or("", |value| value.get_name()))
}
