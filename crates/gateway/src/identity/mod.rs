//! The identity of a request. It comes from the first of these that the request has: a token, a session cookie, what the
//! host application supplies.

#[cfg(feature = "jwt")]
mod bearer;
#[cfg(feature = "jwt")]
mod jwks;
#[cfg(feature = "jwt")]
pub mod jwt;
#[cfg(feature = "jwt")]
mod tokens;

use std::{
    fmt,
    future::Future,
    num::NonZeroU64,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actix_web::HttpRequest;
use futures_util::future::LocalBoxFuture;
use trunkline_domain::{DisplayName, Grants, Member, Permission, Room, UserId};
use trunkline_session::Sid;

#[cfg(feature = "jwt")]
pub(crate) use self::bearer::carries_token;

/// A user, with everything that limits what they may do and for how long. Cheap to clone.
///
/// # Examples
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use trunkline_gateway::Identity;
///
/// let hour = SystemTime::now() + Duration::from_secs(3600);
/// let ann = Identity::new("auth0|17".parse()?).named("Ann".parse()?).until(hour);
/// assert_eq!(ann.user().as_str(), "auth0|17");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    user: UserId,
    name: Option<DisplayName>,
    session: Option<Sid>,
    /// In seconds since the Unix epoch. Every connection has an identity, and a `SystemTime` takes twice the space.
    expires: Option<NonZeroU64>,
    grants: Option<Arc<Grants>>,
}

impl Identity {
    /// An identity without a display name, which does not end, and for which the policy alone decides.
    #[must_use]
    pub fn new(user: UserId) -> Self {
        Self { user, name: None, session: None, expires: None, grants: None }
    }

    /// Adds a name to show to people.
    #[must_use]
    pub fn named(self, name: DisplayName) -> Self {
        Self { name: Some(name), ..self }
    }

    /// Adds the session that the identity comes from. Its end closes the sockets of the identity.
    #[must_use]
    pub fn of_session(self, session: Sid) -> Self {
        Self { session: Some(session), ..self }
    }

    /// Adds the time at which the identity ends, rounded down to a second. Its sockets are closed with 4401 then, unless
    /// a `refresh` replaces the identity.
    #[must_use]
    pub fn until(self, expiry: SystemTime) -> Self {
        let seconds = expiry.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self { expires: Some(NonZeroU64::new(seconds).unwrap_or(NonZeroU64::MIN)), ..self }
    }

    /// Limits the identity to what `grants` allow. The policy decides afterwards.
    #[must_use]
    pub fn with_grants(self, grants: Grants) -> Self {
        Self { grants: Some(Arc::new(grants)), ..self }
    }

    /// The user.
    #[must_use]
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// The name to show to people, if it differs from the user id.
    #[must_use]
    pub fn name(&self) -> Option<&DisplayName> {
        self.name.as_ref().filter(|name| name.as_str() != self.user.as_str())
    }

    /// The session, if the identity comes from one.
    #[must_use]
    pub fn session(&self) -> Option<&Sid> {
        self.session.as_ref()
    }

    /// The time at which the identity ends, in whole seconds.
    #[must_use]
    pub fn expires(&self) -> Option<SystemTime> {
        self.expires.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds.get()))
    }

    /// The time that is left at `now`, if the identity ends.
    #[must_use]
    pub fn expires_in(&self, now: SystemTime) -> Option<Duration> {
        self.expires().map(|expires| expires.duration_since(now).unwrap_or_default())
    }

    /// Whether the identity has ended by `now`.
    #[must_use]
    pub fn has_ended(&self, now: SystemTime) -> bool {
        self.expires().is_some_and(|expires| expires <= now)
    }

    /// Whether the grants allow this in `room`. Without grants everything is allowed here, and the policy alone decides.
    #[must_use]
    pub fn is_granted(&self, permission: Permission, room: &Room) -> bool {
        self.grants.as_ref().is_none_or(|grants| grants.allow(permission, room))
    }

    /// Whether grants limit the identity.
    #[must_use]
    pub fn has_grants(&self) -> bool {
        self.grants.is_some()
    }

    /// The user as presence shows them.
    #[must_use]
    pub fn member(&self) -> Member {
        Member::new(self.user.clone(), self.name.clone())
    }
}

