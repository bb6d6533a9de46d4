//! Key rotation: which keys of a session are valid, and which key the bearer of each one gets.
//!
//! A browser that restores ten tabs sends ten requests with one cookie. The first response brings a new key while the
//! other requests are under way, and later requests carry the new key already. A response can also be lost together
//! with its gateway. Therefore:
//!
//! - A superseded key stays valid until a newer key is *presented*, which proves that it arrived, and for a grace
//!   period after that, for requests under way.
//! - The bearer of a superseded key gets the newest one, derived step by step over each key in between. So keys expire
//!   oldest first, and no key expires while an older one is valid.
//!
//! The time is an argument. `redis/keyring.lua` implements the same rules in Redis; a property test compares the two.

use serde::{Deserialize, Serialize};
use trunkline_domain::Millis;

use crate::secret::{SecretDigest, SecretSalt};

/// Maximum number of superseded keys that are valid at a time. At this limit the newest key is not superseded; pages
/// are served with it until an older one expires.
const MAX_SUPERSEDED_KEYS: usize = 4;

/// A change of a session's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyChange {
    /// No new key. The bearer of a superseded key gets the newest one.
    Keep,
    /// A new key that supersedes the presented one. If that is superseded already, the same as `Keep`.
    Rotate {
        /// Digest of the new secret.
        digest: SecretDigest,
        /// Derives the new secret from the presented one.
        salt: SecretSalt,
    },
    /// A new key; all others become invalid. Protects a login against session fixation: another person may hold the
    /// earlier keys.
    Renew {
        /// Digest of the new secret.
        digest: SecretDigest,
    },
}

/// The valid keys of one session. A [`SessionBackend`](crate::SessionBackend) stores one of these per session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyring {
    newest: SecretDigest,
    /// See [`SupersededKey::reissued_at`].
    #[serde(rename = "again")]
    reissued_at: Option<Millis>,
    /// Oldest first, at most [`MAX_SUPERSEDED_KEYS`].
    superseded: Vec<SupersededKey>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SupersededKey {
    digest: SecretDigest,
    /// Derives the next secret of the ring from this one's.
    salt: SecretSalt,
    /// When another copy of this key was last sent. That response can arrive after the one with a newer key, and put
    /// this key back into the browser's cookie store. So only a newer key presented one grace period after this time
    /// proves that this key is out of use.
    #[serde(rename = "again")]
    reissued_at: Option<Millis>,
    /// When the key expires, unless an older one is still valid. `None` until a newer key is presented.
    #[serde(rename = "dies")]
    expires_at: Option<Millis>,
}

impl Keyring {
    /// The ring of a session with its first key.
    #[must_use]
    pub fn new(digest: SecretDigest) -> Self {
        Self { newest: digest, reissued_at: None, superseded: Vec::new() }
    }

    /// Records that a key was presented. Returns false if the key is not valid. `grace` is
    /// [`Lifetimes::grace`](crate::Lifetimes::grace) in ms.
    pub fn present(&mut self, digest: SecretDigest, now: Millis, grace: Millis) -> bool {
        self.find(digest, now, grace).is_some()
    }

    /// Applies `change` for the bearer of a key. Returns the salts that derive the secret the bearer gets from the
    /// presented one, in this order. Without salts the bearer keeps the presented key or, after [`KeyChange::Renew`],
    /// gets the new one. Returns `None` if the presented key is not valid.
    pub fn change(
        &mut self,
        presented: SecretDigest,
        change: KeyChange,
        now: Millis,
        grace: Millis,
    ) -> Option<Vec<SecretSalt>> {
        let index = self.find(presented, now, grace)?;
        let superseded = index < self.superseded.len();
        match change {
            KeyChange::Renew { digest } => {
                *self = Self::new(digest);
                return Some(Vec::new());
            }
            KeyChange::Rotate { digest, salt } if !superseded && self.superseded.len() < MAX_SUPERSEDED_KEYS => {
                let reissued_at = self.reissued_at.take();
                self.superseded.push(SupersededKey { digest: self.newest, salt, reissued_at, expires_at: None });
                self.newest = digest;
            }
            KeyChange::Rotate { .. } => self.reissued_at = Some(now),
            KeyChange::Keep if superseded => self.reissued_at = Some(now),
            KeyChange::Keep => {}
        }
        Some(self.superseded.iter().skip(index).map(|key| key.salt).collect())
    }

    /// The index of a valid key among the superseded ones, or their number for the newest key.
    fn find(&mut self, digest: SecretDigest, now: Millis, grace: Millis) -> Option<usize> {
        let expired =
            self.superseded.iter().take_while(|key| key.expires_at.is_some_and(|expires| now >= expires)).count();
        self.superseded.drain(..expired);
        let index = if digest == self.newest {
            self.superseded.len()
        } else {
            self.superseded.iter().position(|key| key.digest == digest)?
        };
        for older in self.superseded.iter_mut().take(index) {
            if older.expires_at.is_none() && older.reissued_at.is_none_or(|reissued| now >= reissued + grace) {
                older.expires_at = Some(now + grace);
            }
        }
        Some(index)
    }
}

#[cfg(test)]
mod tests;
