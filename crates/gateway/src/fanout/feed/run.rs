//! The feed's task: bus and workers on one side, decisions on the other.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::sync::{Semaphore, mpsc, oneshot};
use trunkline_bus::{Bus, Delivery, InstanceRegistry, Lease, LeaseStatus, Page, PresenceStore, Range, Subscriptions};
use trunkline_domain::{InstanceId, Position, PresenceSnapshot, Room};

use super::{Effect, Feed};
use crate::{
    fanout::{Ask, Mail, WorkerId, attendance::PresenceCommand},
    metrics::Metrics,
};

/// Most deliveries taken from the bus before anything else gets its turn.
const BATCH: usize = 256;
/// Most reads of the log under way at once.
const READS: usize = 32;
/// Most words about presence under way at once. Their places are their own: no message waits for them.
const WORDS: usize = 16;
/// How often the feed looks at its clock.
const TICK: Duration = Duration::from_millis(100);

/// What a worker writes to the feed.
#[derive(Debug)]
pub(crate) enum Letter {
    /// A worker starts; its mailbox, and the flag that says that a letter did not fit into it.
    Attach(WorkerId, mpsc::Sender<Mail>, Arc<AtomicBool>),
    /// A worker wants something.
    Ask(WorkerId, Ask),
    /// A worker ended.
    Detach(WorkerId),
    /// Answer as soon as everybody was told who left.
    Settle(oneshot::Sender<()>),
}

enum Answer {
    Read(Room, Range, Option<Page>),
    Compared(Vec<(Room, Position)>),
}

/// What joined of a [`PresenceCommand`].
enum Reply {
    Said(Room, Option<Lease>),
    Beaten(Option<Vec<InstanceId>>),
    Checked(Vec<Room>, Option<Vec<LeaseStatus>>),
    Ended,
    Present(Room, Option<PresenceSnapshot>),
    Listed,
}

/// Runs the feed of this process until the last worker and the gateway itself are gone. Its users are present as those
/// of `instance`.
pub(crate) async fn run<B: Bus + PresenceStore + InstanceRegistry>(
    bus: B,
    instance: InstanceId,
    mut letters: mpsc::UnboundedReceiver<Letter>,
    metrics: Arc<Metrics>,
) {
    let (interest, mut deliveries) = bus.open();
    let mut feed = Feed::new(instance, bus.lease());
    let mut mailboxes: HashMap<WorkerId, (mpsc::Sender<Mail>, Arc<AtomicBool>)> = HashMap::new();
    let mut answers = FuturesUnordered::new();
    let mut spoken = FuturesUnordered::new();
    let reads = Arc::new(Semaphore::new(READS));
    let words = Arc::new(Semaphore::new(WORDS));
    let mut settling: Vec<oneshot::Sender<()>> = Vec::new();
    let started = tokio::time::Instant::now();
    let mut clock = tokio::time::interval(TICK);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut batch: Vec<Delivery> = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            count = deliveries.recv_many(&mut batch, BATCH) => {
                if count == 0 {
                    return;
                }
                for delivery in batch.drain(..) {
                    feed.heard(delivery);
                }
                feed.flush();
            }
            letter = letters.recv() => match letter {
                Some(Letter::Attach(worker, mailbox, lagged)) => {
                    mailboxes.insert(worker, (mailbox, lagged));
                }
                Some(Letter::Ask(worker, ask)) => feed.ask(worker, ask),
                Some(Letter::Detach(worker)) => {
                    mailboxes.remove(&worker);
                    feed.detach(worker);
                }
                Some(Letter::Settle(answer)) => settling.push(answer),
                None => return,
            },
            Some(answer) = answers.next() => match answer {
                Answer::Read(room, range, page) => feed.read(&room, range, page),
                Answer::Compared(heads) => feed.compared(heads),
            },
            Some(reply) = spoken.next() => take_reply(&mut feed, reply),
            _ = clock.tick() => {
                feed.tick(started.elapsed());
                let (rooms, users) = feed.attendance().0.size();
                metrics.rooms.set(i64::try_from(rooms).unwrap_or(i64::MAX));
                metrics.users.set(i64::try_from(users).unwrap_or(i64::MAX));
            }
        }
        for effect in feed.take_effects() {
            match effect {
                Effect::Want(room) => interest.subscribe(&room),
                Effect::Unwant(room) => interest.unsubscribe(&room),
                Effect::Post(worker, mail) => {
                    if let Some((mailbox, lagged)) = mailboxes.get(&worker)
                        && mailbox.try_send(mail).is_err()
                    {
                        lagged.store(true, Ordering::Release);
                        metrics.mailbox_overflows.inc();
                    }
                }
                Effect::Read(room, range) => {
                    metrics.log_reads.inc();
                    answers.push(ask_bus(bus.clone(), reads.clone(), Question::Read(room, range)));
                }
                Effect::Compare(rooms) => {
                    answers.push(ask_bus(bus.clone(), reads.clone(), Question::Compare(rooms)));
                }
                Effect::Say(word) => {
                    if matches!(word, PresenceCommand::ReadSnapshot(_)) {
                        metrics.roster_reads.inc();
                    }
                    spoken.push(say(bus.clone(), words.clone(), instance, word));
                }
            }
        }
        if !settling.is_empty() && feed.attendance().0.is_told() {
            // Whoever gave up waiting does not mind.
            for answer in settling.drain(..) {
                let _ = answer.send(());
            }
        }
    }
}

