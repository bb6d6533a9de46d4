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
use tokio::sync::{Semaphore, mpsc};
use trunkline_bus::{Bus, Delivery, Interest, Page, Range};
use trunkline_domain::{Position, Room};

use super::{Effect, Feed};
use crate::{
    fanout::{Ask, Mail, WorkerId},
    metrics::Metrics,
};

/// Most deliveries taken from the bus before anything else gets its turn.
const BATCH: usize = 256;
/// Most reads of the log under way at once.
const READS: usize = 32;
/// How often the feed looks at its clock.
const TICK: Duration = Duration::from_millis(250);

/// What a worker writes to the feed.
#[derive(Debug)]
pub(crate) enum Letter {
    /// A worker starts; its mailbox, and the flag that says that a letter did not fit into it.
    Attach(WorkerId, mpsc::Sender<Mail>, Arc<AtomicBool>),
    /// A worker wants something.
    Ask(WorkerId, Ask),
    /// A worker ended.
    Detach(WorkerId),
}

enum Answer {
    Read(Room, Range, Option<Page>),
    Compared(Vec<(Room, Position)>),
}

/// Runs the feed of this process until the last worker and the gateway itself are gone.
pub(crate) async fn run<B: Bus>(bus: B, mut letters: mpsc::UnboundedReceiver<Letter>, metrics: Arc<Metrics>) {
    let (interest, mut deliveries) = bus.open();
    let mut feed = Feed::default();
    let mut mailboxes: HashMap<WorkerId, (mpsc::Sender<Mail>, Arc<AtomicBool>)> = HashMap::new();
    let mut answers = FuturesUnordered::new();
    let reads = Arc::new(Semaphore::new(READS));
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
                None => return,
            },
            Some(answer) = answers.next() => match answer {
                Answer::Read(room, range, page) => feed.read(&room, range, page),
                Answer::Compared(heads) => feed.compared(heads),
            },
            _ = clock.tick() => feed.tick(started.elapsed()),
        }
        for effect in feed.take_effects() {
            match effect {
                Effect::Want(room) => interest.want(&room),
                Effect::Unwant(room) => interest.unwant(&room),
                Effect::Post(worker, mail) => {
                    if let Some((mailbox, lagged)) = mailboxes.get(&worker) {
                        if mailbox.try_send(mail).is_err() {
                            lagged.store(true, Ordering::Release);
                            metrics.mailbox_overflows.inc();
                        }
                    }
                }
                Effect::Read(room, range) => {
                    metrics.log_reads.inc();
                    answers.push(ask_bus(bus.clone(), reads.clone(), Question::Read(room, range)));
                }
                Effect::Compare(rooms) => {
                    answers.push(ask_bus(bus.clone(), reads.clone(), Question::Compare(rooms)));
                }
            }
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
            let _ = bus.keep(&rooms).await;
            Answer::Compared(rooms.into_iter().zip(heads).collect())
        }
    }
}
