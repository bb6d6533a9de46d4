//! The sockets of a run and the loop that serves them.
//!
//! What a delivery costs here is the kernel's: of a paced one, nine tenths is the `recv`, most of it the acknowledgement
//! that TCP sends when its bytes are read (`perf record`, one room of 1,000). Finding and counting the message is a tenth.
//! In large rooms the loop also pauses before it waits, so that not every single delivery wakes it: that halves the load's
//! CPU time in a room of 5,000.

use std::{
    collections::VecDeque,
    io,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Type};

use super::{
    LoadArguments,
    conversation::{Conversation, ConversationEnd, SharedState},
    plan::{self, SocketPlan},
};
use crate::{
    BenchError,
    dialect::{ConnectParameters, SocketRole},
    poll::{self, Poll, SocketEvent},
    socket::{flush, take},
    stamp::Stamp,
};

/// Most sockets whose opening is under way.
const OPENING: u64 = 64;
/// How long openings may go without one that comes to its end.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often what is not urgent is looked at, in nanoseconds.
const LOOK: u64 = 100_000_000;
/// A pause of so many nanoseconds for each member of the largest room: a fiftieth of what the kernel takes to write a
/// message to all of them, so latencies do not notice.
const PAUSE_EACH: u64 = 100;
/// A pause shorter than this is none: the kernel makes it longer by half of it (`PR_SET_TIMERSLACK`).
const PAUSE_LEAST: u64 = 100_000;
/// Bytes that one read takes.
const READ: usize = 64 * 1024;
/// How long nothing may be said but signs of life until it is quiet. Trunkline tells who came once a second.
const QUIET: Duration = Duration::from_millis(1500);
/// Quiet or not, this is waited for at most.
const QUIET_MOST: Duration = Duration::from_secs(15);

#[derive(Debug)]
struct LoadSocket {
    /// Nothing before it is opened, and after its end.
    stream: Option<TcpStream>,
    conversation: Conversation,
    /// Did not take all that was to be sent.
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
    /// Nanoseconds.
    pause: u64,
    buffer: Box<[u8]>,
    sockets: Vec<LoadSocket>,
    pub(super) shared: SharedState,
    began: Instant,
    /// Sockets that wait to be opened.
    queue: VecDeque<usize>,
    begun: u64,
    /// When unanswered steps were last looked for.
    repeated: u64,
    /// Sockets with something to send.
    eager: Vec<usize>,
    /// WindowCounts on with every message, so that writers take turns.
    rotation: usize,
    /// Sockets that the server closed, or that broke.
    pub(super) closed: u64,
}

