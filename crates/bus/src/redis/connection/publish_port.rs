//! The way of publications to the connection that subscribes. Redis then sends the reply to a publication and the publication
//! itself in one piece, which saves Redis a write, and this process a read and a wake-up.
//!
//! It is an optimisation that may be missing at any time: then publications take the link's own connection.

use std::sync::Mutex;

use redis::{Pipeline, Value};
use tokio::sync::{mpsc, oneshot};

use super::generation::Generation;
use crate::sync::lock;

/// Maximum number of batches that wait for the connection. A batcher has two under way at most; during a change of links
/// there may be two batchers. The calls of further batches fail.
const WAITING_BATCHES: usize = 4;

/// Packed commands, and where the replies go, of which there are as many.
pub(in super::super) struct PublishBatch {
    pub(in super::super) packed: Vec<u8>,
    pub(in super::super) count: usize,
    /// Dropped if the connection ends; Redis may have executed the commands.
    pub(in super::super) replies: oneshot::Sender<Vec<Value>>,
}

/// One per shard. The lock is held for a few instructions, never across an await.
#[derive(Default)]
pub(in super::super) struct PublishPort {
    open: Mutex<Option<OpenPort>>,
}

struct OpenPort {
    /// The Redis to which the connection leads.
    generation: Generation,
    batches: mpsc::Sender<PublishBatch>,
}

impl PublishPort {
    /// A connection that subscribes at the Redis of this generation accepts batches from now on, until the receiver is
    /// dropped.
    pub(in super::super) fn open(&self, generation: Generation) -> mpsc::Receiver<PublishBatch> {
        let (batches, receiver) = mpsc::channel(WAITING_BATCHES);
        *lock(&self.open) = Some(OpenPort { generation, batches });
        receiver
    }

    /// A publication was not answered in time: no more of them on this connection.
    pub(super) fn close(&self) {
        *lock(&self.open) = None;
    }

    /// Whether there is a connection to the Redis of this generation.
    pub(super) fn is_open(&self, generation: &Generation) -> bool {
        let open = lock(&self.open);
        open.as_ref().is_some_and(|open| open.generation == *generation && !open.batches.is_closed())
    }

    /// Hands over a batch, and returns where its replies arrive. `None` if there is no connection that takes it now.
    pub(super) fn send(&self, commands: &Pipeline) -> Option<oneshot::Receiver<Vec<Value>>> {
        let open = lock(&self.open);
        let permit = open.as_ref()?.batches.try_reserve().ok()?;
        let (replies, received) = oneshot::channel();
        permit.send(PublishBatch { packed: commands.get_packed_pipeline(), count: commands.len(), replies });
        Some(received)
    }
}
