//! How Trunkline finds, connects to and routes between Redis servers.
//!
//! The bus and the sessions share this crate, so that both understand the same URLs, name the same failed steps, and
//! follow the same topology. It holds no state of rooms or sessions.

pub mod slots;
pub mod topology;