impl<'a> SocketEngine<'a> {
    pub(super) fn new(
        arguments: &'a LoadArguments,
        plan: &'a SocketPlan,
        cookies: &'a [String],
    ) -> Result<Self, BenchError> {
        let sockets = arguments.workload.resumes();
        let socket = |place: &plan::PlannedSocket| LoadSocket {
            stream: None,
            conversation: Conversation::new(place.role == SocketRole::Member && !place.restless, sockets),
            blocked: false,
        };
        Ok(Self {
            arguments,
            plan,
            rooms: (0..arguments.rooms).map(|room| format!("bench-{room}")).collect(),
            cookies,
            poll: Poll::new().map_err(BenchError::kernel("no epoll"))?,
            events: Vec::new(),
            pause: plan.expected.iter().max().map_or(0, |most| u64::from(*most) * PAUSE_EACH),
            buffer: vec![0; READ].into(),
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

    /// Nanoseconds since the run began.
    pub(super) fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// What was said and not answered is said again, where that is due.
    fn repeat(&mut self) {
        let now = self.now();
        if self.opening() == 0 || now < self.repeated + LOOK {
            return;
        }
        self.repeated = now;
        for (index, socket) in self.sockets.iter_mut().enumerate() {
            if socket.stream.is_some() && socket.conversation.repeat(now) {
                self.eager.push(index);
            }
        }
    }

    /// Waits for events, at most until then, and does what they ask for.
    pub(super) fn turn(&mut self, until: u64) -> Result<(), BenchError> {
        self.repeat();
        while self.begun - self.shared.ready < OPENING
            && let Some(index) = self.queue.pop_front()
        {
            self.open(index)?;
        }
        while let Some(index) = self.eager.pop() {
            self.push(index)?;
        }
        if self.pause >= PAUSE_LEAST && self.opening() == 0 && self.events.len() < poll::EVENTS {
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

    /// When to look again at something that is not urgent. Rounded, so that the timer is not set anew at each turn.
    pub(super) fn soon(&self) -> u64 {
        (self.now() / LOOK + 1) * LOOK
    }

    /// Opens these sockets in their order, as soon as it is their turn.
    pub(super) fn enqueue(&mut self, sockets: impl IntoIterator<Item = usize>) {
        self.queue.extend(sockets);
    }

    /// Sockets that are being opened or wait for it.
    pub(super) fn opening(&self) -> u64 {
        self.begun - self.shared.ready + self.queue.len() as u64
    }

    /// Waits until no socket is being opened any more.
    pub(super) fn all_open(&mut self) -> Result<(), BenchError> {
        let (mut ready, mut since) = (self.shared.ready, Instant::now());
        while self.opening() > 0 {
            self.turn(self.soon())?;
            if self.shared.ready > ready {
                (ready, since) = (self.shared.ready, Instant::now());
            } else if since.elapsed() > PATIENCE {
                let waits = self.sockets.iter().find_map(|socket| socket.conversation.waits_for());
                let waits = waits.map(|until| format!("; one waits for {until:?}")).unwrap_or_default();
                return Err(BenchError::Server(format!("{} sockets do not get in{waits}", self.opening())));
            }
        }
        Ok(())
    }

    /// Waits until the server has nothing more to say by itself.
    pub(super) fn quiet(&mut self) -> Result<(), BenchError> {
        let begin = Instant::now();
        let (mut others, mut since) = (self.shared.others, begin);
        while since.elapsed() < QUIET && begin.elapsed() < QUIET_MOST {
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
        let stream = connect(target, index).map_err(BenchError::kernel("cannot connect"))?;
        self.poll.add(&stream, index as u64).map_err(BenchError::kernel("epoll failed"))?;
        let cookie = self.cookies.get(index % self.cookies.len().max(1)).map_or("", String::as_str);
        let host = target.to_string();
        let parameters =
            ConnectParameters { role: place.role, room: &self.rooms[place.room], host: &host, cookie, after: None };
        let socket = &mut self.sockets[index];
        let now = self.began.elapsed().as_nanos() as u64;
        socket.conversation.begin(&mut self.shared, parameters, self.arguments.workload.joins(), now);
        (socket.stream, socket.blocked) = (Some(stream), false);
        self.begun += 1;
        self.eager.push(index);
        Ok(())
    }

    /// Drops a socket at once, as a client that is gone.
    pub(super) fn cut(&mut self, index: usize) {
        self.sockets[index].stream = None;
    }

    /// Whether a socket is there and ready.
    pub(super) fn is_ready(&self, index: usize) -> bool {
        let LoadSocket { stream, conversation, .. } = &self.sockets[index];
        stream.is_some() && conversation.is_ready()
    }

    /// Writes the next message into a room. False: its writers have not yet got rid of those before.
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

    /// Writes what is to be sent, as far as the socket takes it.
    fn push(&mut self, index: usize) -> Result<(), BenchError> {
        let LoadSocket { stream: Some(stream), conversation, blocked } = &mut self.sockets[index] else {
            return Ok(());
        };
        let result = flush(stream, &mut conversation.out);
        *blocked = !conversation.out.is_empty();
        result.or_else(|error| self.lost(index, &error))
    }

    /// Reads what has come.
    fn serve(&mut self, index: usize, ending: bool) -> Result<(), BenchError> {
        // An event may be older than the socket; then there is nothing to do yet.
        if self.sockets[index].blocked {
            self.push(index)?;
        }
        loop {
            let LoadSocket { stream: Some(stream), conversation, .. } = &mut self.sockets[index] else { return Ok(()) };
            let length = match take(stream, &mut self.buffer) {
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
            if length < READ && !ending {
                return Ok(());
            }
        }
    }

    /// The socket is gone. If it was not ready yet, there is nothing to measure.
    fn lost(&mut self, index: usize, why: &dyn std::error::Error) -> Result<(), BenchError> {
        let ready = self.is_ready(index);
        self.cut(index);
        if !ready {
            return Err(BenchError::Server(format!("a socket ended before it was ready: {why}")));
        }
        if self.closed == 0 {
            eprintln!("trunkline-bench: a socket ended: {why}");
        }
        self.closed += 1;
        Ok(())
    }
}

/// Begins to connect. The socket is not yet connected; what is written meanwhile is not taken.
fn connect(target: SocketAddr, index: usize) -> io::Result<TcpStream> {
    let socket = socket2::Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    // Ends by a reset, and so leaves no port behind that waits (RFC 9293 section 3.10.5).
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
