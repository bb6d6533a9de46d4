//! The masters of a cluster, and the way of a command to the owner of its slot.
//!
//! Nothing runs in the background: an operation that meets a redirection or a failure makes a task read the slot map again,
//! one at a time. The bus reads its own map; the two follow the same rules ([`MapRefresh`], [`Redirections`], [`newest_map`]).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::future::join_all;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, sleep_until, timeout},
};
use trunkline_redis::{
    Connector, NodeAddress, newest_map,
    slots::{MapAnswer, SlotMap, map_commands},
    topology::{MapRefresh, Redirect, Redirections, Refreshed},
};

use super::{
    call::{BoxError, RedisCall, Reply},
    link::{COMMAND_TIMEOUT, RECONNECT_PAUSE, RedisLink},
};

/// The masters of a cluster.
pub(super) struct ClusterLinks {
    connector: Arc<Connector>,
    started: Instant,
    state: Mutex<ClusterState>,
    policy: Mutex<MapRefresh>,
    /// One permit: one reader of the slot map at a time.
    refreshing: Arc<Semaphore>,
}

#[derive(Default)]
struct ClusterState {
    map: SlotMap,
    /// [`MapAnswer::epoch`] of the map.
    epoch: u64,
    links: HashMap<NodeAddress, Arc<RedisLink>>,
    /// The node that a redirection named last: it knows that it owns the slot.
    named: Option<NodeAddress>,
    /// When the map could not be read, and why.
    failed: Option<(Instant, String)>,
}

impl ClusterLinks {
    /// Does not connect.
    pub(super) fn new(connector: Arc<Connector>) -> Self {
        let (state, policy) = (Mutex::default(), Mutex::default());
        Self { connector, started: Instant::now(), state, policy, refreshing: Arc::new(Semaphore::new(1)) }
    }

    /// Sends a call to the owner of its slot and follows redirections: a redirected call had no effect.
    ///
    /// # Errors
    /// The shard that failed, and why.
    pub(super) async fn call(self: &Arc<Self>, call: &RedisCall<'_>) -> Result<Reply, BoxError> {
        let (started, mut redirections) = (Instant::now(), Redirections::new(call.slot));
        let (mut named, mut is_asking) = (None, false);
        loop {
            let node = match named {
                Some(node) => node,
                None => self.owner(call.slot).await?,
            };
            let reply = match self.link(&node).call(call, is_asking).await {
                Ok(reply) => reply,
                Err(error) => {
                    self.refresh_soon(None);
                    return Err(format!("shard {node}: {error}").into());
                }
            };
            let Some(redirect) = Redirect::of_reply(&reply.value, &node.host) else { return Ok(reply) };
            self.note(&redirect);
            let next = redirections.follow(redirect, started.elapsed())?;
            if let Some(wait) = next.wait {
                sleep(wait).await;
            }
            (named, is_asking) = (next.node, next.is_asking);
        }
    }

