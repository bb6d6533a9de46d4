//! The driver: carries out the effects of [`ClientCore`] over HTTP and WebSockets.

use std::{
    collections::VecDeque,
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::{Sink, Stream};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_tungstenite::tungstenite::Message as Frame;
use trunkline_domain::{Event, MessageId, Position, Room, Token, UserId};

use crate::{
    ClientCore, ClientEffect, ClientEvent, ClientInput, ClientSession, JitterSource, MessageFrame, MessageSummary,
    OutboxEntry, SessionProbe, SocketId, WireEvent, WireObserver,
    clock::WallClock,
    socket::{self, ClientSocket},
};

/// RFC 6455 section 7.1.5: the socket closed without a close frame.
const ABNORMAL_CLOSURE: u16 = 1006;
/// RFC 6455 section 7.1.5: a close frame without a code.
const NO_STATUS: u16 = 1005;

/// A client that stays connected, resumes after a reconnect, and sends its outbox.
///
/// It works only while [`next`](Self::next) is awaited; there is no background task. An application that stops awaiting
/// it reads too slowly and is disconnected by the server.
///
/// Memory per socket: a read buffer of 4 KiB, which grows to at most 1 MiB while a larger frame arrives, and at most
/// 256 KiB of unsent data. All events of one frame are returned before the next frame is read.
///
/// ```no_run
/// # use trunkline_client::{Client, ClientEvent, ClientSession, ClientState};
/// # async fn run(session: ClientSession, user: trunkline_domain::UserId) {
/// let mut client = Client::new(session, user);
/// loop {
///     tokio::select! {
///         event = client.next() => match event {
///             ClientEvent::State(ClientState::Ended(reason)) => break println!("log in again: {reason:?}"),
///             event => println!("{event:?}"),
///         },
///         _ = tokio::signal::ctrl_c() => break,
///     }
/// }
/// client.close().await;
/// # }
/// ```
pub struct Client<O: WireObserver = ()> {
    session: ClientSession,
    core: ClientCore,
    clock: WallClock,
    observer: O,
    /// Entries given to [`Client::restore`] whose rooms are not joined yet.
    restored: Vec<OutboxEntry>,
    /// The joined rooms, so that `message` frames need no new `Room` values.
    rooms: Vec<Room>,
    attempt: Option<(SocketId, AttemptStep)>,
    /// A request to the source of tokens, for the refresh of a socket.
    refresh: Option<(SocketId, BoxFuture<Option<Token>>)>,
    /// One socket; two during a hand-over.
    sockets: Vec<(SocketId, ClientSocket)>,
    timer: Pin<Box<Sleep>>,
    events: VecDeque<ClientEvent>,
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The step of a connection attempt that is under way.
enum AttemptStep {
    Probing(BoxFuture<SessionProbe>),
    Opening(BoxFuture<Result<ClientSocket, Option<u16>>>),
}

impl<O: WireObserver> fmt::Debug for Client<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("session", &self.session).field("core", &self.core).finish_non_exhaustive()
    }
}

impl Client {
    /// A client with this session or source of tokens. `user` is the user that it sends as; with `None` the user of the first
    /// connection. It starts to connect when it is first awaited.
    #[must_use]
    pub fn new(session: ClientSession, user: impl Into<Option<UserId>>) -> Self {
        Self::with_observer(session, user, ())
    }
}

impl<O: WireObserver> Client<O> {
    /// A client whose traffic is observed.
    #[must_use]
    pub fn with_observer(session: ClientSession, user: impl Into<Option<UserId>>, observer: O) -> Self {
        Self::with_jitter(session, user, observer, JitterSource::from_seed(rand::random()))
    }

    /// A client with a given source of back-off jitter.
    #[must_use]
    pub fn with_jitter(
        session: ClientSession,
        user: impl Into<Option<UserId>>,
        observer: O,
        jitter: JitterSource,
    ) -> Self {
        let core = ClientCore::new(user.into(), jitter);
        let mut client = Self {
            core: if session.has_tokens() { core.with_tokens() } else { core },
            session,
            clock: WallClock::new(),
            observer,
            restored: Vec::new(),
            rooms: Vec::new(),
            attempt: None,
            refresh: None,
            sockets: Vec::new(),
            timer: Box::pin(sleep_until(Instant::now())),
            events: VecDeque::new(),
        };
        client.handle(ClientInput::Connect);
        client
    }

    /// Restores outbox entries that an earlier process stored on [`ClientEvent::Outbox`]. Call it before joining their
    /// rooms.
    pub fn restore(&mut self, entries: impl IntoIterator<Item = OutboxEntry>) {
        self.restored.extend(entries);
    }

    /// Joins `room` and stays in it across reconnects. Up to `recent` (0 to 200) of its latest messages arrive first.
    pub fn join(&mut self, room: Room, recent: usize) {
        if !self.rooms.contains(&room) {
            self.rooms.push(room.clone());
        }
        self.handle(ClientInput::Join { room, recent });
    }

