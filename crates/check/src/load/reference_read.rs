//! The reference read: at the end of a run a new client reads the history of every room.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use trunkline_client::{Client, ClientEvent, GatewayUrl};
use trunkline_domain::{Message, Position, Room};

use super::login::{log_in, log_out};
use crate::CheckError;

/// Messages requested per page, the largest number that the protocol allows.
const PAGE_MESSAGES: usize = 200;
/// Time between a failed page and the next attempt.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// The history of one room as a new client read it.
#[derive(Debug)]
pub(crate) struct ReferenceLog {
    pub(crate) room: Room,
    /// Head of the log when the client joined.
    pub(crate) head: Position,
    /// Pages from the newest to the oldest. The messages of a page are in order from the oldest to the newest.
    pub(crate) pages: Vec<Vec<Message>>,
}

/// Logs in as `name` and reads the latest messages of each room: at least `messages`, rounded up to whole pages, or all.
///
/// # Errors
/// [`CheckError::Deployment`] if the login is refused or the reads take longer than `limit`.
pub(crate) async fn read_rooms(
    site: &GatewayUrl,
    name: &str,
    rooms: &[Room],
    messages: usize,
    limit: Duration,
) -> Result<Vec<ReferenceLog>, CheckError> {
    let refused = |source| CheckError::Deployment { action: format!("log in as {name}"), source };
    let (session, user) = log_in(site, name, limit).await.map_err(refused)?;
    let mut client = Client::new(session.clone(), user);
    let mut logs = Vec::new();
    let reads = async {
        for room in rooms {
            logs.push(read_room(&mut client, room, messages).await);
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

async fn read_room(client: &mut Client, room: &Room, messages_wanted: usize) -> ReferenceLog {
    client.join(room.clone(), 0);
    let mut log = ReferenceLog { room: room.clone(), head: Position::ORIGIN, pages: Vec::new() };
    // Time at which a failed page is requested again. The socket is read meanwhile.
    let mut retry_at = None;
    loop {
        let oldest = log.pages.last().and_then(|page| page.first()).map(|message| message.pos);
        let notice = tokio::select! {
            notice = client.next() => notice,
            () = sleep_until(retry_at.unwrap_or_else(Instant::now)), if retry_at.is_some() => {
                retry_at = None;
                client.history(room.clone(), oldest, PAGE_MESSAGES);
                continue;
            }
        };
        match notice {
            ClientEvent::Joined { room: joined, head, .. } if joined == *room => {
                log.head = head;
                log.pages.clear();
                client.history(room.clone(), None, PAGE_MESSAGES);
            }
            ClientEvent::History { room: of, before, messages, more } if of == *room && before == oldest => {
                retry_at = None;
                if !messages.is_empty() {
                    log.pages.push(messages);
                }
                if !more || log.pages.iter().map(Vec::len).sum::<usize>() >= messages_wanted {
                    client.leave(room);
                    return log;
                }
                let oldest = log.pages.last().and_then(|page| page.first()).map(|message| message.pos);
                client.history(room.clone(), oldest, PAGE_MESSAGES);
            }
            // The client does not request a page twice that is in flight after all.
            ClientEvent::HistoryFailed { room: of, .. } if of == *room => retry_at = Some(Instant::now() + RETRY_DELAY),
            _ => {}
        }
    }
}
