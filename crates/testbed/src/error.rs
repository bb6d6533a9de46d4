//! What can go wrong when a real server is wanted, named by what the reader can do about it.

use std::{io, path::PathBuf};

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a server could not be found, started or driven.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Install it: the message names the commands.
    #[error("{what} was not found.\n{tried}Install it with one of:\n{install}")]
    NotFound {
        /// The program, for people.
        what: &'static str,
        /// One line for each way that was tried and why it failed.
        tried: String,
        /// Install commands, one a line.
        install: String,
    },
    /// The server ended, or was not ready in time; the message carries its last lines.
    #[error("{name} did not start: {reason}{log}")]
    Start {
        /// Which server.
        name: String,
        /// What was waited for.
        reason: String,
        /// The last lines that it printed.
        log: String,
    },
    /// Somebody else listens there: choose another port.
    #[error("port {0} is in use by another program")]
    PortTaken(u16),
    /// The server was given by URL, so its process is not ours.
    #[error("this Redis was given by URL: it cannot be {0}")]
    NotOurs(&'static str),
    /// The server answered with an error, or with something that makes no sense.
    #[error("{0}")]
    Reply(String),
    /// A helper program failed.
    #[error("`{command}` failed: {detail}")]
    Command {
        /// The command as one could type it.
        command: String,
        /// The end of what it printed.
        detail: String,
    },
    /// The caller's [`Progress`](crate::Progress) asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// The operating system refused.
    #[error("{doing} {path}: {source}", path = path.display())]
    File {
        /// What was attempted, as "cannot create".
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The operating system refused.
    #[error("{doing}: {source}")]
    Io {
        /// What was attempted.
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl Error {
    /// Adds one more way that was tried in vain. A port in use has nothing to do with the ways.
    #[cfg(feature = "testcontainers")]
    pub(crate) fn but_also(self, way: &str, failure: Self) -> Self {
        match (self, failure) {
            (_, taken @ Self::PortTaken(_)) => taken,
            (Self::NotFound { what, tried, install }, failure) => {
                Self::NotFound { what, tried: format!("{tried}{way}: {failure}\n"), install }
            }
            (other, _) => other,
        }
    }
}

/// Adds what was attempted to an [`io::Error`].
pub(crate) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T>;
    fn on(self, doing: &'static str, path: &std::path::Path) -> Result<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: &'static str) -> Result<T> {
        self.map_err(|source| Error::Io { doing, source })
    }

    fn on(self, doing: &'static str, path: &std::path::Path) -> Result<T> {
        self.map_err(|source| Error::File { doing, path: path.to_owned(), source })
    }
}
