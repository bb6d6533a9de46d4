//! Commands on their way to Redis: in the order in which they came, and under load many at once.
//!
//! A call goes at once, unless there are many: then batches go [`APART`], so that what comes meanwhile goes together. What
//! Redis, the kernel and the threads of all processes do once a batch (reading, writing, waking) costs more than a command
//! does: with a thousand messages a second in as many rooms, batches save half of all processor time, Redis's included
//! (`cargo xtask bench --only rooms`). For the same reason all processes send their batches at the same moments, counted
//! from the Unix epoch: then Redis, and whoever hears it, wakes once for all of them. Where clocks differ, batches only go
//! as if each process were alone.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use redis::{
    Cmd, Pipeline, RedisResult, Value,
    aio::{ConnectionLike as _, MultiplexedConnection},
};
use tokio::{
    sync::{Mutex, Notify, mpsc, oneshot},
    task::AbortHandle,
    time::{Instant, sleep_until},
};

/// Calls that wait; beyond, callers wait in order, each holding only its own.
const WAITING: usize = 256;
/// Batches under way at once.
const UNDER_WAY: usize = 4;
/// A batch takes no further call once it has so many commands.
const BATCH: usize = 64;
/// Time between two batches under load: a message still comes within a frame of a screen that shows sixty a second. With
/// 8 ms, three instances and Redis took a fifth more processor time for the same load.
const APART: Duration = Duration::from_millis(12);
/// Up to one call in so much time goes at once: what fewer would gather in [`APART`] is not worth their wait.
const EVERY: Duration = Duration::from_millis(8);
/// So many calls may go at once after a pause.
const BURST: u32 = 8;
/// After a batch of so many calls the next will not be alone: the first waits [`MOMENT`] for the others. Clients that answer
/// to the same message come together, and should not go out as one and the rest.
const COMPANY: usize = 4;
const MOMENT: Duration = Duration::from_millis(2);
/// So many calls do not wait for the time.
const FULL: usize = BATCH / 2;

/// Where callers leave commands for one connection.
pub(super) struct Outbox {
    /// Held from asking for a place until the call stands in the queue: what keeps calls in order.
    turn: Mutex<()>,
    calls: mpsc::Sender<Call>,
    full: Arc<Notify>,
    task: AbortHandle,
}

/// Commands that go together.
struct Call {
    commands: Vec<Cmd>,
    answer: oneshot::Sender<RedisResult<Vec<Value>>>,
}

impl Outbox {
    /// Of a connection, with a task that ends when the outbox is dropped or closed.
    pub(super) fn new(connection: MultiplexedConnection) -> Self {
        let (calls, waiting) = mpsc::channel(WAITING);
        let full = Arc::new(Notify::new());
        let task = tokio::spawn(run(connection, waiting, full.clone())).abort_handle();
        Self { turn: Mutex::new(()), calls, full, task }
    }

    /// Sends commands in their turn. Their answers, errors of single commands among them; `None` when the outbox was
    /// closed, and it is not known whether they were carried out.
    pub(super) async fn call(&self, commands: Vec<Cmd>) -> Option<RedisResult<Vec<Value>>> {
        let (answer, answered) = oneshot::channel();
        let turn = self.turn.lock().await;
        self.calls.send(Call { commands, answer }).await.ok()?;
        if self.calls.max_capacity() - self.calls.capacity() == FULL {
            self.full.notify_one();
        }
        drop(turn);
        answered.await.ok()
    }

    /// Refuses everything from now on.
    pub(super) fn close(&self) {
        self.task.abort();
    }
}

/// When batches go. Pure.
struct Pace {
    due: Instant,
    /// Calls in the last batch.
    last: usize,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self { due: now, last: 0 }
    }

    /// When a batch goes whose first call is there now; `common` is the time until the next moment that all processes share.
    fn next(&self, now: Instant, common: Duration) -> Instant {
        match self.last {
            _ if now < self.due => now + common,
            COMPANY.. => now + MOMENT,
            _ => now,
        }
    }

    /// A batch went. Large ones run up no debt: no call waits for longer than [`APART`].
    fn went(&mut self, now: Instant, calls: usize) {
        let earliest = now.checked_sub(EVERY * BURST).unwrap_or(now);
        self.due = (self.due.max(earliest) + EVERY * calls as u32).min(now + APART);
        self.last = calls;
    }
}

/// Time until the next moment at which batches of all processes go.
fn until_common(unix: Duration) -> Duration {
    let apart = APART.as_micros();
    Duration::from_micros((apart - unix.as_micros() % apart) as u64)
}

