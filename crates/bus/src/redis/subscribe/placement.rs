//! Which room is subscribed at which shard.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use tokio::sync::Notify;
use trunkline_domain::Room;

use super::channel_set::ChannelSet;
use crate::{
    redis::{
        keys::Keyspace,
        shards::{Shard, View},
    },
    sync::lock,
};

/// The rooms that are subscribed at one shard. The lock is held for a few instructions, never across an await.
#[derive(Default)]
pub(super) struct ShardChannels {
    pub(super) set: Mutex<ChannelSet>,
    /// Signals that a request may be needed.
    pub(super) changed: Notify,
}

impl ShardChannels {
    fn change(&self, change: impl FnOnce(&mut ChannelSet)) {
        change(&mut lock(&self.set));
        self.changed.notify_one();
    }
}

/// The rooms that are wanted, each in the channels of the shard that owns its slot.
pub(super) struct Placement {
    names: Arc<Keyspace>,
    view: Arc<View>,
    /// The shards of the view.
    shards: Vec<(Arc<Shard>, Arc<ShardChannels>)>,
    /// Rooms of slots that no shard owns.
    unplaced: BTreeSet<Room>,
}

impl Placement {
    /// No rooms and no shards.
    pub(super) fn new(names: Arc<Keyspace>) -> Self {
        Self { names, view: Arc::default(), shards: Vec::new(), unplaced: BTreeSet::new() }
    }

    /// The shards with their channels.
    pub(super) fn shards(&self) -> &[(Arc<Shard>, Arc<ShardChannels>)] {
        &self.shards
    }

    /// The consumer wants the room.
    pub(super) fn subscribe(&mut self, room: &Room) {
        match self.channels_of(room) {
            Some(channels) => channels.change(|set| set.subscribe(room)),
            None => {
                self.unplaced.insert(room.clone());
            }
        }
    }

    /// The consumer no longer wants the room.
    pub(super) fn unsubscribe(&mut self, room: &Room) {
        self.unplaced.remove(room);
        // Not only the owner: with a fault, rooms stay where their slot was.
        for (_, channels) in &self.shards {
            channels.change(|set| set.unsubscribe(room));
        }
    }

    fn channels_of(&self, room: &Room) -> Option<&Arc<ShardChannels>> {
        let owner = self.view.owner(self.names.room(room).channel())?;
        self.shards.iter().find(|(shard, _)| Arc::ptr_eq(shard, owner)).map(|(_, channels)| channels)
    }

    /// The slots may have moved. Subscribes each room at the owner of its slot, and requests again what was refused. Rooms
    /// that moved are announced again once they are subscribed there.
    pub(super) fn follow(&mut self, view: Arc<View>, keep_subscriptions: bool) {
        if Arc::ptr_eq(&view, &self.view) {
            for (_, channels) in &self.shards {
                channels.change(ChannelSet::resume);
            }
            return;
        }
        let channels_of = |shard: &Arc<Shard>| {
            let known = self.shards.iter().find(|(known, _)| Arc::ptr_eq(known, shard));
            known.map_or_else(Arc::default, |(_, channels)| channels.clone())
        };
        let shards = view.shards().iter().map(|shard| (shard.clone(), channels_of(shard))).collect();
        let before = std::mem::replace(&mut self.shards, shards);
        self.view = view;
        let mut moved: BTreeSet<Room> = std::mem::take(&mut self.unplaced);
        for (shard, channels) in before.iter().filter(|_| !keep_subscriptions) {
            let is_elsewhere = |room: &&Room| {
                self.view.owner(self.names.room(room).channel()).is_none_or(|owner| !Arc::ptr_eq(owner, shard))
            };
            channels.change(|set| {
                let rooms: Vec<Room> = set.wanted().filter(is_elsewhere).cloned().collect();
                rooms.iter().for_each(|room| set.unsubscribe(room));
                moved.extend(rooms);
                set.resume();
            });
        }
        for room in &moved {
            self.subscribe(room);
        }
    }
}
