//! The masters that hold the keys: one, or those of a cluster.
//!
//! A [`Shard`] is one master with its link. [`Shards`] sends each command to the shard that owns the slot of its keys, and
//! follows the redirections of a cluster. A task asks the cluster for its slot map and replaces the [`View`]; the
//! subscriptions follow it too.

mod cluster;
mod health;
mod refresh;
mod router;
mod shard;
mod status;
mod subscription_health;
mod view;

pub(super) use self::{
    router::{Shards, Target},
    shard::{Shard, ShardSettings},
    subscription_health::SubscriptionHealth,
    view::View,
};
