//! Sends the commands of all callers on one connection: in the order of the calls, and in batches while Redis is busy.
//!
//! A call is sent at once while fewer than [`MAX_UNDER_WAY`] batches are under way. The calls that arrive meanwhile are sent
//! together when a reply arrives (group commit), so batches grow with the load and with the latency of Redis, without
//! timers. With a [`batch_delay_max`](crate::RedisConfig::batch_delay_max) above zero, a batch also waits for others while
//! many calls arrive; see [`BatchPolicy`]. The work per batch of Redis, of the kernel and of every subscribed process
//! (reading, writing, waking) costs more than a command. `docs/decisions/0010-batching-by-work-in-flight.md` has the
//! measurements.

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

use super::{generation::Generation, policy::BatchPolicy, publish_port::PublishPort};

/// Capacity of the queue, in calls. When it is full, callers wait in order.
const QUEUE: usize = 256;
/// Maximum number of batches under way. With more, batches are smaller on a slow network and cost more; with one, a large
/// reply delays the calls behind it. On a fast network one, two and four perform alike.
const MAX_UNDER_WAY: usize = 2;
/// Number of commands after which a batch accepts no further call.
const BATCH_COMMANDS: usize = 64;
/// Number of calls in the queue at which a batch is sent without further delay.
const FULL_CALLS: usize = BATCH_COMMANDS / 2;

/// The queue of commands of one connection.
pub(super) struct CommandBatcher {
    /// Held until the call is in the queue: keeps calls in the order of their first poll.
    order: Mutex<()>,
    calls: mpsc::Sender<Call>,
    full: Arc<Notify>,
    task: AbortHandle,
}

/// Where a batcher sends.
pub(super) struct BatchRoute {
    pub(super) connection: MultiplexedConnection,
    /// Taken instead of the connection while it is open for this generation.
    pub(super) port: Option<(Arc<PublishPort>, Generation)>,
}

/// Commands that are sent together.
struct Call {
    commands: Vec<Cmd>,
    reply: oneshot::Sender<RedisResult<Vec<Value>>>,
}

impl CommandBatcher {
    /// Starts a task that sends. It ends when the batcher is dropped or closed.
    pub(super) fn new(route: BatchRoute, delay_max: Duration) -> Self {
        let (calls, queue) = mpsc::channel(QUEUE);
        let full = Arc::new(Notify::new());
        let task = tokio::spawn(run(route, queue, full.clone(), delay_max)).abort_handle();
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

async fn run(route: BatchRoute, mut queue: mpsc::Receiver<Call>, full: Arc<Notify>, delay_max: Duration) {
    let mut under_way = FuturesUnordered::new();
    let mut port: Option<&PublishPort> = None;
    let started = Instant::now();
    let mut policy = BatchPolicy::new(delay_max);
    'batches: loop {
        let first = tokio::select! {
            call = queue.recv(), if under_way.len() < MAX_UNDER_WAY => match call {
                Some(call) => call,
                None => break,
            },
            Some(was_answered) = under_way.next() => {
                let was_answered: bool = was_answered;
                if !was_answered {
                    fail_waiting(&mut queue);
                }
                continue;
            }
        };
        let delay = policy.delay(started.elapsed());
        if !delay.is_zero() {
            let due = Instant::now() + delay;
            // `first` is no longer in the queue.
            while queue.len() + 1 < FULL_CALLS {
                tokio::select! {
                    () = sleep_until(due) => break,
                    () = full.notified() => break,
                    Some(was_answered) = under_way.next() => if !was_answered {
                        fail_waiting(&mut queue);
                        continue 'batches;
                    },
                }
            }
        }
        let open = route.port.as_ref().and_then(|(port, generation)| port.is_open(generation).then_some(&**port));
        if open.is_some() != port.is_some() {
            // Batches on two connections may overtake each other.
            while let Some(was_answered) = under_way.next().await {
                if !was_answered {
                    fail_waiting(&mut queue);
                    continue 'batches;
                }
            }
            port = open;
        }
        let mut batch = Batch::default();
        batch.add(first);
        while batch.commands.len() < BATCH_COMMANDS
            && let Ok(call) = queue.try_recv()
        {
            batch.add(call);
        }
        policy.sent(batch.replies.len(), started.elapsed());
        under_way.push(batch.send(port, route.connection.clone()));
    }
    while under_way.next().await.is_some() {}
}

/// Fails the calls behind those that were lost: they would overtake their repetition.
fn fail_waiting(queue: &mut mpsc::Receiver<Call>) {
    while queue.try_recv().is_ok() {}
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

    /// Replies for cancelled callers are dropped. Returns false, and answers no caller, if the port is or was closed.
    async fn send(self, port: Option<&PublishPort>, mut connection: MultiplexedConnection) -> bool {
        let values = match port.map(|port| port.send(&self.commands)) {
            None => connection.req_packed_commands(&self.commands, 0, self.commands.len()).await,
            Some(Some(replied)) => match replied.await {
                Ok(values) => Ok(values),
                Err(_) => return false,
            },
            Some(None) => return false,
        };
        let mut values = values.map(Vec::into_iter);
        for (count, reply) in self.replies {
            let _ = reply.send(match &mut values {
                Ok(values) => Ok(values.take(count).collect()),
                Err(error) => Err(error.clone()),
            });
        }
        true
    }
}
