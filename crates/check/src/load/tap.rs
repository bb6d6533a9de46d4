//! What a client sees, written into the history.

use std::borrow::Cow;

use trunkline_client::{MessageFrame, SessionProbe, WireEvent, WireObserver};
use trunkline_domain::{Command, Event, MessageId, MessageText, Position, Refusal, UserName};

use super::recorder::Recorder;
use crate::history::{ClientNumber, Line, Micros};

/// The observer of one client of a run.
#[derive(Debug)]
pub(crate) struct Tap {
    recorder: Recorder,
    client: ClientNumber,
    /// The last position seen of each room.
    last: Vec<(Box<str>, Position)>,
}

impl Tap {
    pub(crate) fn new(recorder: Recorder, client: ClientNumber) -> Self {
        Self { recorder, client, last: Vec::new() }
    }

    /// The last position seen of a room.
    pub(crate) fn last(&self, room: &str) -> Option<Position> {
        self.last.iter().find(|(known, _)| **known == *room).map(|(_, pos)| *pos)
    }

    fn write<'a>(&self, line: impl FnOnce(Micros, ClientNumber) -> Option<Line<'a>>) {
        self.recorder.write(|t| line(t, self.client));
    }

    fn stand(&mut self, room: &str, pos: Position) {
        match self.last.iter_mut().find(|(known, _)| **known == *room) {
            Some((_, last)) => *last = pos,
            None => self.last.push((room.into(), pos)),
        }
    }

    fn sent(&self, command: &Command) {
        self.write(|t, c| {
            Some(match command {
                Command::Join { room, from } => {
                    Line::Join { t, c, room: room.as_str().into(), after: from.after, recent: from.recent }
                }
                Command::Leave { room } => Line::Leave { t, c, room: room.as_str().into() },
                Command::Send { room, id, text } => {
                    let due = Text::parse(text.as_str()).map_or(t, |text| text.due);
                    Line::Send { t, c, room: room.as_str().into(), id: id.as_str().into(), due }
                }
                Command::History { .. } | Command::Typing { .. } | Command::Pong => return None,
            })
        });
    }

    fn frame(&mut self, socket: u64, event: &Event) {
        if let Event::Joined { room, head, resumed } = event
            && !resumed
        {
            // Nothing may follow; if a tail does, it ends at the head.
            self.stand(room.as_str(), *head);
        }
        self.write(|t, c| {
            Some(match event {
                Event::Welcome { instance, .. } => Line::Open { t, c, s: socket, instance: instance.as_str().into() },
                Event::Joined { room, resumed, head } => {
                    Line::Joined { t, c, room: room.as_str().into(), resumed: *resumed, head: *head }
                }
                Event::Left { room } => Line::Left { t, c, room: room.as_str().into() },
                Event::Sent { room, id, pos } => {
                    Line::Sent { t, c, room: room.as_str().into(), id: id.as_str().into(), pos: *pos }
                }
                Event::Error(Refusal { code, room, id, .. }) => Line::Error {
                    t,
                    c,
                    room: room.as_deref().map(Into::into),
                    id: id.as_deref().map(Into::into),
                    code: code_name(*code),
                },
                Event::Presence { room, count, here, came, went } => {
                    let [here, came, went] = [here, came, went].map(|users| users.as_deref().map(names));
                    Line::Presence { t, c, room: room.as_str().into(), count: *count, here, came, went }
                }
                Event::Closing { .. } => Line::Closing { t, c },
                _ => return None,
            })
        });
    }

    fn message(&mut self, frame: &MessageFrame<'_>) {
        let torn = Text::parse(&frame.text).is_none_or(|text| text.id != frame.id);
        let MessageFrame { pos, room, id, user, .. } = frame;
        self.write(|t, c| {
            let (room, id, user) = ((&**room).into(), (&**id).into(), (&**user).into());
            Some(Line::Message { t, c, room, pos: *pos, id, user, torn })
        });
        self.stand(&frame.room, frame.pos);
    }
}

impl WireObserver for Tap {
    const CONSUMES_MESSAGES: bool = true;

    fn observe(&mut self, wire: WireEvent<'_>) {
        match wire {
            WireEvent::Message(_, frame) => self.message(&frame),
            WireEvent::Frame(socket, event) => self.frame(socket, event),
            WireEvent::Sent(_, command) => self.sent(command),
            WireEvent::Probed(SessionProbe::LoggedIn(_)) | WireEvent::Opened(_) => {}
            WireEvent::Probed(SessionProbe::NotLoggedIn) => {
                self.write(|t, c| Some(Line::Rejected { t, c, status: 401 }));
            }
            WireEvent::Probed(SessionProbe::Unavailable(_)) => {
                self.write(|t, c| Some(Line::Rejected { t, c, status: 503 }));
            }
            WireEvent::Probed(SessionProbe::Unreachable(_)) => {
                self.write(|t, c| Some(Line::Rejected { t, c, status: 0 }));
            }
            WireEvent::Rejected(_, status) => {
                self.write(|t, c| Some(Line::Rejected { t, c, status: status.unwrap_or(0) }));
            }
            WireEvent::Unreadable(..) => self.write(|t, c| Some(Line::Unreadable { t, c })),
            WireEvent::Closed(s, code) => self.write(|t, c| Some(Line::Close { t, c, s, code })),
            WireEvent::Abandoned(s) => self.write(|t, c| Some(Line::GaveUp { t, c, s })),
        }
    }
}

fn names(users: &[UserName]) -> Vec<Cow<'_, str>> {
    users.iter().map(|user| user.as_str().into()).collect()
}

fn code_name(code: trunkline_domain::ErrorCode) -> Cow<'static, str> {
    match serde_json::to_value(code) {
        Ok(serde_json::Value::String(name)) => name.into(),
        // A unit variant serialises to its name.
        _ => "unknown".into(),
    }
}

/// The text of a message of a run: when it was due, its id, and filling. Whoever sees it can tell whether it is whole.
pub(crate) struct Text<'a> {
    due: Micros,
    id: &'a str,
}

impl<'a> Text<'a> {
    /// A text of about `bytes` bytes; never less than due time and id need.
    pub(crate) fn compose(due: Micros, id: &MessageId, bytes: usize) -> Option<MessageText> {
        let mut text = format!("{due} {id} .");
        while text.len() < bytes.min(MessageText::MAX_BYTES) {
            text.push('.');
        }
        text.parse().ok()
    }

    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(3, ' ');
        let (due, id, filling) = (parts.next()?.parse().ok()?, parts.next()?, parts.next()?);
        filling.bytes().all(|byte| byte == b'.').then_some(Self { due, id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_tells_whether_it_is_whole() {
        let id: MessageId = "w1-7".parse().unwrap();
        let text = Text::compose(42, &id, 64).unwrap();
        assert_eq!(text.as_str().len(), 64);
        let read = Text::parse(text.as_str()).unwrap();
        assert_eq!((read.due, read.id), (42, "w1-7"));
        assert!(Text::parse(&text.as_str().replace("..", ". ")).is_none());
        assert!(Text::parse("hello").is_none());
    }
}
