//! The sockets of a run and the event loop that serves them.
//!
//! Nine tenths of the load's CPU time per paced delivery is the `recv` call, most of it the TCP acknowledgement that the
//! kernel sends when bytes are read (`perf record`, one room of 1,000). Finding and counting the message is one tenth. In
//! large rooms the loop pauses before it waits, so that single deliveries do not wake it; this halves the CPU time in a
//! room of 5,000.

use std::{
    collections::VecDeque,
    io,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Type};

use super::{
    LoadArguments,
    conversation::{ConversationEnd, SharedState, SocketConversation},
    plan::{self, SocketPlan},
};
use crate::{
    BenchError,
    dialect::{ConnectParameters, SocketRole},
    poll::{self, Poll, SocketEvent},
    socket::{flush, read},
    stamp::Stamp,
};

/// Maximum number of sockets that are being opened at the same time.
const MAX_OPENING: u64 = 64;
/// Maximum time without a socket that becomes ready while sockets are being opened.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// Interval of checks that are not urgent, in ns.
const CHECK_INTERVAL_NS: u64 = 100_000_000;
/// Pause per member of the largest room, in ns. The kernel needs about 50 times as long to write a message to each of
/// them, so the pause does not affect latencies.
const PAUSE_PER_MEMBER_NS: u64 = 100;
/// Minimum pause in ns. The kernel delays a wake-up by up to 50 µs (`PR_SET_TIMERSLACK`), so shorter pauses have no use.
const MIN_PAUSE_NS: u64 = 100_000;
/// Size of the read buffer in bytes.
const READ_BYTES: usize = 64 * 1024;
/// The server is quiet after this time without presence and other events. Trunkline sends presence once per second.
const QUIET_TIME: Duration = Duration::from_millis(1500);
/// Maximum time to wait until the server is quiet.
const QUIET_TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Debug)]
struct LoadSocket {
    /// `None` before the socket is opened and after it has closed.
    stream: Option<TcpStream>,
    conversation: SocketConversation,
    /// Whether the kernel's send buffer is full.
    blocked: bool,
}

#[derive(Debug)]
pub(super) struct SocketEngine<'a> {
    arguments: &'a LoadArguments,
    plan: &'a SocketPlan,
    rooms: Vec<String>,
    cookies: &'a [String],
    poll: Poll,
    events: Vec<SocketEvent>,
    /// Pause before each wait, in ns.
    pause: u64,
    buffer: Box<[u8]>,
    sockets: Vec<LoadSocket>,
    pub(super) shared: SharedState,
    began: Instant,
    /// Sockets that wait to be opened.
    queue: VecDeque<usize>,
    begun: u64,
    /// Time of the last check for late replies, in ns.
    repeated: u64,
    /// Sockets with bytes to send.
    eager: Vec<usize>,
    /// Increases with each message, so that writers take turns.
    rotation: usize,
    /// Number of sockets that the server closed or that failed.
    pub(super) closed: u64,
}

impl<'a> SocketEngine<'a> {
    pub(super) fn new(
        arguments: &'a LoadArguments,
        plan: &'a SocketPlan,
        cookies: &'a [String],
    ) -> Result<Self, BenchError> {
        let tracks_position = arguments.workload.resumes();
        let socket = |place: &plan::PlannedSocket| LoadSocket {
            stream: None,
            conversation: SocketConversation::new(
                place.role == SocketRole::Member && !place.reconnecting,
                tracks_position,
            ),
            blocked: false,
        };
        Ok(Self {
            arguments,
            plan,
            rooms: (0..arguments.rooms).map(|room| format!("bench-{}", arguments.first_room + room)).collect(),
            cookies,
            poll: Poll::new().map_err(BenchError::kernel("no epoll"))?,
            events: Vec::new(),
            pause: plan.expected.iter().max().map_or(0, |most| u64::from(*most) * PAUSE_PER_MEMBER_NS),
            buffer: vec![0; READ_BYTES].into(),
            sockets: plan.sockets.iter().map(socket).collect(),
            shared: SharedState::new(arguments.dialect),
            began: Instant::now(),
            queue: VecDeque::new(),
            begun: 0,
            repeated: 0,
            eager: Vec::new(),
            rotation: 0,
            closed: 0,
        })
    }