async fn run(connection: MultiplexedConnection, mut calls: mpsc::Receiver<Call>, full: Arc<Notify>) {
    let mut under_way = FuturesUnordered::new();
    let mut pace = Pace::new(Instant::now());
    loop {
        let first = tokio::select! {
            call = calls.recv(), if under_way.len() < UNDER_WAY => match call {
                Some(call) => call,
                None => break,
            },
            Some(()) = under_way.next() => continue,
        };
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let next = pace.next(Instant::now(), until_common(unix));
        // The first is out of the queue. What came since the last batch may be enough already.
        while calls.len() + 1 < FULL {
            tokio::select! {
                () = sleep_until(next) => break,
                () = full.notified() => break,
                Some(()) = under_way.next() => {}
            }
        }
        let mut batch = Batch::default();
        batch.add(first);
        while batch.commands.len() < BATCH
            && let Ok(call) = calls.try_recv()
        {
            batch.add(call);
        }
        pace.went(Instant::now(), batch.answers.len());
        under_way.push(batch.send(connection.clone()));
    }
    while under_way.next().await.is_some() {}
}

/// Calls that go together, and who waits for how many of the answers.
#[derive(Default)]
struct Batch {
    commands: Pipeline,
    answers: Vec<(usize, oneshot::Sender<RedisResult<Vec<Value>>>)>,
}

impl Batch {
    fn add(&mut self, Call { commands, answer }: Call) {
        self.answers.push((commands.len(), answer));
        for command in commands {
            self.commands.add_command(command);
        }
    }

    /// Whoever does not wait for an answer any more does not get it.
    async fn send(self, mut connection: MultiplexedConnection) {
        let values = connection.req_packed_commands(&self.commands, 0, self.commands.len()).await;
        let mut values = values.map(Vec::into_iter);
        for (count, answer) in self.answers {
            let _ = answer.send(match &mut values {
                Ok(values) => Ok(values.take(count).collect()),
                Err(error) => Err(error.clone()),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Calls that come as far apart as `gaps` say: for how long each waits, where batches hold what came meanwhile.
    fn waits(gaps: &[Duration]) -> Vec<Duration> {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let mut now = start + Duration::from_secs(1);
        let mut waits = Vec::new();
        let mut batch: Vec<Instant> = Vec::new();
        let mut goes = now;
        for gap in gaps {
            now += *gap;
            if !batch.is_empty() && goes < now {
                pace.went(goes, batch.len());
                waits.extend(batch.drain(..).map(|came| goes - came));
            }
            if batch.is_empty() {
                goes = pace.next(now, until_common(now - start));
            }
            batch.push(now);
        }
        waits.extend(batch.into_iter().map(|came| goes - came));
        waits
    }

    #[test]
    fn few_go_at_once_and_many_go_together() {
        let few = waits(&[EVERY; 100]);
        assert_eq!(few, [Duration::ZERO; 100]);
        let many = waits(&[EVERY / 8; 1000]);
        assert!(many[..BURST as usize].iter().all(Duration::is_zero));
        let together = many[500..].iter().filter(|wait| !wait.is_zero()).count();
        assert!(together > 400, "{together} of 500 waited");
    }

    #[test]
    fn a_burst_goes_at_once_and_then_calls_go_apart() {
        let start = Instant::now() + Duration::from_secs(1);
        let mut pace = Pace::new(start - Duration::from_secs(1));
        for _ in 0..=BURST {
            assert_eq!(pace.next(start, MOMENT), start);
            pace.went(start, 1);
        }
        assert_eq!(pace.next(start, MOMENT), start + MOMENT);
        assert_eq!(pace.next(start + EVERY, MOMENT), start + EVERY);
    }

    #[test]
    fn full_batches_run_up_no_debt() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        for _ in 0..1000 {
            now += APART / 8;
            pace.went(now, FULL);
            assert_eq!(pace.next(now + APART, APART), now + APART + MOMENT);
        }
    }

    #[test]
    fn processes_that_began_at_different_times_go_together() {
        let begun = Duration::from_secs(1_800_000_000);
        let goes = |unix: u64| {
            let unix = begun + Duration::from_micros(unix);
            unix + until_common(unix)
        };
        assert!((0..12_000).all(|unix| goes(unix) == begun + APART));
        assert_eq!(goes(12_000), begun + 2 * APART);
    }

    #[test]
    fn who_had_company_waits_for_it() {
        let mut pace = Pace::new(Instant::now());
        let later = Instant::now() + Duration::from_secs(1);
        assert_eq!(pace.next(later, APART), later);
        pace.went(later, COMPANY);
        let later = later + Duration::from_secs(1);
        assert_eq!(pace.next(later, APART), later + MOMENT);
    }

    proptest! {
        #[test]
        fn no_call_waits_long(gaps in prop::collection::vec(0_u64..20_000, 1..300)) {
            let gaps: Vec<_> = gaps.into_iter().map(Duration::from_micros).collect();
            let longest = waits(&gaps).into_iter().max().unwrap();
            prop_assert!(longest <= APART, "{longest:?}");
        }
    }
}
