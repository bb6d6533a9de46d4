//! The error type of this crate.

use std::{io, path::PathBuf};

/// Result with [`TestbedError`].
pub type Result<T, E = TestbedError> = std::result::Result<T, E>;

/// Why a server could not be found, started or controlled. Variants are named by what the caller can do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestbedError {
    /// The program is not installed. The message names the commands that install it.
    #[error("{what} was not found.\n{tried}Install it with one of:\n{install}")]
    NotFound {
        /// Name of the program.
        what: &'static str,
        /// One line per source that was tried, with the reason why it failed.
        tried: String,
        /// Install commands, one per line.
        install: String,
    },
    /// The server exited, or was not ready in time.
    #[error("{name} did not start: {reason}{log}")]
    Start {
        /// Name of the server.
        name: String,
        /// Exit status, or the timeout that passed.
        reason: String,
        /// The last lines that it printed.
        log: String,
    },
    /// Another program listens on the port. Choose another port.
    #[error("port {0} is in use by another program")]
    PortTaken(u16),
    /// The server was given by URL, so its process cannot be controlled.
    #[error("this Redis was given by URL: it cannot be {0}")]
    NotOurs(&'static str),
    /// The server answered with an error, or its answer could not be parsed.
    #[error("{0}")]
    Reply(String),
    /// A helper program failed.
    #[error("`{command}` failed: {detail}")]
    Command {
        /// The command line.
        command: String,
        /// The last lines that it printed.
        detail: String,
    },
    /// A certificate could not be created.
    #[error("cannot create a certificate: {0}")]
    Certificate(String),
    /// `cargo build` failed. Its messages were printed while it ran.
    #[error("`{0}` failed; its messages are above")]
    Build(String),
    /// `cargo build` succeeded and produced no program of this name.
    #[error("the build produced no program named `{0}`")]
    NoProgram(&'static str),
    /// The caller's [`Progress`](crate::Progress) or [`StopSignal`](crate::StopSignal) asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// An operation on a file or folder failed.
    #[error("{doing} {path}: {source}", path = path.display())]
    File {
        /// The operation, as in "cannot create".
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another operation of the operating system failed.
    #[error("{doing}: {source}")]
    Io {
        /// The operation, as in "cannot listen for signals".
        doing: &'static str,
        /// The cause.
        source: io::Error,
    },
}

impl TestbedError {
    /// Adds one more source that was tried to a [`TestbedError::NotFound`]. A port in use replaces the error, because
    /// it does not depend on the source.
    #[cfg(feature = "testcontainers")]
    pub(crate) fn but_also(self, source: &str, failure: Self) -> Self {
        match (self, failure) {
            (_, taken @ Self::PortTaken(_)) => taken,
            (Self::NotFound { what, tried, install }, failure) => {
                Self::NotFound { what, tried: format!("{tried}{source}: {failure}\n"), install }
            }
            (other, _) => other,
        }
    }
}

/// Adds the attempted operation to an [`io::Error`].
pub trait IoContext<T> {
    /// Converts the error into [`TestbedError::Io`].
    ///
    /// # Errors
    /// Returns [`TestbedError::Io`] if `self` is an error.
    fn context(self, doing: &'static str) -> Result<T>;

    /// Converts the error into [`TestbedError::File`].
    ///
    /// # Errors
    /// Returns [`TestbedError::File`] if `self` is an error.
    fn on_path(self, doing: &'static str, path: &std::path::Path) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn context(self, doing: &'static str) -> Result<T> {
        self.map_err(|source| TestbedError::Io { doing, source })
    }

    fn on_path(self, doing: &'static str, path: &std::path::Path) -> Result<T> {
        self.map_err(|source| TestbedError::File { doing, path: path.to_owned(), source })
    }
}
