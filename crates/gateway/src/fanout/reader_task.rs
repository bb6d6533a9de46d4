//! The reader's task: it connects the bus, the presence store and the workers with the [`RoomReader`].

use std::sync::Arc;

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::sync::{Semaphore, mpsc, oneshot};
use trunkline_bus::{Bus, Delivery, InstanceRegistry, Lease, PresenceStore, Range, Subscriptions};
use trunkline_domain::{InstanceId, Position, Room};

use super::{
    messages::{HubEvent, Mailbox, ReaderCommand},
    mutants::replace_delivery,
    reader::{ReaderEffect, ReaderInput, RoomReader, TIMER_GRANULARITY},
};
use crate::{
    ids::WorkerId,
    metrics::Metrics,
    presence::{PresenceCommand, PresenceReply},
    random::Random,
};

/// Maximum number of deliveries that are taken before other inputs are examined. A larger value makes batches larger under
/// load and lets requests of workers wait longer.
const MAX_BATCH_DELIVERIES: usize = 256;
/// Maximum number of workers' commands that are taken before other inputs are examined.
const MAX_BATCH_COMMANDS: usize = 64;
/// Maximum number of log reads in flight. Further ones wait; a larger value puts more load on Redis when many rooms are
/// opened at once.
const MAX_READS_IN_FLIGHT: usize = 32;
/// Maximum number of presence commands in flight. They have their own limit, so that no read of a log waits for them.
const MAX_PRESENCE_COMMANDS_IN_FLIGHT: usize = 16;
/// Runs the reader of this process until the bus ends, or all workers and the gateway are gone. Users of this process are
/// those of `instance`.
pub(crate) async fn run<B: Bus + PresenceStore + InstanceRegistry>(
    bus: B,
    instance: InstanceId,
    mut commands: mpsc::UnboundedReceiver<ReaderCommand>,
    metrics: Arc<Metrics>,
) {
    let (subscriptions, mut deliveries) = bus.open();
    let mut reader = RoomReader::new(instance, bus.lease(), Random::new(rand::random()));
    let mut workers: Vec<WorkerMailbox> = Vec::new();
    let (mut reads, mut presence_calls) = (FuturesUnordered::new(), FuturesUnordered::new());
    let read_permits = Arc::new(Semaphore::new(MAX_READS_IN_FLIGHT));
    let presence_permits = Arc::new(Semaphore::new(MAX_PRESENCE_COMMANDS_IN_FLIGHT));
    let mut waiting_for_presence: Vec<oneshot::Sender<()>> = Vec::new();
    let started = tokio::time::Instant::now();
    let mut ticks = tokio::time::interval(TIMER_GRANULARITY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut batch: Vec<Delivery> = Vec::with_capacity(MAX_BATCH_DELIVERIES);
    let mut command_batch = Vec::with_capacity(MAX_BATCH_COMMANDS);
    loop {
        tokio::select! {
            count = deliveries.recv_many(&mut batch, MAX_BATCH_DELIVERIES) => {
                if count == 0 {
                    return;
                }
                let now = started.elapsed();
                for delivery in batch.drain(..) {
                    reader.handle(ReaderInput::Delivery(replace_delivery(delivery)), now);
                }
            }
            count = commands.recv_many(&mut command_batch, MAX_BATCH_COMMANDS) => {
                if count == 0 {
                    return;
                }
                let now = started.elapsed();
                for command in command_batch.drain(..) {
                    match command {
                        ReaderCommand::Attach(worker, mailbox) => {
                            workers.push(WorkerMailbox { worker, mailbox, batch: Vec::new() });
                        }
                        ReaderCommand::Request(worker, request) => {
                            reader.handle(ReaderInput::Request(worker, request), now);
                        }
                        ReaderCommand::Detach(worker) => {
                            workers.retain(|one| one.worker != worker);
                            reader.handle(ReaderInput::WorkerEnded(worker), now);
                        }
                        ReaderCommand::Delete(room, position, applied) => {
                            reader.handle(ReaderInput::Deleted(room, position, applied), now);
                        }
                        ReaderCommand::NotifyWhenPresenceSettled(reply) => {
                            waiting_for_presence.push(reply);
                            reader.handle(ReaderInput::WriteLeaves, now);
                        }
                    }
                }
            }
            Some(input) = reads.next() => reader.handle(input, started.elapsed()),
            Some(reply) = presence_calls.next() => reader.handle(ReaderInput::Presence(reply), started.elapsed()),
            _ = ticks.tick() => {
                reader.handle(ReaderInput::Tick, started.elapsed());
                let presence = reader.presence();
                metrics.rooms.set(i64::try_from(presence.local_rooms()).unwrap_or(i64::MAX));
                metrics.users.set(i64::try_from(presence.local_users()).unwrap_or(i64::MAX));
            }
        }
        while let Some(effect) = reader.poll_effect() {
            match effect {
                ReaderEffect::Subscribe(room) => subscriptions.subscribe(&room),
                ReaderEffect::Unsubscribe(room) => subscriptions.unsubscribe(&room),
                ReaderEffect::Send(worker, event) => {
                    // There are as many workers as cores, so a search is faster than a hash.
                    if let Some(worker) = workers.iter_mut().find(|one| one.worker == worker) {
                        worker.batch.push(event);
                    }
                }
                ReaderEffect::Broadcast(event) => {
                    for worker in &mut workers {
                        worker.send_batch(&metrics);
                        worker.mailbox.downgrade().send(event.clone());
                    }
                }
                ReaderEffect::Read(room, range) => {
                    metrics.log_reads.inc();
                    reads.push(read(bus.clone(), read_permits.clone(), ReadRequest::Page(room, range)));
                }
                ReaderEffect::CompareHeads(heads) => {
                    reads.push(read(bus.clone(), read_permits.clone(), ReadRequest::Compare(heads)));
                }
                ReaderEffect::Presence(command) => {
                    if matches!(command, PresenceCommand::ReadSnapshot(_)) {
                        metrics.roster_reads.inc();
                    }
                    presence_calls.push(execute(bus.clone(), presence_permits.clone(), instance, command));
                }
            }
        }
        workers.iter_mut().for_each(|worker| worker.send_batch(&metrics));
        if !waiting_for_presence.is_empty() && reader.presence().is_settled() {
            for reply in waiting_for_presence.drain(..) {
                // The caller may have stopped waiting.
                let _ = reply.send(());
            }
        }
    }
}

/// A worker's mailbox, and the events that it is sent once all effects are executed.
struct WorkerMailbox {
    worker: WorkerId,
    mailbox: Mailbox,
    batch: Vec<HubEvent>,
}

impl WorkerMailbox {
    fn send_batch(&mut self, metrics: &Metrics) {
        if !self.batch.is_empty() {
            let dropped = self.mailbox.send(std::mem::take(&mut self.batch));
            metrics.mailbox_overflows.inc_by(dropped as u64);
        }
    }
}

enum ReadRequest {
    Page(Room, Range),
    Compare(Vec<(Room, Position)>),
}

async fn read<B: Bus>(bus: B, permits: Arc<Semaphore>, request: ReadRequest) -> ReaderInput {
    // The semaphore is never closed, so the permit always comes.
    let _permit = permits.acquire().await;
    match request {
        ReadRequest::Page(room, range) => {
            let page = bus.read(&room, range).await;
            let page =
                page.inspect_err(|error| tracing::debug!(%room, %error, "reading the log failed; it is retried"));
            ReaderInput::Read(room, range, page.ok())
        }
        ReadRequest::Compare(heads) => {
            // After a failure the next comparison of each room is the next attempt.
            let changed = bus.changed_heads(&heads).await.unwrap_or_default();
            let rooms: Vec<Room> = heads.into_iter().map(|(room, _)| room).collect();
            let _ = bus.refresh_expiry(&rooms).await;
            ReaderInput::ChangedHeads(changed)
        }
    }
}

/// Executes a command on the presence store. The tracker repeats failed ones or replaces them by newer ones.
async fn execute<P: PresenceStore + InstanceRegistry>(
    store: P,
    permits: Arc<Semaphore>,
    instance: InstanceId,
    command: PresenceCommand,
) -> PresenceReply {
    let _permit = match command {
        // A heartbeat does not wait: other instances take an instance that is late for dead.
        PresenceCommand::Heartbeat => None,
        // The semaphore is never closed, so the permit always comes.
        _ => permits.acquire().await.ok(),
    };
    match command {
        PresenceCommand::Heartbeat => PresenceReply::Heartbeat(store.heartbeat(instance).await.ok()),
        PresenceCommand::Replace(room, users) => {
            let replaced = store.replace(&room, instance, &users).await;
            PresenceReply::Written(room, replaced.is_ok().then_some(Lease::Held))
        }
        PresenceCommand::Update { room, joined, left } => {
            let lease = store.update(&room, instance, &joined, &left).await;
            PresenceReply::Written(room, lease.ok())
        }
        PresenceCommand::Check(rooms) => {
            let statuses = store.check(instance, &rooms).await;
            PresenceReply::Checked(rooms, statuses.ok())
        }
        PresenceCommand::Expire(dead, rooms) => {
            tracing::info!(instance = %dead, rooms = rooms.len(), "instance is dead; removing its users");
            // If it fails, a later tick finds the users again.
            let _ = store.expire(dead, &rooms).await;
            PresenceReply::Expired
        }
        PresenceCommand::ReadSnapshot(room) => {
            let snapshot = store.snapshot(&room).await;
            PresenceReply::Snapshot(room, snapshot.ok())
        }
        PresenceCommand::SetRoomCounts(rooms) => {
            let _ = store.set_room_counts(&rooms).await;
            PresenceReply::RoomCountsSet
        }
    }
}
