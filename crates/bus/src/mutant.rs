//! Deliberate faults (mutants) that the delivery checker must notice.
//!
//! Each mutant disables one mechanism on which the delivery guarantees rest. They exist only in builds with the feature
//! `mutants`, which no release build enables; there the environment variable `TRUNKLINE_MUTANT` names the active ones,
//! separated by commas. `cargo xtask chaos --mutants` runs them. In all other builds [`is_on`] is `false` at compile time
//! and [`redis_bus`] is [`RedisBus::new`](crate::RedisBus::new).

#[cfg(all(feature = "mutants", not(debug_assertions)))]
compile_error!("the feature `mutants` breaks delivery guarantees on purpose and must not be in a release build");

/// A mechanism that can be disabled; or, for `Lossy`, a fault that the others must repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// `lossy`: every 50th delivered entry is lost, as pub/sub may lose it. The gateway must repair this.
    Lossy,
    /// `repair`: a gap in a room's positions is ignored.
    Repair,
    /// `resync`: after a lost subscription, rooms are not announced again, so what was missed meanwhile is not read.
    Resync,
    /// `dedupe`: message ids are not looked up before an append.
    Dedupe,
    /// `epoch`: every run of Redis counts as the same generation, so the epoch continues after a failover.
    Epoch,
    /// `redact`: the frames that a gateway holds in memory keep the texts that are deleted.
    Redact,
    /// `catch-up`: a cursor that is behind jumps to the head and reports that it resumed.
    CatchUp,
    /// `resubscribe`: rooms of a slot that moved to another master of a cluster are not subscribed there.
    Resubscribe,
    /// `moved`: redirections of a cluster fail the command, and the slot map is read only once.
    Moved,
    /// `shared-probe`: the probe of one shard counts as proof for the subscriptions of all shards.
    SharedProbe,
}

/// Whether the mutant is active.
#[cfg(not(feature = "mutants"))]
#[must_use]
pub const fn is_on(_: Mutant) -> bool {
    false
}

/// A bus over Redis.
///
/// # Errors
/// As [`RedisBus::new`](crate::RedisBus::new).
#[cfg(all(feature = "redis", not(feature = "mutants")))]
pub fn redis_bus(config: crate::RedisConfig) -> Result<crate::RedisBus, crate::InvalidRedisSettings> {
    crate::RedisBus::new(config)
}

#[cfg(feature = "mutants")]
pub use faulty::is_on;
#[cfg(all(feature = "redis", feature = "mutants"))]
pub use faulty::{FaultyBus, redis_bus};

#[cfg(feature = "mutants")]
mod faulty {
    use std::{
        collections::HashSet,
        sync::{
            OnceLock,
            atomic::{AtomicU32, Ordering},
        },
        time::Duration,
    };

    use bytes::Bytes;
    use tokio::sync::mpsc;
    use trunkline_domain::{Draft, Entry, InstanceId, Member, MessageId, Position, PresenceSnapshot, Room, UserId};

    use super::Mutant;
    use crate::{
        Bus, BusError, Charge, Charged, Delivery, Health, InstanceRegistry, InstanceReport, Lease, LeaseStatus, Page,
        PresenceStore, Range, Receipt, SharedLimits, SocketChange, SocketExchange,
    };

    /// Whether the mutant is active.
    #[must_use]
    pub fn is_on(mutant: Mutant) -> bool {
        static ACTIVE: OnceLock<String> = OnceLock::new();
        let name = match mutant {
            Mutant::Lossy => "lossy",
            Mutant::Repair => "repair",
            Mutant::Resync => "resync",
            Mutant::Dedupe => "dedupe",
            Mutant::Epoch => "epoch",
            Mutant::CatchUp => "catch-up",
            Mutant::Redact => "redact",
            Mutant::Resubscribe => "resubscribe",
            Mutant::Moved => "moved",
            Mutant::SharedProbe => "shared-probe",
        };
        let active = ACTIVE.get_or_init(|| std::env::var("TRUNKLINE_MUTANT").unwrap_or_default());
        active.split(',').any(|one| one == name)
    }

    /// A bus over Redis with the active mutants.
    ///
    /// # Errors
    /// As [`RedisBus::new`](crate::RedisBus::new).
    #[cfg(feature = "redis")]
    pub fn redis_bus(config: crate::RedisConfig) -> Result<FaultyBus<crate::RedisBus>, crate::InvalidRedisSettings> {
        let faults = crate::redis::Faults {
            one_generation: is_on(Mutant::Epoch),
            keep_subscriptions: is_on(Mutant::Resubscribe),
            ignore_moved: is_on(Mutant::Moved),
            share_probe: is_on(Mutant::SharedProbe),
        };
        crate::RedisBus::with_faults(config, faults).map(FaultyBus)
    }

    /// Wraps a bus, and applies the mutants `lossy`, `resync` and `dedupe` to what passes.
    #[derive(Clone, Debug)]
    pub struct FaultyBus<B>(B);

    /// Joins a message id and the number that makes it unique.
    const UNIQUE: &str = "--";

    /// With `dedupe`, makes the id of each attempt unique, so that no earlier attempt is found.
    fn unique(id: MessageId) -> MessageId {
        static ATTEMPTS: AtomicU32 = AtomicU32::new(0);
        if !is_on(Mutant::Dedupe) {
            return id;
        }
        let attempt = u64::from(std::process::id()) << 32 | u64::from(ATTEMPTS.fetch_add(1, Ordering::Relaxed));
        // Fails for an id that is too long for the suffix.
        format!("{id}{UNIQUE}{attempt:x}").parse().unwrap_or(id)
    }

