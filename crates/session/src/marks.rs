//! What handlers leave in a session's state for the store.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// State entry: the session's id.
pub(crate) const SID: &str = "trunkline.sid";
/// State entry: the user's name.
pub(crate) const USER: &str = "trunkline.user";
/// State entry: a [`Mark`]. Never stored.
pub(crate) const MARK: &str = "trunkline.mark";

/// What is to happen to the key when the state is stored: the only way from a handler through the middleware to the
/// store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mark {
    /// Nothing, but the cookie is to be set again.
    Keep,
    /// A new key; the old one stays good for a while.
    Rotate,
    /// A new key; all others are void at once.
    Renew,
}

impl Mark {
    /// Takes the mark out of a state.
    pub(crate) fn take(state: &mut HashMap<String, String>) -> Option<Self> {
        state.remove(MARK).and_then(|mark| serde_json::from_str(&mark).ok())
    }
}
