//! [`LocalBus`]: the [`Bus`] in memory.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use tokio::sync::mpsc;
use trunkline_domain::{
    Draft, InstanceId, Member, Millis, Position, PresenceChange, PresenceSnapshot, Room, UserId, millis,
};

use super::{
    config::LocalConfig,
    listeners::{Listeners, LocalSubscriptions},
    presence::Leases,
    rooms::Rooms,
};
use crate::{
    Bus, BusError, Delivery, Health, InstanceRegistry, InstanceReport, Lease, LeaseStatus, Page, PresenceStore, Range,
    Receipt, sync::lock,
};

/// Logs that live as long as this process, shared by all clones of one `LocalBus`.
///
/// A restarted process starts new epochs, so no position is assigned twice. Delivery is lossless: while the channel of a
/// listener is full, publishers wait. [`LocalConfig`] bounds the memory of each room; a room that is not used expires.
///
/// ```
/// use trunkline_bus::{Bus, LocalBus, LocalConfig, Range};
/// use trunkline_domain::{Draft, Room};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bus = LocalBus::new(LocalConfig { retain: 100, ..LocalConfig::default() });
/// let lobby: Room = "lobby".parse()?;
/// let draft = Draft::text("m1".parse()?, "ann".parse()?, "hello".parse()?);
/// let first = bus.publish(&lobby, draft.clone()).await?;
/// // A retry with the same id appends nothing.
/// let retry = bus.publish(&lobby, draft).await?;
/// assert!(retry.repeated && retry.pos == first.pos);
/// assert_eq!(bus.read(&lobby, Range::Latest(10)).await?.entries.len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct LocalBus(Arc<Inner>);

struct Inner {
    /// Held while a call waits for space in the listeners' channels and until it has delivered: keeps calls in order.
    order: tokio::sync::Mutex<()>,
    listeners: Arc<Mutex<Listeners>>,
    rooms: Mutex<Rooms>,
    leases: Mutex<Leases>,
    clock: Box<dyn Fn() -> Millis + Send + Sync>,
    lease: Duration,
}

impl LocalBus {
    /// An empty bus that uses the system clock.
    #[must_use]
    pub fn new(config: LocalConfig) -> Self {
        Self::with_clock(config, system_millis)
    }

    /// An empty bus that takes the time, in milliseconds since the Unix epoch, from `clock`. Its first epoch is the
    /// current time.
    pub fn with_clock(config: LocalConfig, clock: impl Fn() -> Millis + Send + Sync + 'static) -> Self {
        let lease = config.lease;
        Self(Arc::new(Inner {
            order: tokio::sync::Mutex::new(()),
            listeners: Arc::default(),
            rooms: Mutex::new(Rooms::new(config, clock())),
            leases: Mutex::default(),
            clock: Box::new(clock),
            lease,
        }))
    }

    /// Runs `change`, and delivers what it returns to the room's listeners. Calls run in the order of their first poll.
    async fn change<T>(&self, room: &Room, change: impl FnOnce(&Inner) -> (Option<Delivery>, T)) -> T {
        let _order = self.0.order.lock().await;
        loop {
            let pending = lock(&self.0.listeners).pending_permits();
            let permits = pending.acquire().await;
            // Locked before the change: a listener that subscribes afterwards finds the change in the log.
            let mut listeners = lock(&self.0.listeners);
            if !listeners.covers_all(&permits) {
                // A listener was added while the permits were acquired.
                continue;
            }
            let (delivery, result) = change(&self.0);
            if let Some(delivery) = delivery {
                listeners.deliver(permits, room, &delivery);
            }
            return result;
        }
    }

    async fn change_leases<T>(
        &self,
        room: &Room,
        change: impl FnOnce(&mut Leases) -> (Option<PresenceChange>, T),
    ) -> T {
        let change = |inner: &Inner| {
            let (change, result) = change(&mut lock(&inner.leases));
            (change.map(|change| Delivery::Presence(room.clone(), change)), result)
        };
        self.change(room, change).await
    }
}

impl Inner {
    fn now(&self) -> Millis {
        (self.clock)()
    }

    fn lease_millis(&self) -> Millis {
        millis(self.lease)
    }

    /// When a record that is set now expires.
    fn record_expiry(&self) -> Millis {
        self.now().saturating_add(self.lease_millis())
    }
}

impl fmt::Debug for LocalBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalBus").finish_non_exhaustive()
    }
}

