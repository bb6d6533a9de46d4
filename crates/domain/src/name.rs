//! User names: which are allowed, and when two look the same.

use std::{
    fmt,
    str::FromStr,
    sync::{Arc, LazyLock},
};

use precis_core::profile::PrecisFastInvocation;
use precis_profiles::UsernameCasePreserved;
use serde::{Deserialize, Deserializer, Serialize};
use unicode_security::{MixedScript, confusable_detection::skeleton};

/// A name that people can hold: RFC 8265 `UsernameCasePreserved`, 1 to 32 characters, of one script, not reserved.
/// Kept in the enforced form, so that equal names are equal bytes. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct UserName(Arc<str>);

/// Names that would let a person pass for the service, by their looks: whatever looks like one of them is reserved too.
static RESERVED: LazyLock<[String; 9]> = LazyLock::new(|| {
    ["admin", "administrator", "moderator", "operator", "root", "server", "support", "system", "trunkline"]
        .map(looks_of)
});

impl UserName {
    /// Longest name, in characters.
    pub const MAX_CHARS: usize = 32;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the name looks like: two names with equal skeletons can be taken for each other, so only one of them
    /// may be held at a time. Case-mapped skeleton of UTS 39 section 4; not for showing.
    #[must_use]
    pub fn skeleton(&self) -> String {
        looks_of(&self.0)
    }
}

fn looks_of(name: &str) -> String {
    skeleton(&name.to_lowercase()).collect::<String>().to_lowercase()
}

/// Why a name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Nothing was given.
    #[error("a name is needed")]
    Empty,
    /// Over [`UserName::MAX_CHARS`].
    #[error("a name has at most 32 characters")]
    TooLong,
    /// A character other than letters, digits and `.`, `_`, `-`, `'`.
    #[error("a name is made of letters, digits and . _ - ' without spaces")]
    Characters,
    /// No letter and no digit in it.
    #[error("a name needs a letter or a digit")]
    NoLetter,
    /// Letters of several scripts, which could imitate another name.
    #[error("the letters of a name belong to one script")]
    MixedScripts,
    /// A name of the service's own, or one that looks like it.
    #[error("this name is reserved")]
    Reserved,
}

impl FromStr for UserName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let text = text.trim();
        if text.is_empty() {
            return Err(InvalidName::Empty);
        }
        // Judged before the profile runs, so that a huge input costs nothing; normalising can only shorten below.
        if text.chars().nth(4 * Self::MAX_CHARS).is_some() {
            return Err(InvalidName::TooLong);
        }
        let name = UsernameCasePreserved::enforce(text).map_err(|_| InvalidName::Characters)?;
        if name.chars().count() > Self::MAX_CHARS {
            Err(InvalidName::TooLong)
        } else if name.chars().any(|c| c.is_ascii_punctuation() && !"._-'".contains(c)) {
            // RFC 8265 lets all visible ASCII pass; what could be taken for markup or an address is not wanted in names.
            Err(InvalidName::Characters)
        } else if !name.chars().any(char::is_alphanumeric) {
            Err(InvalidName::NoLetter)
        } else if !name.as_ref().is_single_script() {
            Err(InvalidName::MixedScripts)
        } else if RESERVED.contains(&looks_of(&name)) {
            Err(InvalidName::Reserved)
        } else {
            Ok(Self(name.into()))
        }
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for UserName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
