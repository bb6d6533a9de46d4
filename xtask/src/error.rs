//! What stops a command, each with what to do about it.

use std::{io, path::PathBuf};

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Testbed(trunkline_testbed::Error),
    #[error("port {port} is in use{owner}. End that program, or choose another port with `--port`.", owner = owner.as_deref().map(|owner| format!(" by {owner}")).unwrap_or_default())]
    PortTaken { port: u16, owner: Option<String> },
    #[error("a cluster is running already ({}). End it with `quit` or Ctrl-C.", .0.display())]
    ClusterRuns(PathBuf),
    #[error("between 1 and {max} instances, please: {asked} is out of range")]
    Instances { asked: usize, max: usize },
    #[error("{name} ended before it was ready ({ended}). Its last lines:{log}")]
    InstanceFailed { name: String, ended: trunkline_testbed::Ended, log: String },
    #[error("{name} is not ready after {seconds} s: {reason}")]
    NotReady { name: String, seconds: u64, reason: String },
    #[error("Redis at {url} does not answer: {reason}")]
    RedisAway { url: String, reason: String },
    #[error("`{0}` failed; its messages are above")]
    Cargo(String),
    #[error("the build made no program named `{0}`")]
    NoProgram(&'static str),
    #[error("{doing} {}: {source}", path.display())]
    File { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("there is no row {0:?}; `cargo xtask chaos --list` shows what there is")]
    NoSuchRow(String),
    /// A row could not be carried out: it fails, the others go on.
    #[error("{0}")]
    Row(String),
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
    /// Ctrl-C or SIGTERM: nothing to report.
    #[error("stopped")]
    Stopped,
}

impl From<trunkline_testbed::Error> for Error {
    fn from(error: trunkline_testbed::Error) -> Self {
        match error {
            trunkline_testbed::Error::Cancelled => Self::Stopped,
            other => Self::Testbed(other),
        }
    }
}

/// Adds what was attempted on which file.
pub(crate) trait OnFile<T> {
    fn on(self, doing: &'static str, path: &std::path::Path) -> Result<T>;
}

impl<T> OnFile<T> for io::Result<T> {
    fn on(self, doing: &'static str, path: &std::path::Path) -> Result<T> {
        self.map_err(|source| Error::File { doing, path: path.to_owned(), source })
    }
}
