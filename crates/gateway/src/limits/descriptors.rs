//! File descriptors: the gateway stops accepting sockets before the process runs out of them.
//!
//! Each connection needs a descriptor. Without any, the process could not accept a probe and would be killed by its
//! orchestrator, and could not reconnect to Redis. A part of the descriptors is therefore reserved: sockets never use
//! it, ordinary requests do.
//!
//! The system always assigns the lowest free descriptor (POSIX `accept`). A connection whose descriptor lies in the
//! reserve proves that all descriptors below the reserve are in use, so no counting is needed.

use std::{any::Any, io, os::fd::AsRawFd, thread};

use actix_web::{dev::Extensions, rt::net::TcpStream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Bounds of the reserve. A probe, a page load and a command to Redis need one descriptor each for a few milliseconds.
const MIN_RESERVE: u64 = 32;
const MAX_RESERVE: u64 = 1024;
/// Descriptors that a worker thread opens for its event loop.
const PER_WORKER: u64 = 4;
/// Connections that the admin listener accepts at once.
pub const MAX_ADMIN_CONNECTIONS: usize = 16;
/// Descriptors that the process opens after its start: the connections of the admin listener, and eight for Redis.
const PER_PROCESS: u64 = MAX_ADMIN_CONNECTIONS as u64 + 8;

/// The descriptor of a connection, kept in its connection data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionDescriptor(u64);

impl ConnectionDescriptor {
    /// Stores the descriptor of a new connection in its data.
    pub(crate) fn store(connection: &dyn Any, data: &mut Extensions) {
        if let Some(stream) = connection.downcast_ref::<TcpStream>() {
            data.insert(Self(stream.as_raw_fd().unsigned_abs().into()));
        }
    }

    /// Returns whether the descriptor lies in the reserve, so that the connection must not become a socket.
    pub(crate) fn is_reserved(self) -> bool {
        self.0 >= limit() - reserve(limit())
    }
}

/// Returns the maximum number of connections per worker of a listener that is about to start: all descriptors but those
/// for Redis and the admin listener, so that idle connections cannot exhaust the rest either. More connections wait in
/// the backlog.
///
/// # Errors
/// Returns an error that names the limit if it leaves no room for sockets.
pub(crate) fn connections_per_worker(listener: &std::net::TcpListener, workers: Option<usize>) -> io::Result<usize> {
    // The lowest free descriptor: the number of descriptors in use.
    let in_use = listener.try_clone()?.as_raw_fd().unsigned_abs();
    let workers = match workers {
        Some(workers) => workers.max(1),
        None => thread::available_parallelism()?.get(),
    } as u64;
    let needed = u64::from(in_use) + workers * PER_WORKER + PER_PROCESS;
    let connections = limit().saturating_sub(needed);
    if connections <= reserve(limit()) {
        let minimum = minimum_limit(needed);
        return Err(io::Error::other(format!(
            "the process may open {} files, which leaves none for sockets; raise the limit to at least {minimum}, better to \
             the number of sockets plus 1,000 (ulimit -n, LimitNOFILE)",
            limit()
        )));
    }
    Ok(usize::try_from(connections / workers).unwrap_or(usize::MAX).max(1))
}

/// Raises the soft limit of open files to the hard limit. Returns the limit before and after.
///
/// # Errors
/// Returns the error of the system; the limit is then unchanged.
pub fn raise_open_file_limit() -> io::Result<(u64, u64)> {
    let limits = getrlimit(Resource::Nofile);
    let before = limit();
    if limits.current != limits.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, maximum: limits.maximum })?;
    }
    Ok((before, limit()))
}

/// Returns the number of descriptors that the process may open.
fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Returns the smallest limit that leaves a descriptor for a socket when `needed` are used otherwise.
fn minimum_limit(needed: u64) -> u64 {
    // The reserve is an eighth of the limit, which is a seventh of the rest.
    needed + (needed / 7).clamp(MIN_RESERVE, MAX_RESERVE) + 1
}

fn reserve(limit: u64) -> u64 {
    (limit / 8).clamp(MIN_RESERVE, MAX_RESERVE).min(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minimum_limit_is_the_smallest_that_leaves_a_descriptor_for_a_socket() {
        let leaves_one = |limit: u64, needed| limit - needed > reserve(limit);
        for needed in 1..20_000 {
            let minimum = minimum_limit(needed);
            assert!(leaves_one(minimum, needed) && !leaves_one(minimum - 1, needed), "{needed}");
        }
    }
}
