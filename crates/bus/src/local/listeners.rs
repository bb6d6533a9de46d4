//! Who listens to a [`LocalBus`](super::LocalBus).

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Weak},
};

use tokio::{
    runtime::Handle,
    sync::mpsc::{self, OwnedPermit, error::TrySendError},
};
use trunkline_domain::Room;

use super::Shared;
use crate::{Delivery, Subscriptions};

/// Deliveries that wait for a listener; then publishers wait.
const CAPACITY: usize = 1024;

/// All listeners.
#[derive(Default)]
pub(super) struct Listeners {
    /// In the order of their ids, which is the order in which permits are taken: so publishers cannot wait for each
    /// other in a circle.
    all: Vec<Listener>,
    next: u64,
}

struct Listener {
    id: u64,
    deliveries: mpsc::Sender<Delivery>,
    rooms: HashMap<Room, Stage>,
}

/// How far a room is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Wanted; `Subscribed` waits for room in the channel, and nothing else is delivered yet.
    Asked,
    Live,
}

impl Listeners {
    /// The places to wait for before a delivery.
    pub(super) fn reserve(&self) -> Waiting {
        Waiting(self.all.iter().map(|listener| (listener.id, listener.deliveries.clone())).collect())
    }

    /// Delivers to everybody with interest in the room, each through its permit. A listener that came after the permits
    /// were taken has announced nothing yet, so it misses nothing.
    pub(super) fn tell(&mut self, permits: Permits, room: &Room, delivery: impl Fn(Room) -> Delivery) {
        for (id, permit) in permits.0 {
            let listener = self.all.iter_mut().find(|listener| listener.id == id);
            match listener {
                Some(listener) if listener.rooms.get(room) == Some(&Stage::Live) => {
                    permit.send(delivery(room.clone()));
                }
                _ => {}
            }
        }
    }

    fn get(&mut self, id: u64) -> Option<&mut Listener> {
        self.all.iter_mut().find(|listener| listener.id == id)
    }
}

/// Channels that a publisher waits for.
pub(super) struct Waiting(Vec<(u64, mpsc::Sender<Delivery>)>);

/// Room for one delivery in each channel.
pub(super) struct Permits(Vec<(u64, OwnedPermit<Delivery>)>);

impl Waiting {
    /// Returns when every channel whose receiver lives has room.
    pub(super) async fn wait(self) -> Permits {
        let mut permits = Vec::with_capacity(self.0.len());
        for (id, deliveries) in self.0 {
            if let Ok(permit) = deliveries.reserve_owned().await {
                permits.push((id, permit));
            }
        }
        Permits(permits)
    }
}

/// What one listener of a [`LocalBus`](super::LocalBus) wants to hear.
#[derive(Clone)]
pub struct LocalSubscriptions(Arc<Registration>);

struct Registration {
    bus: Weak<Shared>,
    id: u64,
    runtime: Handle,
}

/// Adds a listener. Ends with the last clone of its interest.
pub(super) fn open(bus: &Arc<Shared>) -> (LocalSubscriptions, mpsc::Receiver<Delivery>) {
    let (deliveries, receiver) = mpsc::channel(CAPACITY);
    let listeners = &mut bus.state().listeners;
    let id = listeners.next;
    listeners.next += 1;
    listeners.all.push(Listener { id, deliveries, rooms: HashMap::new() });
    let registration = Registration { bus: Arc::downgrade(bus), id, runtime: Handle::current() };
    (LocalSubscriptions(Arc::new(registration)), receiver)
}

impl Subscriptions for LocalSubscriptions {
    fn subscribe(&self, room: &Room) {
        let Some(bus) = self.0.bus.upgrade() else { return };
        let mut state = bus.state();
        let Some(listener) = state.listeners.get(self.0.id) else { return };
        if listener.rooms.contains_key(room) {
            return;
        }
        let stage = match listener.deliveries.try_send(Delivery::Subscribed(room.clone())) {
            Ok(()) | Err(TrySendError::Closed(_)) => Stage::Live,
            Err(TrySendError::Full(_)) => {
                // One task a room at most, and only while the listener is behind.
                let announce = announce(self.0.bus.clone(), self.0.id, listener.deliveries.clone(), room.clone());
                self.0.runtime.spawn(announce);
                Stage::Asked
            }
        };
        listener.rooms.insert(room.clone(), stage);
    }

    fn unsubscribe(&self, room: &Room) {
        if let Some(bus) = self.0.bus.upgrade()
            && let Some(listener) = bus.state().listeners.get(self.0.id)
        {
            listener.rooms.remove(room);
        }
    }
}

/// Says `Subscribed` as soon as the listener has room for it.
async fn announce(bus: Weak<Shared>, id: u64, deliveries: mpsc::Sender<Delivery>, room: Room) {
    let Ok(permit) = deliveries.reserve().await else { return };
    let Some(bus) = bus.upgrade() else { return };
    let mut state = bus.state();
    if let Some(stage) = state.listeners.get(id).and_then(|listener| listener.rooms.get_mut(&room))
        && *stage == Stage::Asked
    {
        *stage = Stage::Live;
        permit.send(Delivery::Subscribed(room));
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(bus) = self.bus.upgrade() {
            bus.state().listeners.all.retain(|listener| listener.id != self.id);
        }
    }
}

impl fmt::Debug for LocalSubscriptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalSubscriptions").field("listener", &self.0.id).finish_non_exhaustive()
    }
}
