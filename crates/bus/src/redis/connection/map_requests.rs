//! Requests to ask the cluster for its slot map.

use std::{mem, sync::Mutex};

use tokio::sync::Notify;
use trunkline_redis::NodeAddress;

use crate::sync::lock;

/// Collects the requests of all tasks; requests made before one is taken count once. Without a cluster none is ever taken.
#[derive(Debug, Default)]
pub(in super::super) struct MapRequests {
    requested: Notify,
    /// The node that a redirection named last: it knows that it owns the slot, while others may not have learned of it.
    named: Mutex<Option<NodeAddress>>,
}

impl MapRequests {
    /// Something shows that the slot map is old: a redirection that names `node`, or a lost connection.
    pub(in super::super) fn request(&self, node: Option<&NodeAddress>) {
        if let Some(node) = node {
            *lock(&self.named) = Some(node.clone());
        }
        self.requested.notify_one();
    }

    /// Waits for a request.
    pub(in super::super) async fn requested(&self) {
        self.requested.notified().await;
    }

    /// The node that should be asked first, if any.
    pub(in super::super) fn take_named(&self) -> Option<NodeAddress> {
        mem::take(&mut *lock(&self.named))
    }
}
