//! The load: N sockets, messages, and what came of them.

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
use self::{engine::SocketEngine, plan::SocketPlan, workload::WorkloadRunner};
use crate::{BenchError, dialect::Dialect, socket::make_room};

/// What `trunkline-bench load` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct LoadArguments {
    /// How the servers are spoken to
    #[arg(long)]
    dialect: Dialect,
    /// Where a server is reached; repeat it for several, which get their share of each room's sockets and writers
    #[arg(long = "target", value_name = "HOST:PORT", required = true, num_args = 1.., value_parser = address)]
    targets: Vec<SocketAddr>,
    /// Processes whose CPU time and memory count as the server's
    #[arg(long = "server-pid", value_name = "PID", num_args = 1..)]
    server_pids: Vec<u32>,
    /// Processes whose CPU time counts as Redis's
    #[arg(long = "redis-pid", value_name = "PID", num_args = 1..)]
    redis_pids: Vec<u32>,
    /// What is done
    #[arg(long)]
    workload: LoadKind,
    /// Sockets that get messages
    #[arg(long, value_name = "N", default_value_t = 1000)]
    sockets: usize,
    /// Rooms that they are spread over
    #[arg(long, value_name = "N", default_value_t = 1)]
    rooms: usize,
    /// Sessions that the sockets share. Default: one each
    #[arg(long, value_name = "N")]
    sessions: Option<usize>,
    /// Sockets that write, over all rooms; each room has at least one
    #[arg(long, value_name = "N", default_value_t = 4)]
    writers: usize,
    /// Length of the window
    #[arg(long = "for", value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    duration: Duration,
    /// Load before the window, so that everything is warm
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    warm_up: Duration,
    /// Paced loads: deliveries a second
    #[arg(long, value_name = "DELIVERIES_PER_S", conflicts_with = "sends", value_parser = rate)]
    rate: Option<f64>,
    /// Paced loads: messages a second, over all rooms. Default: one a second in each room
    #[arg(long, value_name = "SENDS_PER_S", value_parser = rate)]
    sends: Option<f64>,
    /// Closed loops: most messages that have not come everywhere, or, publishing, are not acknowledged
    #[arg(long, value_name = "W", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    window: u32,
}

/// What the sockets do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LoadKind {
    /// Messages on a schedule
    Paced,
    /// As many messages as the server can deliver
    Flat,
    /// Paced, one message a second in each of many rooms
    Rooms,
    /// Handshakes, as fast as they go; nobody joins
    Connect,
    /// Nothing at all
    Idle,
    /// As many messages as the server can take
    Publish,
    /// Paced, in rooms of very different sizes, while a tenth of the sockets come and go
    Mixed,
    /// Paced, while all sockets are cut at once and come back
    Herd,
}

impl LoadKind {
    /// Whether sockets are ready only once they have joined.
    fn joins(self) -> bool {
        self != Self::Connect
    }

    /// Whether sockets that come back tell what they saw last.
    fn resumes(self) -> bool {
        self == Self::Herd
    }

    /// Whether messages have a schedule.
    fn paced(self) -> bool {
        matches!(self, Self::Paced | Self::Rooms | Self::Mixed | Self::Herd)
    }
}

impl LoadArguments {
    fn validate(&self) -> Result<(), BenchError> {
        let wrong = |text: &str| Err(BenchError::Usage(text.to_owned()));
        match self {
            Self { rooms: 0, .. } => wrong("--rooms is at least 1"),
            _ if self.sockets < self.rooms => wrong("each room needs a socket: --sockets is at least --rooms"),
            Self { writers: 0, .. } => wrong("--writers is at least 1"),
            Self { sessions: Some(0), .. } => wrong("--sessions is at least 1"),
            _ => Ok(()),
        }
    }

    /// Messages a second of a paced load.
    fn sends_per_second(&self) -> f64 {
        let rooms = self.rooms as f64;
        match (self.sends, self.rate) {
            (Some(sends), _) => sends,
            // All rooms get the same share of the messages, so this is the mean of their sizes.
            (_, Some(rate)) => rate / (self.sockets as f64 / rooms),
            _ => rooms,
        }
    }
}

/// Opens the sockets, does what is to be done, and counts.
///
/// # Errors
/// [`BenchError::Usage`] for arguments that do not fit each other, [`BenchError::Server`] where the server does not let sockets in or
/// refuses messages, [`BenchError::Files`] for too many sockets, [`BenchError::Process`] for processes that are not there.
pub fn run(arguments: &LoadArguments) -> Result<LoadReport, BenchError> {
    arguments.validate()?;
    let plan = SocketPlan::new(arguments);
    make_room(plan.sockets.len())?;
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
