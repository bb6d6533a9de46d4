//! Commands on their way to Redis: in the order in which they came, and under load many at once.
//!
//! A command goes at once, unless many batches went of late: then they go [`APART`], so that what comes meanwhile goes
//! together. What Redis, the kernel and the threads here do once a batch (reading, writing, waking) costs more than a
//! command does: with a thousand messages a second in as many rooms, batches save half of all processor time, Redis's
//! included (`cargo xtask bench --only rooms`).

use std::{sync::Arc, time::Duration};

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
/// Time between two batches, on average: half a frame of a screen, so nobody sees it. With 5 ms the same load costs a
/// tenth more.
const APART: Duration = Duration::from_millis(8);
/// So many batches may go at once after a pause.
const BURST: u32 = 8;
/// So many calls do not wait for the time.
const FULL: usize = 16;

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

/// When the batch after the one of `now` is due, which itself was due at `due` or was full before. Full batches run up no
/// debt: a call alone never waits for longer than [`APART`].
fn after(due: Instant, now: Instant) -> Instant {
    let earliest = now.checked_sub(APART * BURST).unwrap_or(now);
    (due.max(earliest) + APART).min(now + APART)
}

async fn run(connection: MultiplexedConnection, mut calls: mpsc::Receiver<Call>, full: Arc<Notify>) {
    let mut under_way = FuturesUnordered::new();
    let mut next = Instant::now();
    loop {
        let first = tokio::select! {
            call = calls.recv(), if under_way.len() < UNDER_WAY => match call {
                Some(call) => call,
                None => break,
            },
            Some(()) = under_way.next() => continue,
        };
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
        next = after(next, Instant::now());
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
    use super::*;

    #[test]
    fn a_burst_goes_at_once_and_then_batches_go_apart() {
        let start = Instant::now() + Duration::from_secs(1);
        let mut due = start - Duration::from_secs(1);
        for _ in 0..BURST {
            assert!(due <= start);
            due = after(due, start);
        }
        assert_eq!(due, start);
        assert_eq!(after(due, start), start + APART);
    }

    #[test]
    fn full_batches_run_up_no_debt() {
        let mut now = Instant::now();
        let mut due = now;
        for _ in 0..1000 {
            now += APART / 8;
            due = after(due, now);
            assert!(due <= now + APART);
        }
    }
}
