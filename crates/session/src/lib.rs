//! Login sessions that all instances of a gateway share.
//!
//! A login creates a session. Either it claims a name, or it belongs to an external user, authenticated by another system,
//! for example an OpenID provider. The browser gets a key for it in a signed cookie, and every page load
//! replaces the key. All instances use one session store: [`RedisSessions`], or [`MemorySessions`] for a gateway that
//! runs alone.
//!
//! - A session has an id ([`Sid`]) that stays the same until it ends and is not secret. Sockets refer to it.
//! - The cookie contains `<sid>.<secret>`, signed. Stores keep only a digest of the secret, so a copy of Redis's data
//!   yields no valid cookie, even with the signing key.
//! - Keys [rotate] without ending sessions: ten tabs restored at once, a response that is lost with its gateway and a
//!   reload at any moment all stay logged in ([`Keyring`]).
//! - While a session holds a claimed name, no other one can claim it or a name that looks like it. External users claim no
//!   name and can have several sessions.
//! - A session ends by logout or revocation ([`Sessions::end`] and [`Sessions::end_user`], which notify all instances through
//!   [`Sessions::events`]), after [`Lifetimes::idle`] without use, or at its absolute limit [`Lifetimes::max`].
//!
//! ```
//! use actix_session::Session;
//! use actix_web::{App, HttpResponse, Responder, web};
//! use trunkline_session::{CookieSettings, Lifetimes, MemorySessions, SecretKeys, middleware, principal, rotate};
//!
//! async fn page(session: Session) -> impl Responder {
//!     rotate(&session);
//!     match principal(&session) {
//!         Some(principal) => HttpResponse::Ok().body(format!("hello {}", principal.user)),
//!         None => HttpResponse::Unauthorized().body("please log in"),
//!     }
//! }
//!
//! # fn main() -> Result<(), trunkline_session::InvalidSettings> {
//! let lifetimes = Lifetimes::default();
//! let sessions = MemorySessions::in_memory(lifetimes);
//! let keys = SecretKeys::random();
//! let app = App::new()
//!     .app_data(web::Data::new(sessions.clone()))
//!     .route("/", web::get().to(page))
//!     .wrap(middleware(sessions, &keys, &CookieSettings::default(), &lifetimes)?);
//! # let _ = app;
//! # Ok(())
//! # }
//! ```

mod attempt;
mod backend;
mod backend_sessions;
mod cookie;
mod error;
mod events;
mod failure;
mod hex;
mod keyring;
mod lifetimes;
mod login;
mod memory;
mod no_sessions;
mod redis;
mod secret;
mod sessions;
mod sid;
mod state;

pub use attempt::LoginAttempt;
pub use backend::{SessionBackend, SessionRecord};
pub use backend_sessions::BackendSessions;
pub use cookie::{CookieSettings, SecretKeys, middleware};
pub use error::{InvalidSettings, SessionError};
pub use events::{SessionEvent, SessionEvents};
pub use failure::{SessionFailure, with_failure};
pub use hex::InvalidHex;
pub use keyring::{KeyChange, Keyring};
pub use lifetimes::Lifetimes;
pub use login::{login, login_external, logout, principal, rotate, touch_cookie};
pub use memory::{MemoryBackend, MemorySessions};
pub use no_sessions::NoSessions;
pub use redis::{RedisBackend, RedisSessions};
pub use secret::{SecretDigest, SecretSalt};
pub use sessions::{MAX_SESSIONS_PER_USER, Principal, Sessions};
pub use sid::{InvalidSid, Sid, UserTag};
pub use trunkline_redis::{InvalidRedisSettings, RedisOptions};
