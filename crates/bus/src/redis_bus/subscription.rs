//! One listener: a subscription to Redis that is kept alive, and what it hears.

use std::{
    fmt,
    future::{Future, pending},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::StreamExt as _;
use redis::{Client, Msg, RedisResult, aio::PubSubSink};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, interval, sleep, timeout},
};
use trunkline_domain::Room;

use super::{
    PROBE_INTERVAL, RESPONSE_TIMEOUT,
    backlog::Backlog,
    backoff::Backoff,
    codec::Payload,
    interests::{Interests, Request},
    keys::{Keys, room_of},
    names::Names,
    pulse::Pulse,
    supervisor::LinkState,
};
use crate::{Delivery, Subscriptions, mutant};

/// Deliveries in the channel to the consumer.
const CHANNEL: usize = 256;
/// Deliveries that wait for a place in it, and their bytes.
const BACKLOG: usize = 8192;
const BACKLOG_BYTES: usize = 16 << 20;
/// Most messages taken from the driver before anything else gets its turn.
const TOGETHER: usize = 64;

/// What a listener of a [`RedisBus`](crate::RedisBus) wants to hear.
#[derive(Clone)]
pub struct RedisSubscriptions(Arc<Wishes>);

/// Shared by the clones of an interest; the listener ends when it is dropped.
struct Wishes {
    shared: Arc<Shared>,
    changed: watch::Sender<()>,
}

/// What the consumer's side and the connection's side both touch, for moments.
struct Shared {
    interests: Mutex<Interests>,
    backlog: Mutex<Backlog>,
    /// Something was put into the empty backlog.
    filled: Notify,
}

/// The pure types behind these locks are whole whenever the lock is free, so a poisoned one is sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Subscriptions for RedisSubscriptions {
    fn subscribe(&self, room: &Room) {
        lock(&self.0.shared.interests).subscribe(room);
        self.0.changed.send_replace(());
    }

    fn unsubscribe(&self, room: &Room) {
        lock(&self.0.shared.interests).unsubscribe(room);
        self.0.changed.send_replace(());
    }
}

impl fmt::Debug for RedisSubscriptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSubscriptions").finish_non_exhaustive()
    }
}

/// What a subscription needs to know of its bus.
pub(super) struct Subscription {
    pub(super) client: Client,
    pub(super) prefix: String,
    /// The channel on which the supervisor of the link tells us that we hear.
    pub(super) probe_channel: String,
    pub(super) probe_now: Arc<Notify>,
    pub(super) link: watch::Receiver<LinkState>,
    pub(super) pulse: Arc<Pulse>,
}

impl Subscription {
    /// Starts to listen, on a task of its own that ends when the interest or the receiver is dropped.
    pub(super) fn open(self) -> (RedisSubscriptions, mpsc::Receiver<Delivery>) {
        let (deliveries, receiver) = mpsc::channel(CHANNEL);
        let (changed, changes) = watch::channel(());
        let shared = Arc::new(Shared {
            interests: Mutex::new(Interests::default()),
            backlog: Mutex::new(Backlog::new(BACKLOG, BACKLOG_BYTES)),
            filled: Notify::new(),
        });
        let interest = RedisSubscriptions(Arc::new(Wishes { shared: shared.clone(), changed }));
        tokio::spawn(async move {
            tokio::select! {
                () = pump(&shared, deliveries) => {}
                () = self.run(&shared, changes) => {}
            }
        });
        (interest, receiver)
    }

    /// Connects again and again, until nobody is interested any more.
    async fn run(mut self, shared: &Shared, mut changes: watch::Receiver<()>) {
        let mut backoff = Backoff::default();
        loop {
            let reason = match self.listen(shared, &mut changes, &mut backoff).await {
                Ended::Unwanted => return,
                Ended::Lost(reason) => reason,
            };
            lock(&shared.interests).lost();
            if self.pulse.lost(&reason) {
                tracing::warn!(reason, "the subscription to Redis is gone");
            }
            sleep(backoff.next(rand::random())).await;
        }
    }

