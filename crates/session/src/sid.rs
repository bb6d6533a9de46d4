//! Session ids.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use trunkline_domain::UserName;

use crate::{
    LoginAttempt,
    hex::{hash, parse_hex},
};

/// The id of a session, which stays the same from login to the session's end. Not secret; may be logged.
///
/// As text 64 hexadecimal digits: 32 of a hash of the user name's [skeleton](UserName::skeleton), then 32 of a random
/// or derived id. The first half leads from the session to the claim on its name, so both keys in Redis share a hash
/// tag, and one script changes both.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sid {
    name: u128,
    id: u128,
}

impl Sid {
    /// A new id for a session of `user`.
    #[must_use]
    pub fn new(user: &UserName) -> Self {
        Self { name: hash(&[b"name", user.skeleton().as_bytes()]), id: rand::random() }
    }

    /// The id of the session that a login attempt creates when it is made for the `repetition`th time. The same on
    /// every instance.
    pub(crate) fn for_attempt(user: &UserName, attempt: LoginAttempt, repetition: u8) -> Self {
        Self { id: hash(&[b"attempt", &attempt.to_be_bytes(), &[repetition]]), ..Self::new(user) }
    }

    /// A tag of the user's name, as 32 hexadecimal digits. Equal for all names that look alike (equal
    /// [skeletons](UserName::skeleton)), of which only one can be logged in at a time.
    #[must_use]
    pub fn name_tag(&self) -> String {
        format!("{:032x}", self.name)
    }

    /// The part that differs between sessions of one name, as 32 hexadecimal digits.
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

/// The text is not a session id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a session id has 64 hexadecimal digits")]
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