/// A request has no identity. The texts are for the log; what a client is sent does not depend on them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unidentified {
    /// The request contains no proof of an identity. Answered with 401 and the code `not_logged_in`.
    #[error("the request names no identity")]
    NotGiven,
    /// The proof is not valid, for the given reason. Answered with 401 and the code `bad_token`.
    #[error("{0}")]
    Invalid(String),
    /// The proof cannot be checked now, for the given reason. Answered with 503.
    #[error("{0}")]
    Unavailable(String),
}

/// Finds the identity of a request. Implemented for async closures, which is how an application supplies its own users:
///
/// ```
/// use actix_web::HttpRequest;
/// use trunkline_gateway::{Identify, Identity, Unidentified};
///
/// fn users_of_the_proxy() -> impl Identify {
///     // A proxy in front has authenticated the user, and removes this header from requests of clients.
///     async |request: &HttpRequest| {
///         let user = request.headers().get("x-user").ok_or(Unidentified::NotGiven)?;
///         let user = user.to_str().ok().and_then(|user| user.parse().ok());
///         user.map(Identity::new).ok_or_else(|| Unidentified::Invalid("x-user is not a user id".to_owned()))
///     }
/// }
/// ```
pub trait Identify: Clone + Send + Sync + 'static {
    /// Returns the identity of the sender. It may wait, for example for a database, and must bound the time.
    ///
    /// # Errors
    /// [`Unidentified`] with the reason, which is logged.
    fn identify(&self, request: &HttpRequest) -> impl Future<Output = Result<Identity, Unidentified>>;
}

impl<F> Identify for F
where
    F: AsyncFn(&HttpRequest) -> Result<Identity, Unidentified> + Clone + Send + Sync + 'static,
{
    async fn identify(&self, request: &HttpRequest) -> Result<Identity, Unidentified> {
        self(request).await
    }
}

/// The users of the host application: an [`Identify`] of any type. Cheap to clone.
#[derive(Clone)]
pub struct HostUsers(Arc<dyn DynIdentify>);

impl HostUsers {
    /// Users that `identify` supplies.
    pub fn new(identify: impl Identify) -> Self {
        Self(Arc::new(identify))
    }

    /// As [`Identify::identify`].
    pub(crate) async fn identify(&self, request: &HttpRequest) -> Result<Identity, Unidentified> {
        self.0.identify(request).await
    }
}

impl fmt::Debug for HostUsers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostUsers")
    }
}

/// [`Identify`] as a trait object.
trait DynIdentify: Send + Sync {
    fn identify<'a>(&'a self, request: &'a HttpRequest) -> LocalBoxFuture<'a, Result<Identity, Unidentified>>;
}

impl<T: Identify> DynIdentify for T {
    fn identify<'a>(&'a self, request: &'a HttpRequest) -> LocalBoxFuture<'a, Result<Identity, Unidentified>> {
        Box::pin(Identify::identify(self, request))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn expiry_is_in_whole_seconds() {
        let time = UNIX_EPOCH + Duration::from_millis(1_700_000_000_999);
        let identity = Identity::new("ann".parse().unwrap()).until(time);
        assert_eq!(identity.expires(), Some(UNIX_EPOCH + Duration::from_secs(1_700_000_000)));
        assert_eq!(
            identity.expires_in(UNIX_EPOCH + Duration::from_secs(1_699_999_000)),
            Some(Duration::from_secs(1000))
        );
        assert_eq!(identity.expires_in(time), Some(Duration::ZERO));
    }

    #[test]
    fn without_grants_everything_is_granted() {
        let room: Room = "lobby".parse().unwrap();
        let identity = Identity::new("ann".parse().unwrap());
        assert!(identity.is_granted(Permission::Moderate, &room));
        assert!(!identity.with_grants(Grants::default()).is_granted(Permission::Join, &room));
    }

    #[test]
    fn name_that_equals_the_id_is_left_out() {
        let identity = Identity::new("ann".parse().unwrap()).named("ann".parse().unwrap());
        assert_eq!(identity.name(), None);
    }

    #[actix_web::test]
    async fn closures_identify() {
        async fn user(identify: impl Identify) -> Result<Identity, Unidentified> {
            identify.identify(&TestRequest::with_uri("/ann").to_http_request()).await
        }
        let from_path = |request: &HttpRequest| {
            let user = request.path()[1..].parse();
            async move { user.map(Identity::new).map_err(|_| Unidentified::NotGiven) }
        };
        assert_eq!(user(from_path).await.unwrap().user().as_str(), "ann");
        assert_eq!(
            HostUsers::new(from_path).identify(&TestRequest::get().to_http_request()).await,
            Err(Unidentified::NotGiven)
        );
    }
}
