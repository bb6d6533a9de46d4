//! A client that sends one message after another until one is acknowledged, to time a failover. Blocking.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::{
    dialect::{AwaitedReply, ConnectParameters, Dialect, FrameMeaning, HandshakeStep, SocketRole},
    error::{BenchError, Result},
    frame::{FramePart, FrameReader},
    http::HttpHead,
    stamp::Stamp,
};

/// Maximum time for a step of the handshake.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// Time between two messages while none is acknowledged.
const SEND_INTERVAL: Duration = Duration::from_millis(20);
/// Maximum payload length that is looked at, in bytes.
const MAX_FRAME_BYTES: usize = 4096;

/// A socket that has joined a room.
pub(super) struct SendProbe {
    stream: TcpStream,
    room: String,
    /// Received bytes that have not been looked at.
    unread: Vec<u8>,
    frames: FrameReader,
    sent: u32,
}

impl SendProbe {
    /// Connects to the gateway at this port of loopback with the cookie of a session, and joins.
    pub(super) fn join(port: u16, cookie: &str, room: &str) -> Result<Self> {
        let host = format!("127.0.0.1:{port}");
        let stream = TcpStream::connect(&host).map_err(BenchError::kernel("cannot connect"))?;
        stream.set_read_timeout(Some(SEND_INTERVAL)).map_err(BenchError::kernel("no time limit on a socket"))?;
        stream.set_nodelay(true).map_err(BenchError::kernel("Nagle's algorithm stays on"))?;
        let frames = FrameReader::new(MAX_FRAME_BYTES);
        let mut probe = Self { stream, room: room.to_owned(), unread: Vec::new(), frames, sent: 0 };
        let parameters = ConnectParameters { role: SocketRole::Member, room, host: &host, cookie, after: None };
        let steps = Dialect::Trunkline.opening(parameters).into_iter().chain(Dialect::Trunkline.joining(parameters));
        for HandshakeStep { send, reply, .. } in steps {
            probe.write(&send)?;
            let deadline = Instant::now() + STEP_TIMEOUT;
            while !probe.receive(reply)? {
                if Instant::now() > deadline {
                    return Err(BenchError::Measurement(format!("no {reply:?} within 10 s")));
                }
            }
        }
        Ok(probe)
    }

    /// Sends until a message of this call is acknowledged. Refused messages are sent again. Returns the time it took.
    pub(super) fn time_to_acknowledgement(&mut self, limit: Duration) -> Result<Duration> {
        let (began, first) = (Instant::now(), self.sent);
        let mut next = began;
        while began.elapsed() < limit {
            if Instant::now() >= next {
                let mut out = Vec::new();
                Dialect::Trunkline.publish(&mut out, &self.room, Stamp { number: self.sent, intended: 0 });
                self.sent += 1;
                self.write(&out)?;
                next += SEND_INTERVAL;
            }
            if self.acknowledged(first)? {
                return Ok(began.elapsed());
            }
        }
        Err(BenchError::Measurement(format!("no send was acknowledged within {} s", limit.as_secs())))
    }

    /// Whether the received frames acknowledge a message with this number or a higher one.
    fn acknowledged(&mut self, first: u32) -> Result<bool> {
        self.read()?;
        let (mut found, sent) = (false, self.sent);
        self.each_frame(|payload| {
            let text = String::from_utf8_lossy(payload);
            found |= Dialect::Trunkline.meaning(payload) == FrameMeaning::Acknowledged
                && (first..sent).any(|number| text.contains(&format!(r#""id":"{number:08x}""#)));
        })?;
        Ok(found)
    }

    /// Reads once, and returns whether the reply has arrived.
    fn receive(&mut self, reply: AwaitedReply) -> Result<bool> {
        self.read()?;
        match reply {
            AwaitedReply::Switched => {
                let Some(head) = HttpHead::parse(&self.unread) else { return Ok(false) };
                if head.status() != 101 {
                    return Err(BenchError::Measurement(format!("the gateway answered {}", head.first_line())));
                }
                let length = head.length;
                self.unread.drain(..length);
                Ok(true)
            }
            AwaitedReply::Frame(part) => {
                let mut found = false;
                self.each_frame(|payload| found |= memchr::memmem::find(payload, part.as_bytes()).is_some())?;
                Ok(found)
            }
        }
    }

    /// Looks at all complete frames, and answers pings.
    fn each_frame(&mut self, mut look: impl FnMut(&[u8])) -> Result<()> {
        let (unread, mut pongs) = (std::mem::take(&mut self.unread), Vec::new());
        let mut bytes = &unread[..];
        // A frame that is incomplete stays in the reader.
        while let Some(part) = self.frames.next(&mut bytes) {
            if let FramePart::Whole { payload, .. } = part {
                if Dialect::Trunkline.meaning(payload) == FrameMeaning::Ping {
                    Dialect::Trunkline.pong(&mut pongs);
                }
                look(payload);
            }
        }
        self.write(&pongs)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).map_err(BenchError::kernel("the gateway closed the socket"))
    }

    /// Reads what arrives within [`SEND_INTERVAL`].
    fn read(&mut self) -> Result<()> {
        let mut chunk = [0; MAX_FRAME_BYTES];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(BenchError::kernel("the gateway closed the socket")(ErrorKind::UnexpectedEof.into())),
            Ok(length) => {
                self.unread.extend(&chunk[..length]);
                Ok(())
            }
            Err(error) if is_timeout(&error) => Ok(()),
            Err(error) => Err(BenchError::kernel("the gateway closed the socket")(error)),
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;
    use crate::frame::{TEXT, from_server};

    fn frame(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        from_server(&mut out, TEXT, text.bytes());
        out
    }

    /// A gateway that answers whatever it receives with these bytes, one item after another.
    fn gateway(answers: Vec<Vec<u8>>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut chunk = [0; 65536];
            for answer in answers {
                assert!(stream.read(&mut chunk).unwrap() > 0);
                stream.write_all(&answer).unwrap();
            }
            // Until the probe closes.
            while stream.read(&mut chunk).is_ok_and(|length| length > 0) {}
        });
        port
    }

    const SWITCHED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";

    #[test]
    fn probe_joins_and_waits_for_an_acknowledgement_of_its_own_messages() {
        let refused = [frame(r#"{"type":"error","code":"unavailable"}"#), frame(r#"{"type":"sent","id":"0000ffff"}"#)];
        let port = gateway(vec![
            [SWITCHED.to_vec(), frame(r#"{"type":"welcome"}"#)].concat(),
            frame(r#"{"type":"joined"}"#),
            [refused.concat(), frame(r#"{"type":"ping"}"#)].concat(),
            frame(r#"{"type":"sent","id":"00000000"}"#),
        ]);
        let mut probe = SendProbe::join(port, "a=b", "lobby").unwrap();
        assert!(probe.time_to_acknowledgement(Duration::from_secs(5)).is_ok());
        let error = probe.time_to_acknowledgement(Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("no send was acknowledged"), "{error}");
    }

    #[test]
    fn refused_handshake_is_reported() {
        let port = gateway(vec![b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_vec()]);
        let error = SendProbe::join(port, "", "lobby").err().unwrap();
        assert!(error.to_string().contains("503"), "{error}");
    }
}
