//! One connection that subscribes, kept alive, and the deliveries that arrive on it.

use std::{
    fmt,
    future::{Future, pending},
    pin::Pin,
    sync::{Arc, Mutex},
};

use futures_util::StreamExt as _;
use redis::{
    Msg, RedisResult,
    aio::{PubSubSink, PubSubStream},
};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, interval, sleep, timeout},
};
use trunkline_domain::Room;
use trunkline_redis::Connector;

use super::{
    backlog::Backlog,
    channel_set::{ChannelRequest, ChannelSet},
    health::SubscriptionHealth,
};
use crate::{
    Delivery, Subscriptions,
    redis::{
        codec::Payload,
        config::{PROBE_INTERVAL, RESPONSE_TIMEOUT},
        connection::{Backoff, LinkState, within},
        keys::Keyspace,
    },
    sync::lock,
};

/// Capacity of the channel to the consumer, in deliveries.
const CONSUMER_CHANNEL: usize = 256;
/// Maximum number of deliveries that wait for space in that channel. Beyond it, or beyond [`BACKLOG_BYTES`], all of them
/// are dropped and their rooms announced again.
const BACKLOG_DELIVERIES: usize = 8192;
/// Maximum size of these deliveries: 16 MiB.
const BACKLOG_BYTES: usize = 16 << 20;
/// Maximum number of messages taken from the connection in one turn, before requests and timers get theirs.
const MESSAGES_PER_TURN: usize = 64;

/// The rooms to which a consumer of a [`RedisBus`](crate::RedisBus) is subscribed. The subscription ends when the last
/// clone is dropped.
#[derive(Clone)]
pub struct RedisSubscriptions {
    shared: Arc<Shared>,
    changed: watch::Sender<()>,
}

/// State of the consumer and of the connection. Each lock is held for a few instructions, never across an await.
struct Shared {
    channels: Mutex<ChannelSet>,
    backlog: Mutex<Backlog>,
    /// Signals that the backlog is not empty.
    filled: Notify,
}

impl Subscriptions for RedisSubscriptions {
    fn subscribe(&self, room: &Room) {
        lock(&self.shared.channels).subscribe(room);
        self.changed.send_replace(());
    }

    fn unsubscribe(&self, room: &Room) {
        lock(&self.shared.channels).unsubscribe(room);
        self.changed.send_replace(());
    }
}

impl fmt::Debug for RedisSubscriptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSubscriptions").finish_non_exhaustive()
    }
}

/// What the task needs of its bus.
pub(in super::super) struct Subscription {
    pub(in super::super) connector: Arc<Connector>,
    pub(in super::super) names: Arc<Keyspace>,
    /// The channel to which the link publishes the probes.
    pub(in super::super) probe_channel: String,
    /// Requests a probe.
    pub(in super::super) probe_now: Arc<Notify>,
    pub(in super::super) link: watch::Receiver<LinkState>,
    pub(in super::super) health: Arc<SubscriptionHealth>,
}

/// Why a connection is no longer used.
enum Disconnected {
    /// All clones of the handle were dropped.
    HandleDropped,
    /// It must be replaced. Contains the reason.
    Failed(String),
}

impl Subscription {
    /// Starts a task that subscribes. It ends when the handle or the receiver is dropped.
    pub(in super::super) fn open(self) -> (RedisSubscriptions, mpsc::Receiver<Delivery>) {
        let (deliveries, receiver) = mpsc::channel(CONSUMER_CHANNEL);
        let (changed, changes) = watch::channel(());
        let shared = Arc::new(Shared {
            channels: Mutex::new(ChannelSet::default()),
            backlog: Mutex::new(Backlog::new(BACKLOG_DELIVERIES, BACKLOG_BYTES)),
            filled: Notify::new(),
        });
        let handle = RedisSubscriptions { shared: shared.clone(), changed };
        tokio::spawn(async move {
            tokio::select! {
                () = forward(&shared, deliveries) => {}
                () = self.run(&shared, changes) => {}
            }
        });
        (handle, receiver)
    }

