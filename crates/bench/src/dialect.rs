//! The protocols of the servers. Pure: bytes to send, and the meaning of received bytes.

mod pusher;

use crate::{
    frame::{self, BINARY, TEXT},
    http,
    stamp::Stamp,
};

/// A protocol of Trunkline, the floor or a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Dialect {
    /// The protocol of `trunkline-bench floor`
    Floor,
    /// The protocol of docs/PROTOCOL.md
    Trunkline,
    /// Engine.IO 4 and Socket.IO 5 over WebSocket: events `join` and `send`, both acknowledged, and `message`
    #[value(alias = "socketioxide")]
    Socketio,
    /// nchan: WebSocket at `/sub/ROOM`, and `POST /pub/ROOM` to publish
    Nchan,
    /// The NATS client protocol over WebSocket
    Nats,
    /// The Pusher protocol 7: private channels and client events, which are not acknowledged
    Sockudo,
    /// The same with Sockudo's protocol 2, whose messages have positions for recovery
    #[serde(rename = "sockudo-recovery")]
    SockudoRecovery,
}

/// Beginning of Socket.IO's acknowledgement of a join.
const JOINED: &str = "430[";

/// The purpose of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketRole {
    /// Receives the room's messages.
    Member,
    /// Sends only.
    Writer,
}

/// Parameters of a socket that is to be opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectParameters<'a> {
    pub(crate) role: SocketRole,
    pub(crate) room: &'a str,
    /// Value of the `Host` header field.
    pub(crate) host: &'a str,
    /// Value of the `Cookie` header field of the handshake. Empty without a session.
    pub(crate) cookie: &'a str,
    /// Position of the last message that it received, in protocols that have positions.
    pub(crate) after: Option<&'a str>,
}

/// Bytes to send, and the reply to wait for before the next step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HandshakeStep {
    pub(crate) send: Vec<u8>,
    pub(crate) reply: AwaitedReply,
    /// Whether the bytes are sent again if the reply takes long.
    pub(crate) repeat: bool,
    /// The room of a step whose bytes depend on the reply before it; see [`Dialect::signed_join`].
    pub(crate) signed_room: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AwaitedReply {
    /// Status 101.
    Switched,
    /// A frame that contains this text.
    Frame(&'static str),
}

/// The meaning of a frame that contains no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameMeaning {
    /// A sent message was accepted.
    Acknowledged,
    /// A sent message was refused.
    Refused,
    /// Must be answered with [`Dialect::pong`].
    Ping,
    /// Presence and other events.
    Other,
}

impl HandshakeStep {
    fn new(send: Vec<u8>, reply: AwaitedReply) -> Self {
        Self { send, reply, repeat: false, signed_room: None }
    }
}

impl Dialect {
    /// Whether members of a room send messages. If not, each room has separate writers.
    pub(crate) fn members_write(self) -> bool {
        matches!(self, Self::Trunkline | Self::Socketio)
    }

    /// Whether sends are acknowledged.
    pub(crate) fn acknowledges(self) -> bool {
        !matches!(self, Self::Floor | Self::Nats | Self::Sockudo | Self::SockudoRecovery)
    }

