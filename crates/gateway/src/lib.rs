//! A WebSocket chat gateway to mount in any actix-web App, and the library behind the program `trunkline`.
//!
//! A room is a log; a subscription is a cursor in it. Live delivery, the first screenful of messages, resuming after a
//! reconnect and a slow reader are one operation: read the room's log after this position.
//!
//! [`Gateway`] is what applications create, [`Config`] sets it up, and a [`Policy`] decides which actions a user may take.
//!
//! # Features
//! All are enabled by default, for the program. An application with users and pages of its own needs none of them.
//!
//! | feature | adds |
//! | --- | --- |
//! | `jwt` | identities from JSON Web Tokens |
//! | `scripts` | `script_routes`, which serves the browser's client library |
//! | `pages` | the login, chat and status pages; includes `scripts` |
//! | `oidc` | login with an OpenID provider; includes `pages` |
//! | `program` | the program `trunkline`; includes all features above |
//! | `jemalloc` | jemalloc as the allocator of the program, on Linux |

mod admin;
mod app;
#[cfg(feature = "scripts")]
mod assets;
#[cfg(any(test, feature = "bench"))]
#[doc(hidden)]
pub mod bench;
mod builder;
mod config;
mod connection;
mod drain;
mod fanout;
mod frame;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod http;
#[cfg(any(feature = "jwt", feature = "oidc"))]
mod http_client;
mod identity;
mod ids;
mod limits;
mod log_limit;
mod metrics;
#[cfg(feature = "oidc")]
mod oidc;
mod operations;
mod origin;
#[cfg(feature = "pages")]
mod pages;
mod policy;
mod presence;
mod publication;
mod random;
mod server;
mod sessions;
#[cfg(test)]
mod simulation;
mod state;
mod status;
mod ticks;

pub use app::Gateway;
pub use builder::GatewayBuilder;
pub use config::{Config, Limits};
pub use http::not_found;
#[cfg(feature = "scripts")]
pub use http::script_routes;
#[cfg(feature = "jwt")]
pub use identity::jwt;
pub use identity::{HostUsers, Identify, Identity, Unidentified};
pub use limits::descriptors::{MAX_ADMIN_CONNECTIONS, raise_open_file_limit};
pub use metrics::count_dropped_log_lines;
#[cfg(feature = "oidc")]
pub use oidc::{InvalidOidc, OidcConfig};
pub use operations::DisconnectError;
pub use origin::{InvalidOrigin, Origin};
pub use policy::{Action, AllowAll, Denied, Policy};
pub use publication::{InvalidPublication, Publication, PublishError};
pub use server::{Server, ShutdownSignals};
pub use trunkline_domain::{DisplayName, Room, UserId};
pub use trunkline_session::{InvalidSettings, NoSessions};

/// The programs of the document are compiled as doctests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/EMBEDDING.md")]
struct EmbeddingDocument;
