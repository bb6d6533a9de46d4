//! The shards of a cluster, and the way of a command to the right one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::join_all;
use redis::{Cmd, Value};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use trunkline_redis::{
    Connector, NodeAddress,
    slots::SlotMap,
    topology::{Redirect, Redirections, Refreshed},
};

use super::{
    shard::{Shard, ShardSettings},
    status::ClusterStatus,
    view::View,
};
use crate::{
    BusError, ErrorKind,
    redis::{connection::Link, error::unexpected_reply, faults::Faults},
    sync::lock,
};

/// Time for which the link to a master without slots is kept after a redirection to it.
const NAMED_LIFETIME: Duration = Duration::from_secs(10);

/// Commands that a shard executed.
pub(in super::super) struct Executed {
    pub(super) link: Arc<Link>,
    /// The reply to each. May be errors, but no redirections.
    pub(super) replies: Vec<Value>,
    /// Whether they were executed at a master that does not own their slot yet (`ASK`).
    pub(super) was_asked: bool,
}

/// The masters of a cluster.
pub(in super::super) struct Cluster {
    pub(super) connector: Arc<Connector>,
    pub(super) settings: ShardSettings,
    faults: Faults,
    view: watch::Sender<Arc<View>>,
    /// Masters that redirections named before the slot map showed them, and when they were last named.
    named: Mutex<HashMap<NodeAddress, (Arc<Shard>, Instant)>>,
    status: Mutex<ClusterStatus>,
}

impl Cluster {
    /// A cluster whose masters are not known yet.
    pub(super) fn new(connector: Arc<Connector>, settings: ShardSettings, faults: Faults) -> Self {
        let view = watch::channel(Arc::new(View::default())).0;
        let (named, status) = (Mutex::default(), Mutex::default());
        Self { connector, settings, faults, view, named, status }
    }

    pub(super) fn faults(&self) -> Faults {
        self.faults
    }

