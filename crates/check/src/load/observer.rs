//! Records what a client sends and receives.

use std::borrow::Cow;

use trunkline_client::{MessageFrame, SessionProbe, WireEvent, WireObserver};
use trunkline_domain::{Command, Event, Position, Refusal, UserName};

use super::{recorder::Recorder, traced_text::TracedText};
use crate::history::{ClientNumber, HistoryLine, Micros};

/// Records the frames of one client in the history.
#[derive(Debug)]
pub(crate) struct HistoryObserver {
    recorder: Recorder,
    client: ClientNumber,
    /// Last received position of each room.
    last: Vec<(Box<str>, Position)>,
}

impl HistoryObserver {
    pub(crate) fn new(recorder: Recorder, client: ClientNumber) -> Self {
        Self { recorder, client, last: Vec::new() }
    }

    /// Returns the last received position of a room.
    pub(crate) fn last_position(&self, room: &str) -> Option<Position> {
        self.last.iter().find(|(known, _)| **known == *room).map(|(_, pos)| *pos)
    }

    fn record<'a>(&self, line: impl FnOnce(Micros, ClientNumber) -> Option<HistoryLine<'a>>) {
        self.recorder.record(|t| line(t, self.client));
    }

    fn set_last_position(&mut self, room: &str, pos: Position) {
        match self.last.iter_mut().find(|(known, _)| **known == *room) {
            Some((_, last)) => *last = pos,
            None => self.last.push((room.into(), pos)),
        }
    }

    fn command_sent(&self, command: &Command) {
        self.record(|t, c| {
            Some(match command {
                Command::Join { room, from } => {
                    HistoryLine::Join { t, c, room: room.as_str().into(), after: from.after, recent: from.recent }
                }
                Command::Leave { room } => HistoryLine::Leave { t, c, room: room.as_str().into() },
                Command::Send { room, id, text } => {
                    let due = TracedText::parse(text.as_str()).map_or(t, |text| text.due);
                    HistoryLine::Send { t, c, room: room.as_str().into(), id: id.as_str().into(), due }
                }
                Command::History { .. } | Command::Typing { .. } | Command::Pong => return None,
            })
        });
    }

    fn event_received(&mut self, socket: u64, event: &Event) {
        if let Event::Joined { room, head, resumed } = event
            && !resumed
        {
            // Either no message follows, or the latest messages follow and end at the head.
            self.set_last_position(room.as_str(), *head);
        }
        self.record(|t, c| {
            Some(match event {
                Event::Welcome { instance, .. } => {
                    HistoryLine::Open { t, c, s: socket, instance: instance.as_str().into() }
                }
                Event::Joined { room, resumed, head } => {
                    HistoryLine::Joined { t, c, room: room.as_str().into(), resumed: *resumed, head: *head }
                }
                Event::Left { room } => HistoryLine::Left { t, c, room: room.as_str().into() },
                Event::Sent { room, id, pos } => {
                    HistoryLine::Sent { t, c, room: room.as_str().into(), id: id.as_str().into(), pos: *pos }
                }
                Event::Error(Refusal { code, room, id, .. }) => HistoryLine::Error {
                    t,
                    c,
                    room: room.as_deref().map(Into::into),
                    id: id.as_deref().map(Into::into),
                    code: code_name(*code),
                },
                Event::Presence { room, count, here, came, went } => {
                    let [here, came, went] = [here, came, went].map(|users| users.as_deref().map(names));
                    HistoryLine::Presence { t, c, room: room.as_str().into(), count: *count, here, came, went }
                }
                Event::Closing { .. } => HistoryLine::Closing { t, c },
                _ => return None,
            })
        });
    }

    fn message_received(&mut self, frame: &MessageFrame<'_>) {
        let altered = TracedText::parse(&frame.text).is_none_or(|text| text.id != frame.id);
        let MessageFrame { pos, room, id, user, .. } = frame;
        self.record(|t, c| {
            let (room, id, user) = ((&**room).into(), (&**id).into(), (&**user).into());
            Some(HistoryLine::Message { t, c, room, pos: *pos, id, user, altered })
        });
        self.set_last_position(&frame.room, frame.pos);
    }

    /// Records a failed session probe or handshake; `status` is 0 if there was no response.
    fn rejected(&self, status: u16) {
        self.record(|t, c| Some(HistoryLine::Rejected { t, c, status }));
    }
}

impl WireObserver for HistoryObserver {
    const CONSUMES_MESSAGES: bool = true;

    fn observe(&mut self, wire: WireEvent<'_>) {
        match wire {
            WireEvent::Message(_, frame) => self.message_received(&frame),
            WireEvent::Frame(socket, event) => self.event_received(socket, event),
            WireEvent::Sent(_, command) => self.command_sent(command),
            WireEvent::Probed(SessionProbe::LoggedIn(_)) | WireEvent::Opened(_) => {}
            WireEvent::Probed(SessionProbe::NotLoggedIn) => self.rejected(401),
            WireEvent::Probed(SessionProbe::Unavailable(_)) => self.rejected(503),
            WireEvent::Probed(SessionProbe::Unreachable(_)) => self.rejected(0),
            WireEvent::Rejected(_, status) => self.rejected(status.unwrap_or(0)),
            WireEvent::Unreadable(..) => self.record(|t, c| Some(HistoryLine::InvalidFrame { t, c })),
            WireEvent::Closed(s, code) => self.record(|t, c| Some(HistoryLine::Close { t, c, s, code })),
            WireEvent::Abandoned(s) => self.record(|t, c| Some(HistoryLine::ClientClose { t, c, s })),
        }
    }
}

fn names(users: &[UserName]) -> Vec<Cow<'_, str>> {
    users.iter().map(|user| user.as_str().into()).collect()
}

fn code_name(code: trunkline_domain::ErrorCode) -> Cow<'static, str> {
    match serde_json::to_value(code) {
        Ok(serde_json::Value::String(name)) => name.into(),
        // Unreachable: a unit variant serialises to its name.
        _ => "unknown".into(),
    }
}
