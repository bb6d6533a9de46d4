//! Why nothing could be measured.

use std::io;

/// What stopped the floor or the load.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Correct the arguments.
    #[error("{0}")]
    Usage(String),
    /// The server refuses, closes, or is silent.
    #[error("{0}")]
    Server(String),
    /// Use fewer sockets, or raise the limit of open files.
    #[error("{sockets} sockets do not fit: this process may open {most} files")]
    Files {
        /// How many were asked for.
        sockets: usize,
        /// The limit.
        most: u64,
    },
    /// The process is not there, or belongs to somebody else.
    #[error("cannot read what process {pid} uses")]
    Process {
        /// Which.
        pid: u32,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel refuses what cannot be done without.
    #[error("{doing}")]
    Kernel {
        /// What was tried.
        doing: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn kernel(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Kernel { doing, source }
    }

    /// The error and its causes in one line.
    #[must_use]
    pub fn chain(&self) -> String {
        let first: &dyn std::error::Error = self;
        let causes = std::iter::successors(Some(first), |cause| cause.source());
        causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    }
}
