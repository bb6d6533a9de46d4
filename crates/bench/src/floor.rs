//! The floor: the least that a server can do for a message and still be one. What it costs is what the kernel costs.
//!
//! One thread, one epoll loop, no Redis, no sessions, no history. A message is framed once and written to every subscriber
//! of its room: one `write` each, or, *batched*, everything that came in a turn of the loop in one `write` each.

use std::{
    collections::HashMap,
    io::{self, Write},
    net::{SocketAddr, TcpListener, TcpStream},
};

use slab::Slab;

use crate::{
    BenchError,
    frame::{self, FramePart, FrameReader, TEXT},
    http::{self, HttpHead},
    poll::{Poll, SocketEvent},
    socket::{flush, give, make_room, take},
};

/// Longest message, in bytes of text; a writer that sends a longer one is cut.
const MESSAGE_MOST: usize = 16 * 1024;
/// Most bytes that wait for a subscriber; one that lets more gather is cut.
const PENDING_MOST: usize = 4 << 20;
/// Bytes that one read takes.
const READ: usize = 64 * 1024;
const LISTENER: u64 = u64::MAX - 1;

/// What `trunkline-bench floor` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct FloorArguments {
    /// Address and port to serve on; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Write everything that came in a turn of the loop at once
    #[arg(long)]
    batched: bool,
}

/// Serves until the process is ended.
///
/// # Errors
/// [`BenchError::Kernel`] where listening or epoll fails.
pub fn serve(arguments: &FloorArguments) -> Result<(), BenchError> {
    make_room(0)?;
    let listener = TcpListener::bind(arguments.listen).map_err(BenchError::kernel("cannot listen"))?;
    let address = listener.local_addr().map_err(BenchError::kernel("cannot listen"))?;
    let mut floor = FloorServer::new(listener, arguments.batched).map_err(BenchError::kernel("cannot start"))?;
    println!("listening on http://{address}");
    loop {
        floor.turn().map_err(BenchError::kernel("the loop failed"))?;
    }
}

#[derive(Debug)]
struct FloorServer {
    poll: Poll,
    listener: TcpListener,
    batched: bool,
    events: Vec<SocketEvent>,
    buffer: Box<[u8]>,
    peers: Slab<FloorSocket>,
    names: HashMap<String, usize>,
    rooms: Vec<FloorRoom>,
    /// Rooms with frames of this turn.
    busy: Vec<usize>,
}

#[derive(Debug, Default)]
struct FloorRoom {
    subscribers: Vec<usize>,
    /// Frames of this turn, and where each ends.
    frames: Vec<u8>,
    ends: Vec<usize>,
}

#[derive(Debug)]
struct FloorSocket {
    stream: TcpStream,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The head of its request, as far as it has come.
    Greeting(Vec<u8>),
    /// Its room, and what its socket did not take.
    Subscriber(usize, Vec<u8>),
    Writer(usize, Box<FrameReader>),
}

