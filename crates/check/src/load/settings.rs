//! What a run is made of; the flags of `trunkline-check run`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, FromArgMatches};

/// What a run is made of.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// Where the deployment is reached.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// Clients that write (they read their room, too).
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub writers: u32,
    /// Clients that only read.
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub readers: u32,
    /// Rooms; clients are spread over them in turn.
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub rooms: u32,
    /// Rooms that each reader is in.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub rooms_per_reader: u32,
    /// Messages a second, of all writers together. A deployment with default limits takes 10 a second and user.
    #[arg(long, value_name = "N", default_value_t = 200.0)]
    pub rate: f64,
    /// How long to write.
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    pub duration: Duration,
    /// Length of a message's text in bytes, at least what a time and an id need.
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    pub text: usize,
    /// How long all that was written may take to be settled and shown, after the last send.
    #[arg(long, value_name = "TIME", default_value = "45s", value_parser = humantime::parse_duration)]
    pub settle: Duration,
    /// How long presence may be wrong when everything has come to rest: as long as a lease in the deployment.
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = humantime::parse_duration)]
    pub lease: Duration,
    /// How long logins and first connections may take.
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = humantime::parse_duration)]
    pub patience: Duration,
    /// Readers that share one session, as the tabs of a browser do. Gateways allow 16 sockets a user by default.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub tabs: u32,
    /// Log in again whoever is logged out, as a person would.
    #[arg(long)]
    pub login_again: bool,
    /// Messages of each room that are read afresh in the end, to be compared with what every client holds.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub tail: usize,
    /// Process of a gateway on this machine, to be measured before and after; repeatable.
    #[arg(long = "pid", value_name = "PID")]
    pub pids: Vec<u32>,
    /// Where the run's choices come from; random if left out.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Beginning of the user names; random if left out, so that runs do not take names from each other.
    #[arg(long, value_name = "PREFIX")]
    pub users_prefix: Option<String>,
    /// Beginning of the room names; random if left out. The rooms should be fresh.
    #[arg(long, value_name = "PREFIX")]
    pub rooms_prefix: Option<String>,
    /// Write the history, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// Take marks and commands on standard input, and tell states and the verdict on standard output, one JSON object
    /// a line: {"mark":"fault","name":"gateway killed"}, {"mark":"healed"}, {"stop":true}. A mark is answered with
    /// {"state":"marked"} when it stands in the history.
    #[arg(long)]
    pub control: bool,
}

impl Default for Settings {
    /// What `trunkline-check run` does without flags.
    fn default() -> Self {
        let defaults = Self::augment_args(clap::Command::new("run")).get_matches_from(["run"]);
        // Every flag has a default or is optional.
        Self::from_arg_matches(&defaults).unwrap_or_else(|error| unreachable!("{error}"))
    }
}
