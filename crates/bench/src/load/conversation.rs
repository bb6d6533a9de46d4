//! The protocol state of one socket: received bytes in, bytes to send and counted events out. Pure.

use std::collections::VecDeque;

use super::deliveries::DeliveryTracker;
use crate::{
    dialect::{AwaitedReply, ConnectParameters, Dialect, FrameMeaning, HandshakeStep},
    frame::{self, CLOSE, FramePart, FrameReader, PING, PONG},
    http::{HttpHead, MAX_HEAD_BYTES},
    stamp::{StampFinder, StampScanner},
};

/// Maximum payload length, in bytes, of a frame that is parsed as a whole. Longer frames are only searched for messages.
const MAX_WHOLE_BYTES: usize = 512;
/// Time in ns after which a repeatable step is sent again.
const REPEAT_AFTER_NS: u64 = 500_000_000;

/// State that all sockets of a run share.
#[derive(Debug)]
pub(super) struct SharedState {
    pub(super) dialect: Dialect,
    marks: StampFinder,
    pub(super) deliveries: DeliveryTracker,
    /// Number of times that a socket became ready, over the whole run.
    pub(super) ready: u64,
    /// Number of frames that are neither messages nor acknowledgements nor pings.
    pub(super) others: u64,
    /// Time of the last delivery or acknowledgement, in ns since the start of the run.
    pub(super) progress: u64,
}

impl SharedState {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            marks: StampFinder::new(),
            deliveries: DeliveryTracker::new(),
            ready: 0,
            others: 0,
            progress: 0,
        }
    }

    fn acknowledged(&mut self, now: u64) {
        self.deliveries.acknowledged();
        self.progress = now;
    }
}

/// The remaining steps until a socket is ready.
#[derive(Debug, Default)]
struct HandshakeScript {
    /// The first step was sent.
    steps: VecDeque<HandshakeStep>,
    /// When the first step was sent, in ns.
    sent_at: u64,
}

impl HandshakeScript {
    /// The awaited reply has arrived: sends the next step. `reply` is empty for an HTTP answer.
    fn step(&mut self, reply: &[u8], out: &mut Vec<u8>, shared: &mut SharedState, now: u64) {
        self.steps.pop_front();
        if let Some(HandshakeStep { send, signed_room: Some(room), .. }) = self.steps.front_mut() {
            *send = shared.dialect.signed_join(room, reply);
        }
        self.send_next(out, shared, now);
    }

    /// Sends the first step. If there is none, the socket is ready.
    fn send_next(&mut self, out: &mut Vec<u8>, shared: &mut SharedState, now: u64) {
        self.sent_at = now;
        match self.steps.front() {
            Some(next) => out.extend(&next.send),
            None => shared.ready += 1,
        }
    }
}

/// The protocol state of a socket, over all its connections.
#[derive(Debug)]
pub(super) struct SocketConversation {
    script: HandshakeScript,
    /// The received part of an HTTP answer, while answers are HTTP.
    answer: Option<Vec<u8>>,
    reader: FrameReader,
    scanner: StampScanner,
    /// Bytes to send.
    pub(super) out: Vec<u8>,
    /// Whether every message of the room is expected on this socket.
    expected: bool,
    /// Whether `position` is updated.
    tracks_position: bool,
    /// Log position of the last received message.
    pub(super) position: Option<String>,
}

/// Why a connection ended.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ConversationEnd {
    #[error("the server answered {0}")]
    Refused(String),
    #[error("the server closed a socket with code {0}")]
    Closed(u16),
}

impl SocketConversation {
    /// `expected`: every message of the room is expected on this socket. `tracks_position`: the log position is updated, so
    /// that the socket can resume.
    pub(super) fn new(expected: bool, tracks_position: bool) -> Self {
        Self {
            script: HandshakeScript::default(),
            answer: None,
            reader: FrameReader::new(MAX_WHOLE_BYTES),
            scanner: StampScanner::default(),
            out: Vec::new(),
            expected,
            tracks_position,
            position: None,
        }
    }

    /// Whether all steps are complete.
    pub(super) fn is_ready(&self) -> bool {
        self.script.steps.is_empty()
    }

    /// The awaited reply while the socket is not ready.
    pub(super) fn waits_for(&self) -> Option<AwaitedReply> {
        self.script.steps.front().map(|step| step.reply)
    }