    /// Leaves `room`. The client forgets the room's outbox entries; store them to restore them later.
    pub fn leave(&mut self, room: &Room) {
        self.rooms.retain(|known| known != room);
        self.handle(ClientInput::Leave { room: room.clone() });
    }

    /// Sends a failed or uncertain outbox entry again.
    pub fn retry(&mut self, room: Room, id: MessageId) {
        self.handle(ClientInput::Retry { room, id });
    }

    /// Removes an entry from the outbox. If it was sent already, the server may have logged it.
    pub fn discard(&mut self, room: Room, id: MessageId) {
        self.handle(ClientInput::Discard { room, id });
    }

    /// Requests a page of at most `limit` (1 to 200) messages before a position; `None` requests the latest ones.
    pub fn history(&mut self, room: Room, before: Option<Position>, limit: usize) {
        self.handle(ClientInput::History { room, before, limit });
    }

    /// Reports that the user is typing. Sends at most one frame per room every three seconds.
    pub fn typing(&mut self, room: Room) {
        self.handle(ClientInput::Typing { room });
    }

    /// Handles any input, for example [`ClientInput::Online`], or [`ClientInput::Connect`] after the client has ended.
    pub fn handle(&mut self, input: ClientInput) {
        self.core.handle(self.clock.now(), input);
        self.run_effects();
    }

    /// The outbox: pending, failed and uncertain entries.
    pub fn outbox(&self) -> impl ExactSizeIterator<Item = &OutboxEntry> {
        self.core.outbox()
    }

    /// The observer.
    pub fn observer(&mut self) -> &mut O {
        &mut self.observer
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> &ClientSession {
        &self.session
    }

    /// Waits for the next event. After [`ClientState::Ended`](crate::ClientState::Ended) there is none until
    /// [`ClientInput::Connect`].
    ///
    /// Cancel safe: a dropped future loses no event.
    pub async fn next(&mut self) -> ClientEvent {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The poll function behind [`next`](Self::next).
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<ClientEvent> {
        loop {
            self.run_effects();
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(event);
            }
            let progress = [self.poll_attempt(cx), self.poll_refresh(cx), self.poll_sockets(cx), self.poll_timer(cx)];
            if progress.iter().all(Poll::is_pending) {
                return Poll::Pending;
            }
        }
    }

    /// Closes the socket with code 1000 and returns the observer. Takes at most two seconds per socket.
    pub async fn close(mut self) -> O {
        for (socket, stream) in std::mem::take(&mut self.sockets) {
            self.observer.observe(WireEvent::Abandoned(socket));
            socket::close(stream).await;
        }
        self.observer
    }

    fn run_effects(&mut self) {
        while let Some(effect) = self.core.poll_effect() {
            match effect {
                ClientEffect::Emit(event) => self.events.push_back(event),
                ClientEffect::Probe { socket } => {
                    let session = self.session.clone();
                    let probing = Box::pin(async move { session.probe().await });
                    self.attempt = Some((socket, AttemptStep::Probing(probing)));
                }
                ClientEffect::Open { socket } => {
                    let session = self.session.clone();
                    let opening = Box::pin(async move { socket::open(&session).await });
                    self.attempt = Some((socket, AttemptStep::Opening(opening)));
                }
                ClientEffect::Close { socket } => self.abandon(socket),
                ClientEffect::Token { socket } => {
                    let session = self.session.clone();
                    self.refresh = Some((socket, Box::pin(async move { session.new_token().await })));
                }
                ClientEffect::Transmit { socket, command } => {
                    self.observer.observe(WireEvent::Sent(socket, &command));
                    self.transmit(socket, Frame::text(command.encode()));
                }
                ClientEffect::Load { room, .. } => {
                    let entries = self.restored.extract_if(.., |entry| entry.room == room).collect();
                    self.core.handle(self.clock.now(), ClientInput::Outbox { room, entries });
                }
            }
        }
    }

    fn transmit(&mut self, socket: SocketId, frame: Frame) {
        let Some((_, stream)) = self.sockets.iter_mut().find(|(id, _)| *id == socket) else { return };
        // The write buffer size is 0, so this writes at once. The rest is flushed when the socket is writable.
        if Pin::new(stream).start_send(frame).is_err() {
            self.closed(socket, ABNORMAL_CLOSURE);
        }
    }

    /// Closes a socket in the background.
    fn abandon(&mut self, socket: SocketId) {
        self.attempt.take_if(|(id, _)| *id == socket);
        if let Some(at) = self.sockets.iter().position(|(id, _)| *id == socket) {
            self.observer.observe(WireEvent::Abandoned(socket));
            tokio::spawn(socket::close(self.sockets.swap_remove(at).1));
        }
    }

    /// Handles the end of a socket.
    fn closed(&mut self, socket: SocketId, code: u16) {
        if let Some(at) = self.sockets.iter().position(|(id, _)| *id == socket) {
            self.sockets.swap_remove(at);
            self.observer.observe(WireEvent::Closed(socket, code));
            self.core.handle(self.clock.now(), ClientInput::Closed { socket, code });
        }
    }

    fn poll_attempt(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((socket, step)) = &mut self.attempt else { return Poll::Pending };
        let socket = *socket;
        let input = match step {
            AttemptStep::Probing(probing) => {
                let result = ready!(probing.as_mut().poll(cx));
                self.observer.observe(WireEvent::Probed(&result));
                Some(ClientInput::Probed { socket, result })
            }
            AttemptStep::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                Ok(stream) => {
                    self.observer.observe(WireEvent::Opened(socket));
                    self.sockets.push((socket, stream));
                    None
                }
                Err(status) => {
                    self.observer.observe(WireEvent::Rejected(socket, status));
                    Some(ClientInput::Closed { socket, code: ABNORMAL_CLOSURE })
                }
            },
        };
        self.attempt = None;
        if let Some(input) = input {
            self.core.handle(self.clock.now(), input);
        }
        Poll::Ready(())
    }