    /// Time since the start of the run, in ns.
    pub(super) fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// Sends steps again whose replies are late.
    fn repeat(&mut self) {
        let now = self.now();
        if self.opening() == 0 || now < self.repeated + CHECK_INTERVAL_NS {
            return;
        }
        self.repeated = now;
        for (index, socket) in self.sockets.iter_mut().enumerate() {
            if socket.stream.is_some() && socket.conversation.repeat(now) {
                self.eager.push(index);
            }
        }
    }

    /// One iteration: waits for events until `until` at the latest, and handles them.
    pub(super) fn turn(&mut self, until: u64) -> Result<(), BenchError> {
        self.repeat();
        while self.begun - self.shared.ready < MAX_OPENING
            && let Some(index) = self.queue.pop_front()
        {
            self.open(index)?;
        }
        while let Some(index) = self.eager.pop() {
            self.push(index)?;
        }
        if self.pause >= MIN_PAUSE_NS && self.opening() == 0 && self.events.len() < poll::MAX_EVENTS {
            std::thread::sleep(Duration::from_nanos(self.pause.min(until.saturating_sub(self.now()))));
        }
        let mut events = std::mem::take(&mut self.events);
        let until = self.began + Duration::from_nanos(until);
        self.poll.wait(&mut events, Some(until)).map_err(BenchError::kernel("epoll failed"))?;
        for event in &events {
            self.serve(event.token as usize, event.ending)?;
        }
        self.events = events;
        Ok(())
    }

    /// Time of the next check that is not urgent, in ns. Rounded, so that the timer is not set in each iteration.
    pub(super) fn soon(&self) -> u64 {
        (self.now() / CHECK_INTERVAL_NS + 1) * CHECK_INTERVAL_NS
    }

    /// Opens these sockets in order, limited to [`MAX_OPENING`] at the same time.
    pub(super) fn enqueue(&mut self, sockets: impl IntoIterator<Item = usize>) {
        self.queue.extend(sockets);
    }

    /// Number of sockets that are being opened or wait to be opened.
    pub(super) fn opening(&self) -> u64 {
        self.begun - self.shared.ready + self.queue.len() as u64
    }

    /// Waits until all sockets are ready.
    pub(super) fn all_open(&mut self) -> Result<(), BenchError> {
        let (mut ready, mut since) = (self.shared.ready, Instant::now());
        while self.opening() > 0 {
            self.turn(self.soon())?;
            if self.shared.ready > ready {
                (ready, since) = (self.shared.ready, Instant::now());
            } else if since.elapsed() > OPEN_TIMEOUT {
                let waits = self.sockets.iter().find_map(|socket| socket.conversation.waits_for());
                let waits = waits.map(|reply| format!("; one waits for {reply:?}")).unwrap_or_default();
                return Err(BenchError::Server(format!("{} sockets did not become ready{waits}", self.opening())));
            }
        }
        Ok(())
    }

    /// Waits until the server sends no more presence and other events.
    pub(super) fn quiet(&mut self) -> Result<(), BenchError> {
        let begin = Instant::now();
        let (mut others, mut since) = (self.shared.others, begin);
        while since.elapsed() < QUIET_TIME && begin.elapsed() < QUIET_TIMEOUT {
            self.turn(self.soon())?;
            if self.shared.others > others {
                (others, since) = (self.shared.others, Instant::now());
            }
        }
        Ok(())
    }

    fn open(&mut self, index: usize) -> Result<(), BenchError> {
        let place = self.plan.sockets[index];
        let target = self.arguments.targets[place.target];
        let stream =
            connect(target, self.arguments.first_socket + index).map_err(BenchError::kernel("cannot connect"))?;
        self.poll.add(&stream, index as u64).map_err(BenchError::kernel("epoll failed"))?;
        let cookie = self.cookies.get(index % self.cookies.len().max(1)).map_or("", String::as_str);
        let host = target.to_string();
        let parameters =
            ConnectParameters { role: place.role, room: &self.rooms[place.room], host: &host, cookie, after: None };
        let socket = &mut self.sockets[index];
        let now = self.began.elapsed().as_nanos() as u64;
        let count = if self.arguments.workload.joins() { self.arguments.rooms_per_socket } else { 0 };
        let names = &self.rooms;
        let rooms = (place.room..place.room + count).map(|room| names[room % names.len()].as_str());
        socket.conversation.begin(&mut self.shared, parameters, rooms, now);
        (socket.stream, socket.blocked) = (Some(stream), false);
        self.begun += 1;
        self.eager.push(index);
        Ok(())
    }

