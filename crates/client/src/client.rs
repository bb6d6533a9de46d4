//! The driver: carries out what the core decides.

use std::{
    collections::VecDeque,
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use futures_util::{Sink, Stream};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_tungstenite::tungstenite::Message as Frame;
use trunkline_domain::{Event, MessageId, MessageText, Millis, Position, Room, UserName, millis};

use crate::{
    Core, Dice, Effect, Entry, Input, MessageFrame, Notice, Observer, Passed, Probed, Session, SocketId, Wire,
    socket::{self, Socket},
};

/// RFC 6455 section 7.1.5: closed without a close frame.
const ABNORMAL: u16 = 1006;
/// RFC 6455 section 7.1.5: a close frame without a code.
const NO_CODE: u16 = 1005;

/// A client: stays connected, resumes, sends what waits. It does so only while [`Client::next`] is awaited; there is no
/// task behind it, and who stops awaiting is soon a slow reader.
///
/// Bounds: a socket reads into 4 KiB (more while a larger frame comes, 1 MiB at most) and holds at most 256 KiB unsent;
/// notices that one frame caused are handed out before the next frame is read.
pub struct Client<O: Observer = ()> {
    session: Session,
    core: Core,
    clock: Clock,
    observer: O,
    stored: Vec<Entry>,
    /// The names that the core knows, so that message frames need not make new ones.
    rooms: Vec<Room>,
    attempt: Option<(SocketId, Attempt)>,
    /// One, or two while one is handed over.
    sockets: Vec<(SocketId, Socket)>,
    timer: Pin<Box<Sleep>>,
    notices: VecDeque<Notice>,
}

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What an attempt waits for.
enum Attempt {
    Probing(Work<Probed>),
    Opening(Work<Result<Socket, Option<u16>>>),
}

impl<O: Observer> fmt::Debug for Client<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("session", &self.session).field("core", &self.core).finish_non_exhaustive()
    }
}

impl Client {
    /// A client with this session, connecting as soon as it is awaited.
    #[must_use]
    pub fn new(session: Session, user: UserName) -> Self {
        Self::observed(session, user, ())
    }
}

impl<O: Observer> Client<O> {
    /// The same, with an observer of its wire.
    #[must_use]
    pub fn observed(session: Session, user: UserName, observer: O) -> Self {
        Self::with_dice(session, user, observer, Box::new(rand::random::<f64>))
    }

    /// The same, with the randomness of its back-off given.
    #[must_use]
    pub fn with_dice(session: Session, user: UserName, observer: O, dice: Dice) -> Self {
        let mut client = Self {
            session,
            core: Core::new(Some(user), dice),
            clock: Clock::new(),
            observer,
            stored: Vec::new(),
            rooms: Vec::new(),
            attempt: None,
            sockets: Vec::new(),
            timer: Box::pin(sleep_until(Instant::now())),
            notices: VecDeque::new(),
        };
        client.tell(Input::Connect);
        client
    }

    /// Takes over what an earlier process left unsent, as its [`Notice::Entry`] told. To be called before the rooms of
    /// the entries are joined.
    pub fn restore(&mut self, entries: impl IntoIterator<Item = Entry>) {
        self.stored.extend(entries);
    }

    /// Be in `room` from now on; first up to `recent` (0 to 200) of its latest messages come.
    pub fn join(&mut self, room: Room, recent: usize) {
        if !self.rooms.contains(&room) {
            self.rooms.push(room.clone());
        }
        self.tell(Input::Join { room, recent });
    }

    /// Be in `room` no more. What is unsent there is given back by no one: keep the entries.
    pub fn leave(&mut self, room: &Room) {
        self.rooms.retain(|known| known != room);
        self.tell(Input::Leave { room: room.clone() });
    }

    /// Sends `text` into a joined room; [`Notice::Entry`] tells what becomes of it.
    pub fn send(&mut self, room: Room, id: MessageId, text: MessageText) {
        self.tell(Input::Send { room, id, text });
    }

    /// Sends an entry that is failed or unsure again.
    pub fn retry(&mut self, room: Room, id: MessageId) {
        self.tell(Input::Retry { room, id });
    }

