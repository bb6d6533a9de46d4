//! The reference read: at the end of a run a new client reads the history of every room.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use trunkline_client::{Client, ClientEvent};
use trunkline_domain::{Message, Position, Room};

use super::{
    login::{SessionPool, log_out},
    recorder::Recorder,
    room_folds::RoomFold,
};
use crate::{
    CheckError,
    history::{FoldedRange, Micros},
};

/// Messages requested per page. Amendments of one message are spread over several pages, which arrive from the newest to the
/// oldest.
const PAGE_MESSAGES: usize = 50;
/// Latest messages requested with `join`. Few enough that gateways have them in memory.
const RECENT_MESSAGES: usize = 100;
/// Time between a failed page and the next attempt.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// The history of one room as a new client read it.
#[derive(Debug)]
pub(crate) struct ReferenceLog {
    pub(crate) room: Room,
    /// Head of the log when the client joined.
    pub(crate) head: Position,
    /// Pages from the newest to the oldest, each with the time of its request. The messages of a page are in order from the
    /// oldest to the newest.
    pub(crate) pages: Vec<(Micros, Vec<Message>)>,
    /// The latest messages that followed `joined`, with the time of the `join`. They come from the memory of a gateway.
    pub(crate) recent: (Micros, Vec<Message>),
    /// What the client shows: a fold of all messages in the order in which they arrived.
    pub(crate) shown: Option<FoldedRange<'static>>,
}

/// Logs in as `name` and reads the latest messages of each room: at least `messages`, rounded up to whole pages, or all.
///
/// # Errors
/// [`CheckError::Deployment`] if the login is refused or the reads take longer than `limit`.
pub(crate) async fn read_rooms(
    sessions: &SessionPool,
    recorder: &Recorder,
    name: &str,
    rooms: &[Room],
    messages: usize,
    limit: Duration,
) -> Result<Vec<ReferenceLog>, CheckError> {
    let refused = |source| CheckError::Deployment { action: format!("log in as {name}"), source };
    let (session, user) = sessions.log_in(name, limit).await.map_err(refused)?;
    let mut client = Client::new(session.clone(), user);
    let mut logs = Vec::new();
    let reads = async {
        for room in rooms {
            logs.push(read_room(&mut client, recorder, room, messages).await);
        }
    };
    let in_time = timeout(limit, reads).await.is_ok();
    client.close().await;
    log_out(&session).await;
    if in_time { Ok(logs) } else { Err(timed_out("make the reference read", limit)) }
}

/// Returns the error for an action that the deployment did not complete within `limit`.
pub(crate) fn timed_out(action: &str, limit: Duration) -> CheckError {
    let source = trunkline_client::ClientError::Unreachable(std::io::ErrorKind::TimedOut.into());
    CheckError::Deployment { action: format!("{action} within {} s", limit.as_secs()), source }
}

async fn read_room(client: &mut Client, recorder: &Recorder, room: &Room, messages_wanted: usize) -> ReferenceLog {
    let mut asked = recorder.now();
    let recent = (asked, Vec::new());
    client.join(room.clone(), RECENT_MESSAGES);
    let mut log = ReferenceLog { room: room.clone(), head: Position::ORIGIN, pages: Vec::new(), recent, shown: None };
    // Time at which a failed page is requested again. The socket is read meanwhile.
    let mut retry_at = None;
    loop {
        let oldest = log.pages.last().and_then(|(_, page)| page.first()).map(|message| message.pos);
        let notice = tokio::select! {
            notice = client.next() => notice,
            () = sleep_until(retry_at.unwrap_or_else(Instant::now)), if retry_at.is_some() => {
                retry_at = None;
                asked = recorder.now();
                client.history(room.clone(), oldest, PAGE_MESSAGES);
                continue;
            }
        };
        match notice {
            ClientEvent::Joined { room: joined, head, .. } if joined == *room => {
                log.head = head;
                log.pages.clear();
                log.recent.1.clear();
                asked = recorder.now();
                client.history(room.clone(), None, PAGE_MESSAGES);
            }
            ClientEvent::Message { room: of, message, .. } if of == *room => log.recent.1.push(message),
            ClientEvent::History { room: of, before, messages, more } if of == *room && before == oldest => {
                retry_at = None;
                if !messages.is_empty() {
                    log.pages.push((asked, messages));
                }
                if !more || log.pages.iter().map(|(_, page)| page.len()).sum::<usize>() >= messages_wanted {
                    client.leave(room);
                    let mut fold = RoomFold::default();
                    let pages = log.pages.iter().flat_map(|(_, page)| page);
                    log.recent.1.iter().chain(pages).for_each(|message| fold.add(message));
                    log.shown = fold.shown();
                    return log;
                }
                let oldest = log.pages.last().and_then(|(_, page)| page.first()).map(|message| message.pos);
                asked = recorder.now();
                client.history(room.clone(), oldest, PAGE_MESSAGES);
            }
            // The client does not request a page twice that is in flight after all.
            ClientEvent::HistoryFailed { room: of, .. } if of == *room => retry_at = Some(Instant::now() + RETRY_DELAY),
            _ => {}
        }
    }
}