    /// Gives an entry the id under which its message was sent.
    fn restore_id(entry: &mut Entry) {
        if is_on(Mutant::Dedupe)
            && let Some((id, _)) = entry.message.id.as_str().rsplit_once(UNIQUE)
            && let Ok(id) = id.parse()
        {
            entry.message.id = id;
        }
    }

    /// Forwards deliveries, except those that `lossy` and `resync` drop.
    async fn forward(mut deliveries: mpsc::Receiver<Delivery>, forwarded: mpsc::Sender<Delivery>) {
        let mut announced: HashSet<Room> = HashSet::new();
        let mut entries = 0_u32;
        while let Some(mut delivery) = deliveries.recv().await {
            match &mut delivery {
                Delivery::Subscribed(room) if is_on(Mutant::Resync) && !announced.insert(room.clone()) => continue,
                Delivery::Entry(_, entry) => {
                    restore_id(entry);
                    entries = entries.wrapping_add(1);
                    if is_on(Mutant::Lossy) && entries.is_multiple_of(50) {
                        continue;
                    }
                }
                _ => {}
            }
            if forwarded.send(delivery).await.is_err() {
                return;
            }
        }
    }

    impl<B: Bus> Bus for FaultyBus<B> {
        type Subscriptions = B::Subscriptions;

        async fn publish(&self, room: &Room, draft: Draft) -> Result<Receipt, BusError> {
            self.0.publish(room, Draft { id: unique(draft.id), ..draft }).await
        }

        async fn read(&self, room: &Room, range: Range) -> Result<Page, BusError> {
            let mut page = self.0.read(room, range).await?;
            page.entries.iter_mut().for_each(restore_id);
            Ok(page)
        }

        async fn heads(&self, rooms: &[Room]) -> Result<Vec<Option<Position>>, BusError> {
            self.0.heads(rooms).await
        }

        async fn changed_heads(&self, known: &[(Room, Position)]) -> Result<Vec<(Room, Position)>, BusError> {
            self.0.changed_heads(known).await
        }

        async fn mark_seen(&self, room: &Room, user: &UserId, pos: Position) -> Result<Position, BusError> {
            self.0.mark_seen(room, user, pos).await
        }

        async fn seen(&self, room: &Room, user: &UserId) -> Result<Option<Position>, BusError> {
            self.0.seen(room, user).await
        }

        async fn publish_ephemeral(&self, room: &Room, bytes: Bytes) -> Result<(), BusError> {
            self.0.publish_ephemeral(room, bytes).await
        }

        async fn refresh_expiry(&self, rooms: &[Room]) -> Result<(), BusError> {
            self.0.refresh_expiry(rooms).await
        }

        fn open(&self) -> (Self::Subscriptions, mpsc::Receiver<Delivery>) {
            let (subscriptions, deliveries) = self.0.open();
            let (forwarded, receiver) = mpsc::channel(64);
            tokio::spawn(forward(deliveries, forwarded));
            (subscriptions, receiver)
        }

        fn health(&self) -> Vec<Health> {
            self.0.health()
        }
    }

    impl<B: PresenceStore> PresenceStore for FaultyBus<B> {
        async fn replace(&self, room: &Room, instance: InstanceId, users: &[Member]) -> Result<(), BusError> {
            self.0.replace(room, instance, users).await
        }

        async fn update(
            &self,
            room: &Room,
            instance: InstanceId,
            joined: &[Member],
            left: &[Member],
        ) -> Result<Lease, BusError> {
            self.0.update(room, instance, joined, left).await
        }

        async fn check(&self, instance: InstanceId, rooms: &[Room]) -> Result<Vec<Option<LeaseStatus>>, BusError> {
            self.0.check(instance, rooms).await
        }

        async fn expire(&self, instance: InstanceId, rooms: &[Room]) -> Result<(), BusError> {
            self.0.expire(instance, rooms).await
        }

        async fn snapshot(&self, room: &Room) -> Result<PresenceSnapshot, BusError> {
            self.0.snapshot(room).await
        }

        async fn set_room_counts(&self, counts: &[(Room, usize)]) -> Result<(), BusError> {
            self.0.set_room_counts(counts).await
        }

        async fn room_counts(&self) -> Result<Vec<(Room, usize)>, BusError> {
            self.0.room_counts().await
        }
    }

    impl<B: InstanceRegistry> InstanceRegistry for FaultyBus<B> {
        fn lease(&self) -> Duration {
            self.0.lease()
        }

        async fn heartbeat(&self, instance: InstanceId) -> Result<Vec<InstanceId>, BusError> {
            self.0.heartbeat(instance).await
        }

        async fn report(&self, instance: InstanceId, text: &str) -> Result<(), BusError> {
            self.0.report(instance, text).await
        }

        async fn reports(&self) -> Result<Vec<InstanceReport>, BusError> {
            self.0.reports().await
        }
    }
    impl<B: SharedLimits> SharedLimits for FaultyBus<B> {
        fn is_shared(&self) -> bool {
            self.0.is_shared()
        }

        async fn charge(&self, charges: &[Charge]) -> Result<Vec<Charged>, BusError> {
            self.0.charge(charges).await
        }

        async fn exchange_sockets(
            &self,
            instance: InstanceId,
            max: u32,
            changes: &[SocketChange],
        ) -> Result<SocketExchange, BusError> {
            self.0.exchange_sockets(instance, max, changes).await
        }
    }
}
