//! Login attempts.

use std::fmt;

use crate::hex::as_hex;

/// Identifies a login attempt, so that the store recognises its repetition. 128 random bits that a login page contains
/// and sends with each login.
///
/// A second click, or a retry after a lost response, then does not fail because of the session that the first request
/// created. The attempt is a secret: with it, that one session can be ended, but no other session of the same name.
/// Stores keep only a hash of it, as part of a [`Sid`](crate::Sid).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LoginAttempt(u128);

impl LoginAttempt {
    /// Maximum number of sessions that one attempt can create, one after another.
    pub(crate) const MAX_SESSIONS: u8 = 3;

    /// A new attempt, for one login page.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    pub(crate) fn to_be_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl fmt::Debug for LoginAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoginAttempt")
    }
}

as_hex!(LoginAttempt);
