//! One socket's conversation: bytes in, bytes out, and what of them counts. Pure.

use std::collections::VecDeque;

use super::ledger::Ledger;
use crate::{
    dialect::{Dialect, Note, Seat, Step, Until},
    frame::{self, CLOSE, PING, PONG, Part, Walker},
    http::{HEAD_MOST, Head},
    stamp::{Marks, Scanner},
};

/// Longest frame that is looked at as one, in bytes of payload. Longer ones are only searched for messages.
const WHOLE: usize = 512;
/// After so many nanoseconds a step that may be said again is.
const AGAIN: u64 = 500_000_000;

/// What all conversations share.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) dialect: Dialect,
    marks: Marks,
    pub(super) ledger: Ledger,
    /// Sockets whose conversation has come to where they are ready, over the whole run.
    pub(super) ready: u64,
    /// Frames that are neither messages nor acknowledgements nor signs of life.
    pub(super) others: u64,
    /// Nanoseconds since the run began at which something was last delivered or acknowledged.
    pub(super) progress: u64,
}

impl Desk {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, marks: Marks::new(), ledger: Ledger::new(), ready: 0, others: 0, progress: 0 }
    }

    fn acknowledged(&mut self, now: u64) {
        self.ledger.acknowledged();
        self.progress = now;
    }
}

/// What is still to be said before the socket is ready.
#[derive(Debug, Default)]
struct Script {
    /// The first was said.
    steps: VecDeque<Step>,
    /// When it was.
    said: u64,
}

impl Script {
    /// What had to be heard was heard.
    fn step(&mut self, out: &mut Vec<u8>, desk: &mut Desk, now: u64) {
        self.steps.pop_front();
        self.say(out, desk, now);
    }

    /// Says the first step. Without one, the socket is ready.
    fn say(&mut self, out: &mut Vec<u8>, desk: &mut Desk, now: u64) {
        self.said = now;
        match self.steps.front() {
            Some(next) => out.extend(&next.say),
            None => desk.ready += 1,
        }
    }
}

/// The conversation of a socket, over all its connections.
#[derive(Debug)]
pub(super) struct Talk {
    script: Script,
    /// What came of an answer in HTTP, while answers are in HTTP.
    answer: Option<Vec<u8>>,
    walker: Walker,
    scanner: Scanner,
    /// Bytes that are to be sent.
    pub(super) out: Vec<u8>,
    /// Whether each message of the room is expected here.
    expected: bool,
    /// Whether `place` is kept.
    places: bool,
    /// Place of the last message that was seen.
    pub(super) place: Option<String>,
}

/// The server ends the conversation, or refuses what was said.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Over {
    #[error("the server answered {0}")]
    Refused(String),
    #[error("the server closed a socket with code {0}")]
    Closed(u16),
}

impl Talk {
    /// `expected`: each message of the room is expected here. `places`: the place in the log is followed, to resume there.
    pub(super) fn new(expected: bool, places: bool) -> Self {
        Self {
            script: Script::default(),
            answer: None,
            walker: Walker::new(WHOLE),
            scanner: Scanner::default(),
            out: Vec::new(),
            expected,
            places,
            place: None,
        }
    }

    /// Whether everything that opens and joins is said and answered.
    pub(super) fn is_ready(&self) -> bool {
        self.script.steps.is_empty()
    }

    /// What it waits for, while it is not ready.
    pub(super) fn waits_for(&self) -> Option<Until> {
        self.script.steps.front().map(|step| step.until)
    }

    /// Starts anew on a new connection. `join`: ready means to have joined.
    pub(super) fn begin(&mut self, desk: &mut Desk, seat: Seat<'_>, join: bool, now: u64) {
        let dialect = desk.dialect;
        let seat = Seat { after: self.place.as_deref(), ..seat };
        let steps = dialect.opening(seat).into_iter().chain(dialect.joining(seat).filter(|_| join));
        self.script.steps = steps.collect();
        self.answer = Some(Vec::new());
        (self.walker, self.scanner) = (Walker::new(WHOLE), Scanner::default());
        self.out.clear();
        self.script.say(&mut self.out, desk, now);
    }

