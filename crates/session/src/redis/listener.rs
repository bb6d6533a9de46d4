//! Hears of endings, whatever becomes of the connection.

use std::{error::Error, time::Duration};

use futures_util::StreamExt as _;
use redis::Client;
use tokio::{
    sync::broadcast,
    task::JoinHandle,
    time::{Instant, interval, sleep, timeout},
};

use crate::Ending;

/// How long connecting, subscribing and each probe may take.
const ANSWER: Duration = Duration::from_secs(2);
/// How often the connection is probed: a subscriber writes nothing, and would wait on a dead connection for ever.
const PROBE: Duration = Duration::from_secs(5);
/// Between attempts: a random part of a time that doubles from the first to the second.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// The task that listens; it ends with this.
#[derive(Debug)]
pub(super) struct Listener(JoinHandle<()>);

impl Listener {
    /// Starts it on the current runtime.
    pub(super) fn start(client: Client, channel: String, endings: broadcast::Sender<Ending>) -> Self {
        Self(tokio::spawn(async move { listen(&client, &channel, &endings).await }))
    }

    /// Whether the runtime that it was started on is still there.
    pub(super) fn lives(&self) -> bool {
        !self.0.is_finished()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn listen(client: &Client, channel: &str, endings: &broadcast::Sender<Ending>) {
    let mut back_off = BACK_OFF.0;
    loop {
        let started = Instant::now();
        if let Err(error) = hear(client, channel, endings).await {
            tracing::warn!(%error, "not listening for ended sessions");
        }
        if started.elapsed() > PROBE {
            back_off = BACK_OFF.0;
        }
        sleep(back_off.mul_f64(rand::random())).await;
        back_off = (back_off * 2).min(BACK_OFF.1);
    }
}

/// Listens on one connection, until it is lost.
async fn hear(
    client: &Client,
    channel: &str,
    endings: &broadcast::Sender<Ending>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    // Sending fails where nobody receives: then nobody needs to know.
    let tell = |ending| drop(endings.send(ending));
    let mut connection = timeout(ANSWER, client.get_async_pubsub()).await??;
    timeout(ANSWER, connection.subscribe(channel)).await??;
    // What ended before this moment was not heard.
    tell(Ending::Missed);
    let (mut sink, mut messages) = connection.split();
    let mut probe = interval(PROBE);
    loop {
        // The library queues messages without a bound. They are a few bytes for each logout, and no step here waits for
        // anything but the answer to a probe.
        tokio::select! {
            message = messages.next() => {
                let message = message.ok_or("the connection was lost")?;
                match message.get_payload::<String>()?.parse() {
                    Ok(sid) => tell(Ending::Of(sid)),
                    Err(error) => tracing::warn!(%error, channel, "somebody else writes to our channel"),
                }
            }
            _ = probe.tick() => {
                timeout(ANSWER, sink.ping::<redis::Value>()).await??;
            }
        }
    }
}
