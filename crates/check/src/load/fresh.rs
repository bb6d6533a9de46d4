//! Reading rooms afresh: what does the log hold, as somebody sees it who was not there?

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use trunkline_client::{Client, ClientEvent, ClientSession, GatewayUrl};
use trunkline_domain::{Message, Position, Room};

use crate::Error;

/// Most messages of one page.
const PAGE: usize = 200;
/// How long a page that failed waits for its next attempt.
const PAUSE: Duration = Duration::from_millis(500);

/// One room as it was read.
#[derive(Debug)]
pub(crate) struct Fresh {
    pub(crate) room: Room,
    /// Its end.
    pub(crate) head: Position,
    /// Its pages, the latest first, each oldest first.
    pub(crate) pages: Vec<Vec<Message>>,
}

/// Reads at most `most` of the latest messages of each room.
pub(crate) async fn read(
    site: &GatewayUrl,
    name: &str,
    rooms: &[Room],
    most: usize,
    limit: Duration,
) -> Result<Vec<Fresh>, Error> {
    let deployment = |source| Error::Deployment { doing: format!("log {name} in"), source };
    let (session, user) = super::gather::login(site, name, limit).await.map_err(deployment)?;
    let mut client = Client::new(session.clone(), user);
    let mut fresh = Vec::new();
    let reading = async {
        for room in rooms {
            fresh.push(read_room(&mut client, room, most).await);
        }
    };
    let in_time = timeout(limit, reading).await.is_ok();
    client.close().await;
    logout(&session).await;
    if in_time {
        Ok(fresh)
    } else {
        let late = trunkline_client::ClientError::Unreachable(std::io::ErrorKind::TimedOut.into());
        Err(Error::Deployment { doing: "read the rooms afresh".to_owned(), source: late })
    }
}

/// A session that cannot be ended now ends by itself: nothing depends on it.
pub(crate) async fn logout(session: &ClientSession) {
    let _ = timeout(Duration::from_secs(5), session.logout()).await;
}

async fn read_room(client: &mut Client, room: &Room, most: usize) -> Fresh {
    client.join(room.clone(), 0);
    let mut fresh = Fresh { room: room.clone(), head: Position::ORIGIN, pages: Vec::new() };
    // When the next page is to be asked for again, which failed; the socket is read meanwhile.
    let mut again = None;
    loop {
        let before = fresh.pages.last().and_then(|page| page.first()).map(|message| message.pos);
        let notice = tokio::select! {
            notice = client.next() => notice,
            () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {
                again = None;
                client.history(room.clone(), before, PAGE);
                continue;
            }
        };
        match notice {
            ClientEvent::Joined { room: joined, head, .. } if joined == *room => {
                fresh.head = head;
                fresh.pages.clear();
                client.history(room.clone(), None, PAGE);
            }
            ClientEvent::History { room: of, before: asked, messages, more } if of == *room && asked == before => {
                again = None;
                if !messages.is_empty() {
                    fresh.pages.push(messages);
                }
                let before = fresh.pages.last().and_then(|page| page.first()).map(|message| message.pos);
                if !more || fresh.pages.iter().map(Vec::len).sum::<usize>() >= most {
                    client.leave(room);
                    return fresh;
                }
                client.history(room.clone(), before, PAGE);
            }
            // Whatever the cause: a page that is under way after all is not asked for twice.
            ClientEvent::HistoryFailed { room: of, .. } if of == *room => again = Some(Instant::now() + PAUSE),
            _ => {}
        }
    }
}
