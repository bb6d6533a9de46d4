//! Closes the connections of sessions that ended on any instance. One task per worker, and one per round of look-ups.

use std::rc::{Rc, Weak};

use actix_web::rt;
use futures_util::{FutureExt, StreamExt, stream};
use trunkline_session::{SessionEvent, Sessions, Sid};

use crate::fanout::Worker;

/// Maximum number of sessions that a worker looks up at once.
const MAX_LOOKUPS_IN_FLIGHT: usize = 8;
/// Maximum number of notifications that are handled together. Ended sessions among them share one pass over the worker's
/// connections.
const MAX_BATCH_EVENTS: usize = 1024;

/// Receives the notifications of ended sessions until the worker is dropped.
pub(crate) async fn watch_endings<S: Sessions>(worker: Weak<Worker>, sessions: S) {
    let mut events = sessions.events();
    while let Some(first) = events.next().await {
        let Some(worker) = worker.upgrade() else { return };
        let (mut ended, mut has_missed) = (Vec::new(), false);
        let more = std::iter::from_fn(|| events.next().now_or_never().flatten()).take(MAX_BATCH_EVENTS - 1);
        for event in std::iter::once(first).chain(more) {
            match event {
                SessionEvent::Ended(sid) => ended.push(sid),
                SessionEvent::Missed => has_missed = true,
            }
        }
        end_sessions(&worker, ended);
        if has_missed {
            let sids = worker.hub().sessions();
            start_look_up(&worker, sessions.clone(), sids);
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
        end_sessions(&worker, ended);
    }
}

fn end_sessions(worker: &Worker, mut sids: Vec<Sid>) {
    if !sids.is_empty() {
        sids.sort_unstable();
        worker.hub().end_sessions(&sids);
    }
}
