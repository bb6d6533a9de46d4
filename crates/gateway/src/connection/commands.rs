//! The commands of a connection: what is checked before each, and the operations that wait for the bus.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use trunkline_bus::{Bus, ErrorKind, Range};
use trunkline_domain::{
    Command, Content, Draft, ErrorCode, Event, EventName, Message, MessageId, Permission, Position, Refusal, Room,
    UserId, millis,
};

use super::handler::{ConnectionHandler, Next};
use crate::{
    fanout::{Ephemeral, SocketOrigin, replace_start},
    limits::{Rate, RateState},
    metrics::SendOutcome,
    policy::{Action, Policy, decide},
    state::GatewayState,
};

/// Maximum size of a history page in bytes. A larger page needs fewer requests and delays other frames of the connection.
const MAX_HISTORY_BYTES: usize = 64 << 10;
/// Time after which a client retries a command that failed because the bus was unavailable, in ms.
const UNAVAILABLE_RETRY_MS: u64 = 1000;
/// `typing` frames per connection, and signals per connection and event: one per second, two at once. The rest is dropped.
const EPHEMERAL_INTERVAL: Duration = Duration::from_secs(1);
const EPHEMERAL_BURST: u32 = 2;
/// Number of events of which a connection's signals are counted. With more, the one that was counted longest ago is dropped.
const MAX_SIGNAL_EVENTS: usize = 16;
/// `seen` frames per connection and second, and twice as many at once.
const SEEN_PER_SECOND: u32 = 10;
/// `refresh` frames per connection: one per second, and so many at once.
const REFRESH_BURST: u32 = 5;
/// Time after which a client retries a history request while another one of the room is being answered.
const HISTORY_RETRY: Duration = Duration::from_secs(1);

