//! Why a run or a judgement could not be made; a verdict that fails is no error.

use std::{io, path::PathBuf};

/// What stopped the checker.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Correct the arguments.
    #[error("{0}")]
    Usage(String),
    /// The deployment cannot be reached, or refuses what the run needs.
    #[error("{doing}")]
    Deployment {
        /// What was tried.
        doing: String,
        /// What came of it.
        #[source]
        source: trunkline_client::ClientError,
    },
    /// A file of the checker cannot be read or written.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is no history, from this line on.
    #[error("line {line} is not of a history")]
    History {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The network of this machine refuses.
    #[error("{doing}")]
    Network {
        /// What was tried.
        doing: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }

    /// The error and its causes in one line.
    #[must_use]
    pub fn chain(&self) -> String {
        let first: &dyn std::error::Error = self;
        let causes = std::iter::successors(Some(first), |cause| cause.source());
        causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    }
}
