//! Notices of ended sessions in a cluster, where the session and the channel are at different masters.

use std::{error::Error as _, sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, broadcast},
    time::{sleep, timeout},
};

use super::{call::RedisCall, link::COMMAND_TIMEOUT, router::Router};
use crate::{SessionError, SessionEvent, Sid};

/// Maximum number of notices that wait for the shard of the channel. Further ones are dropped.
const MAX_UNSENT: usize = 1024;
/// Time between two attempts to send a notice.
const RETRY_WAIT: Duration = Duration::from_secs(1);
/// Number of further attempts, enough for the promotion of a replica. Gateways look all sessions of their sockets up from time
/// to time, so a notice that is dropped delays the end of a socket.
const RETRIES: usize = 30;

/// Sends notices.
pub(super) struct NoticeSender {
    router: Arc<Router>,
    channel: String,
    events: broadcast::Sender<SessionEvent>,
    /// A permit per notice that is sent later.
    unsent: Arc<Semaphore>,
}

impl NoticeSender {
    /// `events` are those of this instance.
    pub(super) fn new(router: Arc<Router>, channel: String, events: broadcast::Sender<SessionEvent>) -> Self {
        Self { router, channel, events, unsent: Arc::new(Semaphore::new(MAX_UNSENT)) }
    }

    /// Notifies all instances. If the shard of the channel is away, this instance is notified at once and the others later,
    /// by a task: the session has ended in any case, so the operation does not fail.
    pub(super) async fn send(&self, sid: Sid) {
        let cause = match timeout(COMMAND_TIMEOUT, publish(&self.router, &self.channel, sid)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.source().map(ToString::to_string).unwrap_or_default(),
            Err(_) => format!("no answer within {} s", COMMAND_TIMEOUT.as_secs()),
        };
        // An error means that there is no receiver.
        drop(self.events.send(SessionEvent::Ended(sid)));
        let Ok(permit) = self.unsent.clone().try_acquire_owned() else {
            tracing::warn!(%sid, cause, "cannot notify other instances of an ended session; too many notices wait");
            return;
        };
        tracing::warn!(%sid, cause, "cannot notify other instances of an ended session; trying again");
        let (router, channel) = (Arc::downgrade(&self.router), self.channel.clone());
        tokio::spawn(async move {
            let _permit = permit;
            for _ in 0..RETRIES {
                sleep(RETRY_WAIT).await;
                let Some(router) = router.upgrade() else { return };
                if publish(&router, &channel, sid).await.is_ok() {
                    return;
                }
            }
            tracing::warn!(%sid, "other instances were not notified of an ended session");
        });
    }
}

async fn publish(router: &Router, channel: &str, sid: Sid) -> Result<(), SessionError> {
    router.run::<u64>(RedisCall::publish_sharded(channel, &sid.to_string())).await.map(|_| ())
}
