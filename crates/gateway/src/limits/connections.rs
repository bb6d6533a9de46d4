//! Limits on the number of open connections: of the instance, of each client address and of each user.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use smallvec::SmallVec;
use trunkline_bus::{SharedLimits, SocketChange};
use trunkline_domain::{InstanceId, UserId};

use super::exchange::{ExchangeTrigger, start_socket_exchange};
use crate::{Limits, fanout::ConnectionHandle};

/// Maximum number of opened and closed connections that wait to be reported to other instances. Above it, all connections
/// are reported instead.
const MAX_CHANGES: usize = 8192;

/// Counts the open connections of this instance. Its lock is taken when a connection opens and when it closes.
#[derive(Debug)]
pub(crate) struct ConnectionLimits {
    limits: Limits,
    started: Instant,
    total: AtomicUsize,
    counts: Mutex<ConnectionCounts>,
    /// `None` if no other instance shares the limit per user.
    trigger: Option<ExchangeTrigger>,
}

#[derive(Debug, Default)]
struct ConnectionCounts {
    by_address: HashMap<IpAddr, u32>,
    /// The connections of each user with their numbers, oldest first. Most users have one.
    by_user: HashMap<UserId, SmallVec<[(u64, ConnectionHandle); 1]>>,
    /// The number of the newest connection. A connection's number is the time when it opened, in µs since the limits were
    /// created, made unique.
    last_number: u64,
    /// Connections that opened or closed since the last report. Only those that closed if `reports_all` is set.
    changes: Vec<SocketChange>,
    /// Whether the next report contains all open connections.
    reports_all: bool,
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
    user: UserId,
    number: u64,
}

