//! Entries of a session's state that the handlers and the store exchange through actix-session's middleware.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// State entry: the [`Sid`](crate::Sid).
pub(crate) const SID: &str = "trunkline.sid";
/// State entry: the user's id.
pub(crate) const USER: &str = "trunkline.user";
/// State entry: the user's display name, if there is one.
pub(crate) const NAME: &str = "trunkline.name";
/// State entry: a [`KeyRequest`]. Never stored.
pub(crate) const KEY_REQUEST: &str = "trunkline.key_request";

/// What the store does with the session's key when the middleware saves the state.
///
/// The middleware passes nothing but the state from a handler to the store, so the request travels in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KeyRequest {
    /// Keep the key and send the cookie again.
    Keep,
    /// Make a new key. The old one stays valid for a while.
    Rotate,
    /// Make a new key. All others become invalid at once.
    Renew,
}

impl KeyRequest {
    /// Removes the request from a state.
    pub(crate) fn take(state: &mut HashMap<String, String>) -> Option<Self> {
        state.remove(KEY_REQUEST).and_then(|request| serde_json::from_str(&request).ok())
    }
}
