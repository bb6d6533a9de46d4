//! Effects of the state machine.

use trunkline_domain::{Command, Room, UserId};

use super::{ClientEvent, SocketId};

/// An action that the driver must carry out. Effects are carried out in order.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientEffect {
    /// Request `GET /session` and pass the result as [`ClientInput::Probed`](super::ClientInput::Probed). The probe and
    /// the socket of one connection attempt have the same number. With a source of tokens, ask it for a new one first.
    Probe {
        /// The connection attempt.
        socket: SocketId,
    },
    /// Open the WebSocket. Pass its frames as [`ClientInput::Frame`](super::ClientInput::Frame) and its end as
    /// [`ClientInput::Closed`](super::ClientInput::Closed).
    Open {
        /// The number of the new socket.
        socket: SocketId,
    },
    /// Close the socket with code 1000. Inputs from it are ignored from now on.
    Close {
        /// The socket.
        socket: SocketId,
    },
    /// Send a frame. Before a `send` frame, store the [`ClientEvent::Outbox`] entry that preceded it.
    Transmit {
        /// The socket.
        socket: SocketId,
        /// The frame.
        command: Command,
    },
    /// Ask the source of tokens for a new one and pass it as [`ClientInput::Token`](super::ClientInput::Token). It refreshes
    /// the identity of an open socket.
    Token {
        /// The socket.
        socket: SocketId,
    },
    /// Read the stored outbox entries of this user and room, and pass them as
    /// [`ClientInput::Outbox`](super::ClientInput::Outbox).
    Load {
        /// The user.
        user: UserId,
        /// The room.
        room: Room,
    },
    /// Pass an event to the application.
    Emit(ClientEvent),
}