/// Milliseconds since the Unix epoch; 0 before it.
fn system_millis() -> Millis {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

impl Bus for LocalBus {
    type Subscriptions = LocalSubscriptions;

    async fn publish(&self, room: &Room, draft: Draft) -> Result<Receipt, BusError> {
        let append = |inner: &Inner| match lock(&inner.rooms).publish(inner.now(), room, draft) {
            Ok((receipt, entry)) => (entry.map(|entry| Delivery::Entry(room.clone(), entry)), Ok(receipt)),
            Err(kind) => (None, Err(BusError::from(kind))),
        };
        self.change(room, append).await
    }

    async fn mark_seen(&self, room: &Room, user: &UserId, pos: Position) -> Result<Position, BusError> {
        Ok(lock(&self.0.rooms).mark_seen(self.0.now(), room, user, pos))
    }

    async fn seen(&self, room: &Room, user: &UserId) -> Result<Option<Position>, BusError> {
        Ok(lock(&self.0.rooms).seen(self.0.now(), room, user))
    }

    async fn read(&self, room: &Room, range: Range) -> Result<Page, BusError> {
        Ok(lock(&self.0.rooms).read(self.0.now(), room, range))
    }

    async fn heads(&self, rooms: &[Room]) -> Result<Vec<Option<Position>>, BusError> {
        let now = self.0.now();
        let mut all = lock(&self.0.rooms);
        Ok(rooms.iter().map(|room| Some(all.head(now, room))).collect())
    }

    async fn publish_ephemeral(&self, room: &Room, bytes: Bytes) -> Result<(), BusError> {
        let delivery = Delivery::Ephemeral(room.clone(), bytes);
        self.change(room, |_| (Some(delivery), ())).await;
        Ok(())
    }

    async fn refresh_expiry(&self, rooms: &[Room]) -> Result<(), BusError> {
        lock(&self.0.rooms).refresh_expiry(self.0.now(), rooms);
        Ok(())
    }

    /// Call it inside a tokio runtime.
    fn open(&self) -> (LocalSubscriptions, mpsc::Receiver<Delivery>) {
        LocalSubscriptions::open(&self.0.listeners)
    }

    /// No checks: memory is always reachable.
    fn health(&self) -> Vec<Health> {
        Vec::new()
    }
}

impl PresenceStore for LocalBus {
    async fn replace(&self, room: &Room, instance: InstanceId, users: &[Member]) -> Result<(), BusError> {
        self.change_leases(room, |leases| (leases.replace(room, instance, users), ())).await;
        Ok(())
    }

    async fn update(
        &self,
        room: &Room,
        instance: InstanceId,
        joined: &[Member],
        left: &[Member],
    ) -> Result<Lease, BusError> {
        let update = |leases: &mut Leases| {
            let change = leases.update(room, instance, joined, left);
            let lease = if change.is_some() { Lease::Held } else { Lease::Lost };
            (change, lease)
        };
        Ok(self.change_leases(room, update).await)
    }

    async fn check(&self, instance: InstanceId, rooms: &[Room]) -> Result<Vec<Option<LeaseStatus>>, BusError> {
        let _order = self.0.order.lock().await;
        let leases = lock(&self.0.leases);
        Ok(rooms.iter().map(|room| Some(leases.check(room, instance))).collect())
    }

    async fn expire(&self, instance: InstanceId, rooms: &[Room]) -> Result<(), BusError> {
        for room in rooms {
            self.change_leases(room, |leases| (leases.expire(room, instance), ())).await;
        }
        Ok(())
    }

    async fn snapshot(&self, room: &Room) -> Result<PresenceSnapshot, BusError> {
        Ok(self.change_leases(room, |leases| (None, leases.snapshot(room))).await)
    }

    async fn set_room_counts(&self, counts: &[(Room, usize)]) -> Result<(), BusError> {
        lock(&self.0.leases).set_room_counts(self.0.now(), counts);
        Ok(())
    }

    async fn room_counts(&self) -> Result<Vec<(Room, usize)>, BusError> {
        Ok(lock(&self.0.leases).room_counts(self.0.now(), self.0.lease_millis()))
    }
}

impl InstanceRegistry for LocalBus {
    fn lease(&self) -> Duration {
        self.0.lease
    }

    async fn heartbeat(&self, instance: InstanceId) -> Result<Vec<InstanceId>, BusError> {
        let now = self.0.now();
        let alive_until = now.saturating_add(self.0.lease_millis() / 2);
        Ok(lock(&self.0.leases).heartbeat(now, alive_until, instance))
    }

    async fn report(&self, instance: InstanceId, text: &str) -> Result<(), BusError> {
        lock(&self.0.leases).report(self.0.record_expiry(), instance, text);
        Ok(())
    }

    async fn reports(&self) -> Result<Vec<InstanceReport>, BusError> {
        Ok(lock(&self.0.leases).reports(self.0.now(), self.0.lease_millis()))
    }
}
