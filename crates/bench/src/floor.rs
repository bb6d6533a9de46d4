//! The floor: a minimal server, whose cost is mostly that of the kernel.
//!
//! One thread with one epoll loop, without Redis, sessions or history. It encodes a message once and writes it to every
//! subscriber of its room: one `write` per message and subscriber, or, if *batched*, one `write` per subscriber for all
//! messages that arrived in one iteration of the loop.

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
    socket::{flush, raise_file_limit, read, write},
};

/// Maximum length of a message's text in bytes. Writers of longer messages are disconnected.
const MAX_MESSAGE_BYTES: usize = 16 * 1024;
/// Maximum number of unsent bytes per subscriber. Subscribers with more are disconnected.
const MAX_PENDING_BYTES: usize = 4 << 20;
/// Size of the read buffer in bytes.
const READ_BYTES: usize = 64 * 1024;
const LISTENER: u64 = u64::MAX - 1;

/// Flags of `trunkline-bench floor`.
#[derive(Clone, Debug, clap::Args)]
pub struct FloorArguments {
    /// Address and port to listen on; port 0 picks a free port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Write all messages of one loop iteration with one call per subscriber
    #[arg(long)]
    batched: bool,
}

/// Serves until the process is killed.
///
/// # Errors
/// Returns [`BenchError::Kernel`] if listening or epoll fails.
pub fn serve(arguments: &FloorArguments) -> Result<(), BenchError> {
    raise_file_limit(0)?;
    let listener = TcpListener::bind(arguments.listen).map_err(BenchError::kernel("cannot listen"))?;
    let address = listener.local_addr().map_err(BenchError::kernel("cannot listen"))?;
    let mut floor = FloorServer::new(listener, arguments.batched).map_err(BenchError::kernel("cannot start"))?;
    println!("listening on http://{address}");
    loop {
        floor.turn().map_err(BenchError::kernel("the event loop failed"))?;
    }
}

#[derive(Debug)]
struct FloorServer {
    poll: Poll,
    listener: TcpListener,
    batched: bool,
    events: Vec<SocketEvent>,
    buffer: Box<[u8]>,
    sockets: Slab<FloorSocket>,
    names: HashMap<String, usize>,
    rooms: Vec<FloorRoom>,
    /// Rooms with frames of this iteration.
    busy: Vec<usize>,
}

#[derive(Debug, Default)]
struct FloorRoom {
    subscribers: Vec<usize>,
    /// Frames of this iteration, and the end of each in bytes.
    frames: Vec<u8>,
    ends: Vec<usize>,
}

#[derive(Debug)]
struct FloorSocket {
    stream: TcpStream,
    state: FloorSocketState,
}

#[derive(Debug)]
enum FloorSocketState {
    /// The received part of the handshake request.
    Handshake(Vec<u8>),
    /// Index of its room, and bytes that the socket did not accept.
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
            buffer: vec![0; READ_BYTES].into(),
            sockets: Slab::new(),
            names: HashMap::new(),
            rooms: Vec::new(),
            busy: Vec::new(),
        })
    }

    /// One iteration: waits for events and handles them.
    fn turn(&mut self) -> io::Result<()> {
        let mut events = std::mem::take(&mut self.events);
        self.poll.wait(&mut events, None)?;
        for event in &events {
            match event.token {
                LISTENER => self.accept()?,
                token => {
                    let socket = token as usize;
                    // The socket may have been closed by an earlier event of this iteration.
                    if self.sockets.contains(socket) && self.serve(socket, event.ending).is_err() {
                        self.end(socket);
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
                    let entry = self.sockets.vacant_entry();
                    self.poll.add(&stream, entry.key() as u64)?;
                    entry.insert(FloorSocket { stream, state: FloorSocketState::Handshake(Vec::new()) });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads and handles all available bytes. After an error the socket must be closed.
    fn serve(&mut self, index: usize, ending: bool) -> io::Result<()> {
        if let FloorSocket { stream, state: FloorSocketState::Subscriber(_, unsent) } = &mut self.sockets[index] {
            flush(stream, unsent)?;
        }
        loop {
            let FloorSocket { stream, state } = &mut self.sockets[index];
            let length = read(stream, &mut self.buffer)?;
            let mut bytes = &self.buffer[..length];
            match state {
                FloorSocketState::Handshake(head) => {
                    head.extend(bytes);
                    self.greet(index)?;
                }
                FloorSocketState::Subscriber(..) => {}
                FloorSocketState::Writer(room, reader) => {
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
            if length == 0 || length < READ_BYTES && !ending {
                return Ok(());
            }
        }
    }

    /// Answers the handshake once the request is complete.
    fn greet(&mut self, index: usize) -> io::Result<()> {
        let FloorSocket { stream, state: FloorSocketState::Handshake(bytes) } = &mut self.sockets[index] else {
            return Ok(());
        };
        let Some(head) = HttpHead::parse(bytes) else {
            return if bytes.len() > http::MAX_HEAD_BYTES { Err(io::ErrorKind::InvalidData.into()) } else { Ok(()) };
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
        // The send buffer is empty, so it accepts the whole answer.
        stream.write_all(answer.as_bytes())?;
        self.sockets[index].state = if writes {
            FloorSocketState::Writer(room, Box::new(FrameReader::new(MAX_MESSAGE_BYTES)))
        } else {
            self.rooms[room].subscribers.push(index);
            FloorSocketState::Subscriber(room, Vec::new())
        };
        Ok(())
    }

    /// Writes bytes to every subscriber of a room.
    fn write(&mut self, room: usize, bytes: &[u8]) {
        let mut broken = Vec::new();
        for index in &self.rooms[room].subscribers {
            let FloorSocket { stream, state: FloorSocketState::Subscriber(_, unsent) } = &mut self.sockets[*index]
            else {
                continue;
            };
            if write(stream, unsent, bytes).is_err() || unsent.len() > MAX_PENDING_BYTES {
                broken.push(*index);
            }
        }
        broken.into_iter().for_each(|index| self.end(index));
    }

    fn end(&mut self, index: usize) {
        let socket = self.sockets.remove(index);
        if let FloorSocketState::Subscriber(room, _) = socket.state {
            self.rooms[room].subscribers.retain(|one| *one != index);
        }
    }
}
