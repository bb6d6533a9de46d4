//! The bus of one process: logs in memory, for running without any other program and for tests.

mod listeners;
mod presence;
mod rooms;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use tokio::sync::mpsc;
use trunkline_domain::{
    Draft, Entry, InstanceId, Millis, Position, PresenceChange, PresenceSnapshot, Room, UserName, millis,
};

pub use self::listeners::LocalSubscriptions;
use self::{
    listeners::{Listeners, Permits},
    presence::Leases,
    rooms::Rooms,
};
use crate::{
    Bus, BusError, Delivery, Health, InstanceRegistry, InstanceReport, Lease, LeaseStatus, Page, PresenceStore, Range,
    Receipt, presence::LEASE,
};

/// What a [`LocalBus`] keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalConfig {
    /// Entries of a room that are kept.
    pub retain: usize,
    /// Bytes of a room's entries that are kept, about; the oldest go first.
    pub retain_bytes: usize,
    /// How long the log of a room is kept in which nobody writes and which nobody [keeps](Bus::keep).
    pub retain_for: Duration,
    /// How long presence may outlive a [`InstanceId`] that says nothing more.
    pub lease: Duration,
}

impl Default for LocalConfig {
    /// 1,000 entries and 4 MiB a room, seven days, leases of 15 s.
    fn default() -> Self {
        Self { retain: 1000, retain_bytes: 4 << 20, retain_for: Duration::from_secs(7 * 24 * 3600), lease: LEASE }
    }
}

/// Logs that live as long as this process, shared by all clones of one `LocalBus`.
///
/// A restarted process starts new epochs, so no position is ever given twice. Delivery is lossless: where a listener
/// does not keep up, publishers wait. Memory is bounded a room by [`LocalConfig`]; a room that nobody uses vanishes.
#[derive(Clone)]
pub struct LocalBus(Arc<Shared>);

struct Shared {
    /// Held by a publisher from waiting for its permits until it has sent: what keeps calls in order.
    turn: tokio::sync::Mutex<()>,
    /// Locked for moments, never while waiting.
    state: Mutex<State>,
    clock: Clock,
    lease: Duration,
}

type Clock = Box<dyn Fn() -> Millis + Send + Sync>;

struct State {
    rooms: Rooms,
    listeners: Listeners,
    leases: Leases,
}

impl LocalBus {
    /// An empty bus with the system's clock.
    #[must_use]
    pub fn new(config: LocalConfig) -> Self {
        Self::with_clock(config, system_millis)
    }

    /// An empty bus that takes the time, in milliseconds since the Unix epoch, from `clock`. Its first epoch is the
    /// time now.
    pub fn with_clock(config: LocalConfig, clock: impl Fn() -> Millis + Send + Sync + 'static) -> Self {
        let lease = config.lease;
        let rooms = Rooms::new(config, clock());
        let state = State { rooms, listeners: Listeners::default(), leases: Leases::default() };
        let turn = tokio::sync::Mutex::new(());
        Self(Arc::new(Shared { turn, state: Mutex::new(state), clock: Box::new(clock), lease }))
    }
}

impl Shared {
    /// The state; every change of it is complete before anything could panic, so a poisoned lock is sound.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When a note that is made now vanishes.
    fn note_end(&self) -> Millis {
        (self.clock)().saturating_add(self.lease_millis())
    }

    fn lease_millis(&self) -> Millis {
        millis(self.lease)
    }

    /// Changes the leases in `room`, and tells of it.
    async fn lease<T>(&self, room: &Room, change: impl FnOnce(&mut Leases) -> (Option<PresenceChange>, T)) -> T {
        let _turn = self.turn.lock().await;
        let (turn, result) = change(&mut self.state().leases);
        if let Some(turn) = turn {
            let permits = self.permits().await;
            self.state().listeners.tell(permits, room, |room| Delivery::Presence(room, turn.clone()));
        }
        result
    }