    /// Starts a new connection. The socket is ready after it has joined these rooms.
    pub(super) fn begin<'a>(
        &mut self,
        shared: &mut SharedState,
        parameters: ConnectParameters<'_>,
        rooms: impl Iterator<Item = &'a str>,
        now: u64,
    ) {
        let dialect = shared.dialect;
        let after = self.position.as_deref();
        let joins = rooms.filter_map(|room| dialect.joining(ConnectParameters { room, after, ..parameters }));
        self.script.steps = dialect.opening(parameters).into_iter().chain(joins).collect();
        self.answer = Some(Vec::new());
        (self.reader, self.scanner) = (FrameReader::new(MAX_WHOLE_BYTES), StampScanner::default());
        self.out.clear();
        self.script.send_next(&mut self.out, shared, now);
    }

    /// Sends the current step again if it is repeatable and its reply is late. Returns whether it did.
    pub(super) fn repeat(&mut self, now: u64) -> bool {
        let HandshakeScript { steps, sent_at } = &mut self.script;
        let step = steps.front().filter(|step| step.repeat && *sent_at + REPEAT_AFTER_NS < now);
        if let Some(HandshakeStep { send, .. }) = step {
            self.out.extend(send);
            *sent_at = now;
        }
        step.is_some()
    }

    /// Handles bytes that were received at `now`, in ns since the start of the run.
    pub(super) fn take(&mut self, shared: &mut SharedState, bytes: &[u8], now: u64) -> Result<(), ConversationEnd> {
        let Some(mut answer) = self.answer.take() else { return self.frames(shared, bytes, now) };
        answer.extend(bytes);
        while let Some(head) = HttpHead::parse(&answer) {
            match head.status() {
                101 => {
                    self.script.step(&[], &mut self.out, shared, now);
                    return self.frames(shared, &answer[head.length..], now);
                }
                200..=299 if self.is_ready() => {
                    let whole = head.length_with_body();
                    if answer.len() < whole {
                        break;
                    }
                    answer.drain(..whole);
                    shared.acknowledged(now);
                }
                _ => return Err(ConversationEnd::Refused(head.first_line().to_owned())),
            }
        }
        if answer.len() > MAX_HEAD_BYTES {
            return Err(ConversationEnd::Refused("the answer's head is too long".to_owned()));
        }
        self.answer = Some(answer);
        Ok(())
    }

    fn frames(&mut self, shared: &mut SharedState, mut bytes: &[u8], now: u64) -> Result<(), ConversationEnd> {
        loop {
            let Some(part) = self.reader.next(&mut bytes) else { return Ok(()) };
            match part {
                FramePart::Piece { first, payload } => {
                    shared.others += u64::from(first);
                    let SharedState { marks, deliveries, progress, .. } = shared;
                    self.scanner.scan(marks, payload, |stamp| {
                        *progress = now;
                        deliveries.delivered(stamp, self.expected, now);
                    });
                }
                FramePart::Whole { opcode: PING, payload, .. } => frame::from_client(&mut self.out, PONG, payload),
                FramePart::Whole { opcode: CLOSE, payload, .. } => {
                    return Err(ConversationEnd::Closed(
                        payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code)),
                    ));
                }
                FramePart::Whole { payload, .. } => {
                    let mut messages = 0;
                    for (_, stamp) in shared.marks.find(payload) {
                        shared.deliveries.delivered(stamp, self.expected, now);
                        shared.progress = now;
                        messages += 1;
                    }
                    // The head in the reply to a join is a position only for a socket that has received no message.
                    if self.tracks_position
                        && (self.position.is_none() || messages > 0)
                        && let Some(position) = shared.dialect.position(payload)
                    {
                        self.position = Some(position.to_owned());
                    }
                    match shared.dialect.meaning(payload) {
                        FrameMeaning::Acknowledged => shared.acknowledged(now),
                        FrameMeaning::Ping => shared.dialect.pong(&mut self.out),
                        FrameMeaning::Refused => {
                            return Err(ConversationEnd::Refused(String::from_utf8_lossy(payload).into_owned()));
                        }
                        FrameMeaning::Other => shared.others += u64::from(messages == 0),
                    }
                    if let Some(HandshakeStep { reply: AwaitedReply::Frame(what), .. }) = self.script.steps.front()
                        && memchr::memmem::find(payload, what.as_bytes()).is_some()
                    {
                        self.script.step(payload, &mut self.out, shared, now);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dialect::SocketRole,
        frame::{TEXT, unmasked},
        stamp::Stamp,
    };

    const PARAMETERS: ConnectParameters<'_> =
        ConnectParameters { role: SocketRole::Member, room: "bench-0", host: "h", cookie: "", after: None };

    fn server(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame::from_server(&mut bytes, TEXT, text.bytes());
        bytes
    }

    fn sent_texts(conversation: &mut SocketConversation) -> Vec<String> {
        let (bytes, mut texts) = (std::mem::take(&mut conversation.out), Vec::new());
        let (mut reader, mut rest) = (FrameReader::new(MAX_WHOLE_BYTES), &bytes[..]);
        while let Some(FramePart::Whole { mask, payload, .. }) = reader.next(&mut rest) {
            texts.push(String::from_utf8(unmasked(payload, mask.unwrap()).collect()).unwrap());
        }
        texts
    }

    /// A Trunkline conversation up to where it has joined, received in pieces of `cut` bytes.
    fn joined(cut: usize) -> (SocketConversation, SharedState) {
        let (mut conversation, mut shared) =
            (SocketConversation::new(true, true), SharedState::new(Dialect::Trunkline));
        conversation.begin(&mut shared, PARAMETERS, [PARAMETERS.room].into_iter(), 0);
        assert!(conversation.out.starts_with(b"GET /ws HTTP/1.1\r\n"));
        conversation.out.clear();
        let welcome = [b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec(), server(r#"{"type":"welcome"}"#)].concat();
        welcome.chunks(cut).for_each(|chunk| conversation.take(&mut shared, chunk, 1).unwrap());
        assert_eq!(sent_texts(&mut conversation), [r#"{"type":"join","room":"bench-0","recent":0}"#]);
        assert_eq!((conversation.is_ready(), shared.ready), (false, 0));
        let joined = server(r#"{"type":"joined","room":"bench-0","resumed":false,"head":"1-1"}"#);
        joined.chunks(cut).for_each(|chunk| conversation.take(&mut shared, chunk, 2).unwrap());
        assert_eq!((conversation.is_ready(), shared.ready, conversation.position.as_deref()), (true, 1, Some("1-1")));
        (conversation, shared)
    }

    fn message(number: u32) -> String {
        let text = Stamp { number, intended: 0 }.text();
        let text = std::str::from_utf8(&text).unwrap();
        format!(
            r#"{{"type":"message","pos":"1-{number}","room":"bench-0","id":"{number:08x}","user":"b","text":"{text}","at":1}}"#
        )
    }

    #[test]
    fn messages_and_acknowledgements_are_counted_wherever_the_stream_is_split() {
        for cut in [1, 2, 7, 100, 10_000] {
            let (mut conversation, mut shared) = joined(cut);
            shared.deliveries.open_window();
            shared.deliveries.sent(1);
            shared.deliveries.sent(1);
            let mut bytes = server(&message(0));
            bytes.extend(server(r#"{"type":"ping"}"#));
            bytes.extend(server(r#"{"type":"sent","room":"bench-0","id":"00000000","pos":"1-0"}"#));
            frame::from_server(&mut bytes, PING, b"hi".iter().copied());
            bytes.extend(server(&format!(r#"{{"type":"presence","here":["{}"]}}"#, "ann".repeat(300))));
            bytes.extend(server(&message(1)));
            bytes.chunks(cut).for_each(|chunk| conversation.take(&mut shared, chunk, 3).unwrap());
            let counts = shared.deliveries.counts();
            assert_eq!((counts.delivered, counts.lost, counts.acknowledged), (2, 0, 1));
            assert_eq!(sent_texts(&mut conversation), [r#"{"type":"pong"}"#, "hi"]);
            assert_eq!(conversation.position.as_deref(), Some("1-1"));
        }
    }

    #[test]
    fn reconnecting_socket_sends_its_position() {
        let (mut conversation, mut shared) = joined(1000);
        conversation.begin(&mut shared, PARAMETERS, [PARAMETERS.room].into_iter(), 0);
        conversation.out.clear();
        conversation.take(&mut shared, b"HTTP/1.1 101 Switching Protocols\r\n\r\n", 1).unwrap();
        conversation.take(&mut shared, &server(r#"{"type":"welcome"}"#), 1).unwrap();
        assert_eq!(sent_texts(&mut conversation), [r#"{"type":"join","room":"bench-0","recent":0,"after":"1-1"}"#]);
        // The missed messages have not arrived yet.
        conversation.take(&mut shared, &server(r#"{"type":"joined","resumed":true,"head":"1-9"}"#), 1).unwrap();
        assert_eq!(conversation.position.as_deref(), Some("1-1"));
    }

    #[test]
    fn message_split_over_pieces_of_a_long_frame_counts_once() {
        let (mut conversation, mut shared) = (SocketConversation::new(true, false), SharedState::new(Dialect::Nats));
        shared.deliveries.open_window();
        let texts: Vec<_> = (0..9).map(|number| Stamp { number, intended: 0 }.text()).collect();
        let stream: Vec<_> =
            texts.iter().flat_map(|text| [&b"MSG bench-0 1 100\r\n"[..], text, b"\r\n"].concat()).collect();
        let mut bytes = Vec::new();
        frame::from_server(&mut bytes, frame::BINARY, stream.into_iter());
        texts.iter().for_each(|_| shared.deliveries.sent(1));
        bytes.chunks(13).for_each(|chunk| conversation.take(&mut shared, chunk, 1).unwrap());
        let counts = shared.deliveries.counts();
        assert_eq!((counts.delivered, counts.lost, counts.repeated), (9, 0, 0));
    }

    #[test]
    fn refusals_end_the_conversation() {
        let (mut conversation, mut shared) =
            (SocketConversation::new(true, false), SharedState::new(Dialect::Trunkline));
        conversation.begin(&mut shared, PARAMETERS, [PARAMETERS.room].into_iter(), 0);
        let answer = conversation.take(&mut shared, b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}", 1);
        assert_eq!(answer, Err(ConversationEnd::Refused("HTTP/1.1 401 Unauthorized".to_owned())));
        let (mut conversation, mut shared) = joined(1000);
        let error = r#"{"type":"error","code":"rate_limited"}"#;
        assert_eq!(conversation.take(&mut shared, &server(error), 1), Err(ConversationEnd::Refused(error.to_owned())));
        let (mut conversation, mut shared) = joined(1000);
        let mut close = Vec::new();
        frame::from_server(&mut close, CLOSE, 4409_u16.to_be_bytes().into_iter());
        assert_eq!(conversation.take(&mut shared, &close, 1), Err(ConversationEnd::Closed(4409)));
    }

    #[test]
    fn join_is_signed_with_the_id_of_the_connection() {
        let (mut conversation, mut shared) = (SocketConversation::new(true, false), SharedState::new(Dialect::Sockudo));
        conversation.begin(&mut shared, PARAMETERS, [PARAMETERS.room].into_iter(), 0);
        conversation.out.clear();
        conversation.take(&mut shared, b"HTTP/1.1 101 Switching Protocols\r\n\r\n", 1).unwrap();
        assert_eq!(conversation.out, b"");
        let connected = r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"12.34\"}"}"#;
        conversation.take(&mut shared, &server(connected), 2).unwrap();
        assert_eq!(conversation.out, Dialect::Sockudo.signed_join("bench-0", connected.as_bytes()));
        let subscribed =
            r#"{"event":"pusher_internal:subscription_succeeded","channel":"private-bench-0","data":"{}"}"#;
        conversation.take(&mut shared, &server(subscribed), 3).unwrap();
        assert!(conversation.is_ready());
    }

    #[test]
    fn http_answers_acknowledge_posts() {
        let (mut conversation, mut shared) = (SocketConversation::new(false, false), SharedState::new(Dialect::Nchan));
        conversation.begin(
            &mut shared,
            ConnectParameters { role: SocketRole::Writer, ..PARAMETERS },
            [].into_iter(),
            0,
        );
        assert_eq!((conversation.is_ready(), shared.ready), (true, 1));
        shared.deliveries.open_window();
        let answers = b"HTTP/1.1 202 Accepted\r\nContent-Length: 5\r\n\r\nqueue".repeat(3);
        answers.chunks(17).for_each(|chunk| conversation.take(&mut shared, chunk, 1).unwrap());
        assert_eq!(shared.deliveries.counts().acknowledged, 3);
        assert!(conversation.take(&mut shared, b"HTTP/1.1 507 Full\r\n\r\n", 1).is_err());
    }

    #[test]
    fn join_without_a_reply_is_repeated_and_counts_once() {
        let (mut conversation, mut shared) =
            (SocketConversation::new(true, false), SharedState::new(Dialect::Socketio));
        conversation.begin(&mut shared, PARAMETERS, [PARAMETERS.room].into_iter(), 0);
        conversation.take(&mut shared, b"HTTP/1.1 101 Switching Protocols\r\n\r\n", 1).unwrap();
        conversation.take(&mut shared, &server(r#"0{"sid":"a"}"#), 1).unwrap();
        conversation.out.clear();
        conversation.take(&mut shared, &server(r#"40{"sid":"b"}"#), 5).unwrap();
        assert_eq!(sent_texts(&mut conversation), [r#"420["join","bench-0"]"#]);
        assert!(!conversation.repeat(REPEAT_AFTER_NS) && conversation.repeat(REPEAT_AFTER_NS + 6));
        assert_eq!(sent_texts(&mut conversation), [r#"420["join","bench-0"]"#]);
        for _ in 0..2 {
            conversation.take(&mut shared, &server(r#"430["joined"]"#), 9).unwrap();
        }
        assert_eq!((shared.ready, shared.deliveries.counts().acknowledged), (1, 0));
        assert!(!conversation.repeat(u64::MAX));
    }
}
