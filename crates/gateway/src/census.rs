//! Which sockets this instance has: how many in all, of each user and of each address.

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

use crate::{Limits, fanout::SocketRef};

/// Counts sockets as they come and go. Its lock is taken at connect and disconnect only.
#[derive(Debug)]
pub(crate) struct Census {
    limits: Limits,
    total: AtomicUsize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    by_address: HashMap<IpAddr, u32>,
    /// Sockets of each user, the oldest first. Most users have one.
    by_user: HashMap<UserName, SmallVec<[(u64, SocketRef); 1]>>,
    next: u64,
}

/// Too many sockets: come back later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crowded;

/// Room for one socket, given back on drop.
#[derive(Debug)]
pub(crate) struct Place {
    census: Arc<Census>,
    /// Boxed: there is one only where a limit is held against it.
    address: Option<Box<IpAddr>>,
}

/// A socket in its place and in the list of its user, taken out of both on drop.
#[derive(Debug)]
pub(crate) struct Registered {
    place: Place,
    user: UserName,
    number: u64,
}

impl Census {
    /// No sockets.
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, total: AtomicUsize::new(0), counts: Mutex::default() }
    }

    /// How many sockets there are.
    pub(crate) fn total(&self) -> usize {
        self.total.load(Ordering::Acquire)
    }

    /// Makes room for a socket from `address`.
    ///
    /// # Errors
    /// Where the address, or all together, have as many as they may.
    pub(crate) fn admit(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Place, Crowded> {
        let full = self.limits.sockets.is_some_and(|most| self.total() >= most.get() as usize);
        if full {
            return Err(Crowded);
        }
        // Counted only where there is something to hold it against.
        let counted = address.zip(self.limits.sockets_per_address);
        if let Some((address, most)) = counted {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.by_address.entry(address).or_default();
            if *count >= most.get() {
                return Err(Crowded);
            }
            *count += 1;
        }
        self.total.fetch_add(1, Ordering::AcqRel);
        Ok(Place { census: self.clone(), address: counted.map(|(address, _)| Box::new(address)) })
    }
}

impl Place {
    /// Enters the socket that takes this place. Answers the oldest ones of `user` that are too many now, to be closed.
    pub(crate) fn register(self, user: UserName, socket: SocketRef) -> (Registered, Vec<SocketRef>) {
        let mut counts = self.census.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.next += 1;
        let number = counts.next;
        let sockets = counts.by_user.entry(user.clone()).or_default();
        sockets.push((number, socket));
        let most = self.census.limits.sockets_per_user.map_or(usize::MAX, |most| most.get() as usize);
        let surplus = sockets.len().saturating_sub(most);
        let oldest = sockets.drain(..surplus).map(|(_, socket)| socket).collect();
        drop(counts);
        (Registered { place: self, user, number }, oldest)
    }
}

impl Registered {
    /// Whose socket it is.
    pub(crate) fn user(&self) -> &UserName {
        &self.user
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.census.total.fetch_sub(1, Ordering::AcqRel);
        let Some(address) = self.address.as_deref() else { return };
        let mut counts = self.census.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.by_address.get_mut(address) {
            *count -= 1;
            if *count == 0 {
                counts.by_address.remove(address);
            }
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut counts = self.place.census.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sockets) = counts.by_user.get_mut(&self.user) {
            sockets.retain(|(number, _)| *number != self.number);
            if sockets.is_empty() {
                counts.by_user.remove(&self.user);
            }
        }
    }
}
