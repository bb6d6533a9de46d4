//! The masters of a cluster, and the way of a command to the owner of its slot.
//!
//! Nothing runs in the background: an operation that meets a redirection or a failure makes a task read the slot map again,
//! one at a time. The bus reads its own map; the two follow the same rules ([`MapRefresh`], [`Redirect`]).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use redis::Cmd;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, sleep_until, timeout},
};
use trunkline_redis::{
    Connector, Endpoint, NodeAddress, info_field,
    slots::{SlotMap, UnusableMap},
    topology::{MapRefresh, Redirect, Refreshed},
};

use super::{
    call::{Call, Reply},
    link::{COMMAND_TIMEOUT, RECONNECT_PAUSE, RedisLink, exchange},
    router::BoxError,
};

/// Maximum time for which a command is repeated while its slot is on its way or has no owner.
const REDIRECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Wait before a command is repeated that the cluster cannot execute anywhere yet. Also the wait after the second redirection
/// in a row, so that two servers that name each other are not asked in a tight loop.
const RETRY_WAIT: Duration = Duration::from_millis(20);

/// The masters of a cluster.
pub(super) struct Cluster {
    connector: Arc<Connector>,
    uses_tls: bool,
    started: Instant,
    state: Mutex<ClusterState>,
    policy: Mutex<MapRefresh>,
    /// One permit: one reader of the slot map at a time.
    refreshing: Arc<Semaphore>,
}

#[derive(Default)]
struct ClusterState {
    map: SlotMap,
    /// `cluster_current_epoch` of the map. It grows with every failover and every slot that moved: a node with a smaller one
    /// has not learned of them.
    epoch: u64,
    links: HashMap<NodeAddress, Arc<RedisLink>>,
    /// The node that a redirection named last: it knows that it owns the slot.
    named: Option<NodeAddress>,
    /// When the map could not be read, and why.
    failed: Option<(Instant, String)>,
}

/// What a node said.
struct Answer {
    map: SlotMap,
    epoch: u64,
}

impl Cluster {
    /// Does not connect.
    pub(super) fn new(connector: Arc<Connector>, uses_tls: bool) -> Self {
        let (state, policy) = (Mutex::default(), Mutex::default());
        Self { connector, uses_tls, started: Instant::now(), state, policy, refreshing: Arc::new(Semaphore::new(1)) }
    }