    fn poll_refresh(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((socket, asking)) = &mut self.refresh else { return Poll::Pending };
        let (socket, token) = (*socket, ready!(asking.as_mut().poll(cx)));
        self.refresh = None;
        self.core.handle(self.clock.now(), ClientInput::Token { socket, token });
        Poll::Ready(())
    }

    /// Reads at most one frame per socket.
    fn poll_sockets(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut progress = Poll::Pending;
        let mut index = 0;
        while let Some((socket, stream)) = self.sockets.get_mut(index) {
            let socket = *socket;
            if let Poll::Ready(Err(_)) = Pin::new(&mut *stream).poll_ready(cx) {
                self.closed(socket, ABNORMAL_CLOSURE);
                return Poll::Ready(());
            }
            let Poll::Ready(frame) = Pin::new(stream).poll_next(cx) else {
                index += 1;
                continue;
            };
            progress = Poll::Ready(());
            match frame {
                Some(Ok(Frame::Text(text))) => self.text_frame(socket, text.as_str()),
                Some(Ok(Frame::Close(frame))) => {
                    self.closed(socket, frame.map_or(NO_STATUS, |frame| frame.code.into()));
                    return progress;
                }
                // tungstenite answers pings of RFC 6455. Gateways send no binary frames.
                Some(Ok(_)) => {}
                Some(Err(_)) | None => {
                    self.closed(socket, ABNORMAL_CLOSURE);
                    return progress;
                }
            }
            index += 1;
        }
        progress
    }

    fn text_frame(&mut self, socket: SocketId, text: &str) {
        if O::CONSUMES_MESSAGES
            && let Some(frame) = MessageFrame::decode(text)
        {
            return self.message_frame(socket, frame);
        }
        match Event::decode(text) {
            Ok(event) => {
                if O::CONSUMES_MESSAGES
                    && matches!(event, Event::Message { .. })
                    && let Some(frame) = MessageFrame::decode_any(text)
                {
                    return self.message_frame(socket, frame);
                }
                self.observer.observe(WireEvent::Frame(socket, &event));
                self.core.handle(self.clock.now(), ClientInput::Frame { socket, event });
            }
            Err(_) => {
                self.observer.observe(WireEvent::Unreadable(socket, text));
                // Any frame proves that the server is alive.
                self.core.handle(self.clock.now(), ClientInput::Frame { socket, event: Event::Unknown });
            }
        }
    }

    /// Hands a `message` frame to the observer, and its summary to the state machine.
    fn message_frame(&mut self, socket: SocketId, frame: MessageFrame<'_>) {
        let room = self.rooms.iter().find(|room| room.as_str() == frame.room).cloned();
        let own = self.core.user().is_some_and(|user| user.as_str() == frame.user);
        let own = if own { frame.id.parse().ok() } else { None };
        let (pos, amends) = (frame.pos, frame.amends());
        self.observer.observe(WireEvent::Message(socket, frame));
        if let Some(room) = room {
            let message = MessageSummary { room, pos, own, amends };
            self.core.handle(self.clock.now(), ClientInput::MessageSeen { socket, message });
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(tick) = self.core.next_tick() else { return Poll::Pending };
        let now = self.clock.now();
        if tick <= now {
            self.core.handle(now, ClientInput::Tick);
            return Poll::Ready(());
        }
        // Every frame postpones the tick. The timer is not moved for that, since moving it costs more than expiring
        // early.
        let due = self.clock.instant(tick);
        if due < self.timer.deadline() || self.timer.is_elapsed() {
            self.timer.as_mut().reset(due);
        }
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(())
    }
}
