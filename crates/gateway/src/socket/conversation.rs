//! What a client says, and what comes of it. One task a socket.

use std::{
    future::poll_fn,
    num::NonZeroU32,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use trunkline_bus::{Bus, Range};
use trunkline_domain::{
    CloseCode, Command, Draft, ErrorCode, Event, Message, MessageId, Position, Refusal, Room, UserName, millis,
};

use super::{
    guard::Violation,
    inbound::{Inbound, Input},
    seat::Seat,
    under_way::UnderWay,
};
use crate::{
    fanout,
    gateway::Shared,
    metrics::Outcome,
    policy::{Action, Policy},
    rate::{Rate, Used},
};

/// Most commands of a socket under way at once; with so many it is not read.
const COMMANDS: usize = 32;
/// Bad frames in a row that end a socket (1008).
const BAD_FRAMES: u8 = 3;
/// Refusals by limits within [`REFUSALS_WITHIN`] that end a socket (1008).
const REFUSALS: u32 = 100;
const REFUSALS_WITHIN: Duration = Duration::from_secs(10);
/// Most bytes of a history page.
const HISTORY_BYTES: usize = 64 << 10;

/// One client's side of a socket.
pub(super) struct Conversation<B, P> {
    shared: Arc<Shared<B, P>>,
    seat: Rc<Seat>,
    joins: Used,
    bad_frames: u8,
    /// Boxed: an idle socket, which most are, needs none of it.
    seldom: Option<Box<Seldom>>,
}

/// What a conversation remembers from the first time that it is needed.
#[derive(Default)]
struct Seldom {
    typing: Used,
    /// Refusals by limits, and the uptime from which they are counted.
    refusals: (u32, Duration),
    /// Rooms of which a history page is being read.
    histories: Vec<Room>,
}

/// A command that waits for the log.
enum Work {
    Publish(Room, Draft),
    History { room: Room, before: Option<Position>, limit: usize },
    Typing(Room),
}

/// What a command came to.
enum Answer {
    Tell(Event),
    History(Room, Event),
    Nothing,
}

/// What the transport has.
enum Incoming {
    Bytes(Bytes),
    /// Nothing new, but what came before may be read on.
    Leftover,
    /// The connection is gone.
    Gone,
    /// The hub closes the socket; the body writes the close frame.
    Closing,
}

/// Whether to go on.
enum Next {
    Go,
    Wait(Work),
    End,
}

impl<B: Bus, P: Policy> Conversation<B, P> {
    pub(super) fn new(shared: Arc<Shared<B, P>>, seat: Rc<Seat>) -> Self {
        Self { shared, seat, joins: Used::default(), bad_frames: 0, seldom: None }
    }

    /// Reads and obeys until either side ends it; what was begun is finished even then.
    #[expect(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice, in every socket")]
    pub(super) fn run<E>(
        mut self,
        mut bytes: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> impl Future<Output = ()> {
        async move {
            let mut under_way = UnderWay::new();
            let mut inbound = Inbound::new();
            'open: loop {
                // Commands that are here already, as long as their answers have room.
                let mut more = true;
                while more && under_way.len() < COMMANDS && !self.seat.worker.hub().is_saturated(self.seat.key) {
                    let input = match inbound.next() {
                        Ok(Some(input)) => input,
                        Ok(None) => {
                            more = false;
                            continue;
                        }
                        Err(violation) => {
                            self.refuse_bytes(violation);
                            break 'open;
                        }
                    };
                    // Boxed: an idle socket has no room for a command.
                    match Box::pin(self.obey(input)).await {
                        Next::Go => {}
                        Next::Wait(work) => {
                            under_way.push(carry_out(self.shared.clone(), self.seat.user().clone(), work));
                        }
                        Next::End => break 'open,
                    }
                }
                let full = under_way.len() >= COMMANDS;
                tokio::select! {
                    Some(answer) = under_way.next() => self.answer(answer),
                    incoming = poll_fn(|cx| self.poll_incoming(Pin::new(&mut bytes), more, cx)), if !full => match incoming {
                        Incoming::Bytes(chunk) => inbound.receive(chunk),
                        Incoming::Leftover => {}
                        Incoming::Gone => {
                            self.seat.hang_up();
                            break;
                        }
                        Incoming::Closing => break,
                    },
                }
            }
            while under_way.next().await.is_some() {}
        }
    }

    /// What to do next, where `more` may be left of what came before.
    fn poll_incoming<E>(
        &self,
        bytes: Pin<&mut impl Stream<Item = Result<Bytes, E>>>,
        more: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Incoming> {
        if ready!(self.seat.worker.hub().poll_readable(self.seat.key, cx)).is_err() {
            return Poll::Ready(Incoming::Closing);
        }
        if more {
            return Poll::Ready(Incoming::Leftover);
        }
        bytes.poll_next(cx).map(|next| match next {
            Some(Ok(chunk)) => Incoming::Bytes(chunk),
            Some(Err(_)) | None => Incoming::Gone,
        })
    }

    /// Ends a socket whose bytes are not to be believed.
    fn refuse_bytes(&self, violation: Violation) {
        tracing::info!(connection = self.seat.connection(), reason = violation.reason, "bytes refused");
        self.close(violation.code, violation.reason);
    }

    fn answer(&mut self, answer: Answer) {
        let event = match answer {
            Answer::Nothing => return,
            Answer::Tell(event) => event,
            Answer::History(room, event) => {
                self.seldom().histories.retain(|one| *one != room);
                event
            }
        };
        self.tell(&event);
    }

    async fn obey(&mut self, input: Input) -> Next {
        self.seat.worker.hub().heard(self.seat.key);
        match input {
            Input::Ping(payload) => self.seat.worker.hub().pong(self.seat.key, &payload),
            Input::Pong => {}
            Input::Close(code) => {
                self.seat.worker.hub().echo_close(self.seat.key, code);
                return Next::End;
            }
            Input::Text(text) => match Command::decode(&text) {
                Ok(command) => {
                    self.bad_frames = 0;
                    match self.command(command).await {
                        Ok(next) => return next,
                        Err(refusal) => return self.refuse(refusal),
                    }
                }
                Err(refusal) => return self.refuse(refusal),
            },
        }
        Next::Go
    }

    async fn command(&mut self, command: Command) -> Result<Next, Refusal> {
        match command {
            Command::Join { room, from } => {
                self.limit_joins(&room)?;
                let most = self.shared.config.limits.rooms_per_socket;
                let (member, rooms) = {
                    let mut hub = self.seat.worker.hub();
                    (hub.is_member(self.seat.key, &room), hub.rooms_of(self.seat.key))
                };
                if !member && rooms >= most {
                    let detail = format!("a socket is in at most {most} rooms; leave one first");
                    return Err(Refusal::new(ErrorCode::TooManyRooms, detail).in_room(&room));
                }
                self.permit(Action::Join(&room)).await.map_err(|refusal| refusal.in_room(&room))?;
                self.seat.worker.hub().join(self.seat.key, &room, from);
                Ok(Next::Go)
            }
            Command::Leave { room } => {
                self.seat.worker.hub().leave(self.seat.key, &room);
                Ok(Next::Go)
            }
            Command::Send { room, id, text } => {
                let about = |refusal: Refusal| refusal.in_room(&room).of(&id);
                self.require_membership(&room).map_err(about)?;
                self.shared.admit_send(self.seat.user()).map_err(|wait| about(too_fast("messages", wait)))?;
                self.permit(Action::Send(&room)).await.map_err(about)?;
                let draft = Draft { id, user: self.seat.user().clone(), text };
                Ok(Next::Wait(Work::Publish(room, draft)))
            }
            Command::History { room, before, limit } => {
                self.require_membership(&room).map_err(|refusal| refusal.in_room(&room))?;
                if self.seldom().histories.contains(&room) {
                    let wait = Duration::from_secs(1);
                    return Err(too_fast("history pages of a room at once", wait).in_room(&room));
                }
                self.permit(Action::Read(&room)).await.map_err(|refusal| refusal.in_room(&room))?;
                self.seldom().histories.push(room.clone());
                Ok(Next::Wait(Work::History { room, before, limit }))
            }
            Command::Typing { room } => {
                self.require_membership(&room).map_err(|refusal| refusal.in_room(&room))?;
                // One a second is all that anybody sees; more are dropped without a word.
                let now = self.shared.uptime();
                let admitted =
                    Rate::new(NonZeroU32::MIN, Duration::from_secs(1), 2).admit(&mut self.seldom().typing, now);
                Ok(if admitted.is_ok() { Next::Wait(Work::Typing(room)) } else { Next::Go })
            }
            Command::Pong => Ok(Next::Go),
        }
    }

    fn require_membership(&self, room: &Room) -> Result<(), Refusal> {
        if self.seat.worker.hub().is_member(self.seat.key, room) {
            Ok(())
        } else {
            Err(Refusal::new(ErrorCode::NotJoined, "join the room first"))
        }
    }

    async fn permit(&self, action: Action<'_>) -> Result<(), Refusal> {
        let verdict = self.shared.policy.decide(self.seat.user(), action).await;
        verdict.map_err(|denied| Refusal::new(ErrorCode::Forbidden, denied.to_string()))
    }

    fn limit_joins(&mut self, room: &Room) -> Result<(), Refusal> {
        let Some(rate) = self.shared.join_rate else { return Ok(()) };
        let verdict = rate.admit(&mut self.joins, self.shared.uptime());
        verdict.map_err(|wait| too_fast("joins", wait).in_room(room))
    }

    /// Answers a refused command, and ends a socket that does nothing but get refused.
    fn refuse(&mut self, refusal: Refusal) -> Next {
        self.shared.metrics.refused.inc();
        let code = refusal.code;
        self.tell(&Event::Error(refusal));
        match code {
            ErrorCode::BadFrame => {
                self.bad_frames += 1;
                if self.bad_frames >= BAD_FRAMES {
                    self.close(CloseCode::Policy, "three bad frames in a row");
                    return Next::End;
                }
            }
            ErrorCode::RateLimited => {
                let now = self.shared.uptime();
                let (count, since) = &mut self.seldom().refusals;
                if now - *since > REFUSALS_WITHIN {
                    (*count, *since) = (0, now);
                }
                *count += 1;
                if *count >= REFUSALS {
                    tracing::info!(connection = self.seat.connection(), user = %self.seat.user(), "a hundred refusals by limits");
                    self.close(CloseCode::Policy, "too many commands; slow down");
                    return Next::End;
                }
            }
            _ => {}
        }
        Next::Go
    }

    fn seldom(&mut self) -> &mut Seldom {
        self.seldom.get_or_insert_default()
    }

    fn tell(&self, event: &Event) {
        self.seat.worker.hub().tell(self.seat.key, event);
    }

    fn close(&self, code: CloseCode, reason: &str) {
        self.seat.worker.hub().close(self.seat.key, code, reason);
    }
}

/// Waits for the log, then says what it said.
async fn carry_out<B: Bus, P: Policy>(shared: Arc<Shared<B, P>>, user: UserName, work: Work) -> Answer {
    match work {
        Work::Publish(room, draft) => {
            let id = draft.id.clone();
            let result = shared.bus.publish(&room, draft).await;
            let outcome = match &result {
                Ok(receipt) if receipt.repeated => "repeated",
                Ok(_) => "sent",
                Err(_) => "unavailable",
            };
            shared.metrics.published.get_or_create(&Outcome { outcome }).inc();
            Answer::Tell(match result {
                Ok(receipt) => Event::Sent { room, id, pos: receipt.pos },
                Err(error) => {
                    tracing::debug!(%room, error = &error as &dyn std::error::Error, "not published");
                    Event::Error(unavailable(&room, Some(&id)))
                }
            })
        }
        Work::History { room, before, limit } => {
            let range = before.map_or(Range::Latest(limit), |before| Range::Before(before, limit));
            let event = match shared.bus.read(&room, range).await {
                Ok(page) => {
                    let messages: Vec<Message> = page.entries.into_iter().map(|entry| entry.message).collect();
                    history(room.clone(), before, messages, page.more)
                }
                Err(_) => Event::Error(unavailable(&room, None)),
            };
            Answer::History(room, event)
        }
        Work::Typing(room) => {
            // Nobody misses it if it fails.
            let _ = shared.bus.publish_ephemeral(&room, fanout::typing(&user)).await;
            Answer::Nothing
        }
    }
}

/// A history frame of at most 64 KiB: of a larger page the newest messages, which adjoin what the client has.
fn history(room: Room, before: Option<Position>, mut messages: Vec<Message>, more: bool) -> Event {
    let mut left = HISTORY_BYTES - 1024;
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
        retry_after_ms: Some(1000),
        ..Refusal::new(ErrorCode::Unavailable, "the log does not answer; keep the message and retry with the same id")
    };
    let refusal = refusal.in_room(room);
    match id {
        Some(id) => refusal.of(id),
        None => refusal,
    }
}

fn too_fast(what: &str, wait: Duration) -> Refusal {
    // Rounded up: who comes back after so long must not be too early again.
    let retry_after_ms = millis(wait + Duration::from_nanos(999_999));
    Refusal {
        retry_after_ms: Some(retry_after_ms),
        ..Refusal::new(ErrorCode::RateLimited, format!("too many {what}; wait {retry_after_ms} ms"))
    }
}
