//! Flags of `trunkline-check run`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, FromArgMatches, ValueEnum};

use crate::history::{InjectedFault, Micros};

/// Settings of a run.
#[derive(Clone, Debug, Args)]
pub struct LoadSettings {
    /// URL of the deployment.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// Number of clients that write. Each of them also reads its room.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub writers: u32,
    /// Number of clients that only read.
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub readers: u32,
    /// Number of rooms. Clients are assigned to them round-robin.
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub rooms: u32,
    /// Number of rooms that each reader joins.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub rooms_per_reader: u32,
    /// Messages per second, over all writers. With its default limits a gateway accepts 10 messages per second per user.
    #[arg(long, value_name = "N", default_value_t = 200.0)]
    pub rate: f64,
    /// Time for which the writers write.
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    pub duration: Duration,
    /// Percentage of messages that are not texts but edits, deletions and reactions of earlier texts, or events with data. With
    /// 0 clients neither read older messages nor are their folds compared.
    #[arg(long = "amend", value_name = "PERCENT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=90))]
    pub amend_percent: u32,
    /// Identify the users by JSON Web Tokens that are signed with this HMAC secret (HS256), instead of logging them in. The
    /// gateways get the same file with --jwt-key-file.
    #[arg(long, value_name = "FILE")]
    pub jwt_secret_file: Option<PathBuf>,
    /// Lifetime of these tokens. Clients refresh them after 80 % of it.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration, requires = "jwt_secret_file")]
    pub token_ttl: Duration,
    /// Length of a message text in bytes. Texts are longer if their timestamp and id need more.
    #[arg(long = "text", value_name = "BYTES", default_value_t = 64)]
    pub text_bytes: usize,
    /// Longest time from the last send until every message is settled and every client has received every message.
    #[arg(long = "settle", value_name = "TIME", default_value = "45s", value_parser = humantime::parse_duration)]
    pub settle_limit: Duration,
    /// Longest time for which presence may differ from the open sockets after the last join or leave: one lease of the
    /// deployment.
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = humantime::parse_duration)]
    pub lease: Duration,
    /// Longest time for all logins, and for all first connections.
    #[arg(long = "patience", value_name = "TIME", default_value = "2m", value_parser = humantime::parse_duration)]
    pub connect_limit: Duration,
    /// Number of readers that share one session, as the tabs of a browser do. By default a gateway allows 16 sockets per
    /// user.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub tabs: u32,
    /// Log in again when a session ends, as a person would.
    #[arg(long)]
    pub login_again: bool,
    /// What may fail during the run, because faults are injected by hand and not marked with --control. Repeatable, or
    /// separated by commas. Everything else is judged as always.
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    pub faults: Vec<ExpectedFault>,
    /// Messages per room that the reference read compares with what every client holds.
    #[arg(long = "tail", value_name = "N", default_value_t = 1000)]
    pub reference_messages: usize,
    /// Process id of a gateway on this machine whose memory, file descriptors and threads are measured before and after
    /// the run. Repeatable.
    #[arg(long = "pid", value_name = "PID")]
    pub pids: Vec<u32>,
    /// Seed of the load plan. Default: random.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Prefix of the user names. Default: random, so that two runs do not claim the same names.
    #[arg(long, value_name = "PREFIX")]
    pub users_prefix: Option<String>,
    /// Prefix of the room names. Default: random. The rooms must not contain messages of other runs.
    #[arg(long, value_name = "PREFIX")]
    pub rooms_prefix: Option<String>,
    /// Write the history to this file, one JSON object per line.
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// Read commands from standard input and write states and the verdict to standard output, one JSON object per line.
    /// Commands: {"mark":"fault","name":"gateway killed"}, {"mark":"healed"}, {"stop":true}. A mark is answered with
    /// {"state":"marked"} as soon as it is recorded in the history.
    #[arg(long)]
    pub control: bool,
}

/// What may fail at any time during a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExpectedFault {
    /// Redis may be killed, fail over, and lose its last writes: rooms may begin new epochs, and clients may be told of gaps.
    /// No socket may close.
    Redis,
    /// Gateways may be killed or restarted: clients may lose their sockets, and must return and catch up.
    Gateways,
}

impl ExpectedFault {
    /// Returns the fault to record at the time `t`. It does not end.
    pub(crate) fn mark(self, t: Micros) -> InjectedFault<'static> {
        let (name, redis, closes) = match self {
            Self::Redis => ("Redis may fail (--faults redis)", true, Some(Vec::new())),
            Self::Gateways => ("gateways may fail (--faults gateways)", false, None),
        };
        InjectedFault { t, name: name.into(), redis, anytime: true, visible: false, closes }
    }
}

impl Default for LoadSettings {
    /// Returns the settings of `trunkline-check run` without flags.
    fn default() -> Self {
        let defaults = Self::augment_args(clap::Command::new("run")).get_matches_from(["run"]);
        // Every flag has a default or is optional.
        Self::from_arg_matches(&defaults).unwrap_or_else(|error| unreachable!("{error}"))
    }
}
