//! The commands of a connection: what is checked before each, and the operations that wait for the bus.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use trunkline_bus::{Bus, Range};
use trunkline_domain::{
    Command, Draft, ErrorCode, Event, Message, MessageId, Position, Refusal, Room, UserName, millis,
};

use super::handler::{ConnectionHandler, Next};
use crate::{
    fanout::{encode_typing, replace_start},
    limits::Rate,
    metrics::SendOutcome,
    policy::{Action, Policy},
    state::GatewayState,
};

/// Maximum size of a history page in bytes. A larger page needs fewer requests and delays other frames of the connection.
const MAX_HISTORY_BYTES: usize = 64 << 10;
/// Time after which a client retries a command that failed because the bus was unavailable, in ms.
const UNAVAILABLE_RETRY_MS: u64 = 1000;
/// `typing` events per user and connection: one per second, two at once. Clients show no more, and the rest is dropped.
const TYPING_INTERVAL: Duration = Duration::from_secs(1);
const TYPING_BURST: u32 = 2;
/// Time after which a client retries a history request while another one of the room is being answered.
const HISTORY_RETRY: Duration = Duration::from_secs(1);

/// A command that waits for the bus.
pub(super) enum Operation {
    Publish(Room, Draft),
    History { room: Room, before: Option<Position>, limit: usize },
    Typing(Room),
}

/// The answer of an operation.
pub(super) enum OperationResult {
    Answer(Event),
    /// The message was appended to the room at the position. The event is `sent`.
    Sent(Room, Position, Event),
    /// The answer to a history request of the room.
    History(Room, Event),
    Nothing,
}

impl<B: Bus, P: Policy> ConnectionHandler<B, P> {
    /// Checks a command: membership first, then rate limits, then the policy.
    ///
    /// # Errors
    /// The refusal that answers the command.
    pub(super) async fn command(&mut self, command: Command) -> Result<Next, Refusal> {
        let key = self.connection.key;
        match command {
            Command::Join { room, from } => {
                self.limit_joins(&room)?;
                let max = self.state.config.limits.rooms_per_socket;
                let (is_member, rooms) = {
                    let mut hub = self.connection.worker.hub();
                    (hub.is_member(key, &room), hub.room_count(key))
                };
                if !is_member && rooms >= max {
                    let detail = format!("a socket is in at most {max} rooms; leave one first");
                    return Err(Refusal::new(ErrorCode::TooManyRooms, detail).in_room(&room));
                }
                self.permit(Action::Join(&room)).await.map_err(|refusal| refusal.in_room(&room))?;
                self.connection.worker.hub().join(key, &room, replace_start(&room, from));
                Ok(Next::Continue)
            }
            Command::Leave { room } => {
                self.connection.worker.hub().leave(key, &room);
                Ok(Next::Continue)
            }
            Command::Send { room, id, text } => {
                let about = |refusal: Refusal| refusal.in_room(&room).of(&id);
                self.require_membership(&room).map_err(about)?;
                let admitted = self.state.admit_send(self.connection.user());
                admitted.map_err(|wait| about(rate_limited("messages", wait)))?;
                self.permit(Action::Send(&room)).await.map_err(about)?;
                let draft = Draft { id, user: self.connection.user().clone(), text };
                Ok(Next::Start(Operation::Publish(room, draft)))
            }
            Command::History { room, before, limit } => {
                self.require_membership(&room).map_err(|refusal| refusal.in_room(&room))?;
                if self.cold().histories.contains(&room) {
                    return Err(rate_limited("history pages of a room at once", HISTORY_RETRY).in_room(&room));
                }
                self.permit(Action::Read(&room)).await.map_err(|refusal| refusal.in_room(&room))?;
                self.cold().histories.push(room.clone());
                Ok(Next::Start(Operation::History { room, before, limit }))
            }
            Command::Typing { room } => {
                self.require_membership(&room).map_err(|refusal| refusal.in_room(&room))?;
                let now = self.state.uptime();
                let rate = Rate::new(NonZeroU32::MIN, TYPING_INTERVAL, TYPING_BURST);
                let is_admitted = rate.admit(&mut self.cold().typing, now).is_ok();
                Ok(if is_admitted { Next::Start(Operation::Typing(room)) } else { Next::Continue })
            }
            Command::Pong => Ok(Next::Continue),
        }
    }

