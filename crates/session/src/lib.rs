//! Who is logged in.
//!
//! A login claims a name and starts a session; the browser gets a key for it in a signed cookie, and every page load
//! replaces that key. Any instance knows the session, by the store that they share: [`RedisSessions`], or
//! [`MemorySessions`] for a gateway that runs alone.
//!
//! - A session has an identity ([`Sid`]) that lasts from login to its end and is no secret. Sockets hold on to it.
//! - A cookie holds `<sid>.<secret>`, signed. Stores know only a digest of the secret: what is read from Redis makes no
//!   cookie, even for somebody who has the signing key.
//! - Keys [rotate] without logging anybody out: ten tabs restored at once, an answer lost with the gateway that
//!   was to give
//!   it, a reload in the middle of it all.
//! - Nobody can take a name that looks like one in use.
//! - A session ends by logout or revocation ([`Sessions::end`], heard on every instance through [`Sessions::endings`]),
//!   by
//!   [idling](Lifetimes::idle), or at its [absolute limit](Lifetimes::max).
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
//!         None => HttpResponse::Ok().body("who are you?"),
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

mod backend;
mod cookie;
mod endings;
mod error;
mod keyring;
mod lifetimes;
mod login;
mod marks;
mod memory;
mod observe;
mod redis;
mod sessions;
mod sid;
mod store;

pub use backend::{Backend, Found};
pub use cookie::{CookieSettings, SecretKeys, middleware};
pub use endings::{Ending, Endings};
pub use error::{InvalidSettings, SessionError};
pub use keyring::{KeyChange, Keyring};
pub use lifetimes::Lifetimes;
pub use login::{login, logout, principal, rotate, touch_cookie};
pub use memory::{Memory, MemorySessions};
pub use observe::{Failure, observed};
pub use redis::{Redis, RedisSessions};
pub use sessions::{Principal, Sessions};
pub use sid::{Attempt, Digest, InvalidHex, InvalidSid, Salt, Sid};
pub use store::Store;
