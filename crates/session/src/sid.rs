//! Session ids.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use trunkline_domain::{UserId, UserName};

use crate::{
    LoginAttempt,
    hex::{as_hex, hash, parse_hex},
};

/// What the sessions of one user have in common: a hash of a claimed name's [skeleton](UserName::skeleton), or of an
/// external user id. 32 hexadecimal digits as text.
///
/// It is the hash tag of all keys that a session has in Redis. Claims and the limits per user concern one tag each, so
/// no script needs keys of two slots. A claimed name never has the tag of an external user id, even if the two are equal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct UserTag(u128);

as_hex!(UserTag);

impl UserTag {
    /// The tag of a claimed name. Equal for all names that look alike, of which only one can be logged in at a time.
    #[must_use]
    pub fn of_name(user: &UserName) -> Self {
        Self(hash(&[b"name", user.skeleton().as_bytes()]))
    }

    /// The tag of an external user, authenticated by another system.
    #[must_use]
    pub fn of_external(user: &UserId) -> Self {
        Self(hash(&[b"user", user.as_str().as_bytes()]))
    }

    /// The tags under which sessions of `user` can exist: one, or two if the id can also be claimed as a name.
    pub(crate) fn all_of(user: &UserId) -> impl Iterator<Item = Self> + use<> {
        let name = user.as_str().parse::<UserName>().ok().filter(|name| name.as_str() == user.as_str());
        [Self::of_external(user)].into_iter().chain(name.map(|name| Self::of_name(&name)))
    }
}

/// The id of a session, which stays the same from login to the session's end. Not secret; may be logged.
///
/// As text 64 hexadecimal digits: the [`UserTag`], then 32 digits of a random or derived id. The first half leads from
/// the session to everything that concerns its user.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sid {
    tag: UserTag,
    id: u128,
}

impl Sid {
    /// A new id for a session that claims a name.
    #[must_use]
    pub fn new(user: &UserName) -> Self {
        Self { tag: UserTag::of_name(user), id: rand::random() }
    }

    /// A new id for a session of an external user, authenticated by another system.
    #[must_use]
    pub fn external(user: &UserId) -> Self {
        Self { tag: UserTag::of_external(user), id: rand::random() }
    }

    /// The id of the session that a login attempt creates when it is made for the `repetition`th time. The same on
    /// every instance.
    pub(crate) fn for_attempt(user: &UserName, attempt: LoginAttempt, repetition: u8) -> Self {
        Self { id: hash(&[b"attempt", &attempt.to_be_bytes(), &[repetition]]), ..Self::new(user) }
    }

    /// What the session has in common with the other sessions of its user.
    #[must_use]
    pub fn tag(&self) -> UserTag {
        self.tag
    }

    /// The part that differs between sessions of one user, as 32 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{:032x}", self.id)
    }

    /// A digest that identifies the login to the user's own browser: the same from login to logout, different for every
    /// login. 32 hexadecimal digits. It reveals neither the user nor the id of the session.
    #[must_use]
    pub fn login_id(&self) -> String {
        format!("{:032x}", hash(&[b"login", &self.tag.0.to_be_bytes(), &self.id.to_be_bytes()]))
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:032x}", self.tag, self.id)
    }
}

impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sid({self})")
    }
}

/// The text is not a session id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a session id has 64 hexadecimal digits")]
pub struct InvalidSid;

impl FromStr for Sid {
    type Err = InvalidSid;

    fn from_str(text: &str) -> Result<Self, InvalidSid> {
        let (tag, id) = text.split_at_checked(32).ok_or(InvalidSid)?;
        Ok(Self { tag: tag.parse().map_err(|_| InvalidSid)?, id: parse_hex(id).ok_or(InvalidSid)? })
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
