//! The subscription to ended sessions.

use std::{convert::Infallible, sync::Arc, time::Duration};

use redis::Value;
use tokio::{
    sync::broadcast,
    task::JoinHandle,
    time::{Instant, interval_at, sleep, sleep_until, timeout},
};
use trunkline_redis::{Subscriber, SubscriberReply, error_text, slots::slot_of, topology::Redirect};

use super::{call::BoxError, router::Router};
use crate::SessionEvent;

/// Time limit of replies on this connection. Longer than that of other commands, since a new subscription makes every
/// instance check all of its sessions.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// Time between two checks of the connection. A subscriber writes nothing else, so without them it would not notice a dead
/// one.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Bounds of the delay before the next attempt to connect. The delay is a random part of a limit that doubles from the
/// first value to the second.
const BACKOFF_LIMITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// Handle of the task that subscribes and forwards messages. Dropping it ends the task.
#[derive(Debug)]
pub(super) struct EventListener(JoinHandle<()>);

impl EventListener {
    /// Starts the task on the current runtime.
    pub(super) fn start(router: Arc<Router>, channel: String, events: broadcast::Sender<SessionEvent>) -> Self {
        Self(tokio::spawn(async move { EndedSubscription { router, channel, events }.listen().await }))
    }

    /// False once the runtime on which the task was started has ended.
    pub(super) fn is_running(&self) -> bool {
        !self.0.is_finished()
    }
}

impl Drop for EventListener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct EndedSubscription {
    router: Arc<Router>,
    channel: String,
    events: broadcast::Sender<SessionEvent>,
}

impl EndedSubscription {
    async fn listen(&self) {
        let mut limit = BACKOFF_LIMITS.0;
        let mut reason = String::new();
        loop {
            let started = Instant::now();
            let Err(error) = self.forward().await;
            if started.elapsed() > CHECK_INTERVAL {
                limit = BACKOFF_LIMITS.0;
                reason.clear();
            }
            let delay = limit.mul_f64(rand::random());
            // Logged once per cause, not once per attempt.
            if error.to_string() != reason {
                reason = error.to_string();
                tracing::warn!(
                    reason,
                    channel = self.channel,
                    "subscription to ended sessions failed; subscribing again"
                );
            }
            if let Some(cluster) = self.router.cluster() {
                cluster.refresh_soon(None);
            }
            sleep(delay).await;
            limit = (limit * 2).min(BACKOFF_LIMITS.1);
        }
    }

    /// Subscribes and forwards messages until the connection fails. In a cluster the channel is a sharded one: Redis sends a
    /// `sunsubscribe` when its slot moves to another master.
    async fn forward(&self) -> Result<Infallible, BoxError> {
        let slot = slot_of(&self.channel);
        let node = self.router.owner(slot).await?;
        let connector = self.router.connector();
        let mut connection = connector.open_subscriber(node.as_ref()).await?;
        let endpoint = connection.endpoint().clone();
        let subscribe = redis::cmd(if node.is_some() { "SSUBSCRIBE" } else { "SUBSCRIBE" }).arg(&self.channel).take();
        let subscribe = subscribe.get_packed_command();
        connection.write(&subscribe).await?;
        let confirmed = timeout(REPLY_TIMEOUT, connection.next()).await;
        self.check(&confirmed.map_err(|_| "no reply to SUBSCRIBE within 2 s")??, &connection)?;
        // Events before the subscription are lost.
        self.send(SessionEvent::Missed);
        let mut checks = interval_at(Instant::now() + CHECK_INTERVAL, CHECK_INTERVAL);
        let mut answer_due: Option<Instant> = None;
        loop {
            tokio::select! {
                reply = connection.next() => {
                    let reply = reply?;
                    self.check(&reply, &connection)?;
                    match reply {
                        SubscriberReply::Message { payload, .. } => self.message(&payload),
                        _ => answer_due = None,
                    }
                }
                reason = connector.superseded(&endpoint) => return Err(reason.into()),
                () = sleep_until(answer_due.unwrap_or_else(Instant::now)), if answer_due.is_some() => {
                    return Err("no reply to SUBSCRIBE within 2 s".into());
                }
                _ = checks.tick() => {
                    if let Some(cluster) = self.router.cluster() {
                        cluster.refresh_when_due();
                        if node != self.router.owner(slot).await? {
                            return Err("another master owns the slot of the channel".into());
                        }
                    }
                    // Redis confirms the channel again, which changes nothing: a PING that also checks the permission and,
                    // in a cluster, whether the server owns the slot.
                    connection.write(&subscribe).await?;
                    answer_due = Some(Instant::now() + REPLY_TIMEOUT);
                }
            }
        }
    }

    /// # Errors
    /// The reply says that the channel is not subscribed.
    fn check(&self, reply: &SubscriberReply, connection: &Subscriber) -> Result<(), BoxError> {
        match reply {
            SubscriberReply::Reply(Value::ServerError(error)) => {
                let (code, detail) = (error.code(), error.details().unwrap_or_default());
                if let Some(cluster) = self.router.cluster()
                    && let trunkline_redis::Endpoint::Tcp(node) = connection.endpoint()
                    && let Some(redirect) = Redirect::parse(code, detail, &node.host)
                {
                    cluster.note(&redirect);
                }
                Err(format!("{}: {}", connection.address(), error_text(error)).into())
            }
            SubscriberReply::Unsubscribed(_) => Err("the slot of the channel moved to another master".into()),
            _ => Ok(()),
        }
    }

    fn message(&self, payload: &[u8]) {
        match std::str::from_utf8(payload).ok().and_then(|sid| sid.parse().ok()) {
            Some(sid) => self.send(SessionEvent::Ended(sid)),
            None => tracing::warn!(channel = self.channel, "message ignored; it is not from a gateway"),
        }
    }

    fn send(&self, event: SessionEvent) {
        // An error means that there is no receiver.
        drop(self.events.send(event));
    }
}