    /// Gives an entry up.
    pub fn discard(&mut self, room: Room, id: MessageId) {
        self.tell(Input::Discard { room, id });
    }

    /// Asks for one page of at most `limit` (1 to 200) messages older than `before`; `None`: the latest.
    pub fn history(&mut self, room: Room, before: Option<Position>, limit: usize) {
        self.tell(Input::History { room, before, limit });
    }

    /// Tells the room that the user types; at most every three seconds something is sent.
    pub fn typing(&mut self, room: Room) {
        self.tell(Input::Typing { room });
    }

    /// Any other input: [`Input::Online`], [`Input::Connect`] after an end, and so on.
    pub fn tell(&mut self, input: Input) {
        self.core.handle(self.clock.now(), input);
        self.carry_out();
    }

    /// What waits to be sent, was refused, or needs a decision.
    pub fn unsettled(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.core.unsettled()
    }

    /// The observer.
    pub fn observer(&mut self) -> &mut O {
        &mut self.observer
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The next notice. Never ends: after [`State::Ended`](crate::State::Ended) it waits for [`Input::Connect`].
    ///
    /// Cancel safe: dropping the future loses nothing, so that it can stand in a `select!`.
    pub async fn next(&mut self) -> Notice {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// [`Client::next`] for those who poll.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Notice> {
        loop {
            self.carry_out();
            if let Some(notice) = self.notices.pop_front() {
                return Poll::Ready(notice);
            }
            let progress = [self.poll_attempt(cx), self.poll_sockets(cx), self.poll_timer(cx)];
            if progress.iter().all(Poll::is_pending) {
                return Poll::Pending;
            }
        }
    }

    /// Disconnects in order: the server sees close code 1000. Takes two seconds at most.
    pub async fn close(mut self) -> O {
        for (socket, stream) in std::mem::take(&mut self.sockets) {
            self.observer.saw(Wire::GaveUp(socket));
            socket::part(stream).await;
        }
        self.observer
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.core.effect() {
            match effect {
                Effect::Tell(notice) => self.notices.push_back(notice),
                Effect::Probe { socket } => {
                    let session = self.session.clone();
                    let probing = Box::pin(async move { session.probe().await });
                    self.attempt = Some((socket, Attempt::Probing(probing)));
                }
                Effect::Open { socket } => {
                    let session = self.session.clone();
                    let opening = Box::pin(async move { socket::open(&session).await });
                    self.attempt = Some((socket, Attempt::Opening(opening)));
                }
                Effect::Close { socket } => self.give_up(socket),
                Effect::Transmit { socket, command } => {
                    self.observer.saw(Wire::Sent(socket, &command));
                    self.transmit(socket, Frame::text(command.encode()));
                }
                Effect::Load { room, .. } => {
                    let entries = self.stored.extract_if(.., |entry| entry.room == room).collect();
                    self.core.handle(self.clock.now(), Input::Outbox { room, entries });
                }
            }
        }
    }

    fn transmit(&mut self, socket: SocketId, frame: Frame) {
        let Some((_, stream)) = self.sockets.iter_mut().find(|(id, _)| *id == socket) else { return };
        // With a write buffer of 0 this writes at once; what the peer does not take is flushed when it does.
        if Pin::new(stream).start_send(frame).is_err() {
            self.gone(socket, ABNORMAL);
        }
    }

    fn give_up(&mut self, socket: SocketId) {
        self.attempt.take_if(|(id, _)| *id == socket);
        if let Some(at) = self.sockets.iter().position(|(id, _)| *id == socket) {
            self.observer.saw(Wire::GaveUp(socket));
            tokio::spawn(socket::part(self.sockets.swap_remove(at).1));
        }
    }

    /// The socket has closed.
    fn gone(&mut self, socket: SocketId, code: u16) {
        if let Some(at) = self.sockets.iter().position(|(id, _)| *id == socket) {
            self.sockets.swap_remove(at);
            self.observer.saw(Wire::Closed(socket, code));
            self.core.handle(self.clock.now(), Input::Closed { socket, code });
        }
    }

    fn poll_attempt(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((socket, attempt)) = &mut self.attempt else { return Poll::Pending };
        let socket = *socket;
        let input = match attempt {
            Attempt::Probing(probing) => {
                let answer = ready!(probing.as_mut().poll(cx));
                self.observer.saw(Wire::Probed(&answer));
                Some(Input::Probed { socket, answer })
            }
            Attempt::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                Ok(stream) => {
                    self.observer.saw(Wire::Opened(socket));
                    self.sockets.push((socket, stream));
                    None
                }
                Err(status) => {
                    self.observer.saw(Wire::Rejected(socket, status));
                    Some(Input::Closed { socket, code: ABNORMAL })
                }
            },
        };
        self.attempt = None;
        if let Some(input) = input {
            self.core.handle(self.clock.now(), input);
        }
        Poll::Ready(())
    }

