//! The task that connects to Redis, and replaces the link when it fails or when Redis changed.

use std::sync::Arc;

use tokio::{
    sync::{Notify, watch},
    time::{MissedTickBehavior, interval, sleep},
};
use trunkline_redis::{Connector, NodeAddress};

use super::{
    backoff::Backoff,
    link::{Link, LinkSettings},
    map_requests::MapRequests,
    publish_port::PublishPort,
};
use crate::redis::{config::PROBE_INTERVAL, keys::Keys};

/// Whether commands can be sent.
#[derive(Clone)]
pub(in super::super) enum LinkState {
    /// No. Contains the reason, for people and without secrets.
    Down(Arc<str>),
    /// Yes, on this link.
    Up(Arc<Link>),
}

/// What the task needs.
pub(in super::super) struct Supervisor {
    pub(in super::super) connector: Arc<Connector>,
    /// The master in a cluster. `None` if the connector knows where to connect.
    pub(in super::super) node: Option<NodeAddress>,
    pub(in super::super) settings: LinkSettings,
    /// Where links may send publications.
    pub(in super::super) publish_port: Arc<PublishPort>,
    /// Publishes the state. The task ends when all receivers are dropped.
    pub(in super::super) states: watch::Sender<LinkState>,
    /// The keys that each probe writes, and the channel to which it publishes. This process subscribes to the channel.
    pub(in super::super) probe_keys: watch::Receiver<Arc<Keys>>,
    /// Requests a probe now: a subscription was made.
    pub(in super::super) probe_now: Arc<Notify>,
    /// Receives a request when a probe is redirected, and when the server is lost.
    pub(in super::super) map_requests: Arc<MapRequests>,
}

impl Supervisor {
    /// Runs until all receivers of the state are dropped.
    pub(in super::super) async fn run(self) {
        tokio::select! {
            () = self.states.closed() => {}
            () = self.keep_connected() => {}
        }
    }

    async fn keep_connected(&self) {
        let mut backoff = Backoff::default();
        loop {
            let reason = match self.connect().await {
                Ok(link) => self.hold(Arc::new(link), &mut backoff).await,
                Err(reason) => reason,
            };
            self.set_down(&reason);
            sleep(backoff.next_wait(rand::random())).await;
        }
    }

    async fn connect(&self) -> Result<Link, String> {
        let opened = match &self.node {
            Some(node) => self.connector.open_at(node).await,
            None => self.connector.open().await,
        };
        Link::set_up(opened.map_err(|error| error.to_string())?, self.settings, self.publish_port.clone()).await
    }

    /// Publishes the link until there is a reason to replace it, and returns the reason.
    async fn hold(&self, link: Arc<Link>, backoff: &mut Backoff) -> String {
        tracing::info!(server = %link.endpoint(), "connected to Redis");
        self.states.send_replace(LinkState::Up(link.clone()));
        let reason = tokio::select! {
            reason = link.suspected() => reason,
            reason = self.probe(&link, backoff) => reason,
            reason = self.connector.superseded(link.endpoint()) => reason,
        };
        link.close();
        reason
    }

    /// Probes every [`PROBE_INTERVAL`] and on request, until a probe fails. Each success resets `backoff`: if the first probe
    /// fails, connecting again at once would fail as well.
    async fn probe(&self, link: &Link, backoff: &mut Backoff) -> String {
        let mut ticks = interval(PROBE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.probe_now.notified() => {}
            }
            let keys = self.probe_keys.borrow().clone();
            if let Err(reason) = link.probe(&keys).await {
                return reason;
            }
            if link.probed().is_redirected {
                self.map_requests.request(None);
            }
            backoff.reset();
        }
    }

    fn set_down(&self, reason: &str) {
        self.map_requests.request(None);
        self.states.send_if_modified(|state| {
            let is_new = !matches!(state, LinkState::Down(known) if **known == *reason);
            if is_new {
                // Logged once per cause, not once per attempt.
                let server = self.node.as_ref().map(tracing::field::display);
                tracing::warn!(server, reason, "Redis cannot be used; reconnecting");
                *state = LinkState::Down(reason.into());
            }
            is_new
        });
    }
}
