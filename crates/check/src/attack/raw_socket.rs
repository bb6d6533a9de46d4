//! A WebSocket client that can violate the protocol: it composes frames byte by byte (RFC 6455 section 5.2).

use std::{io, net::ToSocketAddrs, time::Duration};

use serde::Serialize;
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};
use trunkline_client::{ClientSession, GatewayUrl};
use trunkline_domain::millis;

/// Opcodes of RFC 6455 section 11.8.
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
/// Flag of the last frame of a message (RFC 6455 section 5.2).
pub(super) const FIN: u8 = 0x80;
/// Close code of a connection that ended without a close frame (RFC 6455 section 7.1.5).
pub(super) const CONNECTION_BROKEN: u16 = 1006;
/// Largest accepted frame of a server, in bytes: 4 MiB.
const FRAME_BYTES_MAX: u64 = 4 << 20;
/// Longest time for a TCP connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How a socket ended.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct SocketEnd {
    /// Close code; 1006 if there was no close frame; `None` if the socket was still open at the end of the attack.
    pub(super) close: Option<u16>,
    /// Milliseconds from the first byte of the attack to the end.
    pub(super) ms: u64,
}

impl SocketEnd {
    pub(super) fn new(since: Instant, close: Option<u16>) -> Self {
        Self { close, ms: millis(since.elapsed()) }
    }
}

/// An open WebSocket.
pub(super) struct RawSocket {
    pub(super) stream: TcpStream,
    buffer: Vec<u8>,
}

/// A frame of the server.
#[derive(Debug)]
pub(super) enum ReceivedFrame {
    Text(Value),
    /// A close frame with its code, or 1005 if it has none.
    Close(u16),
    Other,
}

impl RawSocket {
    /// Opens a WebSocket. `receive_buffer` is the size of the kernel's receive buffer in bytes.
    pub(super) async fn open(session: &ClientSession, receive_buffer: Option<usize>) -> io::Result<Self> {
        let stream = connect(session.url(), receive_buffer).await?;
        let mut socket = Self { stream, buffer: Vec::new() };
        socket.shake_hands(session).await?;
        Ok(socket)
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
                return if switched { Ok(()) } else { Err(invalid("the handshake was refused")) };
            }
            self.fill_buffer().await?;
        }
    }

    async fn fill_buffer(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Sends a valid text frame.
    pub(super) async fn send(&mut self, frame: &Value) -> io::Result<()> {
        self.stream.write_all(&frame_bytes(FIN | TEXT, frame.to_string().as_bytes())).await
    }

    /// Parses the next frame, if the buffer holds a whole one.
    fn parse_frame(&mut self) -> io::Result<Option<ReceivedFrame>> {
        let [first, second, ..] = *self.buffer.as_slice() else { return Ok(None) };
        let (start, length) = match second & 0x7f {
            126 => (4, self.buffer.get(2..4).map(|b| u64::from(u16::from_be_bytes([b[0], b[1]])))),
            127 => (10, self.buffer.get(2..10).and_then(|b| b.try_into().ok()).map(u64::from_be_bytes)),
            short => (2, Some(u64::from(short))),
        };
        let Some(length) = length else { return Ok(None) };
        if length > FRAME_BYTES_MAX {
            return Err(invalid("the server sent a frame of more than 4 MiB"));
        }
        // At most 4 MiB.
        #[allow(clippy::cast_possible_truncation)]
        let end = start + length as usize;
        let Some(payload) = self.buffer.get(start..end) else { return Ok(None) };
        let frame = match first & 0x0f {
            TEXT => {
                let value = serde_json::from_slice(payload);
                ReceivedFrame::Text(value.map_err(|_| invalid("the server sent a text that is not JSON"))?)
            }
            CLOSE => ReceivedFrame::Close(payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]))),
            _ => ReceivedFrame::Other,
        };
        self.buffer.drain(..end);
        Ok(Some(frame))
    }

    /// Waits for the next frame.
    pub(super) async fn receive(&mut self) -> io::Result<ReceivedFrame> {
        loop {
            if let Some(frame) = self.parse_frame()? {
                return Ok(frame);
            }
            self.fill_buffer().await?;
        }
    }

    /// Passes every text frame that has arrived to `handle`, without waiting. Returns the close code if the socket ended.
    pub(super) fn receive_available(&mut self, mut handle: impl FnMut(Value)) -> Option<u16> {
        loop {
            match self.parse_frame() {
                Ok(Some(ReceivedFrame::Text(text))) => handle(text),
                Ok(Some(ReceivedFrame::Close(code))) => return Some(code),
                Ok(Some(ReceivedFrame::Other)) => {}
                Ok(None) => match self.stream.try_read_buf(&mut self.buffer) {
                    Ok(0) => return Some(CONNECTION_BROKEN),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                    Err(_) => return Some(CONNECTION_BROKEN),
                },
                Err(_) => return Some(CONNECTION_BROKEN),
            }
        }
    }

    /// Passes every text frame to `handle` until the socket ends, and returns the close code. Returns `None` if the socket
    /// is still open after `limit`.
    pub(super) async fn receive_until_end(&mut self, limit: Duration, mut handle: impl FnMut(&Value)) -> Option<u16> {
        let ended = async {
            loop {
                match self.receive().await {
                    Ok(ReceivedFrame::Text(text)) => handle(&text),
                    Ok(ReceivedFrame::Close(code)) => return code,
                    Ok(ReceivedFrame::Other) => {}
                    Err(_) => return CONNECTION_BROKEN,
                }
            }
        };
        timeout(limit, ended).await.ok()
    }
}

/// Opens a TCP connection. `receive_buffer` is the size of the kernel's receive buffer in bytes.
pub(super) async fn connect(site: &GatewayUrl, receive_buffer: Option<usize>) -> io::Result<TcpStream> {
    let (host, port) = site.host_and_port();
    let address = (host, port).to_socket_addrs()?.next().ok_or_else(|| invalid("the host has no address"))?;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if let Some(bytes) = receive_buffer {
        // Before the connection is made, so that the announced window is small from the start.
        socket.set_recv_buffer_size(bytes)?;
    }
    let stream = tokio::task::spawn_blocking(move || {
        socket.connect_timeout(&address.into(), CONNECT_LIMIT)?;
        socket.set_nonblocking(true)?;
        Ok::<_, io::Error>(std::net::TcpStream::from(socket))
    });
    TcpStream::from_std(stream.await.map_err(io::Error::other)??)
}

/// Returns an error about something that the server sent.
pub(super) fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Returns a masked frame. The mask is zero, so that the payload is sent as it is; a server cannot object to that.
pub(super) fn frame_bytes(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header_bytes(first_byte, payload.len() as u64, true);
    bytes.extend_from_slice(payload);
    bytes
}

/// Returns the header of a frame that announces `length` bytes of payload.
pub(super) fn header_bytes(first_byte: u8, length: u64, masked: bool) -> Vec<u8> {
    let mask = if masked { 0x80 } else { 0 };
    let mut bytes = vec![first_byte];
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