    /// Reads at most one frame of each socket.
    fn poll_sockets(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut progress = Poll::Pending;
        let mut index = 0;
        while let Some((socket, stream)) = self.sockets.get_mut(index) {
            let socket = *socket;
            if let Poll::Ready(Err(_)) = Pin::new(&mut *stream).poll_ready(cx) {
                self.gone(socket, ABNORMAL);
                return Poll::Ready(());
            }
            let Poll::Ready(frame) = Pin::new(stream).poll_next(cx) else {
                index += 1;
                continue;
            };
            progress = Poll::Ready(());
            match frame {
                Some(Ok(Frame::Text(text))) => self.text(socket, text.as_str()),
                Some(Ok(Frame::Close(frame))) => {
                    self.gone(socket, frame.map_or(NO_CODE, |frame| frame.code.into()));
                    return progress;
                }
                // The library answers pings of RFC 6455; gateways send no binary frames.
                Some(Ok(_)) => {}
                Some(Err(_)) | None => {
                    self.gone(socket, ABNORMAL);
                    return progress;
                }
            }
            index += 1;
        }
        progress
    }

    fn text(&mut self, socket: SocketId, text: &str) {
        if O::TAKES_MESSAGES
            && let Some(frame) = MessageFrame::parse(text)
        {
            return self.pass(socket, frame);
        }
        match Event::decode(text) {
            Ok(event) => {
                if O::TAKES_MESSAGES
                    && let Some(frame) = MessageFrame::of(&event)
                {
                    return self.pass(socket, frame);
                }
                self.observer.saw(Wire::Frame(socket, &event));
                self.core.handle(self.clock.now(), Input::Frame { socket, event });
            }
            Err(_) => {
                self.observer.saw(Wire::Unreadable(socket, text));
                // It is a sign of life all the same.
                self.core.handle(self.clock.now(), Input::Frame { socket, event: Event::Unknown });
            }
        }
    }

    fn pass(&mut self, socket: SocketId, frame: MessageFrame<'_>) {
        let room = self.rooms.iter().find(|room| room.as_str() == frame.room).cloned();
        let own = self.core.user().is_some_and(|user| user.as_str() == frame.user);
        let own = if own { frame.id.parse().ok() } else { None };
        let pos = frame.pos;
        self.observer.saw(Wire::Message(socket, frame));
        if let Some(room) = room {
            let passed = Passed { room, pos, own };
            self.core.handle(self.clock.now(), Input::Passed { socket, passed });
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(wake) = self.core.wake() else { return Poll::Pending };
        let now = self.clock.now();
        if wake <= now {
            self.core.handle(now, Input::Tick);
            return Poll::Ready(());
        }
        // A later wake does not move the timer: with every frame the silence ends later, and moving is not free.
        let due = self.clock.instant(wake);
        if due < self.timer.deadline() || self.timer.is_elapsed() {
            self.timer.as_mut().reset(due);
        }
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(())
    }
}

/// Wall-clock milliseconds that never go back.
struct Clock {
    since: Instant,
    epoch: Duration,
}

impl Clock {
    fn new() -> Self {
        let epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { since: Instant::now(), epoch }
    }

    fn now(&self) -> Millis {
        millis(self.epoch + self.since.elapsed())
    }

    /// When that millisecond has begun.
    fn instant(&self, at: Millis) -> Instant {
        self.since + Duration::from_millis(at).saturating_sub(self.epoch)
    }
}