    /// Says the present step again, if it is one that is said again and its time has come.
    pub(super) fn repeat(&mut self, now: u64) -> bool {
        let Script { steps, said } = &mut self.script;
        let step = steps.front().filter(|step| step.again && *said + AGAIN < now);
        if let Some(Step { say, .. }) = step {
            self.out.extend(say);
            *said = now;
        }
        step.is_some()
    }

    /// Takes bytes that came at `now`, nanoseconds since the run began.
    pub(super) fn take(&mut self, desk: &mut Desk, bytes: &[u8], now: u64) -> Result<(), Over> {
        let Some(mut answer) = self.answer.take() else { return self.frames(desk, bytes, now) };
        answer.extend(bytes);
        while let Some(head) = Head::parse(&answer) {
            match head.status() {
                101 => {
                    self.script.step(&mut self.out, desk, now);
                    return self.frames(desk, &answer[head.length..], now);
                }
                200..=299 if self.is_ready() => {
                    let whole = head.length_with_body();
                    if answer.len() < whole {
                        break;
                    }
                    answer.drain(..whole);
                    desk.acknowledged(now);
                }
                _ => return Err(Over::Refused(head.first_line().to_owned())),
            }
        }
        if answer.len() > HEAD_MOST {
            return Err(Over::Refused("an answer is too long".to_owned()));
        }
        self.answer = Some(answer);
        Ok(())
    }

