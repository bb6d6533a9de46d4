//! The task that connects to Redis, and replaces the link when it fails or when Redis changed.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, watch},
    time::{MissedTickBehavior, interval, sleep},
};
use trunkline_redis::Connector;

use super::{backoff::Backoff, generation::Generation, link::Link};
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
    /// Reads the generation from the replies to `INFO server` and `INFO replication`.
    pub(in super::super) read_generation: fn(&str, &str) -> Option<Generation>,
    pub(in super::super) batch_delay_max: Duration,
    /// Publishes the state. The task ends when all receivers are dropped.
    pub(in super::super) states: watch::Sender<LinkState>,
    /// The keys that each probe writes, and the channel to which it publishes. This process subscribes to the channel.
    pub(in super::super) probe_keys: Keys,
    /// Requests a probe now: a subscription was made.
    pub(in super::super) probe_now: Arc<Notify>,
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
        let opened = self.connector.open().await.map_err(|error| error.to_string())?;
        Link::set_up(opened, self.read_generation, self.batch_delay_max).await
    }

    /// Publishes the link until there is a reason to replace it, and returns the reason.
    async fn hold(&self, link: Arc<Link>, backoff: &mut Backoff) -> String {
        tracing::info!("connected to Redis");
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
            if let Err(reason) = link.probe(&self.probe_keys).await {
                return reason;
            }
            backoff.reset();
        }
    }

    fn set_down(&self, reason: &str) {
        self.states.send_if_modified(|state| {
            let is_new = !matches!(state, LinkState::Down(known) if **known == *reason);
            if is_new {
                // Logged once per cause, not once per attempt.
                tracing::warn!(reason, "Redis cannot be used; reconnecting");
                *state = LinkState::Down(reason.into());
            }
            is_new
        });
    }
}