    /// Connects again and again, until the handle is dropped.
    async fn run(mut self, shared: &Shared, mut changes: watch::Receiver<()>) {
        let mut backoff = Backoff::default();
        loop {
            let reason = match self.receive(shared, &mut changes, &mut backoff).await {
                Disconnected::HandleDropped => return,
                Disconnected::Failed(reason) => reason,
            };
            lock(&shared.channels).connection_lost();
            if self.health.lost(&reason) {
                tracing::warn!(reason, "the subscription to Redis was lost; subscribing again");
            }
            sleep(backoff.next_wait(rand::random())).await;
        }
    }

    /// Connects and receives until the connection must be replaced.
    async fn receive(
        &mut self,
        shared: &Shared,
        changes: &mut watch::Receiver<()>,
        backoff: &mut Backoff,
    ) -> Disconnected {
        // Read before connecting: a link that is made later may lead to another Redis than this connection.
        let mut generation = match &*self.link.borrow_and_update() {
            LinkState::Up(link) => Some(link.generation().clone()),
            LinkState::Down(_) => None,
        };
        let (sink, stream) = match self.connect().await {
            Ok(parts) => parts,
            Err(reason) => return Disconnected::Failed(reason),
        };
        let mut stream = stream.ready_chunks(MESSAGES_PER_TURN);
        let subscribed_at = Instant::now();
        self.probe_now.notify_one();
        let mut checks = interval(PROBE_INTERVAL / 4);
        let mut pending = PendingRequest::none();
        loop {
            if pending.is_none()
                && let Some(request) = lock(&shared.channels).next_request()
            {
                pending = PendingRequest::send(&self.names, &sink, request);
            }
            announce(shared);
            tokio::select! {
                messages = stream.next() => {
                    let Some(messages) = messages else {
                        return Disconnected::Failed("Redis closed the subscription".to_owned());
                    };
                    for message in messages {
                        if message.get_channel_name() != self.probe_channel {
                            deliver(shared, &self.names, &message);
                            continue;
                        }
                        backoff.reset();
                        if self.health.probe_received() {
                            tracing::info!("the subscription to Redis works");
                        }
                    }
                },
                confirmed = pending.confirmation() => match confirmed {
                    Ok(request) => {
                        lock(&shared.channels).confirm(request);
                        pending = PendingRequest::none();
                    }
                    Err(reason) => return Disconnected::Failed(reason),
                },
                change = changes.changed() => if change.is_err() {
                    return Disconnected::HandleDropped;
                },
                change = self.link.changed() => {
                    if change.is_err() {
                        return Disconnected::Failed("the supervisor of the link ended".to_owned());
                    }
                    if let LinkState::Up(link) = &*self.link.borrow()
                        && generation.get_or_insert_with(|| link.generation().clone()) != link.generation()
                    {
                        return Disconnected::Failed("Redis was restarted or failed over".to_owned());
                    }
                },
                _ = checks.tick() => if self.missed_probes(subscribed_at) {
                    return Disconnected::Failed("no probe arrived although they were sent".to_owned());
                },
            }
        }
    }

    /// Connects and subscribes to the probe channel.
    async fn connect(&self) -> Result<(PubSubSink, PubSubStream), String> {
        let opened = self.connector.open_pubsub().await.map_err(|error| error.to_string())?;
        let (mut sink, stream) = opened.pubsub.split();
        let subscribing = async {
            sink.subscribe(&self.probe_channel).await?;
            // Needed later for rooms: the permission is checked now.
            sink.unsubscribe(format!("{}:unused", self.probe_channel)).await
        };
        within(RESPONSE_TIMEOUT, "SUBSCRIBE and UNSUBSCRIBE", &opened.address, subscribing).await?;
        Ok((sink, stream))
    }

