//! The rooms of a consumer, their connections to all shards, and the deliveries that arrive on them.

use std::{
    fmt,
    future::pending,
    sync::{Arc, Mutex},
};

use tokio::{
    sync::{Notify, mpsc, watch},
    task::{AbortHandle, JoinSet},
};
use trunkline_domain::Room;

use super::{
    backlog::Backlog,
    placement::{Placement, ShardChannels},
    subscription::{Outlet, Subscription},
};
use crate::{
    Delivery, Subscriptions,
    redis::{
        faults::Faults,
        keys::Keyspace,
        shards::{Shard, View},
    },
    sync::lock,
};

/// Capacity of the channel to the consumer, in deliveries.
const CONSUMER_CHANNEL: usize = 256;
/// Maximum number of deliveries that wait for space in that channel. Beyond it, or beyond [`BACKLOG_BYTES`], all of them
/// are dropped and their rooms announced again.
const BACKLOG_DELIVERIES: usize = 8192;
/// Maximum size of these deliveries: 16 MiB.
const BACKLOG_BYTES: usize = 16 << 20;

/// The rooms to which a consumer of a [`RedisBus`](crate::RedisBus) is subscribed. The subscription ends when the last
/// clone is dropped.
#[derive(Clone)]
pub struct RedisSubscriptions {
    placement: Arc<Mutex<Placement>>,
    /// Closed when the last clone is dropped.
    _open: Arc<watch::Sender<()>>,
}

impl Subscriptions for RedisSubscriptions {
    fn subscribe(&self, room: &Room) {
        lock(&self.placement).subscribe(room);
    }

    fn unsubscribe(&self, room: &Room) {
        lock(&self.placement).unsubscribe(room);
    }
}

impl fmt::Debug for RedisSubscriptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSubscriptions").finish_non_exhaustive()
    }
}

/// Starts a task that subscribes at the shards of each view. It ends when the handle or the receiver is dropped.
pub(in super::super) fn open(
    names: Arc<Keyspace>,
    mut views: watch::Receiver<Arc<View>>,
    faults: Faults,
) -> (RedisSubscriptions, mpsc::Receiver<Delivery>) {
    let (deliveries, receiver) = mpsc::channel(CONSUMER_CHANNEL);
    let (open, mut is_open) = watch::channel(());
    let outlet = Arc::new(Outlet {
        backlog: Mutex::new(Backlog::new(BACKLOG_DELIVERIES, BACKLOG_BYTES)),
        filled: Notify::new(),
    });
    let placement = Arc::new(Mutex::new(Placement::new(names.clone())));
    let handle = RedisSubscriptions { placement: placement.clone(), _open: Arc::new(open) };
    tokio::spawn(async move {
        // Dropped with this task, and with it the connections.
        let mut connections = Connections { names, outlet: outlet.clone(), tasks: JoinSet::new(), shards: Vec::new() };
        let follow = async {
            loop {
                let view = views.borrow_and_update().clone();
                let keep = faults.keep_subscriptions && !connections.shards.is_empty();
                let shards = {
                    let mut placement = lock(&placement);
                    placement.follow(view, keep);
                    placement.shards().to_vec()
                };
                connections.follow(&shards);
                if views.changed().await.is_err() {
                    // A single server: the view never changes.
                    pending::<()>().await;
                }
            }
        };
        tokio::select! {
            () = forward(&outlet, deliveries) => {}
            () = follow => {}
            _ = is_open.changed() => {}
        }
    });
    (handle, receiver)
}

/// One task per shard.
struct Connections {
    names: Arc<Keyspace>,
    outlet: Arc<Outlet>,
    tasks: JoinSet<()>,
    shards: Vec<(Arc<Shard>, AbortHandle)>,
}

impl Connections {
    /// Starts the tasks of new shards and ends those of shards that are gone.
    fn follow(&mut self, shards: &[(Arc<Shard>, Arc<ShardChannels>)]) {
        self.shards.retain(|(known, task)| {
            let is_current = shards.iter().any(|(shard, _)| Arc::ptr_eq(shard, known));
            if !is_current {
                task.abort();
            }
            is_current
        });
        while self.tasks.try_join_next().is_some() {}
        for (shard, channels) in shards {
            if !self.shards.iter().any(|(known, _)| Arc::ptr_eq(known, shard)) {
                let subscription = Subscription {
                    shard: shard.clone(),
                    names: self.names.clone(),
                    channels: channels.clone(),
                    outlet: self.outlet.clone(),
                };
                self.shards.push((shard.clone(), self.tasks.spawn(subscription.run())));
            }
        }
    }
}

/// Forwards deliveries from the backlog to the consumer, until the receiver is dropped.
async fn forward(outlet: &Outlet, deliveries: mpsc::Sender<Delivery>) {
    loop {
        if lock(&outlet.backlog).is_empty() {
            tokio::select! {
                () = outlet.filled.notified() => continue,
                () = deliveries.closed() => return,
            }
        }
        let Ok(permit) = deliveries.reserve().await else { return };
        if let Some(delivery) = lock(&outlet.backlog).pop() {
            permit.send(delivery);
        }
    }
}
