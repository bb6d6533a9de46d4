//! How Trunkline finds, connects to and routes between Redis servers.
//!
//! The bus and the sessions share this crate, so that both understand the same URLs, name the same failed steps, and
//! follow the same topology. It holds no state of rooms or sessions.
//!
//! [`RedisUrl`] is a parsed URL, [`RedisOptions`] is what flags add to it, and a [`Connector`] made of both opens connections.

mod connection;
mod connector;
mod dial;
mod error;
mod lookup;
mod master;
mod newest_map;
mod options;
mod sentinel;
mod server;
pub mod slots;
mod subscriber;
mod tls;
pub mod topology;
mod url;

pub use self::{
    connection::{CommandConnection, exchange},
    connector::Connector,
    error::{ConnectError, ConnectStep},
    newest_map::newest_map,
    options::{InvalidRedisSettings, RedisOptions, TlsFile},
    server::{ServerFacts, ServerMode, ServerRequirement, UnusableServer, info_field},
    subscriber::{Subscriber, SubscriberReply, error_text},
    url::{Endpoint, InvalidRedisUrl, NodeAddress, RedisUrl, Topology},
};
