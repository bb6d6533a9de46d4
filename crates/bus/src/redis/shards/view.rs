//! Which shards there are, and which of them owns a key.

use std::sync::Arc;

use trunkline_redis::{
    NodeAddress,
    slots::{SlotMap, slot_of},
};

use super::shard::Shard;

/// The shards at one moment.
#[derive(Debug, Default)]
pub(in super::super) struct View {
    /// The slots, in the order of `shards`. `None` for a single server, and while nothing is known.
    map: Option<SlotMap>,
    shards: Vec<Arc<Shard>>,
}

impl View {
    /// One server, which owns every key.
    pub(super) fn single(shard: Arc<Shard>) -> Self {
        Self { map: None, shards: vec![shard] }
    }

    /// The masters of a cluster: `shard_of` returns the shard of each.
    pub(super) fn cluster(map: SlotMap, shard_of: impl FnMut(&NodeAddress) -> Arc<Shard>) -> Self {
        let shards = map.masters().iter().map(shard_of).collect();
        Self { map: Some(map), shards }
    }

    /// All shards.
    pub(in super::super) fn shards(&self) -> &[Arc<Shard>] {
        &self.shards
    }

    /// The slots of a cluster.
    pub(super) fn map(&self) -> Option<&SlotMap> {
        self.map.as_ref()
    }

    /// The nodes to ask for a newer map: see [`SlotMap::nodes_to_ask`].
    pub(super) fn nodes_to_ask(&self, named: Option<NodeAddress>) -> Vec<Option<NodeAddress>> {
        let is_up = |node: &NodeAddress| self.shard_at(node).is_some_and(|shard| shard.link_state().is_ok());
        self.map.as_ref().unwrap_or(&SlotMap::default()).nodes_to_ask(named, is_up)
    }

    /// The shard of this node.
    pub(super) fn shard_at(&self, node: &NodeAddress) -> Option<&Arc<Shard>> {
        self.shards.iter().find(|shard| shard.node() == Some(node))
    }

    /// The index in [`shards`](Self::shards) of the owner of a slot. `None` if no master owns it.
    pub(super) fn owner_index(&self, slot: u16) -> Option<usize> {
        match &self.map {
            Some(map) => map.owner_index(slot),
            None => Some(0),
        }
    }

    /// The shard that owns a key or channel. `None` if no master owns its slot.
    pub(in super::super) fn owner(&self, key: &str) -> Option<&Arc<Shard>> {
        let index = match &self.map {
            Some(map) => map.owner_index(slot_of(key))?,
            None => 0,
        };
        self.shards.get(index)
    }
}
