//! From the bus to the sockets.
//!
//! One **feed** a process listens to the bus, keeps the tail of every room that is served here, repairs gaps from the
//! log and encodes each message once. One **hub** a worker thread keeps its own copy of the tails and a cursor for every
//! subscription. Feed and hub are synchronous state machines: neither ever waits, neither takes a lock. What is between
//! them is two kinds of letters: a hub's [`Ask`] and the feed's [`Mail`].

mod attendance;
mod cursor;
mod feed;
mod frame;
mod hub;
mod peer;
mod round;
#[cfg(test)]
mod simulation;
mod tail;
mod vitals;
mod whisper;
mod worker;

use std::sync::Arc;

use bytes::Bytes;
use trunkline_bus::Range;
use trunkline_domain::{Room, UserName};

pub(crate) use attendance::PresenceState;
pub(crate) use cursor::FramePage;
pub(crate) use feed::{Letter, run};
pub(crate) use frame::{Frame, text};
pub(crate) use hub::{Hub, Key, Newcomer, Outlet, TURN, Taken};
pub(crate) use tail::{Append, Chunk, Tail};
pub(crate) use vitals::Vitals;
pub(crate) use whisper::typing;
pub(crate) use worker::{SocketRef, Worker, WorkerId};

/// What a hub wants from the feed. `Came` and `Went` are one each for a subscription of a socket; of the others at most one
/// of each kind is under way for a room of a worker. So the channel that carries them, which loses none, holds no more than
/// a few for each join.
#[derive(Debug)]
pub(crate) enum Ask {
    /// Send the room's tail, then everything that follows it: the room has its first local member, or frames were missed.
    Serve(Room),
    /// The room has no local member any more.
    Unserve(Room),
    /// A cursor needs a part of the log that the tail does not hold.
    Page(Room, Range),
    /// A socket of the user joined the room, in which it was not before. The feed counts them.
    Came(Room, UserName),
    /// A socket of the user that was in the room left it, or is gone.
    Went(Room, UserName),
}

/// What the feed tells a hub.
#[derive(Clone, Debug)]
pub(crate) enum Mail {
    /// The room's tail, in place of any earlier one.
    Tail(Room, Tail),
    /// Frames that follow each other.
    Frames(Room, Arc<[Frame]>),
    /// The page that was asked for.
    Page(Room, FramePage),
    /// A frame that is not log: it may be dropped.
    Whisper(Room, Bytes),
    /// Who is in the room. It may be dropped: later state replaces it.
    Presence {
        /// Which.
        room: Room,
        /// The whole state of now.
        here: PresenceState,
        /// The frame that makes the state of before this one; `None` where only the whole state will do.
        change: Option<Bytes>,
    },
    /// The user has too many sockets: close this one.
    Evict(Key),
}
