//! One connection that subscribes at one shard, kept alive, and the deliveries that arrive on it.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use redis::{ServerError, Value};
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, interval, sleep, sleep_until, timeout},
};
use trunkline_redis::{Subscriber, SubscriberReply, error_text, topology::Redirect};

use super::{
    backlog::Backlog,
    channel_set::ChannelRequest,
    placement::ShardChannels,
    requests::{Answer, Requests},
};
use crate::{
    Delivery,
    redis::{
        codec::Payload,
        config::{PROBE_INTERVAL, RESPONSE_TIMEOUT},
        connection::{Backoff, Generation, LinkState, PublishBatch},
        keys::Keyspace,
        mode::{PubSubMode, READ_LOG},
        shards::Shard,
    },
    sync::lock,
};

/// Where all connections put their deliveries. The lock is held for a few instructions, never across an await.
pub(super) struct Outlet {
    pub(super) backlog: Mutex<Backlog>,
    /// Signals that the backlog is not empty.
    pub(super) filled: Notify,
}

impl Outlet {
    fn push(&self, delivery: Delivery) {
        if !lock(&self.backlog).push(delivery) {
            tracing::warn!("the consumer is too slow; dropped its deliveries, and their rooms are read from the log");
        }
        self.filled.notify_one();
    }
}

/// What the task of one shard needs.
pub(super) struct Subscription {
    pub(super) shard: Arc<Shard>,
    pub(super) names: Arc<Keyspace>,
    pub(super) channels: Arc<ShardChannels>,
    pub(super) outlet: Arc<Outlet>,
}

impl Subscription {
    /// Connects again and again, until the task is aborted.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::default();
        loop {
            let reason = match self.receive(&mut backoff).await {
                Err(reason) => reason,
                Ok(never) => match never {},
            };
            lock(&self.channels.set).connection_lost();
            if self.shard.subscription_health().lost(&reason) {
                tracing::warn!(
                    server = self.shard_name(),
                    reason,
                    "the subscription to Redis was lost; subscribing again"
                );
            }
            self.shard.request_map(None);
            sleep(backoff.next_wait(rand::random())).await;
        }
    }

    /// Connects and receives until the connection must be replaced.
    ///
    /// # Errors
    /// Why it must be replaced.
    async fn receive(&self, backoff: &mut Backoff) -> Result<std::convert::Infallible, String> {
        let mut link = self.shard.link_states();
        // Read before connecting: a link that is made later may lead to another Redis than this connection.
        let generation = match &*link.borrow_and_update() {
            LinkState::Up(link) => Some(link.generation().clone()),
            LinkState::Down(_) => None,
        };
        let mut probe_keys = self.shard.probe_keys();
        let probe = probe_keys.borrow_and_update().channel().to_owned();
        let mut connection = self.connect(&probe).await?;
        let mut state = Connected {
            subscription: self,
            probe,
            generation,
            batches: None,
            requests: Requests::new(self.shard.mode()),
            requested_at: Instant::now(),
            subscribed_at: Instant::now(),
        };
        self.shard.probe_now();
        let mut checks = interval(PROBE_INTERVAL / 4);
        loop {
            state.request(&mut connection).await?;
            self.announce();
            tokio::select! {
                read = connection.fill() => {
                    read?;
                    state.take_replies(&mut connection, backoff)?;
                },
                batch = next_batch(&mut state.batches) => state.send_batch(batch, &mut connection).await?,
                () = sleep_until(state.requested_at + RESPONSE_TIMEOUT), if state.requests.awaits_confirmation() => {
                    return Err("Redis did not confirm a subscription within 2 s".to_owned());
                },
                () = self.channels.changed.notified() => {},
                change = link.changed() => {
                    change.map_err(|_| "the supervisor of the link ended")?;
                    state.check_generation(&link.borrow())?;
                },
                change = probe_keys.changed() => {
                    change.map_err(|_| "the shard ended")?;
                    let channel = probe_keys.borrow_and_update().channel().to_owned();
                    state.change_probe(channel, &mut connection).await?;
                },
                _ = checks.tick() => state.check_probes()?,
            }
        }
    }

    /// Connects and subscribes to the probe channel.
    async fn connect(&self, probe: &str) -> Result<Subscriber, String> {
        let opened = self.shard.connector().open_subscriber(self.shard.node()).await;
        let mut connection = opened.map_err(|error| error.to_string())?;
        let mode = self.shard.mode();
        let mut commands = redis::cmd(mode.subscribe()).arg(probe).get_packed_command();
        // Needed later for rooms: the permission is checked now. With the same hash tag.
        commands.extend(redis::cmd(mode.unsubscribe()).arg(format!("{probe}:unused")).get_packed_command());
        let subscribing = async {
            connection.write(&commands).await?;
            for _ in 0..2 {
                if let SubscriberReply::Reply(Value::ServerError(error)) = connection.next().await? {
                    self.note_redirect(&error);
                    return Err(error_text(&error));
                }
            }
            Ok(())
        };
        let step = format!("{} and {} at {}", mode.subscribe(), mode.unsubscribe(), self.shard_name());
        match timeout(RESPONSE_TIMEOUT, subscribing).await {
            Ok(result) => result.map_err(|error: String| format!("{step}: {error}"))?,
            Err(_) => return Err(format!("{step}: no answer within {} s", RESPONSE_TIMEOUT.as_secs())),
        }
        Ok(connection)
    }

    fn shard_name(&self) -> String {
        self.shard.node().map_or_else(|| "Redis".to_owned(), ToString::to_string)
    }

    /// Requests the slot map if the error is a redirection. Returns whether it is one.
    fn note_redirect(&self, error: &ServerError) -> bool {
        let redirect = Redirect::parse(error.code(), error.details().unwrap_or_default(), self.shard.host());
        let node = match &redirect {
            Some(Redirect::Moved { node, .. }) => Some(node),
            _ => None,
        };
        if redirect.is_some() {
            self.shard.request_map(node);
        }
        redirect.is_some()
    }

    /// Delivers `Subscribed` for the rooms whose subscription was confirmed.
    fn announce(&self) {
        for room in lock(&self.channels.set).take_announcements() {
            self.outlet.push(Delivery::Subscribed(room));
        }
    }

    fn deliver(&self, channel: &str, payload: &[u8]) {
        let Some(name) = self.names.room_of_channel(channel) else { return };
        let Some(room) = lock(&self.channels.set).delivering_room(name) else { return };
        if payload == READ_LOG {
            self.outlet.push(Delivery::Subscribed(room));
            return;
        }
        match Payload::decode(payload) {
            Some(Payload::Entry(entry)) => self.outlet.push(Delivery::Entry(room, entry)),
            Some(Payload::Ephemeral(bytes)) => self.outlet.push(Delivery::Ephemeral(room, bytes)),
            Some(Payload::Presence(change)) => self.outlet.push(Delivery::Presence(room, change)),
            // If it was an entry of a newer gateway, the `prev` of the next entry makes the consumer read the log.
            None => tracing::debug!(%room, "ignored a payload that this version does not know"),
        }
    }
}

