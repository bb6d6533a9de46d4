//! Failed connects.

use std::{fmt, time::Duration};

/// A failed attempt to connect: the step, the host and address, and the cause. For people, and without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectError {
    /// The step that failed.
    pub step: ConnectStep,
    /// Host and address, as far as they are known.
    pub target: String,
    /// What happened, and what to do if that is known.
    pub cause: String,
}

/// A step of connecting. Each has its own time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectStep {
    /// The Sentinels are asked for the master.
    Discovery,
    /// The host's name is looked up.
    Lookup,
    /// The TCP or Unix connection is made.
    Connect,
    /// The TLS handshake.
    Tls,
    /// The commands with which redis-rs sets a connection up.
    SetUp,
    /// The server is asked what it is.
    ServerCheck,
    /// A node of a cluster is asked for the slot map.
    SlotMap,
}

impl ConnectError {
    pub(crate) fn new(step: ConnectStep, target: impl fmt::Display, cause: impl fmt::Display) -> Self {
        Self { step, target: target.to_string(), cause: cause.to_string() }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, target, cause } = self;
        match step {
            ConnectStep::Discovery => write!(f, "asking the Sentinels for the master {target}: {cause}"),
            ConnectStep::Lookup => write!(f, "look-up of {target}: {cause}"),
            ConnectStep::Connect => write!(f, "connecting to {target}: {cause}"),
            ConnectStep::Tls => write!(f, "TLS handshake with {target}: {cause}"),
            ConnectStep::SetUp => write!(f, "set-up (AUTH, SELECT) at {target}: {cause}"),
            ConnectStep::ServerCheck => write!(f, "server at {target} cannot be used: {cause}"),
            ConnectStep::SlotMap => write!(f, "CLUSTER SHARDS at {target}: {cause}"),
        }
    }
}

impl std::error::Error for ConnectError {}

/// The cause if a step exceeds its time limit.
pub(crate) fn no_answer_within(limit: Duration) -> String {
    format!("no answer within {} s", limit.as_secs_f32())
}
