//! Records what a client sends and receives.

use std::{borrow::Cow, collections::VecDeque};

use trunkline_client::{MessageFrame, SessionProbe, WireEvent, WireObserver};
use trunkline_domain::{Body, Command, Content, Event, Message, Position, Refusal, Room};

use super::{
    amendments::{due_in_id, traced_data},
    recorder::Recorder,
    room_folds::RoomFold,
    traced_text::TracedText,
};
use crate::history::{ClientNumber, HistoryLine, LoggedMessage, Micros};

/// Records the frames of one client in the history.
#[derive(Debug)]
pub(crate) struct HistoryObserver {
    recorder: Recorder,
    client: ClientNumber,
    rooms: Vec<ObservedRoom>,
    /// Whether messages and amendments are folded.
    folds: bool,
}

#[derive(Debug)]
struct ObservedRoom {
    name: Box<str>,
    /// Last received position.
    last: Position,
    fold: RoomFold,
}

impl HistoryObserver {
    /// Creates the observer of a client. `folds`: whether it folds messages and amendments.
    pub(crate) fn new(recorder: Recorder, client: ClientNumber, folds: bool) -> Self {
        Self { recorder, client, rooms: Vec::new(), folds }
    }

    fn room(&self, room: &Room) -> Option<&ObservedRoom> {
        self.rooms.iter().find(|known| *known.name == *room.as_str())
    }

    fn room_mut(&mut self, name: &str) -> &mut ObservedRoom {
        let index = self.rooms.iter().position(|known| *known.name == *name).unwrap_or_else(|| {
            self.rooms.push(ObservedRoom { name: name.into(), last: Position::ORIGIN, fold: RoomFold::default() });
            self.rooms.len() - 1
        });
        &mut self.rooms[index]
    }

    /// Returns the last received position of a room.
    pub(crate) fn last_position(&self, room: &Room) -> Option<Position> {
        self.room(room).map(|room| room.last)
    }

    /// Returns the positions of recent texts of a room.
    pub(crate) fn recent_texts(&self, room: &Room) -> VecDeque<Position> {
        self.room(room).map(|room| room.fold.recent_texts().clone()).unwrap_or_default()
    }

    /// Returns the position of the first entry that the client has received of a room.
    pub(crate) fn oldest(&self, room: &Room) -> Option<Position> {
        self.room(room)?.fold.oldest()
    }

    /// Records what the client shows of its rooms.
    pub(crate) fn record_folds(&self) {
        for ObservedRoom { name, fold, .. } in &self.rooms {
            if let Some(shown) = fold.shown() {
                self.record(|t, c| Some(HistoryLine::Folded { t, c: Some(c), room: (&**name).into(), shown }));
            }
        }
    }

