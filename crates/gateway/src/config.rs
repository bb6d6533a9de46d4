//! What an embedder sets. Plain data: nothing here is checked against the outside world.

use std::{num::NonZeroU32, time::Duration};

use ipnet::IpNet;
use trunkline_session::{CookieSettings, Lifetimes, SecretKeys};

use crate::origin::Origin;

/// Settings of a gateway. [`Default`] is right for one instance on a developer's machine.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of this instance, shown to people and in logs. Instances of one cluster have different ones.
    pub instance: String,
    /// Where browsers find the service. Requests of pages of other origins are refused. Empty: a request's `Origin` must
    /// name the host and port that its own `Host` header names.
    pub public_origins: Vec<Origin>,
    /// Name and security of the session cookie.
    pub cookie: CookieSettings,
    /// What session cookies are signed with. Random by default: then the sessions end with the process. Instances of one
    /// cluster have the same.
    pub keys: SecretKeys,
    /// How long sessions last; the same that the session store was given. The browser keeps the cookie as long.
    pub lifetimes: Lifetimes,
    /// Time between two `ping` frames of a socket, before jitter.
    pub ping_interval: Duration,
    /// Drain: how long the instance says that it is not ready while it still takes connections, so that balancers notice.
    pub drain_delay: Duration,
    /// Drain: the time over which clients are asked to come back elsewhere. What is still open 5 s later is closed.
    pub drain_window: Duration,
    /// What one client may ask for.
    pub limits: Limits,
    /// Proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
    pub trusted_proxies: Vec<IpNet>,
}

/// What one client may ask for. `None` switches a limit off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages a second and user, over all of the user's sockets of this instance; bursts of three times as many pass.
    pub send_rate: Option<NonZeroU32>,
    /// Joins a second and socket.
    pub join_rate: Option<NonZeroU32>,
    /// Attempts to log in, a minute and client address. `None` also switches off the limit a name.
    pub login_rate: Option<NonZeroU32>,
    /// Sockets a user on this instance; the oldest is closed for a new one (4409).
    pub sockets_per_user: Option<NonZeroU32>,
    /// Sockets a client address on this instance; more are refused (429).
    pub sockets_per_address: Option<NonZeroU32>,
    /// Sockets on this instance; more are refused (429).
    pub sockets: Option<NonZeroU32>,
    /// Rooms that one socket may be in. Told to clients in `welcome`.
    pub rooms_per_socket: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            instance: "trunkline".to_owned(),
            public_origins: Vec::new(),
            cookie: CookieSettings::default(),
            keys: SecretKeys::random(),
            lifetimes: Lifetimes::default(),
            ping_interval: Duration::from_secs(25),
            drain_delay: Duration::from_secs(2),
            drain_window: Duration::from_secs(10),
            limits: Limits::default(),
            trusted_proxies: Vec::new(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            send_rate: NonZeroU32::new(10),
            join_rate: NonZeroU32::new(10),
            login_rate: NonZeroU32::new(20),
            sockets_per_user: NonZeroU32::new(16),
            sockets_per_address: None,
            sockets: None,
            rooms_per_socket: 128,
        }
    }
}
