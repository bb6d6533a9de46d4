//! The load generator: opens sockets, sends messages and measures deliveries.

mod capacity;
mod conversation;
mod deliveries;
mod engine;
mod plan;
mod proc;
mod report;
mod schedule;
mod sessions;
mod workload;

use std::{
    net::{SocketAddr, ToSocketAddrs},
    time::Duration,
};

use serde::Serialize;

pub use self::report::LoadReport;
pub(crate) use self::sessions::log_in;
use self::{engine::SocketEngine, plan::SocketPlan, workload::WorkloadRunner};
use crate::{BenchError, dialect::Dialect, socket::raise_file_limit};

/// Flags of `trunkline-bench load`.
#[derive(Clone, Debug, clap::Args)]
pub struct LoadArguments {
    /// Protocol of the servers
    #[arg(long)]
    dialect: Dialect,
    /// Address of a server; several servers share each room's sockets and writers
    #[arg(long = "target", value_name = "HOST:PORT", required = true, num_args = 1.., value_parser = address)]
    targets: Vec<SocketAddr>,
    /// Processes whose CPU time and memory count as the servers'
    #[arg(long = "server-pid", value_name = "PID", num_args = 1..)]
    server_pids: Vec<u32>,
    /// Processes whose CPU time counts as that of Redis
    #[arg(long = "redis-pid", value_name = "PID", num_args = 1..)]
    redis_pids: Vec<u32>,
    /// What the sockets do
    #[arg(long)]
    workload: LoadKind,
    /// Number of sockets that receive messages
    #[arg(long, value_name = "N", default_value_t = 1000)]
    sockets: usize,
    /// Number of rooms, over which the sockets are distributed
    #[arg(long, value_name = "N", default_value_t = 1)]
    rooms: usize,
    /// Number of rooms that each socket joins, in the dialect trunkline. Each room has sockets × N ÷ rooms members
    #[arg(long, value_name = "N", default_value_t = 1)]
    rooms_per_socket: usize,
    /// Number of the first room. Load generators with messages need different rooms
    #[arg(long, value_name = "N", default_value_t = 0)]
    first_room: usize,
    /// Number of sessions that the sockets share. Default: one per socket
    #[arg(long, value_name = "N")]
    sessions: Option<usize>,
    /// Number of sockets that send, over all rooms; each room has at least one
    #[arg(long, value_name = "N", default_value_t = 4)]
    writers: usize,
    /// Length of the measured window
    #[arg(long = "for", value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    duration: Duration,
    /// Length of the load before the measured window
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    warm_up: Duration,
    /// Paced loads: deliveries per second
    #[arg(long, value_name = "DELIVERIES_PER_S", conflicts_with = "sends", value_parser = rate)]
    rate: Option<f64>,
    /// Paced loads: messages per second, over all rooms. Default: one per room and second
    #[arg(long, value_name = "SENDS_PER_S", value_parser = rate)]
    sends: Option<f64>,
    /// Closed loops: maximum number of messages that are not delivered everywhere or, for `publish`, not acknowledged
    #[arg(long, value_name = "W", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    window: u32,
    /// Keep the sockets open until a line arrives on standard input, and begin the workload then
    #[arg(long)]
    hold: bool,
    /// Number of the first socket. Several load generators need different source addresses, which these numbers decide
    #[arg(long, value_name = "N", default_value_t = 0)]
    first_socket: usize,
    /// Paced loads: find the highest rate with a p99 latency of at most this many ms and without loss. The search begins at
    /// --rate or --sends; --for is the length of each step
    #[arg(long, value_name = "MS", value_parser = rate)]
    capacity_p99: Option<f64>,
}

/// What the sockets do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LoadKind {
    /// Sends on a schedule
    Paced,
    /// Sends at the highest rate that the server delivers
    Flat,
    /// Paced, one message per second in each of many rooms
    Rooms,
    /// Handshakes at the highest rate, without joins
    Connect,
    /// No messages
    Idle,
    /// Sends at the highest rate that the server accepts
    Publish,
    /// Paced, in rooms of different sizes, while a tenth of the sockets reconnect again and again
    Mixed,
    /// Paced, while all sockets close at once and reconnect
    Herd,
}