    fn record<'a>(&self, line: impl FnOnce(Micros, ClientNumber) -> Option<HistoryLine<'a>>) {
        self.recorder.record(|t| line(t, self.client));
    }

    fn command_sent(&self, command: &Command) {
        self.record(|t, c| {
            Some(match command {
                Command::Join { room, from } => {
                    HistoryLine::Join { t, c, room: room.as_str().into(), after: from.after, recent: from.recent }
                }
                Command::Leave { room } => HistoryLine::Leave { t, c, room: room.as_str().into() },
                Command::Send { room, id, content } => {
                    let due = match content {
                        Content::Text { text, .. } => TracedText::parse(text.as_str()).map(|text| text.due),
                        _ => due_in_id(id),
                    };
                    let fields = content.fields();
                    HistoryLine::Send {
                        t,
                        c,
                        room: room.as_str().into(),
                        id: id.as_str().into(),
                        due: due.unwrap_or(t),
                        event: fields.event.map(Into::into),
                        of: content.amends(),
                    }
                }
                Command::History { room, before, .. } => {
                    HistoryLine::PageRequest { t, c, room: room.as_str().into(), before: *before }
                }
                Command::Typing { .. }
                | Command::Signal { .. }
                | Command::Seen { .. }
                | Command::Refresh { .. }
                | Command::Pong => return None,
            })
        });
    }

    fn event_received(&mut self, socket: u64, event: &Event) {
        match event {
            Event::Joined { room, head, resumed: false, .. } => {
                let room = self.room_mut(room.as_str());
                // Either no message follows, or the latest messages follow and end at the head.
                room.last = *head;
                room.fold.clear();
            }
            Event::History { room, messages, .. } if self.folds => {
                let room = self.room_mut(room.as_str());
                messages.iter().for_each(|message| room.fold.add(message));
            }
            _ => {}
        }
        self.record(|t, c| {
            Some(match event {
                Event::Welcome { instance, .. } => {
                    HistoryLine::Open { t, c, s: socket, instance: instance.as_str().into() }
                }
                Event::Joined { room, resumed, head, .. } => {
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
                Event::Presence { room, count, users, joined, left } => {
                    let [users, joined, left] = [users, joined, left].map(Clone::clone);
                    HistoryLine::Presence { t, c, room: room.as_str().into(), count: *count, users, joined, left }
                }
                Event::History { room, messages, .. } => {
                    let messages = messages.iter().map(logged).collect();
                    HistoryLine::Page { t, c, room: room.as_str().into(), messages }
                }
                Event::Refreshed { .. } => HistoryLine::Refreshed { t, c },
                Event::Closing { .. } => HistoryLine::Closing { t, c },
                _ => return None,
            })
        });
    }

    fn message_received(&mut self, frame: &MessageFrame<'_>) {
        let altered = is_altered(frame);
        let MessageFrame { pos, room, id, user, event, deleted, .. } = frame;
        let of = frame.reference.filter(|_| frame.amends());
        self.record(|t, c| {
            let (room, id, user) = ((&**room).into(), (&**id).into(), (&**user).into());
            let event = event.as_deref().map(Into::into);
            Some(HistoryLine::Message { t, c, room, pos: *pos, id, user, event, of, deleted: *deleted, altered })
        });
        let message = if self.folds { frame.to_message() } else { None };
        let room = self.room_mut(&frame.room);
        room.last = frame.pos;
        if let Some(message) = message {
            room.fold.add(&message);
            room.fold.trim();
        }
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
            WireEvent::Probed(SessionProbe::LoggedIn { .. }) | WireEvent::Opened(_) => {}
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

/// Whether text or data differ from what the id says was sent.
fn is_altered(frame: &MessageFrame<'_>) -> bool {
    match frame.event.as_deref() {
        _ if frame.deleted => false,
        None | Some(Content::EDIT) => {
            let text = frame.text.as_deref().and_then(TracedText::parse);
            text.is_none_or(|text| text.id != frame.id)
        }
        Some(Content::DELETE | Content::REACT) => false,
        Some(_) => {
            let sent = frame.id.parse().ok().and_then(|id| traced_data(&id));
            sent.is_none_or(|sent| frame.data.map(serde_json::value::RawValue::get) != Some(sent.as_str()))
        }
    }
}

/// A message of a page, as the history contains it.
pub(crate) fn logged(message: &Message) -> LoggedMessage<'_> {
    let (content, deleted) = match &message.body {
        Body::Content(content) => (Some(content), false),
        Body::DeletedText { .. } | Body::DeletedEdit { .. } => (None, true),
    };
    let (key, on) = match content {
        Some(Content::React { key, on, .. }) => (Some(key.as_str().into()), Some(*on)),
        _ => (None, None),
    };
    let edited = if let Body::DeletedEdit { of } = message.body { Some(of) } else { None };
    let event = content.and_then(|content| content.fields().event).or(edited.map(|_| Content::EDIT));
    LoggedMessage {
        pos: message.pos,
        id: message.id.as_str().into(),
        user: message.user.as_str().into(),
        event: event.map(Into::into),
        of: content.and_then(Content::amends).or(edited),
        key,
        on,
        deleted,
    }
}

fn code_name(code: trunkline_domain::ErrorCode) -> Cow<'static, str> {
    match serde_json::to_value(code) {
        Ok(serde_json::Value::String(name)) => name.into(),
        // Unreachable: a unit variant serialises to its name.
        _ => "unknown".into(),
    }
}
