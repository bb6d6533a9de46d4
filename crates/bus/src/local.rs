//! The bus of one process: logs in memory, for running without any other program and for tests.

mod listeners;
mod rooms;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use tokio::sync::mpsc;
use trunkline_domain::{Draft, Entry, Millis, Position, Room};

pub use self::listeners::LocalInterest;
use self::{
    listeners::{Listeners, Permits},
    rooms::Rooms,
};
use crate::{Bus, BusError, Delivery, Health, Page, Range, Receipt};

/// What a [`LocalBus`] keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalConfig {
    /// Entries of a room that are kept.
    pub retain: usize,
    /// Bytes of a room's entries that are kept, about; the oldest go first.
    pub retain_bytes: usize,
    /// How long the log of a room is kept in which nobody writes and which nobody [keeps](Bus::keep).
    pub retain_for: Duration,
}

impl Default for LocalConfig {
    /// 1,000 entries and 4 MiB a room, seven days.
    fn default() -> Self {
        Self { retain: 1000, retain_bytes: 4 << 20, retain_for: Duration::from_secs(7 * 24 * 3600) }
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
}

type Clock = Box<dyn Fn() -> Millis + Send + Sync>;

struct State {
    rooms: Rooms,
    listeners: Listeners,
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
        let state = State { rooms: Rooms::new(config, clock()), listeners: Listeners::default() };
        let turn = tokio::sync::Mutex::new(());
        Self(Arc::new(Shared { turn, state: Mutex::new(state), clock: Box::new(clock) }))
    }
}

impl Shared {
    /// The state; every change of it is complete before anything could panic, so a poisoned lock is sound.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis().try_into().unwrap_or(Millis::MAX)
}

impl Bus for LocalBus {
    type Interest = LocalInterest;

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

    async fn whisper(&self, room: &Room, bytes: Bytes) -> Result<(), BusError> {
        let _turn = self.0.turn.lock().await;
        let permits = self.0.permits().await;
        self.0.state().listeners.tell(permits, room, |room| Delivery::Whisper(room, bytes.clone()));
        Ok(())
    }

    async fn keep(&self, rooms: &[Room]) -> Result<(), BusError> {
        self.0.state().rooms.keep((self.0.clock)(), rooms);
        Ok(())
    }

    /// Must be called inside a tokio runtime.
    fn open(&self) -> (LocalInterest, mpsc::Receiver<Delivery>) {
        listeners::open(&self.0)
    }

    fn health(&self) -> Vec<Health> {
        // Nothing that could be away.
        Vec::new()
    }
}