    /// Waits until every listener has room for one more delivery.
    async fn permits(&self) -> Permits {
        let waiting = self.state().listeners.reserve();
        waiting.wait().await
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
        let _turn = self.0.turn.lock().await;
        let permits = self.0.permits().await;
        let mut state = self.0.state();
        let (receipt, entry) = state.rooms.publish((self.0.clock)(), room, draft);
        if let Some(entry) = entry {
            state.listeners.tell(permits, room, |room| Delivery::Entry(room, Entry::clone(&entry)));
        }
        Ok(receipt)
    }

    async fn read(&self, room: &Room, range: Range) -> Result<Page, BusError> {
        Ok(self.0.state().rooms.read((self.0.clock)(), room, range))
    }

    async fn heads(&self, rooms: &[Room]) -> Result<Vec<Position>, BusError> {
        let now = (self.0.clock)();
        let mut state = self.0.state();
        Ok(rooms.iter().map(|room| state.rooms.head(now, room)).collect())
    }

    async fn publish_ephemeral(&self, room: &Room, bytes: Bytes) -> Result<(), BusError> {
        let _turn = self.0.turn.lock().await;
        let permits = self.0.permits().await;
        self.0.state().listeners.tell(permits, room, |room| Delivery::Ephemeral(room, bytes.clone()));
        Ok(())
    }

    async fn refresh_expiry(&self, rooms: &[Room]) -> Result<(), BusError> {
        self.0.state().rooms.refresh_expiry((self.0.clock)(), rooms);
        Ok(())
    }

    /// Must be called inside a tokio runtime.
    fn open(&self) -> (LocalSubscriptions, mpsc::Receiver<Delivery>) {
        listeners::open(&self.0)
    }

    fn health(&self) -> Vec<Health> {
        // Nothing that could be away.
        Vec::new()
    }
}

impl PresenceStore for LocalBus {
    async fn replace(&self, room: &Room, instance: InstanceId, users: &[UserName]) -> Result<(), BusError> {
        self.0.lease(room, |leases| (leases.replace(room, instance, users), ())).await;
        Ok(())
    }

    async fn update(
        &self,
        room: &Room,
        instance: InstanceId,
        came: &[UserName],
        went: &[UserName],
    ) -> Result<Lease, BusError> {
        let change = |leases: &mut Leases| {
            let turn = leases.update(room, instance, came, went);
            let lease = if turn.is_some() { Lease::Held } else { Lease::Lost };
            (turn, lease)
        };
        Ok(self.0.lease(room, change).await)
    }

    async fn check(&self, instance: InstanceId, rooms: &[Room]) -> Result<Vec<LeaseStatus>, BusError> {
        let _turn = self.0.turn.lock().await;
        let state = self.0.state();
        Ok(rooms.iter().map(|room| state.leases.check(room, instance)).collect())
    }

    async fn expire(&self, instance: InstanceId, rooms: &[Room]) -> Result<(), BusError> {
        for room in rooms {
            self.0.lease(room, |leases| (leases.expire(room, instance), ())).await;
        }
        Ok(())
    }

    async fn snapshot(&self, room: &Room) -> Result<PresenceSnapshot, BusError> {
        Ok(self.0.lease(room, |leases| (None, leases.snapshot(room))).await)
    }

    async fn set_room_counts(&self, rooms: &[(Room, usize)]) -> Result<(), BusError> {
        self.0.state().leases.set_room_counts(self.0.note_end(), rooms);
        Ok(())
    }

    async fn room_counts(&self) -> Result<Vec<(Room, usize)>, BusError> {
        Ok(self.0.state().leases.room_counts((self.0.clock)()))
    }
}

impl InstanceRegistry for LocalBus {
    fn lease(&self) -> Duration {
        self.0.lease
    }

    async fn heartbeat(&self, instance: InstanceId) -> Result<Vec<InstanceId>, BusError> {
        let now = (self.0.clock)();
        Ok(self.0.state().leases.heartbeat(now, now.saturating_add(self.0.lease_millis() / 2), instance))
    }

    async fn report(&self, instance: InstanceId, about: &str) -> Result<(), BusError> {
        self.0.state().leases.report(self.0.note_end(), instance, about);
        Ok(())
    }

    async fn reports(&self) -> Result<Vec<InstanceReport>, BusError> {
        Ok(self.0.state().leases.reports((self.0.clock)(), self.0.lease_millis()))
    }
}
