//! Observation of a client's traffic, for programs that measure or verify a server.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use trunkline_domain::{Body, Command, Content, Event, Message, Millis, Position};

use crate::{SessionProbe, SocketId};

/// Observes everything that a client sends and receives. The unit type ignores it.
pub trait WireObserver {
    /// Whether `message` frames go to the observer only. They are then parsed without copying or validating their
    /// content, observed as [`WireEvent::Message`], and cause no [`ClientEvent::Message`](crate::ClientEvent::Message).
    /// Meant for programs that receive thousands of messages per second.
    const CONSUMES_MESSAGES: bool = false;

    /// Called before the client reacts to the event.
    fn observe(&mut self, event: WireEvent<'_>);
}

impl WireObserver for () {
    fn observe(&mut self, _: WireEvent<'_>) {}
}

/// An event between a client and its server.
#[derive(Debug)]
pub enum WireEvent<'a> {
    /// The request `GET /session` ended. `LoggedIn` with a session or a token.
    Probed(&'a SessionProbe),
    /// The WebSocket handshake succeeded.
    Opened(SocketId),
    /// The WebSocket handshake failed with this HTTP status, or without a response.
    Rejected(SocketId, Option<u16>),
    /// The client sent a frame.
    Sent(SocketId, &'a Command),
    /// A `message` frame arrived. Only with [`WireObserver::CONSUMES_MESSAGES`].
    Message(SocketId, MessageFrame<'a>),
    /// Another frame arrived.
    Frame(SocketId, &'a Event),
    /// A frame arrived that is not part of the protocol.
    Unreadable(SocketId, &'a str),
    /// The server closed the socket with this code; 1006 if there was no close frame.
    Closed(SocketId, u16),
    /// The client closed the socket.
    Abandoned(SocketId),
}

/// The content of a `message` frame. Only its shape has been checked.
#[derive(Debug, Deserialize)]
pub struct MessageFrame<'a> {
    /// The position in the room's log.
    pub pos: Position,
    /// The room.
    #[serde(borrow)]
    pub room: Cow<'a, str>,
    /// The message id.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// The sender.
    #[serde(borrow)]
    pub user: Cow<'a, str>,
    /// The sender's display name, unless it equals the id.
    #[serde(borrow, default, deserialize_with = "borrowed")]
    pub name: Option<Cow<'a, str>>,
    /// The name of the event, if it is one or an amendment.
    #[serde(borrow, default, deserialize_with = "borrowed")]
    pub event: Option<Cow<'a, str>>,
    /// The message that it answers or amends.
    #[serde(rename = "ref", default)]
    pub reference: Option<Position>,
    /// The text of a message or an edit, unless it was deleted.
    #[serde(borrow, default, deserialize_with = "borrowed")]
    pub text: Option<Cow<'a, str>>,
    /// The data of an event or a reaction. `None` also stands for `null`.
    #[serde(borrow, default)]
    pub data: Option<&'a RawValue>,
    /// Whether the text was deleted.
    #[serde(default)]
    pub deleted: bool,
    /// When the message was logged, in ms since the Unix epoch.
    pub at: Millis,
}

/// An optional string that is borrowed if it contains no escapes. serde borrows a `Cow` only where it is the field itself.
fn borrowed<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cow<'a, str>>, D::Error> {
    #[derive(Deserialize)]
    struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);
    Ok(Option::<Borrowed<'a>>::deserialize(deserializer)?.map(|Borrowed(text)| text))
}

impl<'a> MessageFrame<'a> {
    /// Decodes a `message` frame in the form that gateways write, with `type` as the first field. Returns `None` for
    /// all other texts, which [`Event::decode`] may be able to decode. Borrows the strings that contain no escapes.
    #[must_use]
    pub fn decode(text: &'a str) -> Option<Self> {
        if text.starts_with(r#"{"type":"message","#) { Self::decode_any(text) } else { None }
    }

    /// Decodes a frame that is known to be a `message`.
    pub(crate) fn decode_any(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Whether it amends another message.
    #[must_use]
    pub fn amends(&self) -> bool {
        matches!(self.event.as_deref(), Some(Content::EDIT | Content::DELETE | Content::REACT))
    }

    /// A copy of the entry. `None` if its content is not valid.
    #[must_use]
    pub fn to_message(&self) -> Option<Message> {
        let body = match (self.deleted, self.event.as_deref(), self.reference) {
            (true, None, reply_to) => Body::DeletedText { reply_to },
            (true, Some(Content::EDIT), Some(of)) => Body::DeletedEdit { of },
            (true, ..) => return None,
            (false, event, reference) => {
                Body::Content(Content::from_fields(event, reference, self.text.as_deref(), self.data).ok()?)
            }
        };
        Some(Message {
            pos: self.pos,
            id: self.id.parse().ok()?,
            user: self.user.parse().ok()?,
            name: self.name.as_deref().map(str::parse).transpose().ok()?,
            body,
            at: self.at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_is_borrowed_and_is_the_same_entry_as_the_decoded_event() {
        for fields in [
            r#""text":"hi","at":1"#,
            r#""name":"Ann Lee","ref":"5-1","text":"hi","at":1"#,
            r#""ref":"5-1","deleted":true,"at":1"#,
            r#""event":"edit","ref":"5-1","deleted":true,"at":1"#,
            r#""event":"edit","ref":"5-1","text":"ho","at":1"#,
            r#""event":"delete","ref":"5-1","at":1"#,
            r#""event":"react","ref":"5-1","data":{"key":"👍","on":true},"at":1"#,
            r#""event":"shipped","data":{"b":1.0,"a":[]},"at":1"#,
            r#""event":"shipped","data":null,"at":1"#,
        ] {
            let text = format!(r#"{{"type":"message","pos":"5-2","room":"r","id":"a","user":"ann",{fields}}}"#);
            let frame = MessageFrame::decode(&text).unwrap();
            let Event::Message { message, .. } = Event::decode(&text).unwrap() else { panic!("{text}") };
            assert_eq!(frame.to_message(), Some(message), "{text}");
            assert!(matches!(frame.text, None | Some(Cow::Borrowed(_))), "{text}");
            assert!(matches!(frame.event, None | Some(Cow::Borrowed(_))), "{text}");
            assert_eq!(frame.amends(), fields.contains(r#""ref":"5-1""#) && fields.contains("event"), "{text}");
        }
        assert!(MessageFrame::decode(r#"{"type":"ping"}"#).is_none());
    }
}
