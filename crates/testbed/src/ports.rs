//! Loopback ports.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    net::{Ipv4Addr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

use crate::{Result, TestbedError};

/// First port of the range. The range is below the ports that systems use for outgoing connections (from 32768 on Linux,
/// from 49152 elsewhere), so that a client's connection cannot hold the port of a server that restarts.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;
/// Number of free ports that are tried, because another program may take a free port first.
const ATTEMPTS: usize = 5;

/// A loopback port on which nothing listens now. Another program may take it before the caller does; the servers of this
/// crate then try another port.
///
/// # Errors
/// Returns [`TestbedError::Reply`] if no port of the range is free.
pub fn free_port() -> Result<u16> {
    // Each process starts at a random port and counts up, so that processes and threads rarely try the same port.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = NEXT.load(Ordering::Relaxed);
    if start == 0 {
        let random = (RandomState::new().build_hasher().finish() % u64::from(COUNT)) as u16;
        let _ = NEXT.compare_exchange(0, random.max(1), Ordering::Relaxed, Ordering::Relaxed);
    }
    for _ in 0..COUNT {
        let port = FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        if is_free(port) {
            return Ok(port);
        }
    }
    Err(TestbedError::Reply("no free loopback port".to_owned()))
}

/// Calls `start` with `port`, or with free ports until the port that it gets is not taken, at most [`ATTEMPTS`] times.
///
/// # Errors
/// The last error of `start`.
pub(crate) fn start_on<T>(port: Option<u16>, mut start: impl FnMut(u16) -> Result<T>) -> Result<T> {
    let mut attempts = if port.is_some() { 1 } else { ATTEMPTS };
    loop {
        attempts -= 1;
        match start(port.map_or_else(free_port, Ok)?) {
            Err(TestbedError::PortTaken(_)) if attempts > 0 => {}
            result => return result,
        }
    }
}

/// Whether a listener can be bound to the port now.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_can_be_bound() {
        let first = free_port().unwrap();
        let second = free_port().unwrap();
        assert_ne!(first, second);
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
        assert!(!is_free(first));
    }
}
