//! A WebSocket without any manners: frames are made byte by byte (RFC 6455 section 5.2).

use std::{io, net::ToSocketAddrs, time::Duration};

use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use trunkline_client::ClientSession;

use super::strange;

/// Opcodes of RFC 6455 section 11.8.
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
const CLOSE: u8 = 8;
/// The bit of a message's last frame.
pub(super) const FIN: u8 = 0x80;
/// Longest frame of a server that is taken.
const FRAME_MOST: u64 = 4 << 20;

/// One socket, from behind its handshake on.
pub(super) struct Raw {
    pub(super) stream: TcpStream,
    buffer: Vec<u8>,
}

/// A frame of the server.
#[derive(Debug)]
pub(super) enum Frame {
    Text(Value),
    /// Its code; 1005 where it has none.
    Close(u16),
    Other,
}

impl Raw {
    /// Opens a socket; `receive` bytes is what the kernel should hold of what the server sends.
    pub(super) async fn open(session: &ClientSession, receive: Option<usize>) -> io::Result<Self> {
        let (host, port) = session.url().host_and_port();
        let address = (host, port).to_socket_addrs()?.next().ok_or_else(|| strange("the host has no address"))?;
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if let Some(bytes) = receive {
            // Before connecting, so that the window that is announced is small from the start.
            socket.set_recv_buffer_size(bytes)?;
        }
        let stream = tokio::task::spawn_blocking(move || {
            socket.connect_timeout(&address.into(), Duration::from_secs(10))?;
            socket.set_nonblocking(true)?;
            Ok::<_, io::Error>(std::net::TcpStream::from(socket))
        });
        let stream = TcpStream::from_std(stream.await.map_err(io::Error::other)??)?;
        let mut raw = Self { stream, buffer: Vec::new() };
        raw.shake_hands(session).await?;
        Ok(raw)
    }

    async fn shake_hands(&mut self, session: &ClientSession) -> io::Result<()> {
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: trunkline.v1\r\nCookie: {}\r\n\r\n",
            session.url().authority(),
            session.cookie_header().unwrap_or_default()
        );
        self.stream.write_all(request.as_bytes()).await?;
        loop {
            if let Some(end) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let switched = self.buffer.starts_with(b"HTTP/1.1 101");
                self.buffer.drain(..end + 4);
                return if switched { Ok(()) } else { Err(strange("the handshake was refused")) };
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Sends a text frame as a client should.
    pub(super) async fn say(&mut self, frame: &Value) -> io::Result<()> {
        self.stream.write_all(&frame_bytes(FIN | TEXT, frame.to_string().as_bytes())).await
    }

    /// The next frame, if it is whole already.
    fn parsed(&mut self) -> io::Result<Option<Frame>> {
        let [first, second, ..] = *self.buffer.as_slice() else { return Ok(None) };
        let (start, length) = match second & 0x7f {
            126 => (4, self.buffer.get(2..4).map(|b| u64::from(u16::from_be_bytes([b[0], b[1]])))),
            127 => (10, self.buffer.get(2..10).and_then(|b| b.try_into().ok()).map(u64::from_be_bytes)),
            short => (2, Some(u64::from(short))),
        };
        let Some(length) = length else { return Ok(None) };
        if length > FRAME_MOST {
            return Err(strange("the server's frame is larger than 4 MiB"));
        }
        // At most 4 MiB.
        #[allow(clippy::cast_possible_truncation)]
        let end = start + length as usize;
        let Some(payload) = self.buffer.get(start..end) else { return Ok(None) };
        let frame = match first & 0x0f {
            TEXT => Frame::Text(serde_json::from_slice(payload).map_err(|_| strange("the server's text is no JSON"))?),
            CLOSE => Frame::Close(payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]))),
            _ => Frame::Other,
        };
        self.buffer.drain(..end);
        Ok(Some(frame))
    }

    /// The next frame.
    pub(super) async fn hear(&mut self) -> io::Result<Frame> {
        loop {
            if let Some(frame) = self.parsed()? {
                return Ok(frame);
            }
            self.fill().await?;
        }
    }

    /// Hands each frame on that is there already, without waiting; the close code if the socket has ended.
    pub(super) fn take(&mut self, mut each: impl FnMut(Value)) -> Option<u16> {
        loop {
            match self.parsed() {
                Ok(Some(Frame::Text(text))) => each(text),
                Ok(Some(Frame::Close(code))) => return Some(code),
                Ok(Some(Frame::Other)) => {}
                Ok(None) => match self.stream.try_read_buf(&mut self.buffer) {
                    Ok(0) => return Some(1006),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                    Err(_) => return Some(1006),
                },
                Err(_) => return Some(1006),
            }
        }
    }

    /// Reads until the socket ends, handing each text frame on; `None`: it was open still when the time was over.
    pub(super) async fn end(&mut self, limit: Duration, mut each: impl FnMut(&Value)) -> Option<u16> {
        let ended = async {
            loop {
                match self.hear().await {
                    Ok(Frame::Text(text)) => each(&text),
                    Ok(Frame::Close(code)) => return code,
                    Ok(Frame::Other) => {}
                    Err(_) => return 1006,
                }
            }
        };
        timeout(limit, ended).await.ok()
    }
}

/// A masked frame. The mask is zero, which RFC 6455 allows servers not to tell from any other.
pub(super) fn frame_bytes(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = head_bytes(first, payload.len() as u64, true);
    bytes.extend_from_slice(payload);
    bytes
}

/// The head of a frame that announces `length` bytes.
pub(super) fn head_bytes(first: u8, length: u64, masked: bool) -> Vec<u8> {
    let mask = if masked { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..126), _) => bytes.push(mask | short),
        (_, Ok(medium)) => {
            bytes.push(mask | 126);
            bytes.extend(medium.to_be_bytes());
        }
        _ => {
            bytes.push(mask | 127);
            bytes.extend(length.to_be_bytes());
        }
    }
    if masked {
        bytes.extend([0; 4]);
    }
    bytes
}
