//! Sends the commands of all callers on one connection: in the order of the calls, and under load in batches.
//!
//! A call is sent at once while calls are few. Under load batches are sent [`BATCH_INTERVAL`] apart, so that the calls made
//! meanwhile go together. The work per batch of Redis, the kernel and the threads of all processes (reading, writing,
//! waking) costs more than a command: at 1,000 messages per second in 1,000 rooms, batches save half of all processor time,
//! that of Redis included (`cargo xtask bench --only rooms`). For the same reason all processes send their batches at the
//! same moments, counted from the Unix epoch: Redis and its subscribers then wake once for all of them. If clocks differ,
//! each process batches as if it were alone.

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

/// Capacity of the queue, in calls. When it is full, callers wait in order.
const QUEUE: usize = 256;
/// Maximum number of batches under way.
const MAX_UNDER_WAY: usize = 4;
/// Number of commands after which a batch accepts no further call.
const BATCH_COMMANDS: usize = 64;
/// Time between two batches under load, and the maximum time that a call waits. With 8 ms, three instances and Redis used
/// 20 % more processor time for the same load.
const BATCH_INTERVAL: Duration = Duration::from_millis(12);
/// A call is sent at once if the average time between calls is at least this: fewer calls per [`BATCH_INTERVAL`] are not
/// worth the wait.
const UNBATCHED_INTERVAL: Duration = Duration::from_millis(8);
/// Number of calls that are sent at once after a pause.
const BURST: u32 = 8;
/// After a batch of this many calls, the first call of the next batch waits [`GROUPING_DELAY`] for others: clients that
/// respond to the same message send at nearly the same time.
const GROUP_CALLS: usize = 4;
const GROUPING_DELAY: Duration = Duration::from_millis(2);
/// Number of calls in the queue at which a batch is sent without waiting.
const FULL_CALLS: usize = BATCH_COMMANDS / 2;

/// The queue of commands of one connection.
pub(super) struct CommandBatcher {
    /// Held until the call is in the queue: keeps calls in the order of their first poll.
    order: Mutex<()>,
    calls: mpsc::Sender<Call>,
    full: Arc<Notify>,
    task: AbortHandle,
}

/// Commands that are sent together.
struct Call {
    commands: Vec<Cmd>,
    reply: oneshot::Sender<RedisResult<Vec<Value>>>,
}

impl CommandBatcher {
    /// Starts a task that sends. It ends when the batcher is dropped or closed.
    pub(super) fn new(connection: MultiplexedConnection) -> Self {
        let (calls, waiting) = mpsc::channel(QUEUE);
        let full = Arc::new(Notify::new());
        let task = tokio::spawn(run(connection, waiting, full.clone())).abort_handle();
        Self { order: Mutex::new(()), calls, full, task }
    }

    /// Sends commands after those of earlier calls, and returns their replies, which may be errors. `None` if the batcher
    /// was closed meanwhile; Redis may have executed the commands.
    pub(super) async fn call(&self, commands: Vec<Cmd>) -> Option<RedisResult<Vec<Value>>> {
        let (reply, replied) = oneshot::channel();
        let order = self.order.lock().await;
        self.calls.send(Call { commands, reply }).await.ok()?;
        if self.calls.max_capacity() - self.calls.capacity() == FULL_CALLS {
            self.full.notify_one();
        }
        drop(order);
        replied.await.ok()
    }

    /// Fails all calls that wait for a reply, and all calls from now on.
    pub(super) fn close(&self) {
        self.task.abort();
    }
}

/// Decides when batches are sent. Pure.
struct BatchSchedule {
    /// Before this moment calls are batched.
    due: Instant,
    /// Number of calls in the last batch.
    last: usize,
}

impl BatchSchedule {
    fn new(now: Instant) -> Self {
        Self { due: now, last: 0 }
    }

    /// When to send a batch whose first call was made now. `until_tick` is the time until the next moment that all
    /// processes share.
    fn next(&self, now: Instant, until_tick: Duration) -> Instant {
        match self.last {
            _ if now < self.due => now + until_tick,
            GROUP_CALLS.. => now + GROUPING_DELAY,
            _ => now,
        }
    }

    /// A batch was sent. No call waits longer than [`BATCH_INTERVAL`], however large the batches before it.
    fn sent(&mut self, now: Instant, calls: usize) {
        let earliest = now.checked_sub(UNBATCHED_INTERVAL * BURST).unwrap_or(now);
        self.due = (self.due.max(earliest) + UNBATCHED_INTERVAL * calls as u32).min(now + BATCH_INTERVAL);
        self.last = calls;
    }
}

/// Time until the next moment at which all processes send their batches.
fn until_tick(unix: Duration) -> Duration {
    let interval = BATCH_INTERVAL.as_micros();
    Duration::from_micros((interval - unix.as_micros() % interval) as u64)
}

