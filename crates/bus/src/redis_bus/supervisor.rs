//! Keeps a link to Redis, and replaces it when it breaks or when Redis becomes another.

use std::sync::Arc;

use redis::Client;
use tokio::{
    sync::{Notify, watch},
    time::{MissedTickBehavior, interval, sleep},
};

use super::{PROBE_INTERVAL, backoff::Backoff, link::Link};

/// Whether commands can be sent.
#[derive(Clone)]
pub(super) enum LinkState {
    /// No, and why: for people, without secrets.
    Down(Arc<str>),
    /// Yes, on this one.
    Up(Arc<Link>),
}

/// The one task that connects.
pub(super) struct Supervisor {
    pub(super) client: Client,
    /// Where everybody reads the state. The task ends when nobody can any more.
    pub(super) states: watch::Sender<LinkState>,
    /// The channel of our own subscription, told every interval.
    pub(super) probe_channel: String,
    /// Asks for a probe now: a subscription was made.
    pub(super) probe_now: Arc<Notify>,
}

impl Supervisor {
    /// Runs until all receivers of the state are gone.
    pub(super) async fn run(self) {
        tokio::select! {
            () = self.states.closed() => {}
            () = self.keep_connected() => {}
        }
    }

    async fn keep_connected(&self) {
        let mut backoff = Backoff::default();
        loop {
            let reason = match Link::connect(&self.client).await {
                Ok(link) => {
                    backoff.reset();
                    self.hold(Arc::new(link)).await
                }
                Err(reason) => reason,
            };
            self.down(&reason);
            sleep(backoff.next(rand::random())).await;
        }
    }

    /// Offers the link until there is a reason to give it up.
    async fn hold(&self, link: Arc<Link>) -> String {
        tracing::info!("connected to Redis");
        self.states.send_replace(LinkState::Up(link.clone()));
        let reason = tokio::select! {
            reason = link.suspected() => reason,
            reason = self.probe(&link) => reason,
        };
        link.close();
        reason
    }

    /// Probes every interval, until one fails.
    async fn probe(&self, link: &Link) -> String {
        let mut ticks = interval(PROBE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.probe_now.notified() => {}
            }
            if let Err(reason) = link.probe(&self.probe_channel).await {
                return reason;
            }
        }
    }

    fn down(&self, reason: &str) {
        self.states.send_if_modified(|state| {
            let news = !matches!(state, LinkState::Down(known) if **known == *reason);
            if news {
                // Once a cause, not once an attempt.
                tracing::warn!(reason, "Redis cannot be used");
                *state = LinkState::Down(reason.into());
            }
            news
        });
    }
}
