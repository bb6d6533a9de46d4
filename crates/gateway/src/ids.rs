//! Ids by which threads of this process refer to each other's workers and connections.

/// Identifies a worker thread of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WorkerId(
    /// Unique in the process, counted from 0.
    pub(crate) u32,
);

/// Identifies a connection of one worker while it is open. Every connection holds some, so it takes 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionKey {
    /// Index in the worker's table of connections. Each needs a file descriptor, so an index is below 2³¹.
    pub(crate) slot: u32,
    /// Number of connections that the worker had opened, including this one, modulo 2³². It tells connections that had the
    /// same slot apart.
    pub(crate) serial: u32,
}
