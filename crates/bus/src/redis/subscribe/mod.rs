//! The connection that subscribes.
//!
//! [`Subscription`] keeps one connection to Redis subscribed to the channels in a `ChannelSet`, decodes what arrives, and
//! hands it to the consumer through a bounded `Backlog`. [`SubscriptionHealth`] records whether the process receives its
//! own probes.

mod backlog;
mod channel_set;
mod health;
mod subscription;

pub use self::subscription::RedisSubscriptions;
pub(super) use self::{health::SubscriptionHealth, subscription::Subscription};
