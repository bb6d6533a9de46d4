//! Observation of a client's traffic, for programs that measure or verify a server.

use std::borrow::Cow;

use serde::Deserialize;
use trunkline_domain::{Command, Event, Millis, Position};

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
    /// The request `GET /session` ended.
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
    /// The text.
    #[serde(borrow)]
    pub text: Cow<'a, str>,
    /// When the message was logged, in ms since the Unix epoch.
    pub at: Millis,
}

impl<'a> MessageFrame<'a> {
    /// Decodes a `message` frame in the form that gateways write, with `type` as the first field. Returns `None` for
    /// all other texts, which [`Event::decode`] may be able to decode. Borrows the strings that contain no escapes.
    #[must_use]
    pub fn decode(text: &'a str) -> Option<Self> {
        if text.starts_with(r#"{"type":"message","#) { serde_json::from_str(text).ok() } else { None }
    }

    /// The content of a decoded event, if it is a message.
    pub(crate) fn from_event(event: &'a Event) -> Option<Self> {
        let Event::Message { room, message } = event else { return None };
        Some(Self {
            pos: message.pos,
            room: room.as_str().into(),
            id: message.id.as_str().into(),
            user: message.user.as_str().into(),
            text: message.text.as_str().into(),
            at: message.at,
        })
    }
}
