//! Client for Trunkline gateways: it reconnects for ever, resumes where it was, shows each message once, and sends what
//! waits in its outbox at most once, whatever happens to connections and gateways.
//!
//! ```no_run
//! use trunkline_client::{Client, Notice, Session, Site, new_id};
//!
//! # async fn talk() -> Result<(), Box<dyn std::error::Error>> {
//! let site: Site = "http://127.0.0.1:8080".parse()?;
//! let (session, user) = Session::login(&site, "ann").await?;
//! let mut client = Client::new(session, user);
//! client.join("lobby".parse()?, 50);
//! client.send("lobby".parse()?, new_id(), "hello".parse()?);
//! loop {
//!     match client.next().await {
//!         Notice::Message { message, .. } => println!("{}: {}", message.user, message.text.as_str()),
//!         Notice::Joined { gap: true, .. } => println!("(messages may be missing here)"),
//!         Notice::State(state) => eprintln!("{state:?}"),
//!         _ => {}
//!     }
//! }
//! # }
//! ```
//!
//! All decisions are made by [`Core`], which does no I/O and is pinned by the same test vectors as the browser's
//! client. [`Client`] drives it over a socket. An [`Observer`] sees the wire itself: what measures or judges a
//! deployment uses it.
//!
//! # Features
//! `tls`: `https://` and `wss://`, with the certificates that the system trusts.

mod client;
mod core;
mod error;
mod http;
mod observer;
mod session;
mod site;
mod socket;
#[cfg(feature = "tls")]
mod tls;

pub use client::Client;
pub use core::{
    Cause, Core, Dice, Effect, End, Entry, EntryState, Input, Notice, PageFailure, Passed, Probed, SocketId, State,
};
pub use error::Error;
pub use observer::{MessageFrame, Observer, Wire};
pub use session::Session;
pub use site::Site;

/// A new message id: 128 random bits.
#[must_use]
pub fn new_id() -> trunkline_domain::MessageId {
    let id = format!("{:032x}", rand::random::<u128>());
    // 32 hexadecimal digits are always an id.
    id.parse().unwrap_or_else(|_| unreachable!("{id} is a valid message id"))
}
