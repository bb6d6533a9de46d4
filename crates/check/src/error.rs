//! Errors of the checker. A verdict that fails is not an error.

use std::{io, path::PathBuf};

/// Reason why a run, a judgement or an attack could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// An argument is invalid. Correct it and run the command again.
    #[error("{0}")]
    Usage(String),
    /// The deployment cannot be reached, or refuses something that the run needs, such as a login.
    #[error("cannot {action}")]
    Deployment {
        /// The action that failed, as an infinitive: `log in as ann`.
        action: String,
        /// Error of the client.
        #[source]
        source: trunkline_client::ClientError,
    },
    /// A file of the checker cannot be read or written.
    #[error("cannot use the file {}", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The file is not a history.
    #[error("line {line} is not a line of a history")]
    History {
        /// Number of the first invalid line, counted from 1.
        line: usize,
        /// Error of the parser.
        #[source]
        source: serde_json::Error,
    },
    /// The local machine refuses an operation, for example to listen on an address.
    #[error("cannot {action}")]
    System {
        /// The action that failed, as an infinitive: `listen on 127.0.0.1:9000`.
        action: String,
        /// Error of the operating system.
        #[source]
        source: io::Error,
    },
}

impl CheckError {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }

    /// Returns the error and its causes in one line, separated by colons.
    #[must_use]
    pub fn chain(&self) -> String {
        let first: &dyn std::error::Error = self;
        let causes = std::iter::successors(Some(first), |cause| cause.source());
        causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    }
}