    /// Sends a call without keys to each master; succeeds if one executed it, and returns what is wrong with the
    /// others.
    pub(super) async fn check(self: &Arc<Self>, call: &RedisCall<'_>) -> Result<Vec<String>, BoxError> {
        self.first_map().await?;
        let masters = self.state().map.masters().to_vec();
        let checks = masters.iter().map(|node| async move {
            let link = self.link(node);
            let reason = match timeout(COMMAND_TIMEOUT, link.call(call, false)).await {
                Ok(Ok(reply)) => reply.convert::<()>().err().map(|error| error.to_string()),
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("no answer within {} s", COMMAND_TIMEOUT.as_secs())),
            };
            reason.map(|reason| format!("shard {node}: sessions: {reason}"))
        });
        let failed: Vec<String> = join_all(checks).await.into_iter().flatten().collect();
        if !failed.is_empty() {
            self.refresh_soon(None);
        }
        match failed.first() {
            Some(first) if failed.len() == masters.len() => Err(first.clone().into()),
            _ => Ok(failed),
        }
    }

    /// The owner of a slot.
    ///
    /// # Errors
    /// Why it is not known.
    pub(super) async fn owner(self: &Arc<Self>, slot: u16) -> Result<NodeAddress, BoxError> {
        self.first_map().await?;
        let owner = self.state().map.owner(slot).cloned();
        owner.ok_or_else(|| {
            self.refresh_soon(None);
            format!("no master owns slot {slot}").into()
        })
    }

    /// Takes a redirection into account.
    pub(super) fn note(self: &Arc<Self>, redirect: &Redirect) {
        let node = if let Redirect::Moved { slot, node } = redirect {
            let mut state = self.state();
            let others = state.map.nodes().cloned().collect();
            state.map.merge(&SlotMap::new([(node.clone(), *slot..=*slot)], others));
            Some(node)
        } else {
            None
        };
        if redirect.shows_old_map() {
            self.refresh_soon(node);
        }
    }

    /// Makes a task read the slot map soon, because something shows that it is old, for example a redirection to `node`.
    pub(super) fn refresh_soon(self: &Arc<Self>, node: Option<&NodeAddress>) {
        if let Some(node) = node {
            self.state().named = Some(node.clone());
        }
        self.policy().request();
        self.refresh_when_due();
    }

    /// Makes a task read the slot map when it is due: on request, and every 15 s. Does nothing if there is such a task.
    pub(super) fn refresh_when_due(self: &Arc<Self>) {
        if let Ok(permit) = self.refreshing.clone().try_acquire_owned() {
            let cluster = self.clone();
            tokio::spawn(async move {
                let due = cluster.policy().due();
                sleep_until(cluster.started + due.unwrap_or_default()).await;
                cluster.refresh(&permit).await;
            });
        }
    }

    /// Reads the slot map if none is known.
    async fn first_map(&self) -> Result<(), BoxError> {
        if self.is_known()? {
            return Ok(());
        }
        let permit = self.refreshing.clone().acquire_owned().await?;
        // Another operation may have read it meanwhile, or failed to.
        if !self.is_known()? {
            // Boxed, because every request with a session has this future in its own.
            Box::pin(self.refresh(&permit)).await;
        }
        self.is_known()?;
        Ok(())
    }

    /// Whether the map is known.
    ///
    /// # Errors
    /// It could not be read just now.
    fn is_known(&self) -> Result<bool, BoxError> {
        let state = self.state();
        match &state.failed {
            _ if !state.map.masters().is_empty() => Ok(true),
            Some((at, reason)) if at.elapsed() < RECONNECT_PAUSE => Err(reason.clone().into()),
            _ => Ok(false),
        }
    }

    /// Asks nodes for the map until one knows of everything that is known here.
    async fn refresh(&self, _: &OwnedSemaphorePermit) {
        {
            let mut policy = self.policy();
            if policy.due().is_none() {
                // The task of the last one ended with its runtime.
                policy.end(Refreshed::Failed, self.started.elapsed());
            }
            policy.start();
        }
        let (nodes, epoch) = {
            let mut state = self.state();
            let named = state.named.take();
            let is_up = |node: &NodeAddress| state.links.get(node).is_some_and(|link| link.is_up());
            (state.map.nodes_to_ask(named, is_up), state.epoch)
        };
        let result = match newest_map(nodes, epoch, |node| self.ask(node)).await {
            Ok(answer) => self.set_map(&answer),
            Err(reason) => {
                let mut state = self.state();
                if state.failed.as_ref().is_none_or(|(_, known)| *known != reason) {
                    // Logged once per cause, not once per attempt.
                    tracing::warn!(reason, "the sessions cannot read the slot map of the cluster; asking again");
                }
                state.failed = Some((Instant::now(), reason));
                Refreshed::Failed
            }
        };
        self.policy().end(result, self.started.elapsed());
    }

    fn set_map(&self, answer: &MapAnswer) -> Refreshed {
        let mut state = self.state();
        let is_changed = state.map.merge(&answer.map);
        state.epoch = answer.epoch;
        state.failed = None;
        let ClusterState { map, links, .. } = &mut *state;
        if is_changed {
            // Also ends the connections to masters that own nothing any more.
            links.retain(|node, _| map.masters().binary_search(node).is_ok());
            tracing::info!(masters = ?map, "the slots of the sessions are at these masters");
            Refreshed::Changed
        } else {
            Refreshed::Unchanged
        }
    }

    /// Asks a node, or any seed, for the slot map.
    async fn ask(&self, node: Option<NodeAddress>) -> Result<MapAnswer, String> {
        let is_master = |node: &&NodeAddress| self.state().map.masters().binary_search(node).is_ok();
        let Some(master) = node.as_ref().filter(is_master) else {
            return self.connector.ask_for_map(node.as_ref(), &map_commands()).await;
        };
        let replies = self.link(master).exchange(&map_commands()).await.map_err(|error| error.to_string())?;
        MapAnswer::read(replies, &master.host, self.connector.uses_tls()).map_err(|error| error.to_string())
    }

    /// The link to a node, which connects when it is used.
    fn link(&self, node: &NodeAddress) -> Arc<RedisLink> {
        let mut state = self.state();
        let link = || Arc::new(RedisLink::new(self.connector.clone(), Some(node.clone())));
        state.links.entry(node.clone()).or_insert_with(link).clone()
    }

    fn state(&self) -> MutexGuard<'_, ClusterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn policy(&self) -> MutexGuard<'_, MapRefresh> {
        self.policy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
