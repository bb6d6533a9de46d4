//! How each server is spoken to. Pure: bytes to send, and what received bytes mean.

use crate::{
    frame::{self, BINARY, TEXT},
    http,
    stamp::Stamp,
};

/// A protocol of ours or of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Dialect {
    /// `trunkline-bench floor`
    Floor,
    /// `docs/PROTOCOL.md`
    Trunkline,
    /// SocketEngine.IO 4 and LoadSocket.IO 5 over WebSocket at once: events `join` and `send`, each acknowledged, and `message`
    #[value(alias = "socketioxide")]
    Socketio,
    /// nginx's nchan: WebSocket at `/sub/ROOM`, publishing by `POST /pub/ROOM`
    Nchan,
    /// The NATS client protocol over WebSocket
    Nats,
}

/// How LoadSocket.IO acknowledges a join.
const JOINED: &str = "430[";

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketRole {
    /// Gets the room's messages.
    Member,
    /// Only writes.
    Writer,
}

/// A socket that is to be opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectParameters<'a> {
    pub(crate) role: SocketRole,
    pub(crate) room: &'a str,
    /// `Host` of its requests.
    pub(crate) host: &'a str,
    /// `Cookie` of its handshake, empty for none.
    pub(crate) cookie: &'a str,
    /// The last message that it saw, where the protocol knows sockets.
    pub(crate) after: Option<&'a str>,
}

/// Something to say, and what must be heard until the next is said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HandshakeStep {
    pub(crate) say: Vec<u8>,
    pub(crate) until: AwaitedReply,
    /// It is said again if that takes long.
    pub(crate) again: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AwaitedReply {
    /// The answer 101.
    Switched,
    /// A frame that contains this.
    Heard(&'static str),
}

/// What a frame without a message means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameMeaning {
    /// A message was taken.
    Acknowledged,
    /// Something was not.
    Refused,
    /// To be answered with [`Dialect::pong`].
    Ping,
    /// Presence and the like.
    Other,
}

impl HandshakeStep {
    fn new(say: Vec<u8>, until: AwaitedReply) -> Self {
        Self { say, until, again: false }
    }
}

impl Dialect {
    /// Whether those who write are members of the room. If not, each room has writers beside its members.
    pub(crate) fn members_write(self) -> bool {
        matches!(self, Self::Trunkline | Self::Socketio)
    }

    /// Whether sends are acknowledged.
    pub(crate) fn acknowledges(self) -> bool {
        !matches!(self, Self::Floor | Self::Nats)
    }

