//! The subscriptions of a [`LocalBus`](super::LocalBus).

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, Weak},
};

use tokio::{
    runtime::Handle,
    sync::mpsc::{self, OwnedPermit, error::TrySendError},
};
use trunkline_domain::Room;

use crate::{Delivery, Subscriptions, sync::lock};

/// Capacity of a listener's channel, in deliveries. When it is full, publishers wait.
const CAPACITY: usize = 1024;

/// All subscriptions of one bus.
#[derive(Default)]
pub(super) struct Listeners {
    /// Sorted by id. Permits are acquired in this order, so publishers cannot deadlock.
    all: Vec<Listener>,
    next_id: u64,
}

struct Listener {
    id: u64,
    deliveries: mpsc::Sender<Delivery>,
    rooms: HashMap<Room, RoomState>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum RoomState {
    /// `Subscribed` waits for space in the channel, and nothing else is delivered yet.
    Announcing,
    Live,
}

impl Listeners {
    /// The channels in which the next delivery needs space.
    pub(super) fn pending_permits(&self) -> PendingPermits {
        let channels = self.all.iter().map(|listener| (listener.id, listener.deliveries.clone())).collect();
        PendingPermits { channels, next_id: self.next_id }
    }

    /// Whether no listener was added since the permits were requested.
    pub(super) fn covers_all(&self, permits: &Permits) -> bool {
        self.next_id == permits.next_id
    }

    /// Delivers to every listener that is subscribed to the room, each through its permit.
    pub(super) fn deliver(&mut self, permits: Permits, room: &Room, delivery: &Delivery) {
        for (id, permit) in permits.permits {
            if self.get(id).is_some_and(|listener| listener.rooms.get(room) == Some(&RoomState::Live)) {
                permit.send(delivery.clone());
            }
        }
    }

    fn get(&mut self, id: u64) -> Option<&mut Listener> {
        self.all.iter_mut().find(|listener| listener.id == id)
    }
}

/// Channels in which a publisher waits for space.
pub(super) struct PendingPermits {
    channels: Vec<(u64, mpsc::Sender<Delivery>)>,
    next_id: u64,
}

/// Space for one delivery in each channel.
pub(super) struct Permits {
    permits: Vec<(u64, OwnedPermit<Delivery>)>,
    next_id: u64,
}

impl PendingPermits {
    /// Returns when every channel whose receiver exists has space.
    pub(super) async fn acquire(self) -> Permits {
        let mut permits = Vec::with_capacity(self.channels.len());
        for (id, deliveries) in self.channels {
            if let Ok(permit) = deliveries.reserve_owned().await {
                permits.push((id, permit));
            }
        }
        Permits { permits, next_id: self.next_id }
    }
}

/// The rooms to which a listener of a [`LocalBus`](super::LocalBus) is subscribed. The subscription ends when the last clone
/// is dropped.
#[derive(Clone)]
pub struct LocalSubscriptions(Arc<Registration>);

struct Registration {
    listeners: Weak<Mutex<Listeners>>,
    id: u64,
    runtime: Handle,
}

impl LocalSubscriptions {
    /// Adds a listener.
    pub(super) fn open(listeners: &Arc<Mutex<Listeners>>) -> (Self, mpsc::Receiver<Delivery>) {
        let (deliveries, receiver) = mpsc::channel(CAPACITY);
        let mut all = lock(listeners);
        let id = all.next_id;
        all.next_id += 1;
        all.all.push(Listener { id, deliveries, rooms: HashMap::new() });
        let registration = Registration { listeners: Arc::downgrade(listeners), id, runtime: Handle::current() };
        (Self(Arc::new(registration)), receiver)
    }
}

impl Subscriptions for LocalSubscriptions {
    fn subscribe(&self, room: &Room) {
        let Some(listeners) = self.0.listeners.upgrade() else { return };
        let mut listeners = lock(&listeners);
        let Some(listener) = listeners.get(self.0.id) else { return };
        if listener.rooms.contains_key(room) {
            return;
        }
        let state = match listener.deliveries.try_send(Delivery::Subscribed(room.clone())) {
            Ok(()) | Err(TrySendError::Closed(_)) => RoomState::Live,
            Err(TrySendError::Full(_)) => {
                // At most one task per room, and only while the channel is full.
                let announce = announce(self.0.listeners.clone(), self.0.id, listener.deliveries.clone(), room.clone());
                self.0.runtime.spawn(announce);
                RoomState::Announcing
            }
        };
        listener.rooms.insert(room.clone(), state);
    }

    fn unsubscribe(&self, room: &Room) {
        if let Some(listeners) = self.0.listeners.upgrade()
            && let Some(listener) = lock(&listeners).get(self.0.id)
        {
            listener.rooms.remove(room);
        }
    }
}

/// Delivers `Subscribed` as soon as the channel has space.
async fn announce(listeners: Weak<Mutex<Listeners>>, id: u64, deliveries: mpsc::Sender<Delivery>, room: Room) {
    let Ok(permit) = deliveries.reserve().await else { return };
    let Some(listeners) = listeners.upgrade() else { return };
    let mut listeners = lock(&listeners);
    if let Some(state) = listeners.get(id).and_then(|listener| listener.rooms.get_mut(&room))
        && *state == RoomState::Announcing
    {
        *state = RoomState::Live;
        permit.send(Delivery::Subscribed(room));
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(listeners) = self.listeners.upgrade() {
            lock(&listeners).all.retain(|listener| listener.id != self.id);
        }
    }
}

impl fmt::Debug for LocalSubscriptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalSubscriptions").field("listener", &self.0.id).finish_non_exhaustive()
    }
}
