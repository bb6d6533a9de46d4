//! Closes the connections of sessions that ended on any instance. One task per worker, and one per round of look-ups.

use std::rc::{Rc, Weak};

use actix_web::rt;
use futures_util::{StreamExt, stream};
use trunkline_session::{Ending, Sessions, Sid};

use crate::fanout::Worker;

/// Maximum number of sessions that a worker looks up at once.
const MAX_LOOKUPS_IN_FLIGHT: usize = 8;

/// Receives the notifications of ended sessions until the worker is dropped.
pub(crate) async fn watch_endings<S: Sessions>(worker: Weak<Worker>, sessions: S) {
    let mut endings = sessions.endings();
    while let Some(ending) = endings.next().await {
        let Some(worker) = worker.upgrade() else { return };
        match ending {
            Ending::Of(sid) => worker.hub().end_session(&sid),
            Ending::Missed => {
                let sids = worker.hub().sessions();
                look_up(Rc::downgrade(&worker), sessions.clone(), sids).await;
            }
        }
    }
}

/// Starts a task that looks sessions up.
pub(crate) fn start_look_up<S: Sessions>(worker: &Rc<Worker>, sessions: S, sids: Vec<Sid>) {
    rt::spawn(look_up(Rc::downgrade(worker), sessions, sids));
}

/// Looks sessions up, which counts as use of them, and closes the connections of those that certainly do not exist.
async fn look_up<S: Sessions>(worker: Weak<Worker>, sessions: S, sids: Vec<Sid>) {
    let ended = stream::iter(sids)
        .map(|sid| {
            let sessions = sessions.clone();
            async move { matches!(sessions.touch(&sid).await, Ok(None)).then_some(sid) }
        })
        .buffer_unordered(MAX_LOOKUPS_IN_FLIGHT)
        .filter_map(std::future::ready);
    let ended: Vec<Sid> = ended.collect().await;
    if let Some(worker) = worker.upgrade() {
        ended.iter().for_each(|sid| worker.hub().end_session(sid));
    }
}
