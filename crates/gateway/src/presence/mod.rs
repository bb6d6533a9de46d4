//! Presence: which users are in a room, on any instance.
//!
//! Each instance writes the users of its own connections to a store, under a lease, and receives the changes of the others.
//! Presence is state, not log: a lost change is replaced by later state, and nothing here delays a message. Everything in
//! this folder is synchronous; the task in [`fanout`](crate::fanout) executes its commands.

mod cursor;
mod debouncer;
mod liveness;
mod local_users;
mod messages;
mod room;
#[cfg(test)]
mod simulation;
mod state;
mod tracker;

pub(crate) use cursor::{PresenceCursor, PresenceTail};
pub(crate) use messages::{PresenceCommand, PresenceEffect, PresenceInput, PresenceReply};
pub(crate) use state::PresenceState;
pub(crate) use tracker::PresenceTracker;