fn take_reply(feed: &mut Feed, reply: Reply) {
    let (attendance, effects) = feed.attendance();
    match reply {
        Reply::Said(room, lease) => attendance.said(&room, lease, effects),
        Reply::Beaten(alive) => attendance.beaten(alive),
        Reply::Checked(rooms, standings) => attendance.checked(&rooms, standings.as_deref(), effects),
        Reply::Ended => {}
        Reply::Present(room, snapshot) => attendance.present(&room, snapshot, effects),
        Reply::Listed => attendance.listed(),
    }
}

/// Speaks to those who keep presence. What fails is said again, or replaced by something newer.
async fn say<P: PresenceStore + InstanceRegistry>(
    presence: P,
    words: Arc<Semaphore>,
    instance: InstanceId,
    word: PresenceCommand,
) -> Reply {
    let _permit = match word {
        // Waits for no place: whoever is late is taken for dead.
        PresenceCommand::Heartbeat => None,
        // The semaphore is never closed, so a permit always comes.
        _ => words.acquire().await.ok(),
    };
    match word {
        PresenceCommand::Heartbeat => Reply::Beaten(presence.heartbeat(instance).await.ok()),
        PresenceCommand::Replace(room, users) => {
            let entered = presence.replace(&room, instance, &users).await;
            Reply::Said(room, entered.is_ok().then_some(Lease::Held))
        }
        PresenceCommand::Update { room, joined, left } => {
            let lease = presence.update(&room, instance, &joined, &left).await;
            Reply::Said(room, lease.ok())
        }
        PresenceCommand::Check(rooms) => {
            let standings = presence.check(instance, &rooms).await;
            Reply::Checked(rooms, standings.ok())
        }
        PresenceCommand::Expire(dead, rooms) => {
            tracing::info!(instance = %dead, rooms = rooms.len(), "process is dead, its users are gone");
            // Whoever is still there when we look again is ended again.
            let _ = presence.expire(dead, &rooms).await;
            Reply::Ended
        }
        PresenceCommand::ReadSnapshot(room) => {
            let snapshot = presence.snapshot(&room).await;
            Reply::Present(room, snapshot.ok())
        }
        PresenceCommand::SetRoomCounts(rooms) => {
            let _ = presence.set_room_counts(&rooms).await;
            Reply::Listed
        }
    }
}

enum Question {
    Read(Room, Range),
    Compare(Vec<Room>),
}

async fn ask_bus<B: Bus>(bus: B, reads: Arc<Semaphore>, question: Question) -> Answer {
    // The semaphore is never closed, so a permit always comes.
    let _permit = reads.acquire().await;
    match question {
        Question::Read(room, range) => {
            let page = bus.read(&room, range).await;
            let page = page.inspect_err(|error| tracing::debug!(%room, %error, "log not read"));
            Answer::Read(room, range, page.ok())
        }
        Question::Compare(rooms) => {
            // A failure is no news: the next comparison comes in ten seconds.
            let heads = bus.heads(&rooms).await.unwrap_or_default();
            let _ = bus.refresh_expiry(&rooms).await;
            Answer::Compared(rooms.into_iter().zip(heads).collect())
        }
    }
}
