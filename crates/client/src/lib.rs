//! Client for Trunkline gateways. It reconnects and resumes by itself, emits each message once and in order, and sends
//! the messages of its outbox until the server acknowledges them.
//!
//! ```no_run
//! use trunkline_client::{Client, ClientEvent, ClientSession, GatewayUrl};
//!
//! # async fn chat() -> Result<(), Box<dyn std::error::Error>> {
//! let url: GatewayUrl = "http://127.0.0.1:8080".parse()?;
//! let (session, user) = ClientSession::login(&url, "ann").await?;
//! let mut client = Client::new(session, user);
//! client.join("lobby".parse()?, 50);
//! client.send("lobby".parse()?, "hello".parse()?);
//! loop {
//!     match client.next().await {
//!         ClientEvent::Message { message, .. } => {
//!             if let Some(text) = message.text() {
//!                 println!("{}: {}", message.user, text.as_str());
//!             }
//!         }
//!         ClientEvent::Joined { gap: true, .. } => println!("(messages may be missing here)"),
//!         ClientEvent::State(state) => eprintln!("{state:?}"),
//!         _ => {}
//!     }
//! }
//! # }
//! ```
//!
//! A user is identified by a login session ([`ClientSession::login`]) or by tokens of another service
//! ([`ClientSession::with_tokens`]). [`Fold`] applies edits, deletions and reactions to the messages that an application shows;
//! `examples/bot.rs` answers and reacts.
//!
//! [`ClientCore`] makes all decisions, without I/O. The same test vectors pin it and the browser's client. [`Client`]
//! drives it over a socket. A [`WireObserver`] sees the traffic itself; programs that measure or verify a deployment use
//! it.
//!
//! # Features
//! - `tls`: `https://` and `wss://`, with the operating system's trusted certificates.
//! - `mutants`: faults for tests of the delivery checker. Never in a release build.

mod client;
mod clock;
mod core;
mod error;
mod http;
mod mutant;
mod observer;
mod send;
mod session;
mod socket;
#[cfg(feature = "tls")]
mod tls;
mod url;

pub use client::Client;
pub use core::{
    ClientCore, ClientEffect, ClientEvent, ClientInput, ClientState, DisconnectReason, EndReason, Fold, FoldedMessage,
    FoldedReaction, HistoryFailure, JitterSource, MessageSummary, OutboxEntry, OutboxEntryState, SessionProbe,
    SocketId,
};
pub use error::ClientError;
pub use observer::{MessageFrame, WireEvent, WireObserver};
pub use session::{ClientSession, TokenError};
pub use url::GatewayUrl;

/// A new message id: 128 random bits as 32 hexadecimal digits.
#[must_use]
pub fn new_id() -> trunkline_domain::MessageId {
    let id = format!("{:032x}", rand::random::<u128>());
    id.parse().unwrap_or_else(|_| unreachable!("32 hexadecimal digits are a valid message id: {id}"))
}
