//! The payloads of ephemeral events, which gateways exchange beside the log.

use bytes::Bytes;
use trunkline_domain::{Data, Event, EventName, InstanceId, Position, Room, UserId};

use crate::{
    frame::text_frame,
    ids::{ConnectionKey, WorkerId},
};

/// An event that is not logged and may be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ephemeral {
    /// `t<user>`: the user is typing.
    Typing(UserId),
    /// `s<user> <event> <data>`: an event of the application.
    Signal { user: UserId, event: EventName, data: Data },
    /// `r<user> <position> <origin>`: the user's read mark moved.
    Seen { user: UserId, pos: Position, origin: SocketOrigin },
}

/// One socket of the cluster: `<instance> <worker> <slot> <serial>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SocketOrigin {
    pub(crate) instance: InstanceId,
    pub(crate) worker: WorkerId,
    pub(crate) key: ConnectionKey,
}

impl Ephemeral {
    /// Returns the payload.
    pub(crate) fn encode(&self) -> Bytes {
        Bytes::from(match self {
            Self::Typing(user) => format!("t{user}"),
            Self::Signal { user, event, data } => format!("s{user} {event} {}", data.as_str()),
            Self::Seen { user, pos, origin: SocketOrigin { instance, worker, key } } => {
                format!("r{user} {pos} {instance} {} {} {}", worker.0, key.slot, key.serial)
            }
        })
    }

    /// Returns the event; `None` if the payload is unknown, such as one of a later version.
    pub(super) fn decode(payload: &[u8]) -> Option<Self> {
        let (kind, content) = std::str::from_utf8(payload).ok()?.split_at_checked(1)?;
        Some(match kind {
            "t" => Self::Typing(content.parse().ok()?),
            "s" => {
                let mut words = content.splitn(3, ' ');
                let (user, event) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
                Self::Signal { user, event, data: words.next()?.parse().ok()? }
            }
            "r" => {
                let mut words = content.split(' ');
                let mut next = || words.next();
                let (user, pos) = (next()?.parse().ok()?, next()?.parse().ok()?);
                let (instance, worker) = (next()?.parse().ok()?, WorkerId(next()?.parse().ok()?));
                let key = ConnectionKey { slot: next()?.parse().ok()?, serial: next()?.parse().ok()? };
                Self::Seen { user, pos, origin: SocketOrigin { instance, worker, key } }
            }
            _ => return None,
        })
    }

    /// Returns the frame for members of the room.
    pub(super) fn frame(self, room: &Room) -> Bytes {
        let room = room.clone();
        text_frame(&match self {
            Self::Typing(user) => Event::Typing { room, user },
            Self::Signal { user, event, data } => Event::Signal { room, user, event, data },
            Self::Seen { pos, .. } => Event::Seen { room, pos },
        })
    }
}

/// What an instance publishes to all others, in the [control room](Room::control). Like every ephemeral event it may be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    /// `d<user>`: close every socket of the user.
    Disconnect(UserId),
}

impl Control {
    /// Returns the payload.
    pub(crate) fn encode(&self) -> Bytes {
        let Self::Disconnect(user) = self;
        Bytes::from(format!("d{user}"))
    }

    /// Returns the message; `None` if the payload is unknown.
    pub(super) fn decode(payload: &[u8]) -> Option<Self> {
        let user = std::str::from_utf8(payload.strip_prefix(b"d")?).ok()?;
        user.parse().ok().map(Self::Disconnect)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn payloads_decode_to_the_event() {
        let user: UserId = "auth0|ann".parse().unwrap();
        let origin =
            SocketOrigin { instance: InstanceId(7), worker: WorkerId(1), key: ConnectionKey { slot: 2, serial: 3 } };
        let data = r#"{ "x": 1.0, "y": "a b" }"#.parse().unwrap();
        for event in [
            Ephemeral::Typing(user.clone()),
            Ephemeral::Signal { user: user.clone(), event: "cursor".parse().unwrap(), data },
            Ephemeral::Seen { user, pos: Position::new(5, 6), origin },
        ] {
            assert_eq!(Ephemeral::decode(&event.encode()), Some(event));
        }
    }

    #[test]
    fn control_messages_decode_to_themselves() {
        let message = Control::Disconnect("auth0|ann".parse().unwrap());
        assert_eq!(Control::decode(&message.encode()), Some(message));
        assert_eq!(Control::decode(b"d a"), None);
    }

    proptest! {
        #[test]
        fn no_payload_panics(kind in "[tsrx]", content in ".{0,40}") {
            let _ = Ephemeral::decode(format!("{kind}{content}").as_bytes());
        }
    }
}
