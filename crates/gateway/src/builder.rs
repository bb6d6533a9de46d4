//! Puts a gateway together.

use trunkline_bus::{Bus, InstanceRegistry, PresenceStore, SharedLimits};
use trunkline_session::{InvalidSettings, NoSessions, Sessions};

use crate::{
    Config, Gateway,
    identity::{HostUsers, Identify},
    policy::{AllowAll, Policy},
};

/// A gateway that is being put together: see [`Gateway::builder`].
pub struct GatewayBuilder<B, S = NoSessions, P = AllowAll> {
    bus: B,
    sessions: S,
    policy: P,
    config: Config,
}

impl<B: Bus + PresenceStore + InstanceRegistry + SharedLimits> Gateway<B, NoSessions> {
    /// Starts to put a gateway together over `bus`. Without further calls it has no users: give it at least one of
    /// [`identify`](GatewayBuilder::identify), [`sessions`](GatewayBuilder::sessions) and tokens in the
    /// [`config`](GatewayBuilder::config).
    ///
    /// ```
    /// use actix_web::{App, HttpRequest};
    /// use trunkline_bus::{LocalBus, LocalConfig};
    /// use trunkline_gateway::{Gateway, Identity, Unidentified};
    ///
    /// # actix_web::rt::System::new().block_on(async {
    /// let gateway = Gateway::builder(LocalBus::new(LocalConfig::default()))
    ///     .identify(async |request: &HttpRequest| {
    ///         // The application's own login decides; here, a header that its proxy sets.
    ///         let user = request.headers().get("x-user").ok_or(Unidentified::NotGiven)?;
    ///         let user = user.to_str().ok().and_then(|user| user.parse().ok()).ok_or(Unidentified::NotGiven)?;
    ///         Ok(Identity::new(user))
    ///     })
    ///     .build()?;
    /// let app = App::new().configure(gateway.socket_routes("/ws"));
    /// # drop(app);
    /// # Ok::<_, trunkline_session::InvalidSettings>(())
    /// # }).unwrap();
    /// ```
    pub fn builder(bus: B) -> GatewayBuilder<B> {
        let config = Config { name_login: false, ..Config::default() };
        GatewayBuilder { bus, sessions: NoSessions::default(), policy: AllowAll, config }
    }
}

impl<B, S, P> GatewayBuilder<B, S, P> {
    /// Replaces all settings, among them what an earlier call of [`identify`](Self::identify) has set.
    #[must_use]
    pub fn config(self, config: Config) -> Self {
        Self { config, ..self }
    }

    /// Sets how to identify the user of a request that carries neither a token nor the cookie of a session.
    #[must_use]
    pub fn identify(mut self, identify: impl Identify) -> Self {
        self.config.host_users = Some(HostUsers::new(identify));
        self
    }

    /// Sets which actions users may take. Without a policy, every user may do everything except moderate.
    #[must_use]
    pub fn policy<Q: Policy>(self, policy: Q) -> GatewayBuilder<B, S, Q> {
        GatewayBuilder { bus: self.bus, sessions: self.sessions, policy, config: self.config }
    }

    /// Adds sessions, for users who log in at the gateway's own login page.
    #[must_use]
    pub fn sessions<T: Sessions>(self, sessions: T) -> GatewayBuilder<B, T, P> {
        GatewayBuilder { bus: self.bus, sessions, policy: self.policy, config: self.config }
    }
}

impl<B: Bus + PresenceStore + InstanceRegistry + SharedLimits, S: Sessions, P: Policy> GatewayBuilder<B, S, P> {
    /// Creates the gateway and starts its tasks. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// [`InvalidSettings`] if the session cookie cannot have the configured name and attributes.
    pub fn build(self) -> Result<Gateway<B, S, P>, InvalidSettings> {
        Gateway::with_policy(self.bus, self.sessions, self.config, self.policy)
    }
}
