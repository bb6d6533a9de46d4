//! Reads the messages of one client and executes its commands. One task per connection.

use std::{
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use trunkline_bus::Bus;
use trunkline_domain::{CloseCode, Command, ErrorCode, Event, EventName, Refusal, Room};

use super::{
    commands::{Operation, OperationResult, execute},
    decoder::{ClientMessage, MessageDecoder},
    frame_check::{BINARY_REFUSED, ProtocolViolation},
    guard::ConnectionGuard,
    in_flight::InFlight,
};
use crate::{limits::RateState, log_limit::info_limited, policy::Policy, state::GatewayState};

/// Maximum number of commands of a connection that wait for the bus. With so many its socket is not read; a larger value
/// lets a fast client use more of the gateway.
const MAX_COMMANDS_IN_FLIGHT: usize = 32;
/// Number of consecutive frames that are no valid command after which a connection is closed with 1008.
const MAX_BAD_FRAMES: u8 = 3;
/// Number of refusals by rate limits within [`REFUSAL_WINDOW`] after which a connection is closed with 1008. A client that
/// honours `retry_after_ms` stays far below.
const MAX_REFUSALS: u32 = 100;
const REFUSAL_WINDOW: Duration = Duration::from_secs(10);

/// The commands of one connection.
pub(super) struct ConnectionHandler<B, P> {
    pub(super) state: Arc<GatewayState<B, P>>,
    pub(super) connection: Rc<ConnectionGuard>,
    pub(super) joins: RateState,
    bad_frames: u8,
    /// Boxed, because most connections are idle and never need it.
    cold: Option<Box<ColdState>>,
}

/// State that a connection needs rarely.
#[derive(Default)]
pub(super) struct ColdState {
    pub(super) typing: RateState,
    /// The events of which signals were passed on last.
    pub(super) signals: Vec<(EventName, RateState)>,
    pub(super) seen: RateState,
    pub(super) refresh: RateState,
    /// The number of refusals by rate limits, and the uptime since which they are counted.
    refusals: (u32, Duration),
    /// Rooms of which a history page is being read.
    pub(super) histories: Vec<Room>,
}

/// What the task of a connection acts on.
enum TaskEvent {
    /// An operation was completed.
    Completed(OperationResult),
    /// Bytes arrived.
    Bytes(Bytes),
    /// Nothing new, but messages that arrived earlier can be decoded.
    Buffered,
    /// The connection broke.
    Disconnected,
    /// The hub closes the connection. The writer sends the close frame.
    Closing,
}

/// What a connection reads from, and the operations that it started. One value, so that the task's future refers to it once.
struct Reading<S, F> {
    bytes: S,
    decoder: MessageDecoder,
    in_flight: InFlight<F>,
    /// Whether messages may be left from earlier bytes.
    has_more: bool,
}

impl<S, F> Reading<S, F> {
    /// Returns whether no further operation can be started.
    fn is_full(&self) -> bool {
        self.in_flight.len() >= MAX_COMMANDS_IN_FLIGHT
    }
}

/// The next step after a message.
pub(super) enum Next {
    Continue,
    /// Execute this, concurrently with later messages.
    Start(Operation),
    /// Read no more.
    End,
}

impl<B: Bus, P: Policy> ConnectionHandler<B, P> {
    /// Creates the handler of an open connection.
    pub(super) fn new(state: Arc<GatewayState<B, P>>, connection: Rc<ConnectionGuard>) -> Self {
        Self { state, connection, joins: RateState::default(), bad_frames: 0, cold: None }
    }

    /// Reads messages and executes commands until either side closes. Operations that began are completed even then.
    ///
    /// Not an async fn, which would store its arguments twice, in every connection.
    pub(super) fn run<E>(mut self, bytes: impl Stream<Item = Result<Bytes, E>> + Unpin) -> impl Future<Output = ()> {
        let (decoder, in_flight) = (MessageDecoder::new(), InFlight::new());
        let mut reading = Reading { bytes, decoder, in_flight, has_more: true };
        async move {
            'open: loop {
                // Messages that have arrived, as long as there is space for the answers.
                reading.has_more = true;
                while !reading.is_full() && !self.is_saturated() {
                    let message = match reading.decoder.next() {
                        Ok(Some(message)) => message,
                        Ok(None) => {
                            reading.has_more = false;
                            break;
                        }
                        Err(violation) => {
                            self.close_for(violation);
                            break 'open;
                        }
                    };
                    // Boxed, because the task of an idle connection has no space for a command.
                    match Box::pin(self.handle(message)).await {
                        Next::Continue => {}
                        Next::Start(operation) => {
                            reading.in_flight.push(execute(
                                self.state.clone(),
                                self.connection.user().clone(),
                                operation,
                            ));
                        }
                        Next::End => break 'open,
                    }
                }
                // `tokio::select!` would store references to each branch, in every idle connection.
                match poll_fn(|cx| self.poll_event(&mut reading, cx)).await {
                    TaskEvent::Completed(result) => self.complete(result),
                    TaskEvent::Bytes(chunk) => reading.decoder.receive(chunk),
                    TaskEvent::Buffered => {}
                    TaskEvent::Disconnected => {
                        self.connection.abort();
                        break;
                    }
                    TaskEvent::Closing => break,
                }
            }
            while reading.in_flight.next().await.is_some() {}
        }
    }

    /// Waits for an operation or, unless too many are in flight, the transport. Operations come first: each was started by
    /// bytes of the transport, so there are at most [`MAX_COMMANDS_IN_FLIGHT`] in a row.
    fn poll_event<E>(
        &self,
        reading: &mut Reading<impl Stream<Item = Result<Bytes, E>> + Unpin, impl Future<Output = OperationResult>>,
        cx: &mut Context<'_>,
    ) -> Poll<TaskEvent> {
        if let Poll::Ready(Some(result)) = reading.in_flight.poll_next_unpin(cx) {
            return Poll::Ready(TaskEvent::Completed(result));
        }
        if reading.is_full() {
            return Poll::Pending;
        }
        if ready!(self.connection.worker.hub().poll_readable(self.connection.key, cx)).is_err() {
            return Poll::Ready(TaskEvent::Closing);
        }
        if reading.has_more {
            return Poll::Ready(TaskEvent::Buffered);
        }
        reading.bytes.poll_next_unpin(cx).map(|next| match next {
            Some(Ok(chunk)) => TaskEvent::Bytes(chunk),
            Some(Err(_)) | None => TaskEvent::Disconnected,
        })
    }

    async fn handle(&mut self, message: ClientMessage) -> Next {
        self.connection.worker.hub().received_frame(self.connection.key);
        match message {
            ClientMessage::Ping(payload) => self.connection.worker.hub().send_pong(self.connection.key, &payload),
            ClientMessage::Pong => {}
            // The frame check has refused it by its header, before any of its payload was buffered.
            ClientMessage::Binary(_) => {
                self.close_for(BINARY_REFUSED);
                return Next::End;
            }
            ClientMessage::Close(code) => {
                self.connection.worker.hub().echo_close(self.connection.key, code);
                return Next::End;
            }
            ClientMessage::Text(text) => {
                let result = match Command::decode(&text) {
                    Ok(command) => {
                        self.bad_frames = 0;
                        self.command(command).await
                    }
                    Err(refusal) => Err(refusal),
                };
                return result.unwrap_or_else(|refusal| self.refuse(refusal));
            }
        }
        Next::Continue
    }

    /// Sends the answer of an operation.
    fn complete(&mut self, result: OperationResult) {
        let event = match result {
            OperationResult::Nothing => return,
            OperationResult::Answer(event) => event,
            OperationResult::Sent(room, pos, event) => {
                self.connection.worker.hub().acknowledge(self.connection.key, &room, pos, &event);
                return;
            }
            OperationResult::History(room, event) => {
                self.cold().histories.retain(|one| *one != room);
                event
            }
        };
        self.send(&event);
    }

    /// Answers a command that is refused. Closes the connection of a client that keeps sending such commands.
    fn refuse(&mut self, refusal: Refusal) -> Next {
        self.state.metrics.refused.inc();
        let code = refusal.code;
        self.send(&Event::Error(refusal));
        match code {
            ErrorCode::BadFrame => {
                self.bad_frames += 1;
                if self.bad_frames >= MAX_BAD_FRAMES {
                    self.close(CloseCode::Policy, "three bad frames in a row");
                    return Next::End;
                }
            }
            ErrorCode::RateLimited => {
                let now = self.state.uptime();
                let (count, since) = &mut self.cold().refusals;
                if now - *since > REFUSAL_WINDOW {
                    (*count, *since) = (0, now);
                }
                *count += 1;
                if *count >= MAX_REFUSALS {
                    let (connection, user) = (self.connection.name(), self.connection.user());
                    info_limited!(connection, %user, "100 commands refused by rate limits; closing the socket");
                    self.close(CloseCode::Policy, "too many commands; slow down");
                    return Next::End;
                }
            }
            _ => {}
        }
        Next::Continue
    }

    /// Closes a connection whose bytes cannot be decoded.
    fn close_for(&self, violation: ProtocolViolation) {
        let connection = self.connection.name();
        info_limited!(connection, reason = violation.reason, "protocol violation; closing the socket");
        self.close(violation.code, violation.reason);
    }

    /// Returns the rarely needed state, and creates it first if necessary.
    pub(super) fn cold(&mut self) -> &mut ColdState {
        self.cold.get_or_insert_default()
    }

    fn is_saturated(&self) -> bool {
        self.connection.worker.hub().is_saturated(self.connection.key)
    }

    pub(super) fn send(&self, event: &Event) {
        self.connection.worker.hub().send(self.connection.key, event);
    }

    fn close(&self, code: CloseCode, reason: &str) {
        self.connection.worker.hub().close(self.connection.key, code, reason);
    }
}