/// A command that waits for the bus.
pub(super) enum Operation {
    Publish(Room, Draft),
    History {
        room: Room,
        before: Option<Position>,
        limit: usize,
    },
    /// Delivers an event that is not logged.
    Ephemeral(Room, Ephemeral),
    /// Moves the user's read mark.
    Seen {
        room: Room,
        pos: Position,
        origin: SocketOrigin,
    },
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
        if let Command::Join { room, .. } = &command
            && room.is_control()
        {
            return Err(Refusal::new(ErrorCode::Forbidden, "this room is reserved for the gateways").in_room(room));
        }
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
                // A mark that cannot be read is left out of `joined`: the join itself waits until the log can be read.
                let seen = self.state.bus.seen(&room, self.connection.user()).await.ok().flatten();
                self.connection.worker.hub().join(key, &room, replace_start(&room, from), seen);
                Ok(Next::Continue)
            }
            Command::Leave { room } => {
                self.connection.worker.hub().leave(key, &room);
                Ok(Next::Continue)
            }
            Command::Send { room, id, content } => {
                let about = |refusal: Refusal| refusal.in_room(&room).of(&id);
                self.require_membership(&room).map_err(about)?;
                let admitted = self.state.admit_send(self.connection.user());
                admitted.map_err(|wait| about(rate_limited("messages", wait)))?;
                self.permit(Action::Send(&room)).await.map_err(about)?;
                let may_moderate =
                    matches!(content, Content::Delete { .. }) && self.permit(Action::Moderate(&room)).await.is_ok();
                let (user, name) = (self.connection.user().clone(), self.connection.identity().name().cloned());
                Ok(Next::Start(Operation::Publish(room, Draft { id, user, name, content, may_moderate })))
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
                if !self.connection.identity().is_granted(Permission::Send, &room) {
                    return Ok(Next::Continue);
                }
                let now = self.state.uptime();
                if ephemeral_rate().admit(&mut self.cold().typing, now).is_err() {
                    return Ok(Next::Continue);
                }
                let typing = Ephemeral::Typing(self.connection.user().clone());
                Ok(Next::Start(Operation::Ephemeral(room, typing)))
            }
            Command::Signal { room, event, data } => {
                self.require_membership(&room).map_err(|refusal| refusal.in_room(&room))?;
                self.permit(Action::Send(&room)).await.map_err(|refusal| refusal.in_room(&room))?;
                if !self.admit_signal(&event) {
                    return Ok(Next::Continue);
                }
                let signal = Ephemeral::Signal { user: self.connection.user().clone(), event, data };
                Ok(Next::Start(Operation::Ephemeral(room, signal)))
            }
            Command::Seen { room, pos } => {
                self.require_membership(&room).map_err(|refusal| refusal.in_room(&room))?;
                let now = self.state.uptime();
                let rate = NonZeroU32::new(SEEN_PER_SECOND).unwrap_or(NonZeroU32::MIN);
                let rate = Rate::new(rate, Duration::from_secs(1), 2 * SEEN_PER_SECOND);
                let verdict = rate.admit(&mut self.cold().seen, now);
                verdict.map_err(|wait| rate_limited("read marks", wait).in_room(&room))?;
                let origin = self.connection.origin(self.state.instance);
                Ok(Next::Start(Operation::Seen { room, pos, origin }))
            }
            Command::Refresh { token } => {
                let rate = Rate::new(NonZeroU32::MIN, Duration::from_secs(1), REFRESH_BURST);
                let now = self.state.uptime();
                let admitted = rate.admit(&mut self.cold().refresh, now);
                admitted.map_err(|wait| rate_limited("refreshes", wait))?;
                self.refresh(&token).await
            }
            Command::Pong => Ok(Next::Continue),
        }
    }

    /// Whether a signal of this event is passed on.
    fn admit_signal(&mut self, event: &EventName) -> bool {
        let now = self.state.uptime();
        let signals = &mut self.cold().signals;
        let index = signals.iter().position(|(one, _)| one == event);
        let mut counted = match index {
            Some(index) => signals.remove(index),
            None => (event.clone(), RateState::default()),
        };
        let is_admitted = ephemeral_rate().admit(&mut counted.1, now).is_ok();
        if signals.len() == MAX_SIGNAL_EVENTS {
            signals.remove(0);
        }
        signals.push(counted);
        is_admitted
    }

    fn require_membership(&self, room: &Room) -> Result<(), Refusal> {
        if self.connection.worker.hub().is_member(self.connection.key, room) {
            Ok(())
        } else {
            Err(Refusal::new(ErrorCode::NotJoined, "join the room first"))
        }
    }

    pub(super) async fn permit(&self, action: Action<'_>) -> Result<(), Refusal> {
        let verdict = decide(&self.state.policy, &self.connection.identity(), action).await;
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
    user: UserId,
    operation: Operation,
) -> OperationResult {
    match operation {
        Operation::Publish(room, draft) => {
            let id = draft.id.clone();
            let result = state.publish(&room, draft).await;
            let outcome = match &result {
                Ok(receipt) if receipt.repeated => "repeated",
                Ok(_) => "sent",
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Forbidden) => "refused",
                Err(_) => "unavailable",
            };
            state.metrics.published.get_or_create(&SendOutcome { outcome }).inc();
            match result {
                Ok(receipt) => {
                    OperationResult::Sent(room.clone(), receipt.pos, Event::Sent { room, id, pos: receipt.pos })
                }
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Forbidden) => {
                    OperationResult::Answer(Event::Error(amendment_refused(error.kind()).in_room(&room).of(&id)))
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
            let event = match state.read(&room, range).await {
                Ok(page) => {
                    let messages: Vec<Message> = page.entries.into_iter().map(|entry| entry.message).collect();
                    history_event(room.clone(), before, messages, page.more)
                }
                Err(_) => Event::Error(unavailable(&room, None)),
            };
            OperationResult::History(room, event)
        }
        Operation::Ephemeral(room, event) => {
            // A failure is not reported.
            let _ = state.bus.publish_ephemeral(&room, event.encode()).await;
            OperationResult::Nothing
        }
        Operation::Seen { room, pos, origin } => match state.bus.mark_seen(&room, &user, pos).await {
            Ok(mark) => {
                // A mark that another socket moved further was published by it.
                if mark <= pos && mark != Position::ORIGIN {
                    let moved = Ephemeral::Seen { user, pos: mark, origin };
                    let _ = state.bus.publish_ephemeral(&room, moved.encode()).await;
                }
                OperationResult::Nothing
            }
            Err(_) => OperationResult::Answer(Event::Error(unavailable(&room, None))),
        },
    }
}

/// The refusal of an amendment by the log.
fn amendment_refused(kind: ErrorKind) -> Refusal {
    match kind {
        ErrorKind::Forbidden => Refusal::new(ErrorCode::Forbidden, "the message has another author"),
        _ => Refusal::new(ErrorCode::NotFound, "ref is not the position of a retained text that was not deleted"),
    }
}

fn ephemeral_rate() -> Rate {
    Rate::new(NonZeroU32::MIN, EPHEMERAL_INTERVAL, EPHEMERAL_BURST)
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
