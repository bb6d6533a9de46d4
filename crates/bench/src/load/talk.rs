//! One socket's conversation: bytes in, bytes out, and what of them counts. Pure.

use std::collections::VecDeque;

use super::ledger::Ledger;
use crate::{
    dialect::{Dialect, Note, Role, Seat, Step, Until},
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
}

#[derive(Debug)]
pub(super) struct Talk {
    /// What is still to be said before the socket is ready. The first was said.
    steps: VecDeque<Step>,
    /// When it was.
    said: u64,
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
    #[error("the handshake was answered with {0:?}")]
    Handshake(String),
    #[error("{0}")]
    Refused(String),
    #[error("the server closed a socket with code {0}")]
    Closed(u16),
}

impl Talk {
    /// `expected`: each message of the room is expected here. `places`: the place in the log is followed, to resume there.
    pub(super) fn new(expected: bool, places: bool) -> Self {
        Self {
            steps: VecDeque::new(),
            said: 0,
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
        self.steps.is_empty()
    }

    /// What it waits for, while it is not ready.
    pub(super) fn waits_for(&self) -> Option<Until> {
        self.steps.front().map(|step| step.until)
    }

    /// Starts anew on a new connection. `join`: ready means to have joined.
    pub(super) fn begin(&mut self, desk: &mut Desk, seat: Seat<'_>, join: bool, now: u64) {
        let dialect = desk.dialect;
        let seat = Seat { after: self.place.as_deref(), ..seat };
        self.steps = dialect.opening(seat).into();
        self.steps.extend(dialect.joining(seat).filter(|_| join));
        self.answer = Some(Vec::new());
        (self.walker, self.scanner) = (Walker::new(WHOLE), Scanner::default());
        self.out.clear();
        self.said = now;
        match self.steps.front() {
            Some(first) => self.out.extend(&first.say),
            // A writer that posts is ready at once.
            None => {
                desk.ready += 1;
                debug_assert!(dialect.posts(seat.role) && seat.role == Role::Writer);
            }
        }
    }

    /// Says the present step again, if it is one that is said again and its time has come.
    pub(super) fn repeat(&mut self, now: u64) -> bool {
        let step = self.steps.front().filter(|step| step.again && self.said + AGAIN < now);
        if let Some(Step { say, .. }) = step {
            self.out.extend(say);
            self.said = now;
        }
        !self.out.is_empty()
    }

    /// Takes bytes that came at `now`, nanoseconds since the run began.
    pub(super) fn take(&mut self, desk: &mut Desk, bytes: &[u8], now: u64) -> Result<(), Over> {
        let Some(mut answer) = self.answer.take() else { return self.frames(desk, bytes, now) };
        answer.extend(bytes);
        while let Some(head) = Head::parse(&answer) {
            let (line, length, whole) = (head.first_line().to_owned(), head.length, head.length_with_body());
            let status = head.status();
            if !self.steps.is_empty() {
                if status != 101 {
                    return Err(Over::Handshake(line));
                }
                step(&mut self.steps, &mut self.out, desk);
                self.said = now;
                return self.frames(desk, &answer[length..], now);
            }
            if answer.len() < whole {
                break;
            }
            answer.drain(..whole);
            match status {
                200..=299 => acknowledged(desk, now),
                _ => return Err(Over::Refused(format!("a message was answered with {line:?}"))),
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
                    if first {
                        self.scanner = Scanner::default();
                        desk.others += 1;
                    }
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
                        messages += 1;
                    }
                    if messages > 0 {
                        desk.progress = now;
                    }
                    if self.places
                        && let Some(place) = desk.dialect.place(payload)
                    {
                        self.place = Some(place.to_owned());
                    }
                    match desk.dialect.note(payload) {
                        Note::Acknowledged if self.steps.is_empty() => acknowledged(desk, now),
                        Note::Ping => desk.dialect.pong(&mut self.out),
                        Note::Refused => return Err(Over::Refused(String::from_utf8_lossy(payload).into_owned())),
                        _ => desk.others += u64::from(messages == 0),
                    }
                    if let Some(Step { until: Until::Heard(what), .. }) = self.steps.front()
                        && memchr::memmem::find(payload, what.as_bytes()).is_some()
                    {
                        step(&mut self.steps, &mut self.out, desk);
                        self.said = now;
                    }
                }
            }
        }
    }
}

/// What had to be heard was heard.
fn step(steps: &mut VecDeque<Step>, out: &mut Vec<u8>, desk: &mut Desk) {
    steps.pop_front();
    match steps.front() {
        Some(next) => out.extend(&next.say),
        None => desk.ready += 1,
    }
}

fn acknowledged(desk: &mut Desk, now: u64) {
    desk.ledger.acknowledged();
    desk.progress = now;
}