    pub(super) fn views(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    pub(super) fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    /// What the last look at the cluster found.
    pub(super) fn status(&self) -> ClusterStatus {
        lock(&self.status).clone()
    }

    pub(super) fn set_status(&self, status: ClusterStatus) {
        let mut known = lock(&self.status);
        if let (Err(reason), true) = (&status.map, known.map != status.map) {
            // Logged once per cause, not once per attempt.
            tracing::warn!(reason, "the slot map of the cluster cannot be read; asking again");
        }
        *known = status;
    }

    /// The owner of a slot.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) if it is not known.
    pub(super) fn owner(&self, slot: u16) -> Result<Arc<Shard>, BusError> {
        let view = self.view.borrow();
        view.owner_index(slot).and_then(|index| view.shards().get(index)).cloned().ok_or_else(|| {
            let reason = self.status().map.err().unwrap_or_else(|| format!("no master owns slot {slot}"));
            BusError::new(ErrorKind::Unavailable, reason)
        })
    }

    /// The shard at this address, which is started if it is not known yet.
    pub(super) fn shard_at(&self, node: &NodeAddress) -> Arc<Shard> {
        if let Some(shard) = self.view.borrow().shard_at(node) {
            return shard.clone();
        }
        let start = || {
            // Its slots are not known yet. A probe with keys of another shard is redirected, which is no error.
            let probe = self.settings.names.probe(self.settings.process);
            Shard::start(Some(node.clone()), self.connector.clone(), probe, &self.settings)
        };
        let mut named = lock(&self.named);
        let (shard, used) = named.entry(node.clone()).or_insert_with(|| (start(), Instant::now()));
        *used = Instant::now();
        shard.clone()
    }

    /// Replaces the slot map by a newer one. The shards of masters that own slots in both are kept.
    pub(super) fn set_map(&self, newer: &SlotMap) -> Refreshed {
        let view = self.view();
        let mut map = view.map().cloned().unwrap_or_default();
        let is_first = map.masters().is_empty();
        let is_changed = map.merge(newer) && (is_first || !self.faults.ignore_moved);
        if is_changed {
            let view = View::cluster(map, |node| self.shard_at(node));
            let map = view.map().cloned().unwrap_or_default();
            for shard in view.shards() {
                shard.choose_probe(&self.settings, |slot| map.owner(slot) == shard.node());
            }
            tracing::info!(masters = ?map, "the slots of the cluster are at these masters");
            self.view.send_replace(Arc::new(view));
        } else {
            // Rooms whose subscription was refused are tried again after each look at the cluster.
            self.view.send_replace(view.clone());
        }
        // Shards in the view are kept by it.
        let view = self.view();
        lock(&self.named).retain(|node, (_, used)| view.shard_at(node).is_none() && used.elapsed() < NAMED_LIFETIME);
        if is_changed { Refreshed::Changed } else { Refreshed::Unchanged }
    }

    /// Sends commands with keys in `slot` to its owner, and follows redirections. With `publishing`, they take the way of
    /// publications: see [`Link::call_publishing`].
    pub(super) async fn call(
        &self,
        slot: u16,
        publishing: bool,
        commands: impl Fn(&Link) -> Vec<Cmd> + Send + Sync,
    ) -> Result<Executed, BusError> {
        let shard = self.owner(slot)?;
        let link = shard.link()?;
        let replies =
            if publishing { link.call_publishing(commands(&link)).await? } else { link.call(commands(&link)).await? };
        match redirect_in(&replies, &shard) {
            None => Ok(Executed { link, replies, was_asked: false }),
            Some(redirect) => self.follow(slot, redirect, Instant::now(), commands).await,
        }
    }

    /// Like [`call`](Self::call) for `count` commands in each of `slots`: one call per shard, then one for each slot that
    /// was redirected.
    pub(super) async fn call_each(
        &self,
        slots: &[u16],
        count: usize,
        commands: impl Fn(&Link, usize) -> Vec<Cmd> + Send + Sync,
    ) -> Vec<Result<Executed, BusError>> {
        let view = self.view();
        let mut groups: HashMap<Option<usize>, Vec<usize>> = HashMap::new();
        for (index, &slot) in slots.iter().enumerate() {
            groups.entry(view.owner_index(slot)).or_default().push(index);
        }
        let started = Instant::now();
        let (view, commands) = (&view, &commands);
        let calls = groups.into_iter().map(|(owner, indexes)| async move {
            let sent = async {
                let shard = match owner.and_then(|owner| view.shards().get(owner)) {
                    Some(shard) => shard.clone(),
                    None => self.owner(slots[indexes[0]])?,
                };
                let link = shard.link()?;
                let replies = link.call(indexes.iter().flat_map(|&index| commands(&link, index)).collect()).await?;
                if replies.len() != count * indexes.len() {
                    return Err(unexpected_reply("Redis sent fewer replies than there were commands"));
                }
                Ok((shard, link, replies))
            };
            let (shard, link, replies) = match sent.await {
                Ok(sent) => sent,
                Err(error) => return indexes.into_iter().map(|index| (index, Err(error.clone()))).collect::<Vec<_>>(),
            };
            let mut replies = replies.into_iter();
            let results = indexes.into_iter().map(|index| {
                let (link, replies): (_, Vec<Value>) = (link.clone(), replies.by_ref().take(count).collect());
                let redirect = redirect_in(&replies, &shard);
                async move {
                    let executed = Executed { link, replies, was_asked: false };
                    let Some(redirect) = redirect else { return (index, Ok(executed)) };
                    (index, self.follow(slots[index], redirect, started, |link: &Link| commands(link, index)).await)
                }
            });
            join_all(results).await
        });
        let mut results: Vec<_> = join_all(calls).await.into_iter().flatten().collect();
        results.sort_unstable_by_key(|(index, _)| *index);
        results.into_iter().map(|(_, result)| result).collect()
    }

    /// Sends commands where redirections say, until they are executed or the time since `started` is over.
    async fn follow(
        &self,
        slot: u16,
        mut redirect: Redirect,
        started: Instant,
        commands: impl Fn(&Link) -> Vec<Cmd> + Send + Sync,
    ) -> Result<Executed, BusError> {
        let mut redirections = Redirections::new(slot);
        loop {
            if self.faults.ignore_moved {
                return Err(BusError::new(ErrorKind::Unavailable, "redirections are ignored"));
            }
            let is_old = redirect.shows_old_map();
            let next = redirections.follow(redirect, started.elapsed());
            let next = next.map_err(|error| BusError::new(ErrorKind::Unavailable, error))?;
            if is_old {
                self.settings.map_requests.request(next.node.as_ref());
            }
            if let Some(wait) = next.wait {
                sleep(wait).await;
            }
            let shard = next.node.map_or_else(|| self.owner(slot), |node| Ok(self.shard_at(&node)))?;
            let link = shard.link_until(started + Redirections::TIMEOUT).await?;
            let commands = commands(&link);
            let replies = if next.is_asking {
                // ASKING holds for the next command on the connection; one call is sent without others in between.
                let asking = |command| [redis::cmd("ASKING"), command];
                let replies = link.call(commands.into_iter().flat_map(asking).collect()).await?;
                replies.into_iter().skip(1).step_by(2).collect()
            } else {
                link.call(commands).await?
            };
            match redirect_in(&replies, &shard) {
                None => return Ok(Executed { link, replies, was_asked: next.is_asking }),
                Some(next) => redirect = next,
            }
        }
    }
}

/// The first redirection among the replies of a shard.
fn redirect_in(replies: &[Value], shard: &Shard) -> Option<Redirect> {
    replies.iter().find_map(|reply| Redirect::of_reply(reply, shard.host()))
}
