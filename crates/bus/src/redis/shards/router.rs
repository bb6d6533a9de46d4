//! Sends commands to the shards that own their keys.

use std::sync::Arc;

use redis::{Cmd, FromRedisValue, Value};
use tokio::sync::watch;
use trunkline_redis::{Connector, slots::slot_of};

use super::{
    cluster::{Cluster, Executed},
    health,
    refresh::keep_current,
    shard::{Shard, ShardSettings},
    view::View,
};
use crate::{
    BusError, Health,
    redis::{connection::Link, error::unexpected_reply, faults::Faults, mode::READ_LOG},
};

/// Where Redis is.
pub(in super::super) enum Target {
    /// One server.
    Single(Arc<Connector>),
    /// A cluster.
    Cluster(Arc<Connector>),
}

/// All shards. Cheap to clone. With a single server a command takes the same way as without this type: no lock, no wait.
#[derive(Clone)]
pub(in super::super) enum Shards {
    /// One server, in a view that never changes.
    Single(Arc<Shard>, watch::Receiver<Arc<View>>),
    /// The masters of a cluster.
    Cluster(Arc<Cluster>),
}

impl Shards {
    /// Starts to connect, and returns at once.
    pub(in super::super) fn start(target: Target, settings: ShardSettings, faults: Faults) -> Self {
        match target {
            Target::Single(connector) => {
                let probe = settings.names.probe(settings.process);
                let shard = Shard::start(None, connector, probe, &settings);
                let view = watch::channel(Arc::new(View::single(shard.clone()))).1;
                Self::Single(shard, view)
            }
            Target::Cluster(connector) => {
                let map_requests = settings.map_requests.clone();
                let cluster = Arc::new(Cluster::new(connector, settings, faults));
                tokio::spawn(keep_current(Arc::downgrade(&cluster), map_requests));
                Self::Cluster(cluster)
            }
        }
    }

    /// The views, from the present one on.
    pub(in super::super) fn views(&self) -> watch::Receiver<Arc<View>> {
        match self {
            Self::Single(_, view) => view.clone(),
            Self::Cluster(cluster) => cluster.views(),
        }
    }

    /// Whether there are several shards.
    pub(in super::super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// The faults that are switched on.
    pub(in super::super) fn faults(&self) -> Faults {
        match self {
            Self::Single(..) => Faults::default(),
            Self::Cluster(cluster) => cluster.faults(),
        }
    }

    /// The link to the owner of a key.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if there is none.
    pub(in super::super) fn link(&self, key: &str) -> Result<Arc<Link>, BusError> {
        match self {
            Self::Single(shard, _) => shard.link(),
            Self::Cluster(cluster) => cluster.owner(slot_of(key))?.link(),
        }
    }

    /// Sends a command to the owner of its keys, which share the slot of `key`. `command` makes it for a link, once more
    /// after each redirection.
    ///
    /// # Errors
    /// As [`Link::query`]. [`Unavailable`](crate::ErrorKind::Unavailable) also if the slot is on its way from one master to
    /// another, or its owner unknown, for more than 2 s.
    pub(in super::super) async fn query<T: FromRedisValue>(
        &self,
        key: &str,
        command: impl Fn(&Link) -> Cmd + Send + Sync,
    ) -> Result<T, BusError> {
        match self {
            Self::Single(shard, _) => {
                let link = shard.link()?;
                link.query(command(&link)).await
            }
            Self::Cluster(cluster) => {
                let Executed { link, mut replies, .. } =
                    cluster.call(slot_of(key), false, |link| vec![command(link)]).await?;
                link.convert(replies.pop().unwrap_or(Value::Nil))
            }
        }
    }

    /// Like [`query`](Self::query) for a command that publishes to `channel`, whose slot is that of its keys. If it was executed
    /// at a master that does not own the slot yet (`ASK`), subscribers at the owner are made to read the log: no other
    /// master has any.
    pub(in super::super) async fn publish<T: FromRedisValue>(
        &self,
        channel: &str,
        command: impl Fn(&Link) -> Cmd + Send + Sync,
    ) -> Result<T, BusError> {
        let (link, mut replies) = match self {
            Self::Single(shard, _) => {
                let link = shard.link()?;
                let replies = link.call_publishing(vec![command(&link)]).await?;
                (link, replies)
            }
            Self::Cluster(cluster) => {
                let slot = slot_of(channel);
                let Executed { link, replies, was_asked } =
                    cluster.call(slot, true, |link| vec![command(link)]).await?;
                if was_asked && let Ok(owner) = cluster.owner(slot).and_then(|owner| owner.link()) {
                    // If it fails, the next comparison of heads finds the entry.
                    let _ = owner.query::<()>(redis::cmd("SPUBLISH").arg(channel).arg(READ_LOG).take()).await;
                }
                (link, replies)
            }
        };
        link.convert(replies.pop().unwrap_or(Value::Nil))
    }

    /// Like [`query`](Self::query) for several commands with keys in one slot. An error of one is the error of all, and a
    /// redirection of one repeats all.
    pub(in super::super) async fn query_all<T: FromRedisValue>(
        &self,
        key: &str,
        commands: impl Fn(&Link) -> Vec<Cmd> + Send + Sync,
    ) -> Result<T, BusError> {
        match self {
            Self::Single(shard, _) => {
                let link = shard.link()?;
                link.query_all(commands(&link)).await
            }
            Self::Cluster(cluster) => {
                let Executed { link, replies, .. } = cluster.call(slot_of(key), false, commands).await?;
                link.convert(Value::Array(replies))
            }
        }
    }

    /// Sends `count` commands for each of `keys`, those for one shard together, and returns the replies per key.
    /// `commands` makes those for the key of an index.
    pub(in super::super) async fn query_each<T: FromRedisValue + Send>(
        &self,
        keys: &[String],
        count: usize,
        commands: impl Fn(&Link, usize) -> Vec<Cmd> + Send + Sync,
    ) -> Vec<Result<Vec<T>, BusError>> {
        match self {
            Self::Single(shard, _) => {
                let replies: Result<Vec<T>, BusError> = async {
                    let link = shard.link()?;
                    link.query_all((0..keys.len()).flat_map(|index| commands(&link, index)).collect()).await
                }
                .await;
                match replies {
                    Ok(replies) => {
                        let mut replies = replies.into_iter();
                        keys.iter().map(|_| take(&mut replies, count)).collect()
                    }
                    Err(error) => keys.iter().map(|_| Err(error.clone())).collect(),
                }
            }
            Self::Cluster(cluster) => {
                let slots: Vec<u16> = keys.iter().map(|key| slot_of(key)).collect();
                let replies = cluster.call_each(&slots, count, commands).await;
                let convert = |executed: Result<Executed, BusError>| {
                    executed.and_then(|Executed { link, replies, .. }| link.convert(Value::Array(replies)))
                };
                replies.into_iter().map(convert).collect()
            }
        }
    }

    /// The checks of readiness; see [`RedisBus::health`](crate::RedisBus).
    pub(in super::super) fn health(&self) -> Vec<Health> {
        match self {
            Self::Single(shard, _) => health::of_single(shard),
            Self::Cluster(cluster) => health::of_cluster(&cluster.view(), cluster.status()),
        }
    }
}

fn take<T>(replies: &mut impl Iterator<Item = T>, count: usize) -> Result<Vec<T>, BusError> {
    let taken: Vec<T> = replies.take(count).collect();
    let too_few = || unexpected_reply("Redis sent fewer replies than there were commands");
    if taken.len() == count { Ok(taken) } else { Err(too_few()) }
}