    fn require_membership(&self, room: &Room) -> Result<(), Refusal> {
        if self.connection.worker.hub().is_member(self.connection.key, room) {
            Ok(())
        } else {
            Err(Refusal::new(ErrorCode::NotJoined, "join the room first"))
        }
    }

    async fn permit(&self, action: Action<'_>) -> Result<(), Refusal> {
        let verdict = self.state.policy.decide(self.connection.user(), action).await;
        verdict.map_err(|denied| Refusal::new(ErrorCode::Forbidden, denied.to_string()))
    }

    fn limit_joins(&mut self, room: &Room) -> Result<(), Refusal> {
        let Some(rate) = self.state.join_rate else { return Ok(()) };
        let verdict = rate.admit(&mut self.joins, self.state.uptime());
        // After the wait the whole burst is allowed. A client with many rooms that came back for one join at a time would be
        // refused as often as served, and closed after 100 refusals.
        verdict.map_err(|wait| rate_limited("joins", wait + rate.tolerance()).in_room(room))
    }
}

/// Executes an operation on the bus.
pub(super) async fn execute<B: Bus, P: Policy>(
    state: Arc<GatewayState<B, P>>,
    user: UserName,
    operation: Operation,
) -> OperationResult {
    match operation {
        Operation::Publish(room, draft) => {
            let id = draft.id.clone();
            let result = state.bus.publish(&room, draft).await;
            let outcome = match &result {
                Ok(receipt) if receipt.repeated => "repeated",
                Ok(_) => "sent",
                Err(_) => "unavailable",
            };
            state.metrics.published.get_or_create(&SendOutcome { outcome }).inc();
            match result {
                Ok(receipt) => {
                    OperationResult::Sent(room.clone(), receipt.pos, Event::Sent { room, id, pos: receipt.pos })
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(%room, error, "publishing failed; the client is asked to retry");
                    OperationResult::Answer(Event::Error(unavailable(&room, Some(&id))))
                }
            }
        }
        Operation::History { room, before, limit } => {
            let range = before.map_or(Range::Latest(limit), |before| Range::Before(before, limit));
            let event = match state.bus.read(&room, range).await {
                Ok(page) => {
                    let messages: Vec<Message> = page.entries.into_iter().map(|entry| entry.message).collect();
                    history_event(room.clone(), before, messages, page.more)
                }
                Err(_) => Event::Error(unavailable(&room, None)),
            };
            OperationResult::History(room, event)
        }
        Operation::Typing(room) => {
            // Ephemeral: a failure is not reported.
            let _ = state.bus.publish_ephemeral(&room, encode_typing(&user)).await;
            OperationResult::Nothing
        }
    }
}

/// Returns a `history` event of at most 64 KiB. Of a longer page the newest messages remain, because they adjoin the ones
/// that the client has.
fn history_event(room: Room, before: Option<Position>, mut messages: Vec<Message>, more: bool) -> Event {
    // 1 KiB for the event around the messages.
    let mut left = MAX_HISTORY_BYTES - 1024;
    let fitting = messages.iter().rev().take_while(|message| {
        let size = serde_json::to_string(message).map_or(0, |json| json.len() + 1);
        left.checked_sub(size).inspect(|rest| left = *rest).is_some()
    });
    let cut = messages.len() - fitting.count();
    messages.drain(..cut);
    Event::History { room, before, messages, more: more || cut > 0 }
}

fn unavailable(room: &Room, id: Option<&MessageId>) -> Refusal {
    let refusal = Refusal {
        retry_after_ms: Some(UNAVAILABLE_RETRY_MS),
        ..Refusal::new(ErrorCode::Unavailable, "the log does not answer; keep the message and retry with the same id")
    };
    let refusal = refusal.in_room(room);
    match id {
        Some(id) => refusal.of(id),
        None => refusal,
    }
}

fn rate_limited(what: &str, wait: Duration) -> Refusal {
    // Rounded up, so that a client that waits as asked is admitted.
    let retry_after_ms = millis(wait + Duration::from_nanos(999_999));
    Refusal {
        retry_after_ms: Some(retry_after_ms),
        ..Refusal::new(ErrorCode::RateLimited, format!("too many {what}; wait {retry_after_ms} ms"))
    }
}