    /// Closes a socket without a close frame, like a client that disappears.
    pub(super) fn cut(&mut self, index: usize) {
        self.sockets[index].stream = None;
    }

    /// Opens the sockets again that the server has closed, and waits until they are ready.
    pub(super) fn reopen_closed(&mut self) -> Result<(), BenchError> {
        let closed: Vec<usize> = (0..self.sockets.len())
            .filter(|index| self.sockets[*index].stream.is_none() && !self.queue.contains(index))
            .collect();
        self.enqueue(closed);
        self.all_open()
    }

    /// Whether a socket is connected and ready.
    pub(super) fn is_ready(&self, index: usize) -> bool {
        let LoadSocket { stream, conversation, .. } = &self.sockets[index];
        stream.is_some() && conversation.is_ready()
    }

    /// Queues the next message of a room. Returns false if the send buffers of all its writers are full.
    pub(super) fn publish(&mut self, room: usize, intended: u64) -> bool {
        let writers = &self.plan.writers[room];
        for _ in 0..writers.len() {
            self.rotation += 1;
            let index = writers[self.rotation % writers.len()];
            let socket = &mut self.sockets[index];
            if socket.blocked || socket.stream.is_none() {
                continue;
            }
            if socket.conversation.out.is_empty() {
                self.eager.push(index);
            }
            let stamp = Stamp { number: self.shared.deliveries.next(), intended };
            self.arguments.dialect.publish(&mut socket.conversation.out, &self.rooms[room], stamp);
            self.shared.deliveries.sent(self.plan.expected[room]);
            return true;
        }
        false
    }

    /// Sends queued bytes, as many as the kernel accepts.
    fn push(&mut self, index: usize) -> Result<(), BenchError> {
        let LoadSocket { stream: Some(stream), conversation, blocked } = &mut self.sockets[index] else {
            return Ok(());
        };
        let result = flush(stream, &mut conversation.out);
        *blocked = !conversation.out.is_empty();
        result.or_else(|error| self.lost(index, &error))
    }

    /// Reads and handles all available bytes.
    fn serve(&mut self, index: usize, ending: bool) -> Result<(), BenchError> {
        // The event may belong to an earlier connection. Then there is nothing to read yet.
        if self.sockets[index].blocked {
            self.push(index)?;
        }
        loop {
            let LoadSocket { stream: Some(stream), conversation, .. } = &mut self.sockets[index] else { return Ok(()) };
            let length = match read(stream, &mut self.buffer) {
                Ok(length) => length,
                Err(error) => return self.lost(index, &error),
            };
            if length == 0 {
                return Ok(());
            }
            let now = self.began.elapsed().as_nanos() as u64;
            let result = conversation.take(&mut self.shared, &self.buffer[..length], now);
            let eager = !conversation.out.is_empty();
            match result {
                Ok(()) => {}
                Err(over @ ConversationEnd::Closed(_)) => return self.lost(index, &over),
                Err(over) => return Err(BenchError::Server(over.to_string())),
            }
            if eager {
                self.push(index)?;
            }
            if length < READ_BYTES && !ending {
                return Ok(());
            }
        }
    }

    /// Closes a socket that the server has closed. Returns an error if it was not ready.
    fn lost(&mut self, index: usize, why: &dyn std::error::Error) -> Result<(), BenchError> {
        let ready = self.is_ready(index);
        self.cut(index);
        if !ready {
            return Err(BenchError::Server(format!("a socket closed before it was ready: {why}")));
        }
        if self.closed == 0 {
            eprintln!("trunkline-bench: a socket closed: {why}");
        }
        self.closed += 1;
        Ok(())
    }
}

/// Starts a non-blocking connect. The kernel accepts no bytes until the socket is connected.
fn connect(target: SocketAddr, index: usize) -> io::Result<TcpStream> {
    let socket = socket2::Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    // Closing resets the connection, so that its port is not held in TIME-WAIT (RFC 9293 section 3.10.5).
    socket.set_linger(Some(Duration::ZERO))?;
    let source = plan::source(index);
    if target.ip() == Ipv4Addr::LOCALHOST && source != Ipv4Addr::LOCALHOST {
        socket.bind(&SocketAddr::from((source, 0)).into())?;
    }
    match socket.connect(&target.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(socket.into()),
    }
}