    /// The request that starts a session for a user, on a connection that stays open; nothing where there are no sessions.
    pub(crate) fn login(self, host: &str, user: &str) -> Option<Vec<u8>> {
        match self {
            Self::Trunkline => {
                let body = format!("name={user}");
                let request = format!(
                    "POST /login HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                     Content-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                Some(request.into_bytes())
            }
            Self::Socketio => Some(format!("GET /login?name={user} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()),
            Self::Floor | Self::Nchan | Self::Nats => None,
        }
    }

    /// What opens a socket, until the server is ready for a join.
    pub(crate) fn opening(self, parameters: ConnectParameters<'_>) -> Vec<HandshakeStep> {
        let ConnectParameters { role, room, host, cookie, .. } = parameters;
        let cookie = if cookie.is_empty() { String::new() } else { format!("Cookie: {cookie}\r\n") };
        let upgrade =
            |path: &str, fields: &str| HandshakeStep::new(http::upgrade(path, host, fields), AwaitedReply::Switched);
        match self {
            Self::Floor => {
                let path = if role == SocketRole::Writer { "pub" } else { "sub" };
                vec![upgrade(&format!("/{path}?room={room}"), "")]
            }
            Self::Trunkline => vec![
                upgrade("/ws", &format!("Sec-WebSocket-Protocol: trunkline.v1\r\n{cookie}")),
                HandshakeStep::new(Vec::new(), AwaitedReply::Heard(r#""type":"welcome""#)),
            ],
            Self::Socketio => vec![
                upgrade("/socket.io/?EIO=4&transport=websocket", &cookie),
                HandshakeStep::new(Vec::new(), AwaitedReply::Heard(r#"0{"sid""#)),
                self.step("40", r#"40{"sid""#),
            ],
            Self::Nchan if role == SocketRole::Writer => Vec::new(),
            Self::Nchan => vec![upgrade(&format!("/sub/{room}"), "")],
            Self::Nats => vec![
                upgrade("/", ""),
                HandshakeStep::new(Vec::new(), AwaitedReply::Heard("INFO ")),
                self.step("CONNECT {\"verbose\":false,\"pedantic\":false}\r\nPING\r\n", "PONG"),
            ],
        }
    }

    /// What joins the room; nothing where opening did.
    pub(crate) fn joining(self, parameters: ConnectParameters<'_>) -> Option<HandshakeStep> {
        let ConnectParameters { role, room, after, .. } = parameters;
        match (self, role) {
            (Self::Trunkline, _) => {
                let after = after.map(|after| format!(r#","after":"{after}""#)).unwrap_or_default();
                let join = format!(r#"{{"type":"join","room":"{room}","recent":0{after}}}"#);
                Some(self.step(&join, r#""type":"joined""#))
            }
            (Self::Socketio, _) => {
                // socketioxide drops what comes before its handlers stand, which is after it has let the socket in.
                Some(HandshakeStep { again: true, ..self.step(&format!(r#"420["join","{room}"]"#), JOINED) })
            }
            (Self::Nats, SocketRole::Member) => Some(self.step(&format!("SUB {room} 1\r\nPING\r\n"), "PONG")),
            (Self::Nats, SocketRole::Writer) | (Self::Floor | Self::Nchan, _) => None,
        }
    }

    fn step(self, say: &str, until: &'static str) -> HandshakeStep {
        let mut bytes = Vec::new();
        frame::from_client(&mut bytes, self.opcode(), say.as_bytes());
        HandshakeStep::new(bytes, AwaitedReply::Heard(until))
    }

    /// Appends what publishes a message.
    pub(crate) fn publish(self, out: &mut Vec<u8>, room: &str, stamp: Stamp) {
        let text = stamp.text();
        // A stamp is ASCII.
        let shown = String::from_utf8_lossy(&text);
        let Stamp { number, .. } = stamp;
        let payload = match self {
            Self::Floor => return frame::from_client(out, TEXT, &text),
            Self::Nchan => {
                let head =
                    format!("POST /pub/{room} HTTP/1.1\r\nHost: bench\r\nContent-Length: {}\r\n\r\n", text.len());
                out.extend(head.bytes());
                return out.extend(text);
            }
            Self::Trunkline => format!(r#"{{"type":"send","room":"{room}","id":"{number:08x}","text":"{shown}"}}"#),
            // A join has the number 0.
            Self::Socketio => format!(r#"42{}["send","{room}","{shown}"]"#, u64::from(number) + 1),
            Self::Nats => format!("PUB {room} {}\r\n{shown}\r\n", text.len()),
        };
        frame::from_client(out, self.opcode(), payload.as_bytes());
    }

    /// What a whole frame means, messages aside.
    pub(crate) fn note(self, payload: &[u8]) -> FrameMeaning {
        let pairs: &[(&str, FrameMeaning)] = match self {
            Self::Floor | Self::Nchan => &[],
            Self::Trunkline => &[
                (r#"{"type":"sent""#, FrameMeaning::Acknowledged),
                (r#"{"type":"ping""#, FrameMeaning::Ping),
                (r#"{"type":"error""#, FrameMeaning::Refused),
            ],
            // Packets: 2 is SocketEngine.IO's ping; 43 is LoadSocket.IO's ack, 44 its refusal of a connection.
            Self::Socketio => &[
                (JOINED, FrameMeaning::Other),
                ("43", FrameMeaning::Acknowledged),
                ("2", FrameMeaning::Ping),
                ("44", FrameMeaning::Refused),
            ],
            // A frame is a piece of the stream of commands.
            Self::Nats if payload.ends_with(b"PING\r\n") => &[("", FrameMeaning::Ping)],
            Self::Nats => &[("-ERR", FrameMeaning::Refused)],
        };
        pairs
            .iter()
            .find(|(start, _)| payload.starts_with(start.as_bytes()))
            .map_or(FrameMeaning::Other, |(_, note)| *note)
    }

    /// The frame that answers a [`FrameMeaning::Ping`].
    pub(crate) fn pong(self, out: &mut Vec<u8>) {
        let payload: &[u8] = match self {
            Self::Trunkline => br#"{"type":"pong"}"#,
            Self::Socketio => b"3",
            Self::Nats => b"PONG\r\n",
            Self::Floor | Self::Nchan => return,
        };
        frame::from_client(out, self.opcode(), payload);
    }

    fn opcode(self) -> u8 {
        if self == Self::Nats { BINARY } else { TEXT }
    }

    /// The place in the room's log that a frame tells: of a message, or of the head at a join.
    pub(crate) fn place(self, payload: &[u8]) -> Option<&str> {
        let start = match self {
            Self::Trunkline if payload.starts_with(br#"{"type":"message""#) => r#""pos":""#,
            Self::Trunkline if payload.starts_with(br#"{"type":"joined""#) => r#""head":""#,
            _ => return None,
        };
        let rest = &payload[memchr::memmem::find(payload, start.as_bytes())? + start.len()..];
        std::str::from_utf8(&rest[..memchr::memchr(b'"', rest)?]).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        frame::{FramePart, FrameReader, unmasked},
        stamp::StampFinder,
    };

    const SEAT: ConnectParameters<'_> = ConnectParameters {
        role: SocketRole::Member,
        room: "bench-0",
        host: "127.0.0.1:1",
        cookie: "a=b",
        after: Some("7-8"),
    };

    fn texts(mut bytes: &[u8]) -> Vec<String> {
        let (mut reader, mut texts) = (FrameReader::new(4096), Vec::new());
        while let Some(FramePart::Whole { mask, payload, .. }) = reader.next(&mut bytes) {
            texts.push(String::from_utf8(unmasked(payload, mask.unwrap()).collect()).unwrap());
        }
        texts
    }

    #[test]
    fn the_cookie_goes_with_the_handshake() {
        for dialect in [Dialect::Trunkline, Dialect::Socketio] {
            let steps = dialect.opening(SEAT);
            let text = String::from_utf8_lossy(&steps[0].say).into_owned();
            assert!(text.contains("\r\nCookie: a=b\r\n") && text.ends_with("\r\n\r\n"), "{text}");
            let steps = dialect.opening(ConnectParameters { cookie: "", ..SEAT });
            assert!(!String::from_utf8_lossy(&steps[0].say).contains("Cookie"));
        }
    }

    #[test]
    fn a_join_resumes_where_there_are_places() {
        let join = Dialect::Trunkline.joining(SEAT).unwrap();
        assert_eq!(texts(&join.say), [r#"{"type":"join","room":"bench-0","recent":0,"after":"7-8"}"#]);
        let join = Dialect::Socketio.joining(SEAT).unwrap();
        assert_eq!(texts(&join.say), [r#"420["join","bench-0"]"#]);
        let joined = br#"{"type":"joined","room":"lobby","resumed":true,"head":"7-8"}"#;
        assert_eq!(Dialect::Trunkline.place(joined), Some("7-8"));
        let message = br#"{"type":"message","pos":"7-9","room":"lobby","id":"5f","user":"bob","text":"hi","at":1}"#;
        assert_eq!(Dialect::Trunkline.place(message), Some("7-9"));
    }

    #[test]
    fn a_message_carries_its_stamp() {
        let stamp = Stamp { number: 3, intended: 5 };
        for dialect in [Dialect::Floor, Dialect::Trunkline, Dialect::Socketio, Dialect::Nats] {
            let mut out = Vec::new();
            dialect.publish(&mut out, "bench-0", stamp);
            let [text] = &texts(&out)[..] else { panic!("one frame") };
            assert_eq!(StampFinder::new().find(text.as_bytes()).map(|(_, stamp)| stamp).collect::<Vec<_>>(), [stamp]);
        }
        let mut out = Vec::new();
        Dialect::Nchan.publish(&mut out, "bench-0", stamp);
        let head = http::HttpHead::parse(&out).unwrap();
        assert_eq!((head.first_line(), head.length_with_body()), ("POST /pub/bench-0 HTTP/1.1", out.len()));
    }

    #[test]
    fn frames_that_are_no_messages_are_told_apart() {
        use Dialect::{Nats, Socketio, Trunkline};
        let notes: [(Dialect, &str, FrameMeaning); 10] = [
            (Trunkline, r#"{"type":"ping"}"#, FrameMeaning::Ping),
            (Trunkline, r#"{"type":"sent","room":"r","id":"1","pos":"1-1"}"#, FrameMeaning::Acknowledged),
            (Trunkline, r#"{"type":"presence","room":"r","count":2}"#, FrameMeaning::Other),
            (Trunkline, r#"{"type":"error","code":"rate_limited"}"#, FrameMeaning::Refused),
            (Socketio, "2", FrameMeaning::Ping),
            (Socketio, r#"4317[{"ok":true}]"#, FrameMeaning::Acknowledged),
            (Socketio, r#"430["joined"]"#, FrameMeaning::Other),
            (Socketio, r#"42["presence",3]"#, FrameMeaning::Other),
            (Nats, "PING\r\n", FrameMeaning::Ping),
            (Nats, "-ERR 'Slow Consumer'\r\n", FrameMeaning::Refused),
        ];
        for (dialect, frame, note) in notes {
            assert_eq!(dialect.note(frame.as_bytes()), note, "{frame}");
            let mut out = Vec::new();
            dialect.pong(&mut out);
            assert_eq!(texts(&out).len(), 1);
        }
    }
}
