//! Why a command ended early, with what the user can do.

use std::path::PathBuf;

use trunkline_testbed::{ProcessEnd, TestbedError};

pub(crate) type Result<T, E = XtaskError> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub(crate) enum XtaskError {
    #[error(transparent)]
    Testbed(TestbedError),
    #[error("port {port} is in use{owner}. End that program, or choose another port with `--port`.", owner = owner.as_deref().map(|owner| format!(" by {owner}")).unwrap_or_default())]
    PortTaken { port: u16, owner: Option<String> },
    #[error("a cluster is running already ({}). End it with `quit` or Ctrl-C.", .0.display())]
    ClusterRuns(PathBuf),
    #[error("{asked} instances are out of range: choose between 1 and {max}")]
    InstanceCount { asked: usize, max: usize },
    #[error("{name} ended before it was ready ({end}). Its last lines:{log}")]
    InstanceFailed { name: String, end: ProcessEnd, log: String },
    #[error("{name} is not ready after {seconds} s: {reason}")]
    NotReady { name: String, seconds: u64, reason: String },
    #[error("Redis at {url} does not answer: {reason}")]
    RedisUnreachable { url: String, reason: String },
    #[error("`--tls` is for servers that this command starts; a Redis given by URL speaks TLS if its URL is rediss://")]
    TlsOfGivenRedis,
    #[error("cargo-fuzz is not installed. `cargo install cargo-fuzz` installs it.")]
    NoCargoFuzz,
    #[error("there is no fuzz target {name}; the targets are {known}")]
    UnknownFuzzTarget { name: String, known: String },
    /// `cargo metadata` failed.
    #[error("`{0}` failed")]
    Cargo(String),
    #[error(
        "Python 2.7 was not found. The Autobahn test suite runs on no later version. Install it with one of:\n  \
         sudo apt install python2.7 (Debian 11, Ubuntu 22.04)\n  pyenv install 2.7.18 (https://github.com/pyenv/pyenv)\n  \
         pypy 2.7 (https://pypy.org/download.html)\nThen name the program with `--python FILE` if it is not on PATH."
    )]
    NoPython,
    #[error("the test suite's report {} cannot be read: {reason}", .path.display())]
    Report { path: PathBuf, reason: String },
    /// Ctrl-C or SIGTERM.
    #[error("stopped")]
    Stopped,
}

impl From<TestbedError> for XtaskError {
    fn from(error: TestbedError) -> Self {
        match error {
            TestbedError::Cancelled => Self::Stopped,
            other => Self::Testbed(other),
        }
    }
}
