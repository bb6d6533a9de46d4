//! What went over the wire, for programs that measure or judge a server.

use std::borrow::Cow;

use serde::Deserialize;
use trunkline_domain::{Command, Event, Millis, Position};

use crate::{Probed, SocketId};

/// Sees everything that a client does on the wire, before the client acts on it. The unit type sees nothing.
pub trait Observer {
    /// Whether `message` frames are for the observer alone: they are then parsed without being copied or checked, seen as
    /// [`Wire::Message`], and never become a notice. What reads thousands of messages a second wants this.
    const TAKES_MESSAGES: bool = false;

    /// One thing that happened on the wire.
    fn saw(&mut self, wire: Wire<'_>);
}

impl Observer for () {
    fn saw(&mut self, _: Wire<'_>) {}
}

/// Something that happened on the wire.
#[derive(Debug)]
pub enum Wire<'a> {
    /// `GET /session` was answered, or not.
    Probed(&'a Probed),
    /// The handshake of an attempt succeeded.
    Opened(SocketId),
    /// The handshake failed: with that HTTP status, or without any.
    Rejected(SocketId, Option<u16>),
    /// A frame was handed to the socket.
    Sent(SocketId, &'a Command),
    /// A `message` frame came; only with [`Observer::TAKES_MESSAGES`].
    Message(SocketId, MessageFrame<'a>),
    /// Any other frame came.
    Frame(SocketId, &'a Event),
    /// A frame came that no gateway sends.
    Unreadable(SocketId, &'a str),
    /// The server closed the socket with this code, or it went without a close frame: 1006.
    Closed(SocketId, u16),
    /// The client gave the socket up.
    GaveUp(SocketId),
}

/// A `message` frame as it came: nothing is checked but its shape.
#[derive(Debug, Deserialize)]
pub struct MessageFrame<'a> {
    /// Where it stands.
    pub pos: Position,
    /// Its room.
    #[serde(borrow)]
    pub room: Cow<'a, str>,
    /// Its id.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// Who wrote it.
    #[serde(borrow)]
    pub user: Cow<'a, str>,
    /// What.
    #[serde(borrow)]
    pub text: Cow<'a, str>,
    /// When the log took it.
    pub at: Millis,
}

impl<'a> MessageFrame<'a> {
    /// The frame, if it is a `message` frame as gateways write them: with its type in front.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        if text.starts_with(r#"{"type":"message","#) { serde_json::from_str(text).ok() } else { None }
    }

    /// The same of a frame that was read in full.
    pub(crate) fn of(event: &'a Event) -> Option<Self> {
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