    /// The request that starts a session for a user on a persistent connection, or `None` without sessions.
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
            Self::Floor | Self::Nchan | Self::Nats | Self::Sockudo | Self::SockudoRecovery => None,
        }
    }

    /// The steps that open a socket, up to where it can join.
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
                HandshakeStep::new(Vec::new(), AwaitedReply::Frame(r#""type":"welcome""#)),
            ],
            Self::Socketio => vec![
                upgrade("/socket.io/?EIO=4&transport=websocket", &cookie),
                HandshakeStep::new(Vec::new(), AwaitedReply::Frame(r#"0{"sid""#)),
                self.step("40", r#"40{"sid""#),
            ],
            Self::Nchan if role == SocketRole::Writer => Vec::new(),
            Self::Sockudo | Self::SockudoRecovery => {
                let version = if self == Self::Sockudo { 7 } else { 2 };
                vec![
                    upgrade(&pusher::path(version), ""),
                    HandshakeStep::new(Vec::new(), AwaitedReply::Frame(pusher::CONNECTED)),
                ]
            }
            Self::Nchan => vec![upgrade(&format!("/sub/{room}"), "")],
            Self::Nats => vec![
                upgrade("/", ""),
                HandshakeStep::new(Vec::new(), AwaitedReply::Frame("INFO ")),
                self.step("CONNECT {\"verbose\":false,\"pedantic\":false}\r\nPING\r\n", "PONG"),
            ],
        }
    }

    /// The step that joins the room, or `None` if opening does.
    pub(crate) fn joining(self, parameters: ConnectParameters<'_>) -> Option<HandshakeStep> {
        let ConnectParameters { role, room, after, .. } = parameters;
        match (self, role) {
            (Self::Trunkline, _) => {
                let after = after.map(|after| format!(r#","after":"{after}""#)).unwrap_or_default();
                let join = format!(r#"{{"type":"join","room":"{room}","recent":0{after}}}"#);
                Some(self.step(&join, r#""type":"joined""#))
            }
            (Self::Socketio, _) => {
                // socketioxide drops events that arrive before its handlers are registered, which happens after the connect reply.
                Some(HandshakeStep { repeat: true, ..self.step(&format!(r#"420["join","{room}"]"#), JOINED) })
            }
            (Self::Nats, SocketRole::Member) => Some(self.step(&format!("SUB {room} 1\r\nPING\r\n"), "PONG")),
            (Self::Sockudo | Self::SockudoRecovery, _) => {
                let step = HandshakeStep::new(Vec::new(), AwaitedReply::Frame(pusher::SUBSCRIBED));
                Some(HandshakeStep { signed_room: Some(room.to_owned()), ..step })
            }
            (Self::Nats, SocketRole::Writer) | (Self::Floor | Self::Nchan, _) => None,
        }
    }

    /// The bytes that join a room, signed for the connection that `reply` belongs to. Empty in other protocols.
    pub(crate) fn signed_join(self, room: &str, reply: &[u8]) -> Vec<u8> {
        let prefix = match self {
            Self::Sockudo => "pusher",
            Self::SockudoRecovery => "sockudo",
            _ => return Vec::new(),
        };
        let mut bytes = Vec::new();
        frame::from_client(&mut bytes, TEXT, pusher::subscribe(prefix, room, reply).as_bytes());
        bytes
    }

    fn step(self, text: &str, reply: &'static str) -> HandshakeStep {
        let mut bytes = Vec::new();
        frame::from_client(&mut bytes, self.opcode(), text.as_bytes());
        HandshakeStep::new(bytes, AwaitedReply::Frame(reply))
    }

    /// Appends the bytes that send a message.
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
            Self::Sockudo | Self::SockudoRecovery => pusher::client_event(room, &shown),
            Self::Trunkline => format!(r#"{{"type":"send","room":"{room}","id":"{number:08x}","text":"{shown}"}}"#),
            // The acknowledgement id 0 belongs to the join.
            Self::Socketio => format!(r#"42{}["send","{room}","{shown}"]"#, u64::from(number) + 1),
            Self::Nats => format!("PUB {room} {}\r\n{shown}\r\n", text.len()),
        };
        frame::from_client(out, self.opcode(), payload.as_bytes());
    }

    /// The meaning of a complete frame, except for messages in it.
    pub(crate) fn meaning(self, payload: &[u8]) -> FrameMeaning {
        let pairs: &[(&str, FrameMeaning)] = match self {
            Self::Floor | Self::Nchan => &[],
            Self::Trunkline => &[
                (r#"{"type":"sent""#, FrameMeaning::Acknowledged),
                (r#"{"type":"ping""#, FrameMeaning::Ping),
                (r#"{"type":"error""#, FrameMeaning::Refused),
            ],
            // Packet types: 2 is Engine.IO's ping; 43 is Socket.IO's acknowledgement, 44 a refused connection.
            Self::Socketio => &[
                (JOINED, FrameMeaning::Other),
                ("43", FrameMeaning::Acknowledged),
                ("2", FrameMeaning::Ping),
                ("44", FrameMeaning::Refused),
            ],
            // Version 2 pings with frames of WebSocket.
            Self::Sockudo | Self::SockudoRecovery => &[
                (pusher::PING, FrameMeaning::Ping),
                (r#"{"event":"pusher:error""#, FrameMeaning::Refused),
                (r#"{"event":"sockudo:error""#, FrameMeaning::Refused),
            ],
            // A frame contains a part of the stream of commands.
            Self::Nats if payload.ends_with(b"PING\r\n") => &[("", FrameMeaning::Ping)],
            Self::Nats => &[("-ERR", FrameMeaning::Refused)],
        };
        pairs
            .iter()
            .find(|(start, _)| payload.starts_with(start.as_bytes()))
            .map_or(FrameMeaning::Other, |(_, meaning)| *meaning)
    }

    /// Appends the answer to a [`FrameMeaning::Ping`].
    pub(crate) fn pong(self, out: &mut Vec<u8>) {
        let payload: &[u8] = match self {
            Self::Trunkline => br#"{"type":"pong"}"#,
            Self::Socketio => b"3",
            Self::Nats => b"PONG\r\n",
            Self::Sockudo => pusher::PONG.as_bytes(),
            Self::Floor | Self::Nchan | Self::SockudoRecovery => return,
        };
        frame::from_client(out, self.opcode(), payload);
    }

    fn opcode(self) -> u8 {
        if self == Self::Nats { BINARY } else { TEXT }
    }

    /// The log position in a frame: that of a message, or the head in the reply to a join.
    pub(crate) fn position(self, payload: &[u8]) -> Option<&str> {
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

    const PARAMETERS: ConnectParameters<'_> = ConnectParameters {
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
    fn handshake_carries_the_cookie() {
        for dialect in [Dialect::Trunkline, Dialect::Socketio] {
            let steps = dialect.opening(PARAMETERS);
            let text = String::from_utf8_lossy(&steps[0].send).into_owned();
            assert!(text.contains("\r\nCookie: a=b\r\n") && text.ends_with("\r\n\r\n"), "{text}");
            let steps = dialect.opening(ConnectParameters { cookie: "", ..PARAMETERS });
            assert!(!String::from_utf8_lossy(&steps[0].send).contains("Cookie"));
        }
    }

    #[test]
    fn join_carries_the_position_in_protocols_that_have_one() {
        let join = Dialect::Trunkline.joining(PARAMETERS).unwrap();
        assert_eq!(texts(&join.send), [r#"{"type":"join","room":"bench-0","recent":0,"after":"7-8"}"#]);
        let join = Dialect::Socketio.joining(PARAMETERS).unwrap();
        assert_eq!(texts(&join.send), [r#"420["join","bench-0"]"#]);
        let joined = br#"{"type":"joined","room":"lobby","resumed":true,"head":"7-8"}"#;
        assert_eq!(Dialect::Trunkline.position(joined), Some("7-8"));
        let message = br#"{"type":"message","pos":"7-9","room":"lobby","id":"5f","user":"bob","text":"hi","at":1}"#;
        assert_eq!(Dialect::Trunkline.position(message), Some("7-9"));
    }

    #[test]
    fn message_carries_its_stamp() {
        let stamp = Stamp { number: 3, intended: 5 };
        let with_frames = [Dialect::Floor, Dialect::Trunkline, Dialect::Socketio, Dialect::Nats, Dialect::Sockudo];
        for dialect in with_frames {
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
    fn sockudo_subscribes_with_a_signature_for_the_connection() {
        let connected = br#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\"}"}"#;
        for (dialect, version, prefix) in [(Dialect::Sockudo, 7, "pusher"), (Dialect::SockudoRecovery, 2, "sockudo")] {
            let steps = dialect.opening(PARAMETERS);
            let line = format!("GET /app/bench-key?protocol={version}&");
            assert!(steps[0].send.starts_with(line.as_bytes()), "{:?}", String::from_utf8_lossy(&steps[0].send));
            let join = dialect.joining(PARAMETERS).unwrap();
            assert_eq!((join.send.len(), join.signed_room.as_deref()), (0, Some("bench-0")));
            let [join] = &texts(&dialect.signed_join("bench-0", connected))[..] else { panic!("one frame") };
            let start =
                format!(r#"{{"event":"{prefix}:subscribe","data":{{"channel":"private-bench-0","auth":"bench-key:"#);
            assert!(join.starts_with(&start), "{join}");
            assert_ne!(dialect.signed_join("bench-0", b""), dialect.signed_join("bench-0", connected));
        }
    }

    #[test]
    fn frames_without_messages_are_classified() {
        use Dialect::{Nats, Socketio, Sockudo, Trunkline};
        let meanings: [(Dialect, &str, FrameMeaning); 12] = [
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
            (Sockudo, r#"{"event":"pusher:ping","data":{}}"#, FrameMeaning::Ping),
            (Sockudo, r#"{"event":"pusher:error","data":{"code":4004}}"#, FrameMeaning::Refused),
        ];
        for (dialect, frame, meaning) in meanings {
            assert_eq!(dialect.meaning(frame.as_bytes()), meaning, "{frame}");
            let mut out = Vec::new();
            dialect.pong(&mut out);
            assert_eq!(texts(&out).len(), 1);
        }
    }
}
