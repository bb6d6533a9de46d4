//! What handlers need.

use std::{future::Future, net::IpAddr, pin::Pin, sync::Arc};

use actix_session::SessionMiddleware;
use actix_web::{HttpRequest, dev::RequestHead};
use trunkline_bus::{BusError, Health};
use trunkline_domain::{Room, UserName};
use trunkline_session::{InvalidSettings, Sessions, middleware};

use super::{Origin, forwarded::Client, login_limit::LoginLimit};
use crate::{config::Config, policy::Denied};

/// What the pages and probes ask of the running gateway.
pub(crate) trait Running: Send + Sync + 'static {
    /// Whether new sockets are taken: not any more once clients are asked to go elsewhere.
    fn takes_sockets(&self) -> bool;

    /// What readiness depends on besides sessions: that this instance stays, and what the bus needs.
    fn health(&self) -> Vec<Health>;

    /// The rooms of all instances where somebody is, for `user` to see.
    fn rooms<'a>(&'a self, user: &'a UserName) -> Pin<Box<dyn Future<Output = Result<Rooms, NoRooms>> + Send + 'a>>;
}

/// Rooms with how many users are in each; any order.
pub(crate) type Rooms = Vec<(Room, usize)>;

/// Why there is no list of rooms.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoRooms {
    /// The policy says no.
    #[error(transparent)]
    Denied(Denied),
    /// It cannot be read now.
    #[error(transparent)]
    Unavailable(BusError),
}

/// One a process, shared by its workers.
pub(crate) struct Site<S> {
    pub(crate) config: Config,
    pub(crate) sessions: S,
    pub(crate) running: Arc<dyn Running>,
    pub(super) logins: LoginLimit,
}

impl<S: Sessions> Site<S> {
    /// # Errors
    /// A cookie name that cannot work.
    pub(crate) fn new(config: Config, sessions: S, running: Arc<dyn Running>) -> Result<Self, InvalidSettings> {
        let site = Self { logins: LoginLimit::new(config.limits.login_rate), config, sessions, running };
        site.try_middleware()?;
        Ok(site)
    }

    /// The session middleware, a new one for each resource.
    pub(super) fn session_middleware(&self) -> SessionMiddleware<S> {
        #[allow(clippy::expect_used, reason = "`new` made one of the same settings")]
        self.try_middleware().expect("the settings were tried")
    }

    fn try_middleware(&self) -> Result<SessionMiddleware<S>, InvalidSettings> {
        middleware(self.sessions.clone(), &self.config.keys, &self.config.cookie, &self.config.lifetimes)
    }
}

impl<S> Site<S> {
    /// Who asks, through the proxies that are believed.
    pub(crate) fn client(&self, request: &HttpRequest) -> Client {
        client(request.head(), self.config.trusted_proxies.as_slice())
    }

    /// Whether the person's browser speaks TLS, to us or to a proxy.
    pub(super) fn is_https(&self, request: &HttpRequest) -> bool {
        let public = &self.config.public_origins;
        self.client(request).https || (!public.is_empty() && public.iter().all(Origin::is_https))
    }
}

fn client(head: &RequestHead, trusted: &[ipnet::IpNet]) -> Client {
    // Only requests made up by tests come from nowhere.
    let peer = head.peer_addr.map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.ip());
    Client::of(peer, head.headers(), trusted)
}
