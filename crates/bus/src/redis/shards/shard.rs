//! One master, its link, and what its subscriptions share.

use std::{fmt, sync::Arc};

use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout_at},
};
use trunkline_redis::{Connector, NodeAddress, slots::slot_of};

use super::subscription_health::SubscriptionHealth;
use crate::{
    BusError, ErrorKind,
    redis::{
        connection::{Link, LinkSettings, LinkState, MapRequests, PublishPort, Supervisor},
        keys::{Keys, Keyspace},
        mode::PubSubMode,
    },
};

/// What all shards of a bus have in common.
pub(in super::super) struct ShardSettings {
    pub(in super::super) names: Arc<Keyspace>,
    /// Identifies this process in the names of its probes. Random, not derived from the instance name: a restarted process
    /// must not take the probes of its predecessor for its own.
    pub(in super::super) process: u128,
    pub(in super::super) link: LinkSettings,
    pub(in super::super) map_requests: Arc<MapRequests>,
    /// A fault: all shards share this health. `None` without it.
    pub(in super::super) shared_health: Option<Arc<SubscriptionHealth>>,
}

/// One master. Its supervisor connects, and ends when the shard is dropped.
pub(in super::super) struct Shard {
    /// `None` for a single server.
    node: Option<NodeAddress>,
    connector: Arc<Connector>,
    mode: PubSubMode,
    link: watch::Receiver<LinkState>,
    probe: watch::Sender<Arc<Keys>>,
    probe_now: Arc<Notify>,
    publish_port: Arc<PublishPort>,
    map_requests: Arc<MapRequests>,
    health: Arc<SubscriptionHealth>,
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Shard {
    /// Starts to connect, and returns at once.
    pub(super) fn start(
        node: Option<NodeAddress>,
        connector: Arc<Connector>,
        probe: Keys,
        settings: &ShardSettings,
    ) -> Arc<Self> {
        let (states, link) = watch::channel(LinkState::Down("not connected yet".into()));
        let (probe, probe_keys) = watch::channel(Arc::new(probe));
        let probe_now = Arc::new(Notify::new());
        let publish_port = Arc::new(PublishPort::default());
        let supervisor = Supervisor {
            connector: connector.clone(),
            node: node.clone(),
            settings: settings.link,
            publish_port: publish_port.clone(),
            states,
            probe_keys,
            probe_now: probe_now.clone(),
            map_requests: settings.map_requests.clone(),
        };
        tokio::spawn(supervisor.run());
        Arc::new(Self {
            node,
            connector,
            mode: settings.link.mode,
            link,
            probe,
            probe_now,
            publish_port,
            map_requests: settings.map_requests.clone(),
            health: settings.shared_health.clone().unwrap_or_else(|| Arc::new(SubscriptionHealth::new())),
        })
    }

    /// The master's address in its cluster. `None` for a single server.
    pub(in super::super) fn node(&self) -> Option<&NodeAddress> {
        self.node.as_ref()
    }

    /// The host of the master, for redirections that do not name one.
    pub(in super::super) fn host(&self) -> &str {
        self.node.as_ref().map_or("", |node| &node.host)
    }

    pub(in super::super) fn connector(&self) -> &Connector {
        &self.connector
    }

    pub(in super::super) fn mode(&self) -> PubSubMode {
        self.mode
    }

    /// The states of the link.
    pub(in super::super) fn link_states(&self) -> watch::Receiver<LinkState> {
        self.link.clone()
    }

    /// The current link, or why there is none.
    pub(super) fn link_state(&self) -> Result<Arc<Link>, String> {
        match &*self.link.borrow() {
            // A suspected link is about to be replaced: a new call fails at once instead of after the timeout.
            LinkState::Up(link) => link.suspicion().map_or_else(|| Ok(link.clone()), Err),
            LinkState::Down(reason) => Err(reason.to_string()),
        }
    }

    /// The current link.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) if there is none.
    pub(super) fn link(&self) -> Result<Arc<Link>, BusError> {
        self.link_state().map_err(|reason| BusError::new(ErrorKind::Unavailable, reason))
    }

    /// Like [`link`](Self::link), but waits until `deadline` for the link to come up.
    pub(super) async fn link_until(&self, deadline: Instant) -> Result<Arc<Link>, BusError> {
        let mut states = self.link.clone();
        // The supervisor lives as long as the shard.
        let _ = timeout_at(deadline, states.wait_for(|state| matches!(state, LinkState::Up(_)))).await;
        self.link()
    }

    /// The keys and the channel of the probes, which change when the slot of the keys moves to another master.
    pub(in super::super) fn probe_keys(&self) -> watch::Receiver<Arc<Keys>> {
        self.probe.subscribe()
    }

    /// Replaces the keys of the probes unless `is_owned` is true for the present ones.
    pub(super) fn choose_probe(&self, settings: &ShardSettings, is_owned: impl Fn(u16) -> bool) {
        if is_owned(slot_of(self.probe.borrow().tagged())) {
            return;
        }
        if let Some(keys) = settings.names.probe_in(settings.process, is_owned) {
            self.probe.send_replace(Arc::new(keys));
        }
    }

    /// Requests a probe now: a subscription was made.
    pub(in super::super) fn probe_now(&self) {
        self.probe_now.notify_one();
    }

    /// Where the subscription's connection takes publications.
    pub(in super::super) fn publish_port(&self) -> &PublishPort {
        &self.publish_port
    }

    /// Requests the slot map, because of a redirection to `node` or a lost subscription.
    pub(in super::super) fn request_map(&self, node: Option<&NodeAddress>) {
        self.map_requests.request(node);
    }

    /// Whether this process receives its probes from this master.
    pub(in super::super) fn subscription_health(&self) -> &SubscriptionHealth {
        &self.health
    }
}