/// State of a connection.
struct Connected<'a> {
    subscription: &'a Subscription,
    /// The channel to which the link publishes the probes.
    probe: String,
    /// The Redis to which the connection leads, once a link has found out.
    generation: Option<Generation>,
    /// Publications of that link. `None` until one of its probes has arrived.
    batches: Option<mpsc::Receiver<PublishBatch>>,
    requests: Requests,
    requested_at: Instant,
    subscribed_at: Instant,
}

impl Connected<'_> {
    /// Sends the next request, if one is needed and none is under way.
    async fn request(&mut self, connection: &mut Subscriber) -> Result<(), String> {
        if self.requests.awaits_confirmation() {
            return Ok(());
        }
        let request = lock(&self.subscription.channels.set).next_request();
        let (is_subscribe, rooms) = match request {
            Some(ChannelRequest::Subscribe(rooms)) => (true, rooms),
            Some(ChannelRequest::Unsubscribe(rooms)) => (false, rooms),
            None => return Ok(()),
        };
        let keyspace = &self.subscription.names;
        self.send(is_subscribe, rooms.iter().map(|room| keyspace.room(room).channel().to_owned()), connection).await
    }

    async fn send(
        &mut self,
        is_subscribe: bool,
        channels: impl IntoIterator<Item = String>,
        connection: &mut Subscriber,
    ) -> Result<(), String> {
        self.requested_at = Instant::now();
        connection.write(&self.requests.add(is_subscribe, channels)).await
    }

    /// The probes go to another channel from now on.
    async fn change_probe(&mut self, channel: String, connection: &mut Subscriber) -> Result<(), String> {
        self.send(true, [channel.clone()], connection).await?;
        let old = std::mem::replace(&mut self.probe, channel);
        self.send(false, [old], connection).await?;
        self.subscribed_at = Instant::now();
        self.subscription.shard.probe_now();
        Ok(())
    }

    async fn send_batch(&mut self, batch: PublishBatch, connection: &mut Subscriber) -> Result<(), String> {
        let PublishBatch { packed, count, replies } = batch;
        self.requests.add_batch(count, replies);
        connection.write(&packed).await
    }

    /// Handles the replies that have arrived.
    fn take_replies(&mut self, connection: &mut Subscriber, backoff: &mut Backoff) -> Result<(), String> {
        while let Some(reply) = connection.next_arrived()? {
            match reply {
                SubscriberReply::Message { channel, payload } => self.message(&channel, &payload, backoff),
                SubscriberReply::Subscribed(channel) => self.confirmed(true, &channel),
                SubscriberReply::Unsubscribed(channel) => self.confirmed(false, &channel),
                SubscriberReply::Reply(value) => self.answered(value)?,
                SubscriberReply::Other => {}
            }
        }
        Ok(())
    }

    fn message(&mut self, channel: &Bytes, payload: &Bytes, backoff: &mut Backoff) {
        let Ok(channel) = std::str::from_utf8(channel) else { return };
        if channel != self.probe {
            self.subscription.deliver(channel, payload);
            return;
        }
        backoff.reset();
        self.open_port();
        if self.subscription.shard.subscription_health().probe_received() {
            tracing::info!(server = self.subscription.shard_name(), "the subscription to Redis works");
        }
    }

    fn confirmed(&mut self, is_subscribe: bool, channel: &Bytes) {
        let Ok(channel) = std::str::from_utf8(channel) else { return };
        let is_requested = self.requests.confirmed(is_subscribe, channel);
        let subscription = self.subscription;
        let name = subscription.names.room_of_channel(channel).unwrap_or_default();
        let mut set = lock(&subscription.channels.set);
        if is_requested {
            set.confirm(name);
        } else if channel == self.probe || set.is_subscribed(name) {
            // The slot moved to another master.
            set.moved(name);
            drop(set);
            subscription.shard.request_map(None);
        }
    }

    /// Redis replied to the oldest command, or refused it.
    fn answered(&mut self, value: Value) -> Result<(), String> {
        let (channels, error) = match self.requests.answered(value) {
            Answer::Taken => return Ok(()),
            Answer::Refused(channels, error) => (channels, error),
            Answer::Unexpected(Value::ServerError(error)) => return Err(error_text(&error)),
            Answer::Unexpected(_) => return Err("Redis sent a reply to no command".to_owned()),
        };
        if self.subscription.shard.mode() == PubSubMode::Classic || !self.subscription.note_redirect(&error) {
            return Err(error_text(&error));
        }
        let mut set = lock(&self.subscription.channels.set);
        for name in channels.iter().filter_map(|channel| self.subscription.names.room_of_channel(channel)) {
            set.moved(name);
        }
        Ok(())
    }

    fn check_generation(&mut self, link: &LinkState) -> Result<(), String> {
        if let LinkState::Up(link) = link
            && self.generation.get_or_insert_with(|| link.generation().clone()) != link.generation()
        {
            return Err("Redis was restarted or failed over".to_owned());
        }
        Ok(())
    }

    /// The link and this connection lead to the same Redis, and both work: the connection takes publications from now on.
    fn open_port(&mut self) {
        if let Some(generation) = &self.generation
            && self.batches.as_ref().is_none_or(mpsc::Receiver::is_closed)
        {
            self.batches = Some(self.subscription.shard.publish_port().open(generation.clone()));
        }
    }

    /// Fails if two probe intervals (and 0.5 s) have passed in which the link was up and no probe arrived.
    fn check_probes(&self) -> Result<(), String> {
        let shard = &self.subscription.shard;
        let expected_since = match &*shard.link_states().borrow() {
            LinkState::Up(link) => self.subscribed_at.max(link.connected_at()),
            LinkState::Down(_) => return Ok(()),
        };
        let last = shard.subscription_health().last_probe().map_or(expected_since, |probe| probe.max(expected_since));
        if last.elapsed() > 2 * PROBE_INTERVAL + RESPONSE_TIMEOUT / 4 {
            return Err("no probe arrived although they were sent".to_owned());
        }
        Ok(())
    }
}

/// The next batch of publications. Never ready without a port.
async fn next_batch(batches: &mut Option<mpsc::Receiver<PublishBatch>>) -> PublishBatch {
    let next = match batches {
        Some(port) => port.recv().await,
        None => None,
    };
    match next {
        Some(batch) => batch,
        // The port is not open yet, or was closed.
        None => std::future::pending().await,
    }
}
