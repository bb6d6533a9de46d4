//! Presence: which users are in a room.

mod debouncer;

pub(crate) use debouncer::{PresenceDebouncer, PresenceUpdate};
