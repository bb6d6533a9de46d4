//! Which keys of a session are good, and which one their bearers get: pure, with the time as an argument.
//!
//! A browser that restores ten tabs sends ten requests with one cookie. The first answer brings a new key, the others
//! are under way; some requests that follow carry the new key already. An answer can be lost together with the gateway
//! that was to give it. So a superseded key stays good until a newer one was *presented*, which proves that it arrived,
//! and for a grace after that, for requests under way; and its bearers are led to the newest key, over each key between:
//! so keys go oldest first, and none goes while an older one is good.
//!
//! `redis/keyring.lua` does the same in Redis; a test holds the two together.

use serde::{Deserialize, Serialize};
use trunkline_domain::Millis;

use crate::sid::{Digest, Salt};

/// How many superseded keys are good at a time, at most. At the bound the newest key is not superseded: pages are
/// served with it until the grace of an older one is over.
const MAX_SUPERSEDED: usize = 4;

/// What is asked of a session's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyChange {
    /// Nothing: whoever presents a superseded key is led to the newest.
    Keep,
    /// A new key that supersedes the one presented, unless that is superseded already; then as `Keep`.
    Rotate {
        /// Of the new secret.
        digest: Digest,
        /// What leads from the secret presented to the new one.
        salt: Salt,
    },
    /// A new key, and no other is good any more: the person who logs in may not be the one who held the key before
    /// (session fixation).
    Renew {
        /// Of the new secret.
        digest: Digest,
    },
}

/// The good keys of one session, for a [`Backend`](crate::Backend) that keeps one of these with each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyring {
    newest: Digest,
    /// When the newest key was last given to somebody who was not the first to get it; see [`Superseded::again`].
    again: Option<Millis>,
    /// Oldest first, at most [`MAX_SUPERSEDED`].
    superseded: Vec<Superseded>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Superseded {
    digest: Digest,
    /// Leads to the next in the ring.
    salt: Salt,
    /// When a second copy of the key was last sent out. It may arrive after a newer key did, and replace it in the
    /// browser's jar; so only what is presented a grace later counts as proof that this key is out of use.
    again: Option<Millis>,
    /// When it stops being good, unless an older one still leads over it. None until a newer key was presented.
    dies: Option<Millis>,
}

impl Keyring {
    /// Of a session with its first key.
    #[must_use]
    pub fn new(digest: Digest) -> Self {
        Self { newest: digest, again: None, superseded: Vec::new() }
    }

    /// Takes notice that a key was presented; `grace` is [`Lifetimes::grace`](crate::Lifetimes::grace). False if the
    /// key is not good.
    pub fn present(&mut self, digest: Digest, now: Millis, grace: Millis) -> bool {
        self.find(digest, now, grace).is_some()
    }

    /// Carries out `change` for the bearer of a key, and says which salts lead from that key to the one he is to
    /// get, in this order (none: it is the one presented, or after [`KeyChange::Renew`] the new one). `None` if the key
    /// is not good.
    pub fn change(&mut self, presented: Digest, change: KeyChange, now: Millis, grace: Millis) -> Option<Vec<Salt>> {
        let at = self.find(presented, now, grace)?;
        let superseded = at < self.superseded.len();
        match change {
            KeyChange::Renew { digest } => {
                *self = Self::new(digest);
                return Some(Vec::new());
            }
            KeyChange::Rotate { digest, salt } if !superseded && self.superseded.len() < MAX_SUPERSEDED => {
                let again = self.again.take();
                self.superseded.push(Superseded { digest: self.newest, salt, again, dies: None });
                self.newest = digest;
            }
            KeyChange::Rotate { .. } => self.again = Some(now),
            KeyChange::Keep if superseded => self.again = Some(now),
            KeyChange::Keep => {}
        }
        Some(self.superseded.iter().skip(at).map(|key| key.salt).collect())
    }

    /// The place of a good key: its index among the superseded, or their number for the newest.
    fn find(&mut self, digest: Digest, now: Millis, grace: Millis) -> Option<usize> {
        let dead = self.superseded.iter().take_while(|key| key.dies.is_some_and(|dies| now >= dies)).count();
        self.superseded.drain(..dead);
        let at = if digest == self.newest {
            self.superseded.len()
        } else {
            self.superseded.iter().position(|key| key.digest == digest)?
        };
        for older in self.superseded.iter_mut().take(at) {
            if older.dies.is_none() && older.again.is_none_or(|again| now >= again + grace) {
                older.dies = Some(now + grace);
            }
        }
        Some(at)
    }
}

#[cfg(test)]
mod tests;