    /// Whether two probe intervals (and 0.5 s) have passed in which the link was up and no probe arrived.
    fn missed_probes(&self, subscribed_at: Instant) -> bool {
        let LinkState::Up(link) = &*self.link.borrow() else { return false };
        let expected_since = subscribed_at.max(link.connected_at());
        let last = self.health.last_probe().map_or(expected_since, |probe| probe.max(expected_since));
        last.elapsed() > 2 * PROBE_INTERVAL + RESPONSE_TIMEOUT / 4
    }
}

/// The request that Redis has not confirmed yet, if any.
struct PendingRequest(Option<(ChannelRequest, Confirmation)>);

type Confirmation = Pin<Box<dyn Future<Output = RedisResult<()>> + Send>>;

impl PendingRequest {
    fn none() -> Self {
        Self(None)
    }

    fn is_none(&self) -> bool {
        self.0.is_none()
    }

    fn send(names: &Keyspace, sink: &PubSubSink, request: ChannelRequest) -> Self {
        let mut sink = sink.clone();
        let (ChannelRequest::Subscribe(rooms) | ChannelRequest::Unsubscribe(rooms)) = &request;
        let channels: Vec<String> = rooms.iter().map(|room| names.room(room).channel().to_owned()).collect();
        let subscribe = matches!(request, ChannelRequest::Subscribe(_));
        let confirmation = async move {
            let reply =
                async { if subscribe { sink.subscribe(channels).await } else { sink.unsubscribe(channels).await } };
            let timed_out = |_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
            timeout(RESPONSE_TIMEOUT, reply).await.unwrap_or_else(timed_out)
        };
        Self(Some((request, Box::pin(confirmation))))
    }

    /// Returns the request once Redis has confirmed it; never, if there is none. Replace the value afterwards: a completed
    /// request must not be polled again.
    async fn confirmation(&mut self) -> Result<ChannelRequest, String> {
        match &mut self.0 {
            Some((request, confirmation)) => match confirmation.await {
                Ok(()) => Ok(request.clone()),
                Err(error) => Err(error.to_string()),
            },
            None => pending().await,
        }
    }
}

/// Delivers `Subscribed` for the rooms whose subscription was confirmed.
fn announce(shared: &Shared) {
    for room in lock(&shared.channels).take_announcements() {
        push(shared, Delivery::Subscribed(room));
    }
}

fn deliver(shared: &Shared, keyspace: &Keyspace, message: &Msg) {
    let Some(name) = keyspace.room_of_channel(message.get_channel_name()) else { return };
    let Some(room) = lock(&shared.channels).delivering_room(name) else { return };
    match Payload::decode(message.get_payload_bytes()) {
        Some(Payload::Entry(entry)) => push(shared, Delivery::Entry(room, entry)),
        Some(Payload::Ephemeral(bytes)) => push(shared, Delivery::Ephemeral(room, bytes)),
        Some(Payload::Presence(change)) => push(shared, Delivery::Presence(room, change)),
        // If it was an entry of a newer gateway, the `prev` of the next entry makes the consumer read the log.
        None => tracing::debug!(%room, "ignored a payload that this version does not know"),
    }
}

fn push(shared: &Shared, delivery: Delivery) {
    if !lock(&shared.backlog).push(delivery) {
        tracing::warn!("the consumer is too slow; dropped its deliveries, and their rooms are read from the log");
    }
    shared.filled.notify_one();
}

/// Forwards deliveries from the backlog to the consumer, until the receiver is dropped.
async fn forward(shared: &Shared, deliveries: mpsc::Sender<Delivery>) {
    loop {
        if lock(&shared.backlog).is_empty() {
            tokio::select! {
                () = shared.filled.notified() => continue,
                () = deliveries.closed() => return,
            }
        }
        let Ok(permit) = deliveries.reserve().await else { return };
        if let Some(delivery) = lock(&shared.backlog).pop() {
            permit.send(delivery);
        }
    }
}
