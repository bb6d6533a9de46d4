//! The state that the HTTP handlers share.

use std::{future::Future, net::IpAddr, pin::Pin, sync::Arc};

use actix_session::SessionMiddleware;
use actix_web::{HttpRequest, dev::RequestHead};
use trunkline_bus::{BusError, Health};
use trunkline_domain::Room;
use trunkline_session::{InvalidSettings, Sessions, middleware};

use super::forwarded::RequestSource;
use crate::{
    config::Config,
    identity::Identity,
    limits::{condition::RecentCondition, login::LoginLimiter},
    metrics::Metrics,
    origin::Origin,
    policy::Denied,
};

/// The view that pages and probes have of the gateway.
pub(crate) trait GatewayView: Send + Sync + 'static {
    /// Returns whether new sockets are accepted. A draining instance accepts none once it has asked clients to
    /// reconnect elsewhere.
    fn accepts_sockets(&self) -> bool;

    /// Returns the metrics of this instance.
    fn metrics(&self) -> &Metrics;

    /// Returns the readiness checks of the drain and of the bus.
    fn health(&self) -> Vec<Health>;

    /// Returns the rooms of all instances that have members and that this identity may list.
    fn rooms<'a>(
        &'a self,
        identity: &'a Identity,
    ) -> Pin<Box<dyn Future<Output = Result<RoomCounts, RoomListError>> + Send + 'a>>;
}

/// Rooms with their numbers of users, in any order.
pub(crate) type RoomCounts = Vec<(Room, usize)>;

/// The rooms cannot be listed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RoomListError {
    /// The policy denies it.
    #[error(transparent)]
    Denied(Denied),
    /// The bus does not answer; try again later.
    #[error(transparent)]
    Unavailable(BusError),
}

/// State of the handlers: one value per process, shared by its workers.
pub(crate) struct HttpState<S> {
    pub(crate) config: Config,
    pub(crate) sessions: S,
    pub(crate) gateway: Arc<dyn GatewayView>,
    pub(super) login_limiter: LoginLimiter,
    #[cfg(feature = "oidc")]
    pub(super) oidc: Option<super::oidc::Oidc>,
    /// Sockets are refused, because no descriptors are left for them.
    pub(super) out_of_descriptors: RecentCondition,
    /// Browsers send cookies of the session cookie's name that another service has set.
    pub(super) shared_cookie_name: RecentCondition,
}

impl<S: Sessions> HttpState<S> {
    /// # Errors
    /// Returns [`InvalidSettings`] if the cookie name is invalid.
    pub(crate) fn new(
        config: Config,
        sessions: S,
        gateway: Arc<dyn GatewayView>,
        login_limiter: LoginLimiter,
    ) -> Result<Self, InvalidSettings> {
        let state = Self {
            login_limiter,
            #[cfg(feature = "oidc")]
            oidc: config.oidc.clone().map(super::oidc::Oidc::new),
            out_of_descriptors: RecentCondition::new(),
            shared_cookie_name: RecentCondition::new(),
            config,
            sessions,
            gateway,
        };
        state.try_middleware()?;
        Ok(state)
    }

    /// Returns a session middleware; each resource needs its own.
    pub(super) fn session_middleware(&self) -> SessionMiddleware<S> {
        #[allow(clippy::expect_used, reason = "`new` built one from the same settings")]
        self.try_middleware().expect("`new` checked the settings")
    }

    fn try_middleware(&self) -> Result<SessionMiddleware<S>, InvalidSettings> {
        middleware(self.sessions.clone(), &self.config.keys, &self.config.cookie, &self.config.lifetimes)
    }
}

impl<S> HttpState<S> {
    /// Returns the ways to log in that the login page offers.
    #[cfg(feature = "pages")]
    pub(super) fn login_methods(&self) -> crate::pages::LoginMethods {
        #[cfg(feature = "oidc")]
        let provider = self.config.oidc.as_ref().map(|oidc| oidc.name().to_owned());
        #[cfg(not(feature = "oidc"))]
        let provider = None;
        crate::pages::LoginMethods { name: self.config.name_login, provider }
    }

    /// Returns the client that sent a request.
    pub(crate) fn source(&self, request: &HttpRequest) -> RequestSource {
        source(request.head(), &self.config.trusted_proxies)
    }

    /// Returns a public origin if the request was sent to an address that is none of them, where logins cannot work.
    #[cfg(feature = "pages")]
    pub(super) fn origin_instead(&self, request: &HttpRequest) -> Option<Origin> {
        let public = &self.config.public_origins;
        // TLS may end at a proxy, so the scheme is not compared.
        let is_public = |https| {
            super::cross_site::own_origin(request.headers(), https).is_some_and(|origin| public.contains(&origin))
        };
        if is_public(true) || is_public(false) { None } else { public.first().cloned() }
    }

    /// Returns whether the browser uses TLS, to this process or to a proxy.
    pub(super) fn is_https(&self, request: &HttpRequest) -> bool {
        let public = &self.config.public_origins;
        self.source(request).https || (!public.is_empty() && public.iter().all(Origin::is_https))
    }
}

fn source(head: &RequestHead, trusted: &[ipnet::IpNet]) -> RequestSource {
    // Only test requests have no peer address.
    let peer = head.peer_addr.map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.ip());
    RequestSource::of(peer, head.headers(), trusted)
}
