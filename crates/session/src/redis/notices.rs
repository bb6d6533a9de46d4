//! Notices of ended sessions in a cluster, where the session and the channel are at different masters.

use std::{error::Error as _, sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use super::{RedisState, call::Call, link::COMMAND_TIMEOUT};
use crate::{SessionError, SessionEvent, Sid};

/// Maximum number of notices that wait for the shard of the channel. Further ones are dropped.
pub(super) const MAX_UNSENT: usize = 1024;
/// Time between two attempts to send a notice.
const RETRY_WAIT: Duration = Duration::from_secs(1);
/// Number of further attempts, enough for the promotion of a replica. Gateways look all sessions of their sockets up from time
/// to time, so a notice that is dropped delays the end of a socket.
const RETRIES: usize = 30;

/// Notifies all instances. If the shard of the channel is away, this instance is notified at once and the others later, by a
/// task: the session has ended in any case, so the operation does not fail. A shard that comes back without the
/// subscriptions of the others makes them look up all sessions.
pub(super) async fn send(state: &Arc<RedisState>, sid: Sid) {
    let cause = match timeout(COMMAND_TIMEOUT, publish(state, sid)).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.source().map(ToString::to_string).unwrap_or_default(),
        Err(_) => format!("no answer within {COMMAND_TIMEOUT:?}"),
    };
    // An error means that there is no receiver.
    drop(state.events.send(SessionEvent::Ended(sid)));
    let Ok(permit) = state.unsent.clone().try_acquire_owned() else {
        tracing::warn!(%sid, cause, "cannot notify other instances of an ended session; too many notices wait");
        return;
    };
    tracing::warn!(%sid, cause, "cannot notify other instances of an ended session; trying again");
    let state = Arc::downgrade(state);
    tokio::spawn(async move {
        let _permit = permit;
        for _ in 0..RETRIES {
            sleep(RETRY_WAIT).await;
            let Some(state) = state.upgrade() else { return };
            if publish(&state, sid).await.is_ok() {
                return;
            }
        }
        tracing::warn!(%sid, "other instances were not notified of an ended session");
    });
}

async fn publish(state: &RedisState, sid: Sid) -> Result<(), SessionError> {
    let notice = Call::publish_sharded(&state.channel(), &sid.to_string());
    state.connections.run::<u64>(notice).await.map(|_| ())
}
