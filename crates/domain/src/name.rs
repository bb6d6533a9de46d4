//! User names: which are valid, and which look alike.

use std::{
    fmt,
    str::FromStr,
    sync::{Arc, LazyLock},
};

use precis_core::profile::PrecisFastInvocation;
use precis_profiles::UsernameCasePreserved;
use serde::{Deserialize, Deserializer, Serialize};
use unicode_security::{MixedScript, confusable_detection::skeleton};

/// A user name: RFC 8265 `UsernameCasePreserved`, 1 to 32 characters, of one script, not reserved. Stored in the enforced
/// form, so equal names are equal bytes. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct UserName(Arc<str>);

/// Skeletons of the names with which a user could pose as the service. A name with the same skeleton is reserved too.
static RESERVED: LazyLock<[String; 9]> = LazyLock::new(|| {
    ["admin", "administrator", "moderator", "operator", "root", "server", "support", "system", "trunkline"]
        .map(folded_skeleton)
});

impl UserName {
    /// Maximum length, in characters.
    pub const MAX_CHARS: usize = 32;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without a copy.
    pub(crate) fn into_text(self) -> Arc<str> {
        self.0
    }

    /// The case-folded skeleton of the name (UTS 39 section 4). Two names with equal skeletons look alike, so only one of them
    /// may be in use at a time. Not for display.
    #[must_use]
    pub fn skeleton(&self) -> String {
        folded_skeleton(&self.0)
    }
}

fn folded_skeleton(name: &str) -> String {
    skeleton(&name.to_lowercase()).collect::<String>().to_lowercase()
}

/// Why a name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// The name is empty.
    #[error("a name is needed")]
    Empty,
    /// Longer than [`UserName::MAX_CHARS`].
    #[error("a name has at most 32 characters")]
    TooLong,
    /// A character other than letters, digits and `.`, `_`, `-`, `'`.
    #[error("a name is made of letters, digits and . _ - ' without spaces")]
    Characters,
    /// Contains neither a letter nor a digit.
    #[error("a name needs a letter or a digit")]
    NoLetter,
    /// Letters of several scripts, which can imitate another name.
    #[error("the letters of a name belong to one script")]
    MixedScripts,
    /// Reserved for the service, or looks like a reserved name.
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
        // Checked before the profile runs, so that a huge input costs nothing. Normalisation shortens no longer input to the
        // maximum.
        if text.chars().nth(4 * Self::MAX_CHARS).is_some() {
            return Err(InvalidName::TooLong);
        }
        let name = UsernameCasePreserved::enforce(text).map_err(|_| InvalidName::Characters)?;
        if name.chars().count() > Self::MAX_CHARS {
            Err(InvalidName::TooLong)
        } else if name != text && UsernameCasePreserved::enforce(&*name).ok().as_deref() != Some(&*name) {
            // The profile judges the characters before it composes them: `>` and U+0338 become U+226F, which it refuses.
            // Such a name could not be read back from the log.
            Err(InvalidName::Characters)
        } else if name.chars().any(|c| c.is_ascii_punctuation() && !"._-'".contains(c)) {
            // RFC 8265 permits all visible ASCII. Characters of markup and of addresses are excluded here.
            Err(InvalidName::Characters)
        } else if !name.chars().any(char::is_alphanumeric) {
            Err(InvalidName::NoLetter)
        } else if !name.as_ref().is_single_script() {
            Err(InvalidName::MixedScripts)
        } else if RESERVED.contains(&folded_skeleton(&name)) {
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
