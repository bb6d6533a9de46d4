//! Who a session is, and what proves that somebody holds it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use trunkline_domain::UserName;

/// The identity of a session from login to its end, whatever happens to its key: not secret, fit for logs.
///
/// 64 hexadecimal digits: a hash of what the user's name looks like, then 128 random bits. The first half leads from
/// the session to the claim on its name, so that in Redis both share a hash tag, and one script changes both.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sid {
    name: u128,
    id: u128,
}

impl Sid {
    /// A new one for a session of `user`.
    #[must_use]
    pub fn new(user: &UserName) -> Self {
        Self { name: hash(&[b"name", user.skeleton().as_bytes()]), id: rand::random() }
    }

    /// The one that an attempt makes in its turn: the same whenever and wherever it is asked for.
    pub(crate) fn of(user: &UserName, attempt: Attempt, turn: u8) -> Self {
        Self { id: hash(&[b"attempt", &attempt.0.to_be_bytes(), &[turn]]), ..Self::new(user) }
    }

    /// The same for all sessions of users whose names look alike (equal [skeletons](UserName::skeleton)), which is to
    /// say: for all that may not live at the same time. 32 hexadecimal digits.
    #[must_use]
    pub fn name_tag(&self) -> String {
        format!("{:032x}", self.name)
    }

    /// What tells it from the others of its name. 32 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{:032x}", self.id)
    }

    /// A digest that identifies the login to the user's own browser: the same from login to logout, different for every
    /// login. 32 hexadecimal digits. It reveals neither the name nor the id of the session.
    #[must_use]
    pub fn login_id(&self) -> String {
        format!("{:032x}", hash(&[b"login", &self.name.to_be_bytes(), &self.id.to_be_bytes()]))
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}{:032x}", self.name, self.id)
    }
}

impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sid({self})")
    }
}

/// The text is no session id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a session id is 64 hexadecimal digits")]
pub struct InvalidSid;

impl FromStr for Sid {
    type Err = InvalidSid;

    fn from_str(text: &str) -> Result<Self, InvalidSid> {
        let (name, id) = text.split_at_checked(32).ok_or(InvalidSid)?;
        Ok(Self { name: parse_hex(name).ok_or(InvalidSid)?, id: parse_hex(id).ok_or(InvalidSid)? })
    }
}

impl Serialize for Sid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What the cookie proves: 128 random bits. Never logged and never stored: stores keep its [`Digest`].
#[derive(Clone, Copy)]
pub(crate) struct Secret(u128);

impl Secret {
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }

    pub(crate) fn digest(self) -> Digest {
        Digest(hash(&[b"digest", &self.0.to_be_bytes()]))
    }

    /// The secret that follows this one. Everybody who holds this one and is told the salt finds the same.
    pub(crate) fn next(self, salt: Salt) -> Self {
        Self(hash(&[b"next", &self.0.to_be_bytes(), &salt.0.to_be_bytes()]))
    }
}

/// What a cookie holds, before it is signed: `<sid>.<secret>`.
pub(crate) struct Key {
    pub(crate) sid: Sid,
    pub(crate) secret: Secret,
}

impl Key {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (sid, secret) = text.split_once('.')?;
        Some(Self { sid: sid.parse().ok()?, secret: Secret(parse_hex(secret)?) })
    }

    pub(crate) fn to_text(&self) -> String {
        format!("{}.{:032x}", self.sid, self.secret.0)
    }
}

/// The SHA-256 of a secret, shortened to the 128 bits that the secret has: what stores keep and compare. Whoever reads
/// a store cannot make a cookie from it, and whoever measures how long a comparison takes learns about the digest of a
/// guess, which he cannot steer: no comparison needs constant time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Digest(u128);

/// What leads from a superseded secret to its successor, together with that secret: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Salt(u128);

impl Salt {
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }
}

/// An attempt to log in, by which its repetition is known: who clicked twice, or did not hear the answer, is not kept out by
/// the session that the first request began. 128 random bits that a login page holds and sends along.
///
/// Whoever knows it can end that one session, and no other of the same name: it is secret. Only a hash of it is stored, as
/// part of a [`Sid`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Attempt(u128);

impl Attempt {
    /// How often an attempt may begin anew.
    pub(crate) const TURNS: u8 = 3;

    /// A new one, for a page.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Attempt")
    }
}

/// The text is no digest, salt or attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("digests, salts and attempts are 32 hexadecimal digits")]
pub struct InvalidHex;

/// As text 32 hexadecimal digits.
macro_rules! as_hex {
    ($($type:ty),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl FromStr for $type {
            type Err = InvalidHex;

            fn from_str(text: &str) -> Result<Self, InvalidHex> {
                parse_hex(text).map(Self).ok_or(InvalidHex)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                std::borrow::Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

as_hex!(Digest, Salt, Attempt);

/// 128 bits of the SHA-256 of the parts. The first is a label of its own for each use, none the beginning of another.
fn hash(parts: &[&[u8]]) -> u128 {
    let mut sha = Sha256::new();
    parts.iter().for_each(|part| sha.update(part));
    sha.finalize().iter().take(16).fold(0, |bits, byte| bits << 8 | u128::from(*byte))
}

fn parse_hex(text: &str) -> Option<u128> {
    let well_formed = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    well_formed.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}
