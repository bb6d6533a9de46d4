//! The subscription to ended sessions.

use std::{error::Error, sync::Arc, time::Duration};

use futures_util::StreamExt;
use tokio::{
    sync::broadcast,
    task::JoinHandle,
    time::{Instant, interval, sleep, timeout},
};
use trunkline_redis::Connector;

use crate::SessionEvent;

/// Time limit of SUBSCRIBE and PING. Longer than that of other commands, since a new subscription makes every instance
/// check all of its sessions.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// Time between two PINGs. A subscriber writes nothing else, so without them it would not notice a dead connection.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Bounds of the delay before the next attempt to connect. The delay is a random part of a limit that doubles from the
/// first value to the second.
const BACKOFF_LIMITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// Handle of the task that subscribes and forwards messages. Dropping it ends the task.
#[derive(Debug)]
pub(super) struct EventListener(JoinHandle<()>);

impl EventListener {
    /// Starts the task on the current runtime.
    pub(super) fn start(connector: Arc<Connector>, channel: String, events: broadcast::Sender<SessionEvent>) -> Self {
        Self(tokio::spawn(async move { listen(&connector, &channel, &events).await }))
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

async fn listen(connector: &Connector, channel: &str, events: &broadcast::Sender<SessionEvent>) {
    let mut limit = BACKOFF_LIMITS.0;
    loop {
        let started = Instant::now();
        let Err(error) = forward(connector, channel, events).await;
        if started.elapsed() > PING_INTERVAL {
            limit = BACKOFF_LIMITS.0;
        }
        let delay = limit.mul_f64(rand::random());
        tracing::warn!(
            error = &*error as &dyn Error,
            channel,
            retry_in_ms = delay.as_millis(),
            "subscription to ended sessions failed; subscribing again"
        );
        sleep(delay).await;
        limit = (limit * 2).min(BACKOFF_LIMITS.1);
    }
}

/// Subscribes and forwards messages until the connection fails.
async fn forward(
    connector: &Connector,
    channel: &str,
    events: &broadcast::Sender<SessionEvent>,
) -> Result<std::convert::Infallible, Box<dyn Error + Send + Sync>> {
    // An error means that there is no receiver.
    let send = |event| drop(events.send(event));
    let opened = connector.open_pubsub().await?;
    let (mut sink, mut messages) = opened.pubsub.split();
    timeout(REPLY_TIMEOUT, sink.subscribe(channel)).await.map_err(|_| "no reply to SUBSCRIBE within 2 s")??;
    // Events before the subscription are lost.
    send(SessionEvent::Missed);
    let mut ping = interval(PING_INTERVAL);
    loop {
        // redis-rs queues messages without a bound. Each is a few bytes per logout, and the only thing that this loop
        // waits for is the reply to a PING.
        tokio::select! {
            message = messages.next() => {
                let message = message.ok_or("the connection was closed")?;
                match message.get_payload::<String>()?.parse() {
                    Ok(sid) => send(SessionEvent::Ended(sid)),
                    Err(error) => tracing::warn!(%error, channel, "message ignored; it is not from a gateway"),
                }
            }
            reason = connector.superseded(&opened.endpoint) => return Err(reason.into()),
            _ = ping.tick() => {
                let reply = timeout(REPLY_TIMEOUT, sink.ping::<redis::Value>()).await;
                reply.map_err(|_| "no reply to PING within 2 s")??;
            }
        }
    }
}