impl ConnectionLimits {
    /// Creates limits without connections. Starts the exchange with other instances, which ends when the limits are dropped.
    pub(crate) fn start(limits: Limits, bus: &impl SharedLimits, instance: InstanceId) -> Arc<Self> {
        let per_user = limits.sockets_per_user.filter(|_| bus.is_shared());
        let new = |trigger| {
            let started = Instant::now();
            Arc::new(Self { limits, started, total: AtomicUsize::new(0), counts: Mutex::default(), trigger })
        };
        match per_user {
            Some(max) => start_socket_exchange(bus, |trigger| new(Some(trigger)), instance, max),
            None => new(None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, ConnectionCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the connections that opened or closed since the last call; after [`report_all`](Self::report_all), all open
    /// connections and those that closed.
    pub(super) fn take_changes(&self) -> Vec<SocketChange> {
        let now = self.started.elapsed();
        let age = |number| Some(now.saturating_sub(Duration::from_micros(number)));
        let mut counts = self.lock();
        let mut changes = std::mem::take(&mut counts.changes);
        if std::mem::take(&mut counts.reports_all) {
            for (user, connections) in &counts.by_user {
                let open = |&(number, _): &_| SocketChange { user: user.clone(), number, age: age(number) };
                changes.extend(connections.iter().map(open));
            }
        }
        drop(counts);
        // The order of sockets over all instances depends on their ages now, not when the changes were noted.
        for change in changes.iter_mut().filter(|change| change.age.is_some()) {
            change.age = age(change.number);
        }
        changes
    }

    /// Puts back changes that could not be reported, before later ones.
    pub(super) fn restore_changes(&self, mut changes: Vec<SocketChange>) {
        let mut counts = self.lock();
        changes.append(&mut counts.changes);
        counts.changes = changes;
        if counts.reports_all || counts.changes.len() > MAX_CHANGES {
            counts.report_all();
            // Of what does not fit, connections that closed are lost: they count until the instance ends, and are the
            // first to be evicted.
            counts.changes.truncate(MAX_CHANGES);
        }
    }

    /// Reports all open connections soon.
    pub(super) fn report_all(&self) {
        self.lock().report_all();
        self.trigger.iter().for_each(ExchangeTrigger::wake);
    }

    /// Removes a connection from the list of its user, for the caller to evict. `None` if it has closed.
    pub(super) fn take(&self, user: &UserId, number: u64) -> Option<ConnectionHandle> {
        self.lock().remove(user, number)
    }

    /// Notes a change for the report to the other instances.
    fn note_change(&self, counts: &mut ConnectionCounts, change: SocketChange) {
        let Some(trigger) = &self.trigger else { return };
        counts.note_change(change);
        trigger.wake();
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
            let mut counts = self.lock();
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

impl ConnectionCounts {
    fn note_change(&mut self, change: SocketChange) {
        if self.changes.len() >= MAX_CHANGES && !self.reports_all {
            self.report_all();
        }
        let is_reported = self.reports_all && change.age.is_some();
        if !is_reported && self.changes.len() < MAX_CHANGES {
            self.changes.push(change);
        }
    }

    /// Replaces the changes of open connections by a report of all of them.
    fn report_all(&mut self) {
        self.reports_all = true;
        self.changes.retain(|change| change.age.is_none());
    }

    fn remove(&mut self, user: &UserId, number: u64) -> Option<ConnectionHandle> {
        let connections = self.by_user.get_mut(user)?;
        let index = connections.iter().position(|(one, _)| *one == number)?;
        let (_, connection) = connections.remove(index);
        if connections.is_empty() {
            self.by_user.remove(user);
        }
        Some(connection)
    }
}

impl Permit {
    /// Adds the connection to the list of `user`. Also returns the user's oldest connections that are over the limit now,
    /// for the caller to evict.
    pub(crate) fn register(self, user: UserId, connection: ConnectionHandle) -> (UserPermit, Vec<ConnectionHandle>) {
        let uptime = self.limits.started.elapsed().as_micros() as u64;
        let mut counts = self.limits.lock();
        let number = uptime.max(counts.last_number + 1);
        counts.last_number = number;
        let connections = counts.by_user.entry(user.clone()).or_default();
        connections.push((number, connection));
        let max = self.limits.limits.sockets_per_user.map_or(usize::MAX, |max| max.get() as usize);
        let surplus = connections.len().saturating_sub(max);
        let oldest: Vec<_> = connections.drain(..surplus).collect();
        let change = |number, age| SocketChange { user: user.clone(), number, age };
        self.limits.note_change(&mut counts, change(number, Some(Duration::ZERO)));
        for (oldest, _) in &oldest {
            self.limits.note_change(&mut counts, change(*oldest, None));
        }
        drop(counts);
        let oldest = oldest.into_iter().map(|(_, connection)| connection).collect();
        (UserPermit { permit: self, user, number }, oldest)
    }
}

impl UserPermit {
    /// Returns the user of the connection.
    pub(crate) fn user(&self) -> &UserId {
        &self.user
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limits.total.fetch_sub(1, Ordering::AcqRel);
        let Some(address) = self.address.as_deref() else { return };
        let mut counts = self.limits.lock();
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
        let limits = &self.permit.limits;
        let mut counts = limits.lock();
        if counts.remove(&self.user, self.number).is_some() {
            let change = SocketChange { user: self.user.clone(), number: self.number, age: None };
            limits.note_change(&mut counts, change);
        }
    }
}

#[cfg(test)]
mod tests {
    use trunkline_bus::{LocalBus, LocalConfig};

    use super::*;

    fn change(number: usize, age: Option<Duration>) -> SocketChange {
        SocketChange { user: "ann".parse().unwrap(), number: number as u64, age }
    }

    #[test]
    fn closed_connections_are_reported_after_more_changes_than_fit() {
        let limits = ConnectionLimits::start(Limits::default(), &LocalBus::new(LocalConfig::default()), InstanceId(1));
        let opened: Vec<_> = (0..MAX_CHANGES).map(|number| change(number, Some(Duration::ZERO))).collect();
        // Redis is away: the report of the open connections fails, and connections close before and after.
        limits.lock().note_change(change(0, None));
        limits.restore_changes(opened.clone());
        limits.lock().note_change(change(1, None));
        assert_eq!(limits.take_changes(), [change(0, None), change(1, None)]);

        for opened in opened {
            limits.lock().note_change(opened);
        }
        limits.lock().note_change(change(2, None));
        assert_eq!(limits.take_changes(), [change(2, None)]);
    }
}