async fn run(connection: MultiplexedConnection, mut calls: mpsc::Receiver<Call>, full: Arc<Notify>) {
    let mut under_way = FuturesUnordered::new();
    let mut schedule = BatchSchedule::new(Instant::now());
    loop {
        let first = tokio::select! {
            call = calls.recv(), if under_way.len() < MAX_UNDER_WAY => match call {
                Some(call) => call,
                None => break,
            },
            Some(()) = under_way.next() => continue,
        };
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let next = schedule.next(Instant::now(), until_tick(unix));
        // `first` is no longer in the queue.
        while calls.len() + 1 < FULL_CALLS {
            tokio::select! {
                () = sleep_until(next) => break,
                () = full.notified() => break,
                Some(()) = under_way.next() => {}
            }
        }
        let mut batch = Batch::default();
        batch.add(first);
        while batch.commands.len() < BATCH_COMMANDS
            && let Ok(call) = calls.try_recv()
        {
            batch.add(call);
        }
        schedule.sent(Instant::now(), batch.replies.len());
        under_way.push(batch.send(connection.clone()));
    }
    while under_way.next().await.is_some() {}
}

/// Calls that are sent together, with the number of replies for each.
#[derive(Default)]
struct Batch {
    commands: Pipeline,
    replies: Vec<(usize, oneshot::Sender<RedisResult<Vec<Value>>>)>,
}

impl Batch {
    fn add(&mut self, Call { commands, reply }: Call) {
        self.replies.push((commands.len(), reply));
        for command in commands {
            self.commands.add_command(command);
        }
    }

    /// Replies for cancelled callers are dropped.
    async fn send(self, mut connection: MultiplexedConnection) {
        let values = connection.req_packed_commands(&self.commands, 0, self.commands.len()).await;
        let mut values = values.map(Vec::into_iter);
        for (count, reply) in self.replies {
            let _ = reply.send(match &mut values {
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

    /// How long each of the calls waits that are made `gaps` apart.
    fn waits(gaps: &[Duration]) -> Vec<Duration> {
        let start = Instant::now();
        let mut schedule = BatchSchedule::new(start);
        let mut now = start + Duration::from_secs(1);
        let mut waits = Vec::new();
        let mut batch: Vec<Instant> = Vec::new();
        let mut goes = now;
        for gap in gaps {
            now += *gap;
            if !batch.is_empty() && goes < now {
                schedule.sent(goes, batch.len());
                waits.extend(batch.drain(..).map(|came| goes - came));
            }
            if batch.is_empty() {
                goes = schedule.next(now, until_tick(now - start));
            }
            batch.push(now);
        }
        waits.extend(batch.into_iter().map(|came| goes - came));
        waits
    }

    #[test]
    fn few_calls_are_sent_at_once_and_many_in_batches() {
        let few = waits(&[UNBATCHED_INTERVAL; 100]);
        assert_eq!(few, [Duration::ZERO; 100]);
        let many = waits(&[UNBATCHED_INTERVAL / 8; 1000]);
        assert!(many[..BURST as usize].iter().all(Duration::is_zero));
        let together = many[500..].iter().filter(|wait| !wait.is_zero()).count();
        assert!(together > 400, "{together} of 500 waited");
    }

    #[test]
    fn burst_after_a_pause_is_sent_at_once() {
        let start = Instant::now() + Duration::from_secs(1);
        let mut schedule = BatchSchedule::new(start - Duration::from_secs(1));
        for _ in 0..=BURST {
            assert_eq!(schedule.next(start, GROUPING_DELAY), start);
            schedule.sent(start, 1);
        }
        assert_eq!(schedule.next(start, GROUPING_DELAY), start + GROUPING_DELAY);
        assert_eq!(schedule.next(start + UNBATCHED_INTERVAL, GROUPING_DELAY), start + UNBATCHED_INTERVAL);
    }

    #[test]
    fn full_batches_do_not_delay_later_calls() {
        let mut now = Instant::now();
        let mut schedule = BatchSchedule::new(now);
        for _ in 0..1000 {
            now += BATCH_INTERVAL / 8;
            schedule.sent(now, FULL_CALLS);
            assert_eq!(schedule.next(now + BATCH_INTERVAL, BATCH_INTERVAL), now + BATCH_INTERVAL + GROUPING_DELAY);
        }
    }

    #[test]
    fn all_processes_send_at_the_same_moments() {
        let begun = Duration::from_secs(1_800_000_000);
        let goes = |unix: u64| {
            let unix = begun + Duration::from_micros(unix);
            unix + until_tick(unix)
        };
        assert!((0..12_000).all(|unix| goes(unix) == begun + BATCH_INTERVAL));
        assert_eq!(goes(12_000), begun + 2 * BATCH_INTERVAL);
    }

    #[test]
    fn first_call_after_a_large_batch_waits_for_others() {
        let mut schedule = BatchSchedule::new(Instant::now());
        let later = Instant::now() + Duration::from_secs(1);
        assert_eq!(schedule.next(later, BATCH_INTERVAL), later);
        schedule.sent(later, GROUP_CALLS);
        let later = later + Duration::from_secs(1);
        assert_eq!(schedule.next(later, BATCH_INTERVAL), later + GROUPING_DELAY);
    }

    proptest! {
        #[test]
        fn no_call_waits_longer_than_the_batch_interval(gaps in prop::collection::vec(0_u64..20_000, 1..300)) {
            let gaps: Vec<_> = gaps.into_iter().map(Duration::from_micros).collect();
            let longest = waits(&gaps).into_iter().max().unwrap();
            prop_assert!(longest <= BATCH_INTERVAL, "{longest:?}");
        }
    }
}
