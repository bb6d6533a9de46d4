//! The settings of a gateway. Plain data: nothing here is checked against the environment.

use std::{num::NonZeroU32, time::Duration};

use ipnet::IpNet;
use trunkline_session::{CookieSettings, Lifetimes, SecretKeys};

#[cfg(feature = "jwt")]
use crate::jwt::TokenVerifier;
#[cfg(feature = "oidc")]
use crate::oidc::OidcConfig;
use crate::{identity::HostUsers, origin::Origin};

/// Settings of a gateway. [`Default`] suits one instance on a developer's machine.
///
/// # Examples
/// ```
/// use std::{num::NonZeroU32, time::Duration};
///
/// use trunkline_gateway::{Config, Limits};
///
/// let config = Config {
///     instance: "gw-1".to_owned(),
///     drain_window: Duration::from_secs(30),
///     limits: Limits { send_rate: NonZeroU32::new(5), ..Limits::default() },
///     ..Config::default()
/// };
/// assert_eq!(config.ping_interval, Duration::from_secs(25));
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of this instance in logs and on the status page. It must be unique in a cluster.
    pub instance: String,
    /// Origins of the pages that may use the service; requests from pages of other origins are refused. If empty, the
    /// `Origin` of a request must have the host and port of its `Host` header.
    pub public_origins: Vec<Origin>,
    /// Name and attributes of the session cookie.
    pub cookie: CookieSettings,
    /// Keys that sign session cookies. Random by default, so that sessions end with the process. All instances of a cluster
    /// need the same keys.
    pub keys: SecretKeys,
    /// Lifetimes of sessions; the session store must be given the same. The cookie lasts as long.
    pub lifetimes: Lifetimes,
    /// Whether users log in by typing a name that is free. Turn it off where users come from somewhere else: a typed name
    /// could equal the id of one of them.
    pub name_login: bool,
    /// Users of the application that embeds the gateway. They are asked about requests that carry neither a token nor the
    /// cookie of a session.
    pub host_users: Option<HostUsers>,
    /// Accepts JSON Web Tokens as proof of identity.
    #[cfg(feature = "jwt")]
    pub tokens: Option<TokenVerifier>,
    /// The OpenID provider with which users log in.
    #[cfg(feature = "oidc")]
    pub oidc: Option<OidcConfig>,
    /// Maximum time between two `ping` frames of a connection; jitter shortens it by up to 10 %. A smaller value detects dead
    /// connections sooner and sends more frames.
    pub ping_interval: Duration,
    /// Drain: time for which the instance reports that it is not ready while it still accepts connections. It must be longer
    /// than the interval of the balancer's health checks.
    pub drain_delay: Duration,
    /// Drain: time over which clients are asked to reconnect elsewhere. A larger value spreads the reconnects. Connections
    /// that are still open 5 s after it are closed.
    pub drain_window: Duration,
    /// Limits per client.
    pub limits: Limits,
    /// Proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` headers are used.
    pub trusted_proxies: Vec<IpNet>,
}

/// Limits per client. `None` removes a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages per second per user, over all sockets of the user on all instances. After a pause, three times as many may
    /// come at once, at each instance until it learns of the others (250 ms).
    pub send_rate: Option<NonZeroU32>,
    /// Joins per second per socket.
    pub join_rate: Option<NonZeroU32>,
    /// Login attempts per minute per client address, at all instances together. `None` also removes the limit per name.
    pub login_rate: Option<NonZeroU32>,
    /// Sockets per user on all instances. The oldest is closed for a new one, with code 4409: at once if it is on the same
    /// instance, otherwise within about 1.5 s.
    pub sockets_per_user: Option<NonZeroU32>,
    /// Sockets per client address on this instance. Further ones are refused with status 429.
    pub sockets_per_address: Option<NonZeroU32>,
    /// Sockets on this instance. Further ones are refused with status 429.
    pub sockets: Option<NonZeroU32>,
    /// Rooms per socket. The `welcome` frame contains it.
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
            name_login: true,
            host_users: None,
            #[cfg(feature = "jwt")]
            tokens: None,
            #[cfg(feature = "oidc")]
            oidc: None,
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
