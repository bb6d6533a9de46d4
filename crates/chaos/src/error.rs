//! The error type of this crate.

use trunkline_testbed::TestbedError;

/// Result with [`ChaosError`].
pub type Result<T, E = ChaosError> = std::result::Result<T, E>;

/// Why a run or a scenario ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChaosError {
    /// A server or a program could not be started, controlled or built.
    #[error(transparent)]
    Testbed(TestbedError),
    /// `--only` names a scenario that does not exist.
    #[error("there is no scenario {0:?}; `cargo xtask chaos --list` lists all scenarios")]
    NoSuchScenario(String),
    /// The scenario cannot continue. It fails; other scenarios continue.
    #[error("{0}")]
    Scenario(String),
    /// Ctrl-C or SIGTERM.
    #[error("stopped")]
    Stopped,
}

impl From<TestbedError> for ChaosError {
    fn from(error: TestbedError) -> Self {
        match error {
            TestbedError::Cancelled => Self::Stopped,
            other => Self::Testbed(other),
        }
    }
}