    fn frames(&mut self, desk: &mut Desk, mut bytes: &[u8], now: u64) -> Result<(), Over> {
        loop {
            let Some(part) = self.walker.next(&mut bytes) else { return Ok(()) };
            match part {
                Part::Piece { first, payload } => {
                    desk.others += u64::from(first);
                    let Desk { marks, ledger, progress, .. } = desk;
                    self.scanner.scan(marks, payload, |stamp| {
                        *progress = now;
                        ledger.seen(stamp, self.expected, now);
                    });
                }
                Part::Whole { opcode: PING, payload, .. } => frame::from_client(&mut self.out, PONG, payload),
                Part::Whole { opcode: CLOSE, payload, .. } => {
                    return Err(Over::Closed(payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code))));
                }
                Part::Whole { payload, .. } => {
                    let mut messages = 0;
                    for (_, stamp) in desk.marks.find(payload) {
                        desk.ledger.seen(stamp, self.expected, now);
                        desk.progress = now;
                        messages += 1;
                    }
                    // The head that a join tells is a place only for who has seen none.
                    if self.places
                        && (self.place.is_none() || messages > 0)
                        && let Some(place) = desk.dialect.place(payload)
                    {
                        self.place = Some(place.to_owned());
                    }
                    match desk.dialect.note(payload) {
                        Note::Acknowledged => desk.acknowledged(now),
                        Note::Ping => desk.dialect.pong(&mut self.out),
                        Note::Refused => return Err(Over::Refused(String::from_utf8_lossy(payload).into_owned())),
                        Note::Other => desk.others += u64::from(messages == 0),
                    }
                    if let Some(Step { until: Until::Heard(what), .. }) = self.script.steps.front()
                        && memchr::memmem::find(payload, what.as_bytes()).is_some()
                    {
                        self.script.step(&mut self.out, desk, now);
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
        dialect::Role,
        frame::{TEXT, unmasked},
        stamp::Stamp,
    };

    const SEAT: Seat<'_> = Seat { role: Role::Member, room: "bench-0", host: "h", cookie: "", after: None };

    fn server(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame::from_server(&mut bytes, TEXT, text.bytes());
        bytes
    }

    fn heard(talk: &mut Talk) -> Vec<String> {
        let (bytes, mut texts) = (std::mem::take(&mut talk.out), Vec::new());
        let (mut walker, mut rest) = (Walker::new(WHOLE), &bytes[..]);
        while let Some(Part::Whole { mask, payload, .. }) = walker.next(&mut rest) {
            texts.push(String::from_utf8(unmasked(payload, mask.unwrap()).collect()).unwrap());
        }
        texts
    }

    /// A conversation with Trunkline up to where it has joined, with all bytes in pieces of `cut`.
    fn joined(cut: usize) -> (Talk, Desk) {
        let (mut talk, mut desk) = (Talk::new(true, true), Desk::new(Dialect::Trunkline));
        talk.begin(&mut desk, SEAT, true, 0);
        assert!(talk.out.starts_with(b"GET /ws HTTP/1.1\r\n"));
        talk.out.clear();
        let welcome = [b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec(), server(r#"{"type":"welcome"}"#)].concat();
        welcome.chunks(cut).for_each(|chunk| talk.take(&mut desk, chunk, 1).unwrap());
        assert_eq!(heard(&mut talk), [r#"{"type":"join","room":"bench-0","recent":0}"#]);
        assert_eq!((talk.is_ready(), desk.ready), (false, 0));
        let joined = server(r#"{"type":"joined","room":"bench-0","resumed":false,"head":"1-1"}"#);
        joined.chunks(cut).for_each(|chunk| talk.take(&mut desk, chunk, 2).unwrap());
        assert_eq!((talk.is_ready(), desk.ready, talk.place.as_deref()), (true, 1, Some("1-1")));
        (talk, desk)
    }

    fn message(number: u32) -> String {
        let text = Stamp { number, intended: 0 }.text();
        let text = std::str::from_utf8(&text).unwrap();
        format!(
            r#"{{"type":"message","pos":"1-{number}","room":"bench-0","id":"{number:08x}","user":"b","text":"{text}","at":1}}"#
        )
    }

    #[test]
    fn whatever_is_cut_messages_and_acknowledgements_count_and_pings_are_answered() {
        for cut in [1, 2, 7, 100, 10_000] {
            let (mut talk, mut desk) = joined(cut);
            desk.ledger.open_window();
            desk.ledger.sent(1);
            desk.ledger.sent(1);
            let mut bytes = server(&message(0));
            bytes.extend(server(r#"{"type":"ping"}"#));
            bytes.extend(server(r#"{"type":"sent","room":"bench-0","id":"00000000","pos":"1-0"}"#));
            frame::from_server(&mut bytes, PING, b"hi".iter().copied());
            bytes.extend(server(&format!(r#"{{"type":"presence","here":["{}"]}}"#, "ann".repeat(300))));
            bytes.extend(server(&message(1)));
            bytes.chunks(cut).for_each(|chunk| talk.take(&mut desk, chunk, 3).unwrap());
            let counts = desk.ledger.counts();
            assert_eq!((counts.delivered, counts.lost, counts.acknowledged), (2, 0, 1));
            assert_eq!(heard(&mut talk), [r#"{"type":"pong"}"#, "hi"]);
            assert_eq!(talk.place.as_deref(), Some("1-1"));
        }
    }

    #[test]
    fn who_comes_back_tells_the_place() {
        let (mut talk, mut desk) = joined(1000);
        talk.begin(&mut desk, SEAT, true, 0);
        talk.out.clear();
        talk.take(&mut desk, b"HTTP/1.1 101 Switching Protocols\r\n\r\n", 1).unwrap();
        talk.take(&mut desk, &server(r#"{"type":"welcome"}"#), 1).unwrap();
        assert_eq!(heard(&mut talk), [r#"{"type":"join","room":"bench-0","recent":0,"after":"1-1"}"#]);
        // What was missed has not come yet.
        talk.take(&mut desk, &server(r#"{"type":"joined","resumed":true,"head":"1-9"}"#), 1).unwrap();
        assert_eq!(talk.place.as_deref(), Some("1-1"));
    }

    #[test]
    fn a_message_split_over_pieces_of_a_long_frame_counts_once() {
        let (mut talk, mut desk) = (Talk::new(true, false), Desk::new(Dialect::Nats));
        desk.ledger.open_window();
        let texts: Vec<_> = (0..9).map(|number| Stamp { number, intended: 0 }.text()).collect();
        let stream: Vec<_> =
            texts.iter().flat_map(|text| [&b"MSG bench-0 1 100\r\n"[..], text, b"\r\n"].concat()).collect();
        let mut bytes = Vec::new();
        frame::from_server(&mut bytes, frame::BINARY, stream.into_iter());
        texts.iter().for_each(|_| desk.ledger.sent(1));
        bytes.chunks(13).for_each(|chunk| talk.take(&mut desk, chunk, 1).unwrap());
        let counts = desk.ledger.counts();
        assert_eq!((counts.delivered, counts.lost, counts.repeated), (9, 0, 0));
    }

    #[test]
    fn refusals_end_the_conversation() {
        let (mut talk, mut desk) = (Talk::new(true, false), Desk::new(Dialect::Trunkline));
        talk.begin(&mut desk, SEAT, true, 0);
        let answer = talk.take(&mut desk, b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}", 1);
        assert_eq!(answer, Err(Over::Refused("HTTP/1.1 401 Unauthorized".to_owned())));
        let (mut talk, mut desk) = joined(1000);
        let error = r#"{"type":"error","code":"rate_limited"}"#;
        assert_eq!(talk.take(&mut desk, &server(error), 1), Err(Over::Refused(error.to_owned())));
        let (mut talk, mut desk) = joined(1000);
        let mut close = Vec::new();
        frame::from_server(&mut close, CLOSE, 4409_u16.to_be_bytes().into_iter());
        assert_eq!(talk.take(&mut desk, &close, 1), Err(Over::Closed(4409)));
    }

    #[test]
    fn posts_are_acknowledged_by_their_answers() {
        let (mut talk, mut desk) = (Talk::new(false, false), Desk::new(Dialect::Nchan));
        talk.begin(&mut desk, Seat { role: Role::Writer, ..SEAT }, true, 0);
        assert_eq!((talk.is_ready(), desk.ready), (true, 1));
        desk.ledger.open_window();
        let answers = b"HTTP/1.1 202 Accepted\r\nContent-Length: 5\r\n\r\nqueue".repeat(3);
        answers.chunks(17).for_each(|chunk| talk.take(&mut desk, chunk, 1).unwrap());
        assert_eq!(desk.ledger.counts().acknowledged, 3);
        assert!(talk.take(&mut desk, b"HTTP/1.1 507 Full\r\n\r\n", 1).is_err());
    }

    #[test]
    fn a_join_that_is_not_answered_is_said_again_and_counts_once() {
        let (mut talk, mut desk) = (Talk::new(true, false), Desk::new(Dialect::Socketio));
        talk.begin(&mut desk, SEAT, true, 0);
        talk.take(&mut desk, b"HTTP/1.1 101 Switching Protocols\r\n\r\n", 1).unwrap();
        talk.take(&mut desk, &server(r#"0{"sid":"a"}"#), 1).unwrap();
        talk.out.clear();
        talk.take(&mut desk, &server(r#"40{"sid":"b"}"#), 5).unwrap();
        assert_eq!(heard(&mut talk), [r#"420["join","bench-0"]"#]);
        assert!(!talk.repeat(AGAIN) && talk.repeat(AGAIN + 6));
        assert_eq!(heard(&mut talk), [r#"420["join","bench-0"]"#]);
        for _ in 0..2 {
            talk.take(&mut desk, &server(r#"430["joined"]"#), 9).unwrap();
        }
        assert_eq!((desk.ready, desk.ledger.counts().acknowledged), (1, 0));
        assert!(!talk.repeat(u64::MAX));
    }
}