impl LoadKind {
    /// Whether a socket is ready only after it has joined.
    fn joins(self) -> bool {
        self != Self::Connect
    }

    /// Whether a socket that reconnects sends its last position.
    fn resumes(self) -> bool {
        self == Self::Herd
    }

    /// Whether the sockets stay open.
    fn keeps_sockets(self) -> bool {
        !matches!(self, Self::Connect | Self::Mixed | Self::Herd)
    }

    /// Whether messages are sent on a schedule.
    fn paced(self) -> bool {
        matches!(self, Self::Paced | Self::Rooms | Self::Mixed | Self::Herd)
    }
}

impl LoadArguments {
    fn validate(&self) -> Result<(), BenchError> {
        let wrong = |text: &str| Err(BenchError::Usage(text.to_owned()));
        match self {
            Self { rooms: 0, .. } => wrong("--rooms must be at least 1"),
            Self { rooms_per_socket: 0, .. } => wrong("--rooms-per-socket must be at least 1"),
            _ if self.rooms_per_socket > self.rooms => wrong("--rooms-per-socket must be at most --rooms"),
            Self { rooms_per_socket: 2.., dialect, workload, .. }
                if *dialect != Dialect::Trunkline || !workload.keeps_sockets() =>
            {
                wrong("--rooms-per-socket needs --dialect trunkline, and a workload without reconnects")
            }
            _ if self.memberships() < self.rooms => {
                wrong("each room needs a socket: --sockets × --rooms-per-socket must be at least --rooms")
            }
            Self { writers: 0, .. } => wrong("--writers must be at least 1"),
            Self { sessions: Some(0), .. } => wrong("--sessions must be at least 1"),
            Self { hold: true, workload: LoadKind::Connect, .. } | Self { hold: true, capacity_p99: Some(_), .. } => {
                wrong("--hold needs a workload that joins rooms, and no --capacity-p99")
            }
            Self { capacity_p99: Some(_), workload, .. } if !workload.paced() => {
                wrong("--capacity-p99 needs a paced workload")
            }
            _ => Ok(()),
        }
    }

    /// Messages per second of a paced load.
    fn sends_per_second(&self) -> f64 {
        let rooms = self.rooms as f64;
        match (self.sends, self.rate) {
            (Some(sends), _) => sends,
            // Each room gets the same share of the messages, so the mean room size converts deliveries to messages.
            (_, Some(rate)) => rate / (self.memberships() as f64 / rooms),
            _ => rooms,
        }
    }

    /// Number of rooms that all sockets are in, together.
    fn memberships(&self) -> usize {
        self.sockets * self.rooms_per_socket
    }
}

/// Opens the sockets, runs the workload, and returns the measurements.
///
/// # Errors
/// Returns [`BenchError::Usage`] if arguments contradict each other, [`BenchError::Server`] if the server refuses sockets or
/// messages, [`BenchError::Files`] if there are too many sockets for the limit of open files, and [`BenchError::Process`]
/// if a process does not exist.
pub fn run(arguments: &LoadArguments) -> Result<LoadReport, BenchError> {
    arguments.validate()?;
    let plan = SocketPlan::new(arguments);
    raise_file_limit(plan.sockets.len())?;
    let sessions = arguments.sessions.unwrap_or(plan.sockets.len());
    let cookies = sessions::log_in(arguments.dialect, &arguments.targets, sessions)?;
    let engine = SocketEngine::new(arguments, &plan, &cookies)?;
    WorkloadRunner::new(arguments, &plan, engine).run()
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let mut found = text.to_socket_addrs().map_err(|error| error.to_string())?;
    found.next().ok_or_else(|| "the host has no address".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.001..=1e9).contains(&rate) { Ok(rate) } else { Err("not between 0.001 and 1000000000".to_owned()) }
}
