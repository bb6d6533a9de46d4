//! The connections that subscribe.
//!
//! A [`Subscription`](subscription::Subscription) keeps one connection to one shard subscribed to the channels in a
//! `ChannelSet`, decodes what arrives, and hands it to the consumer through a bounded `Backlog`. The `Placement` moves rooms
//! between the sets when slots move. Each shard records whether the process receives its own probes from it.

mod backlog;
mod channel_set;
mod placement;
mod requests;
mod subscription;
mod subscriptions;

pub use self::subscriptions::RedisSubscriptions;
pub(super) use self::subscriptions::open;