    /// Listens on one connection until it ends.
    async fn listen(&mut self, shared: &Shared, changes: &mut watch::Receiver<()>, backoff: &mut Backoff) -> Ended {
        // Of this moment: a link made later may be to another Redis than the one that is heard.
        let mut generation = match &*self.link.borrow_and_update() {
            LinkState::Up(link) => Some(link.generation().clone()),
            LinkState::Down(_) => None,
        };
        let subscribing = async {
            let (mut sink, stream) = self.client.get_async_pubsub().await?.split();
            sink.subscribe(&self.probe_channel).await?;
            RedisResult::Ok((sink, stream))
        };
        let (sink, stream) = match timeout(RESPONSE_TIMEOUT, subscribing).await {
            Ok(Ok(parts)) => parts,
            Ok(Err(error)) => return Ended::Lost(error.to_string()),
            Err(_) => return Ended::Lost("no answer while subscribing".to_owned()),
        };
        let mut stream = stream.ready_chunks(TOGETHER);
        let since = Instant::now();
        self.probe_now.notify_one();
        let mut checks = interval(PROBE_INTERVAL / 4);
        let mut request = Asking::idle();
        let mut names = Names::default();
        loop {
            if request.is_idle()
                && let Some(next) = lock(&shared.interests).request()
            {
                request = Asking::ask(&self.prefix, &sink, next);
            }
            announce(shared);
            tokio::select! {
                messages = stream.next() => {
                    let Some(messages) = messages else {
                        return Ended::Lost("Redis closed the subscription".to_owned());
                    };
                    for message in messages {
                        if message.get_channel_name() != self.probe_channel {
                            hear(shared, &self.prefix, &message, &mut names);
                            continue;
                        }
                        backoff.reset();
                        if self.pulse.beat() {
                            tracing::info!("the subscription to Redis works");
                        }
                    }
                },
                answer = request.answer() => match answer {
                    Ok(done) => {
                        lock(&shared.interests).done(done);
                        request = Asking::idle();
                    }
                    Err(reason) => return Ended::Lost(reason),
                },
                change = changes.changed() => if change.is_err() {
                    return Ended::Unwanted;
                },
                change = self.link.changed() => {
                    if change.is_err() {
                        return Ended::Lost("nobody keeps the link any more".to_owned());
                    }
                    if let LinkState::Up(link) = &*self.link.borrow()
                        && generation.get_or_insert_with(|| link.generation().clone()) != link.generation()
                    {
                        return Ended::Lost("Redis was restarted or failed over".to_owned());
                    }
                },
                _ = checks.tick() => if self.is_silent(since) {
                    return Ended::Lost("it heard none of its own probes".to_owned());
                },
            }
        }
    }

    /// Whether two intervals have passed in which probes were sent, and none was heard.
    fn is_silent(&self, subscribed: Instant) -> bool {
        let LinkState::Up(link) = &*self.link.borrow() else { return false };
        let listening = subscribed.max(link.since());
        let last = self.pulse.last().map_or(listening, |beat| beat.max(listening));
        last.elapsed() > 2 * PROBE_INTERVAL + RESPONSE_TIMEOUT / 4
    }
}

/// Why a connection is not listened to any more.
enum Ended {
    /// The interest was dropped.
    Unwanted,
    /// It has to be made anew.
    Lost(String),
}

/// The request under way.
struct Asking(Option<(Request, Confirmation)>);

type Confirmation = Pin<Box<dyn Future<Output = RedisResult<()>> + Send>>;

impl Asking {
    fn idle() -> Self {
        Self(None)
    }

    fn is_idle(&self) -> bool {
        self.0.is_none()
    }

    fn ask(prefix: &str, sink: &PubSubSink, request: Request) -> Self {
        let mut sink = sink.clone();
        let (Request::Subscribe(rooms) | Request::Unsubscribe(rooms)) = &request;
        let channels: Vec<String> = rooms.iter().map(|room| Keys::of(prefix, room).channel().to_owned()).collect();
        let subscribe = matches!(request, Request::Subscribe(_));
        let asking = async move {
            let asked =
                async { if subscribe { sink.subscribe(channels).await } else { sink.unsubscribe(channels).await } };
            let late = |_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
            timeout(RESPONSE_TIMEOUT, asked).await.unwrap_or_else(late)
        };
        Self(Some((request, Box::pin(asking))))
    }

    /// The request when it is confirmed. Never, while none is under way. Not polled again after it has answered.
    async fn answer(&mut self) -> Result<Request, String> {
        match &mut self.0 {
            Some((request, asking)) => match asking.await {
                Ok(()) => Ok(request.clone()),
                Err(error) => Err(error.to_string()),
            },
            None => pending().await,
        }
    }
}

/// Tells the consumer which rooms are subscribed from now on.
fn announce(shared: &Shared) {
    for room in lock(&shared.interests).announcements() {
        if mutant::hides_announcement(&room) {
            continue;
        }
        push(shared, Delivery::Subscribed(room));
    }
}

fn hear(shared: &Shared, prefix: &str, message: &Msg, names: &mut Names) {
    let Some(name) = room_of(prefix, message.get_channel_name()) else { return };
    let Some(room) = lock(&shared.interests).hears(name) else { return };
    match Payload::decode(message.get_payload_bytes(), names) {
        Some(Payload::Entry(_)) if mutant::loses_entry() => {}
        Some(Payload::Entry(entry)) => push(shared, Delivery::Entry(room, entry)),
        Some(Payload::Whisper(bytes)) => push(shared, Delivery::Ephemeral(room, bytes)),
        Some(Payload::Presence(turn)) => push(shared, Delivery::Presence(room, turn)),
        // If it was an entry of a newer gateway, the next one's `prev` tells the consumer to read.
        None => tracing::debug!(%room, "a payload that no gateway of this version publishes"),
    }
}

fn push(shared: &Shared, delivery: Delivery) {
    if !lock(&shared.backlog).push(delivery) {
        tracing::warn!("deliveries came faster than they were taken; the rooms are read from their logs");
    }
    shared.filled.notify_one();
}

/// PresenceDiff deliveries from the backlog to the consumer, until that is gone.
async fn pump(shared: &Shared, deliveries: mpsc::Sender<Delivery>) {
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