impl FloorServer {
    fn new(listener: TcpListener, batched: bool) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let poll = Poll::new()?;
        poll.add(&listener, LISTENER)?;
        Ok(Self {
            poll,
            listener,
            batched,
            events: Vec::new(),
            buffer: vec![0; READ].into(),
            peers: Slab::new(),
            names: HashMap::new(),
            rooms: Vec::new(),
            busy: Vec::new(),
        })
    }

    /// Waits for events and does what they ask for.
    fn turn(&mut self) -> io::Result<()> {
        let mut events = std::mem::take(&mut self.events);
        self.poll.wait(&mut events, None)?;
        for event in &events {
            match event.token {
                LISTENER => self.accept()?,
                token => {
                    let peer = token as usize;
                    // An event of this turn may be older than the end of its peer.
                    if self.peers.contains(peer) && self.serve(peer, event.ending).is_err() {
                        self.end(peer);
                    }
                }
            }
        }
        self.events = events;
        while let Some(room) = self.busy.pop() {
            let FloorRoom { frames, ends, .. } = &mut self.rooms[room];
            let (frames, mut ends) = (std::mem::take(frames), std::mem::take(ends));
            if self.batched {
                ends.drain(..ends.len() - 1);
            }
            let mut start = 0;
            for end in ends {
                self.write(room, &frames[start..end]);
                start = end;
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    let entry = self.peers.vacant_entry();
                    self.poll.add(&stream, entry.key() as u64)?;
                    entry.insert(FloorSocket { stream, state: State::Greeting(Vec::new()) });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads what is there; an error means that the peer is of no more use.
    fn serve(&mut self, index: usize, ending: bool) -> io::Result<()> {
        if let FloorSocket { stream, state: State::Subscriber(_, unsent) } = &mut self.peers[index] {
            flush(stream, unsent)?;
        }
        loop {
            let FloorSocket { stream, state } = &mut self.peers[index];
            let length = take(stream, &mut self.buffer)?;
            let mut bytes = &self.buffer[..length];
            match state {
                State::Greeting(head) => {
                    head.extend(bytes);
                    self.greet(index)?;
                }
                State::Subscriber(..) => {}
                State::Writer(room, reader) => {
                    let FloorRoom { frames, ends, .. } = &mut self.rooms[*room];
                    while let Some(part) = reader.next(&mut bytes) {
                        match part {
                            FramePart::Whole { opcode: TEXT, mask: Some(mask), payload } => {
                                if ends.is_empty() {
                                    self.busy.push(*room);
                                }
                                frame::from_server(frames, TEXT, frame::unmasked(payload, mask));
                                ends.push(frames.len());
                            }
                            _ => return Err(io::ErrorKind::InvalidData.into()),
                        }
                    }
                }
            }
            if length == 0 || length < READ && !ending {
                return Ok(());
            }
        }
    }

    /// Answers the handshake once it is whole.
    fn greet(&mut self, index: usize) -> io::Result<()> {
        let FloorSocket { stream, state: State::Greeting(bytes) } = &mut self.peers[index] else { return Ok(()) };
        let Some(head) = HttpHead::parse(bytes) else {
            return if bytes.len() > http::HEAD_MOST { Err(io::ErrorKind::InvalidData.into()) } else { Ok(()) };
        };
        let target = head.first_line().split(' ').nth(1).and_then(|target| target.split_once("?room="));
        let key = head.field("sec-websocket-key").next();
        let (Some((path @ ("/sub" | "/pub"), name)), Some(key)) = (target, key) else {
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")?;
            return Err(io::ErrorKind::InvalidData.into());
        };
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
            http::accept(key)
        );
        let writes = path == "/pub";
        let room = *self.names.entry(name.to_owned()).or_insert_with(|| {
            self.rooms.push(FloorRoom::default());
            self.rooms.len() - 1
        });
        // Nothing was written to this socket yet, so its buffer takes two hundred bytes.
        stream.write_all(answer.as_bytes())?;
        self.peers[index].state = if writes {
            State::Writer(room, Box::new(FrameReader::new(MESSAGE_MOST)))
        } else {
            self.rooms[room].subscribers.push(index);
            State::Subscriber(room, Vec::new())
        };
        Ok(())
    }

    /// Writes bytes to every subscriber of a room.
    fn write(&mut self, room: usize, bytes: &[u8]) {
        let mut broken = Vec::new();
        for index in &self.rooms[room].subscribers {
            let FloorSocket { stream, state: State::Subscriber(_, unsent) } = &mut self.peers[*index] else { continue };
            if give(stream, unsent, bytes).is_err() || unsent.len() > PENDING_MOST {
                broken.push(*index);
            }
        }
        broken.into_iter().for_each(|index| self.end(index));
    }

    fn end(&mut self, index: usize) {
        let peer = self.peers.remove(index);
        if let State::Subscriber(room, _) = peer.state {
            self.rooms[room].subscribers.retain(|one| *one != index);
        }
    }
}
