//! Limits on the number of open connections: of the instance, of each client address and of each user.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use smallvec::SmallVec;
use trunkline_domain::UserName;

use crate::{Limits, fanout::ConnectionHandle};

/// ConnectionCounts the open connections of this instance. Its lock is taken when a connection opens and when it closes.
#[derive(Debug)]
pub(crate) struct ConnectionLimits {
    limits: Limits,
    total: AtomicUsize,
    counts: Mutex<ConnectionCounts>,
}

#[derive(Debug, Default)]
struct ConnectionCounts {
    by_address: HashMap<IpAddr, u32>,
    /// The connections of each user with their numbers, oldest first. Most users have one.
    by_user: HashMap<UserName, SmallVec<[(u64, ConnectionHandle); 1]>>,
    next_number: u64,
}

/// The instance or the client address has as many connections as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LimitExceeded;

/// The right to open one connection. It counts until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    limits: Arc<ConnectionLimits>,
    /// The client address, if connections per address are limited. Boxed, because by default they are not.
    address: Option<Box<IpAddr>>,
}

/// A permit whose connection is in the list of its user. Dropping it removes both.
#[derive(Debug)]
pub(crate) struct UserPermit {
    permit: Permit,
    user: UserName,
    number: u64,
}

impl ConnectionLimits {
    /// Creates limits without connections.
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, total: AtomicUsize::new(0), counts: Mutex::default() }
    }

    /// Returns the number of open connections.
    pub(crate) fn total(&self) -> usize {
        self.total.load(Ordering::Acquire)
    }

    /// Takes a permit for a connection from `address`.
    ///
    /// # Errors
    /// [`LimitExceeded`] if the instance or the address has as many connections as it may. The client can retry later.
    pub(crate) fn acquire(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Permit, LimitExceeded> {
        let is_full = self.limits.sockets.is_some_and(|max| self.total() >= max.get() as usize);
        if is_full {
            return Err(LimitExceeded);
        }
        let counted = address.zip(self.limits.sockets_per_address);
        if let Some((address, max)) = counted {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.by_address.entry(address).or_default();
            if *count >= max.get() {
                return Err(LimitExceeded);
            }
            *count += 1;
        }
        self.total.fetch_add(1, Ordering::AcqRel);
        Ok(Permit { limits: self.clone(), address: counted.map(|(address, _)| Box::new(address)) })
    }
}

impl Permit {
    /// Adds the connection to the list of `user`. Also returns the user's oldest connections that are over the limit now,
    /// for the caller to evict.
    pub(crate) fn register(self, user: UserName, connection: ConnectionHandle) -> (UserPermit, Vec<ConnectionHandle>) {
        let mut counts = self.limits.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.next_number += 1;
        let number = counts.next_number;
        let connections = counts.by_user.entry(user.clone()).or_default();
        connections.push((number, connection));
        let max = self.limits.limits.sockets_per_user.map_or(usize::MAX, |max| max.get() as usize);
        let surplus = connections.len().saturating_sub(max);
        let oldest = connections.drain(..surplus).map(|(_, connection)| connection).collect();
        drop(counts);
        (UserPermit { permit: self, user, number }, oldest)
    }
}

impl UserPermit {
    /// Returns the user of the connection.
    pub(crate) fn user(&self) -> &UserName {
        &self.user
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limits.total.fetch_sub(1, Ordering::AcqRel);
        let Some(address) = self.address.as_deref() else { return };
        let mut counts = self.limits.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.by_address.get_mut(address) {
            *count -= 1;
            if *count == 0 {
                counts.by_address.remove(address);
            }
        }
    }
}

impl Drop for UserPermit {
    fn drop(&mut self) {
        let mut counts = self.permit.limits.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connections) = counts.by_user.get_mut(&self.user) {
            connections.retain(|(number, _)| *number != self.number);
            if connections.is_empty() {
                counts.by_user.remove(&self.user);
            }
        }
    }
}
