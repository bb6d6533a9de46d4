//! WebSocket close codes and what a client does on each.

/// Why a socket is closed. Codes below 3000 are those of RFC 6455 section 7.4.1; 4400 and up are ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// 1000: closed on purpose.
    Normal,
    /// 1001: the other side goes away.
    GoingAway,
    /// 1002: the bytes break RFC 6455.
    Protocol,
    /// 1003: a binary frame came.
    Unsupported,
    /// 1007: a text frame was not UTF-8.
    InvalidUtf8,
    /// 1008: repeated bad frames or refusals.
    Policy,
    /// 1009: a frame or message over the size limit.
    TooBig,
    /// 1012: this instance drains or restarts.
    Restart,
    /// 4401: the session ended.
    SessionEnded,
    /// 4408: no sign of life in time.
    Unresponsive,
    /// 4409: too many sockets of this user; the oldest goes.
    TooManySockets,
}

/// What a client does after a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconnect {
    /// Come back with full-jitter back-off.
    WithBackoff,
    /// Come back after the `reconnect_after_ms` of the `closing` frame.
    WhenTold,
    /// Stay away: show the login page.
    LoginFirst,
    /// Stay away until the person asks.
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

    /// The code with this number, if it is one that Trunkline uses.
    #[must_use]
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.code() == code)
    }

    /// What a client does that did not close the socket itself.
    #[must_use]
    pub const fn reconnect(self) -> Reconnect {
        match self {
            Self::Restart => Reconnect::WhenTold,
            Self::SessionEnded => Reconnect::LoginFirst,
            Self::TooManySockets => Reconnect::OnRequest,
            _ => Reconnect::WithBackoff,
        }
    }
}