    /// Sends a call to the owner of its slot and follows redirections: a redirected call had no effect.
    ///
    /// # Errors
    /// The shard that failed, and why.
    pub(super) async fn call(self: &Arc<Self>, call: &Call<'_>) -> Result<Reply, BoxError> {
        let started = Instant::now();
        let (mut asking, mut is_first) = (None, true);
        loop {
            let is_asking = asking.is_some();
            let node = match asking.take() {
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
            let Some(redirect) = reply.redirect(&node.host) else { return Ok(reply) };
            if started.elapsed() >= REDIRECT_TIMEOUT {
                return Err(format!("slot {} is not served: {redirect:?}", call.slot).into());
            }
            let names_server = self.note(&redirect);
            if let Redirect::Ask { node, .. } = redirect {
                asking = Some(node);
            }
            if !is_first || !names_server {
                sleep(RETRY_WAIT).await;
            }
            is_first = false;
        }
    }

    /// Sends a call without keys to each master; see [`Router::check`](super::router::Router::check).
    pub(super) async fn check(self: &Arc<Self>, call: &Call<'_>) -> Result<Vec<String>, BoxError> {
        self.first_map().await?;
        let masters = self.state().map.masters().to_vec();
        let checks = masters.iter().map(|node| async move {
            let link = self.link(node);
            let reason = match timeout(COMMAND_TIMEOUT, link.call(call, false)).await {
                Ok(Ok(reply)) => reply.convert::<()>().err().map(|error| error.to_string()),
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("no answer within {COMMAND_TIMEOUT:?}")),
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

    /// Takes a redirection into account. Returns whether it names a server that executes the command at once.
    pub(super) fn note(self: &Arc<Self>, redirect: &Redirect) -> bool {
        match redirect {
            Redirect::Moved { slot, node } => {
                let mut state = self.state();
                let others = state.map.nodes().cloned().collect();
                state.map.merge(&SlotMap::new([(node.clone(), *slot..=*slot)], others));
                drop(state);
                self.refresh_soon(Some(node));
                true
            }
            Redirect::Ask { .. } => true,
            Redirect::TryAgain => false,
            Redirect::ClusterDown => {
                self.refresh_soon(None);
                false
            }
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
            self.refresh(&permit).await;
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

    /// Asks nodes until one answers that knows of everything that is known here, and takes its map; if there is none, the
    /// newest one.
    async fn refresh(&self, _: &OwnedSemaphorePermit) {
        {
            let mut policy = self.policy();
            if policy.due().is_none() {
                // The task of the last one ended with its runtime.
                policy.end(Refreshed::Failed, self.started.elapsed());
            }
            policy.start();
        }
        let (known, mut reason) = (self.state().epoch, String::new());
        let mut newest: Option<Answer> = None;
        for node in self.candidates() {
            match self.ask(node.as_ref()).await {
                Ok(answer) => {
                    if newest.as_ref().is_none_or(|newest| answer.epoch > newest.epoch) {
                        newest = Some(answer);
                    }
                    if newest.as_ref().is_some_and(|newest| newest.epoch >= known) {
                        break;
                    }
                }
                Err(error) => reason = error.to_string(),
            }
        }
        let result = match newest {
            Some(answer) => self.set_map(&answer),
            None => {
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

    fn set_map(&self, answer: &Answer) -> Refreshed {
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

    /// The nodes to ask, in this order: the one that a redirection named, masters that answer, the others, and any seed
    /// (`None`).
    fn candidates(&self) -> Vec<Option<NodeAddress>> {
        let mut state = self.state();
        let named = state.named.take();
        let is_up = |node: &&NodeAddress| state.links.get(*node).is_some_and(|link| link.is_up());
        let known = state.map.nodes().filter(is_up).chain(state.map.nodes());
        let mut nodes: Vec<_> = Vec::new();
        for node in named.into_iter().chain(known.cloned()).map(Some).chain([None]) {
            if !nodes.contains(&node) {
                nodes.push(node);
            }
        }
        nodes
    }

    /// Asks a node, or any seed, for the slot map.
    async fn ask(&self, node: Option<&NodeAddress>) -> Result<Answer, BoxError> {
        let cluster = |subcommand: &str| redis::cmd("CLUSTER").arg(subcommand).take();
        let commands: [Cmd; 3] = [cluster("SHARDS"), cluster("INFO"), cluster("SLOTS")];
        let is_master = |node: &&NodeAddress| self.state().map.masters().binary_search(node).is_ok();
        let (replies, host) = match node.filter(is_master) {
            Some(node) => (self.link(node).exchange(&commands).await?, node.host.clone()),
            None => {
                let mut opened = match node {
                    Some(node) => self.connector.open_at_any(node).await?,
                    None => self.connector.open().await?,
                };
                opened.connection.set_response_timeout(COMMAND_TIMEOUT);
                let host = match opened.endpoint() {
                    Endpoint::Tcp(node) => node.host.clone(),
                    Endpoint::Unix(_) => String::new(),
                };
                (exchange(&mut opened.connection, &commands).await?, host)
            }
        };
        let [shards, info, slots] = replies.try_into().map_err(|_| "Redis sent another number of replies")?;
        // The older command names ports of the kind that this connection uses, so it is understood where the newer one is not.
        let map = match shards.extract_error() {
            Ok(shards) => SlotMap::from_shards(&shards, &host, self.uses_tls),
            Err(_) => Err(UnusableMap::Malformed("SHARDS")),
        };
        let map = map.or_else(|error| SlotMap::from_slots(&slots, &host).map_err(|_| error))?;
        if map.masters().is_empty() {
            return Err("no master of the cluster owns slots; the cluster was not created yet".into());
        }
        let info = redis::from_redis_value::<String>(info).unwrap_or_default();
        let epoch = info_field(&info, "cluster_current_epoch").and_then(|epoch| epoch.parse().ok());
        Ok(Answer { map, epoch: epoch.unwrap_or_default() })
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
