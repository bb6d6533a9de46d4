//! The error type of this crate.

use std::io;

use trunkline_chaos::ChaosError;
use trunkline_testbed::TestbedError;

/// Result with [`BenchError`].
pub type Result<T, E = BenchError> = std::result::Result<T, E>;

/// Why the floor, the load or the comparison ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The arguments contradict each other. Correct them.
    #[error("{0}")]
    Usage(String),
    /// The server refuses or closes connections, or does not answer.
    #[error("{0}")]
    Server(String),
    /// The limit of open files is too low. Use fewer sockets or raise the limit.
    #[error("{sockets} sockets do not fit: this process may open {most} files")]
    Files {
        /// Number of sockets that were asked for.
        sockets: usize,
        /// The limit.
        most: u64,
    },
    /// The process does not exist, or belongs to another user.
    #[error("cannot read the CPU time and memory of process {pid}")]
    Process {
        /// The process id.
        pid: u32,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A system call failed.
    #[error("{doing}")]
    Kernel {
        /// The operation.
        doing: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A server or a program could not be started, controlled or built.
    #[error(transparent)]
    Testbed(TestbedError),
    /// One measurement failed. The comparison continues with the next one.
    #[error("{0}")]
    Measurement(String),
    /// Ctrl-C or SIGTERM.
    #[error("stopped")]
    Stopped,
}

impl From<TestbedError> for BenchError {
    fn from(error: TestbedError) -> Self {
        match error {
            TestbedError::Cancelled => Self::Stopped,
            other => Self::Testbed(other),
        }
    }
}

impl From<ChaosError> for BenchError {
    fn from(error: ChaosError) -> Self {
        match error {
            ChaosError::Testbed(error) => error.into(),
            ChaosError::Stopped => Self::Stopped,
            other => Self::Measurement(other.to_string()),
        }
    }
}

impl BenchError {
    pub(crate) fn kernel(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Kernel { doing, source }
    }

    /// The error and its causes on one line, separated by colons.
    #[must_use]
    pub fn chain(&self) -> String {
        let first: &dyn std::error::Error = self;
        let causes = std::iter::successors(Some(first), |cause| cause.source());
        causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    }
}
