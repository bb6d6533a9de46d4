//! WebSocket close codes, and what a client does on each.

/// Why a socket is closed. Codes below 3000 are defined by RFC 6455 section 7.4.1; codes from 4000 on are private (section
/// 7.4.2) and Trunkline's own. See "Close codes" in `docs/PROTOCOL.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    Normal,
    /// 1001: the other side is going away.
    GoingAway,
    /// 1002: the bytes violate RFC 6455.
    Protocol,
    /// 1003: a binary frame was received.
    Unsupported,
    /// 1007: a text frame was not UTF-8.
    InvalidUtf8,
    /// 1008: too many malformed or refused frames.
    Policy,
    /// 1009: a frame or message exceeds the size limit.
    TooBig,
    /// 1012: this instance drains or restarts (IANA registry of close codes).
    Restart,
    /// 4401: the session ended.
    SessionEnded,
    /// 4408: the client sent nothing in time.
    Unresponsive,
    /// 4409: the user has too many sockets; the oldest one is closed.
    TooManySockets,
}

/// The reaction of a client to a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconnect {
    /// Reconnect with exponential back-off and full jitter.
    WithBackoff,
    /// Reconnect after the `reconnect_after_ms` of the `closing` frame.
    AfterDelay,
    /// Do not reconnect; show the login page.
    LoginFirst,
    /// Do not reconnect until the user asks for it.
    OnRequest,
}

impl CloseCode {
    /// Every code, in numeric order.
    pub const ALL: [Self; 11] = [
        Self::Normal,
        Self::GoingAway,
        Self::Protocol,
        Self::Unsupported,
        Self::InvalidUtf8,
        Self::Policy,
        Self::TooBig,
        Self::Restart,
        Self::SessionEnded,
        Self::Unresponsive,
        Self::TooManySockets,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::GoingAway => 1001,
            Self::Protocol => 1002,
            Self::Unsupported => 1003,
            Self::InvalidUtf8 => 1007,
            Self::Policy => 1008,
            Self::TooBig => 1009,
            Self::Restart => 1012,
            Self::SessionEnded => 4401,
            Self::Unresponsive => 4408,
            Self::TooManySockets => 4409,
        }
    }

    /// The code with this number. `None` if Trunkline does not use it.
    #[must_use]
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.code() == code)
    }

    /// The reaction of a client that did not close the socket itself. A code that is not listed here is handled as
    /// [`WithBackoff`](Reconnect::WithBackoff).
    #[must_use]
    pub const fn reconnect(self) -> Reconnect {
        match self {
            Self::Restart => Reconnect::AfterDelay,
            Self::SessionEnded => Reconnect::LoginFirst,
            Self::TooManySockets => Reconnect::OnRequest,
            _ => Reconnect::WithBackoff,
        }
    }
}
