//! The claims of a token that have a meaning here.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};
use trunkline_domain::{DisplayName, Grants, UserId};

/// Claims that are absent have no meaning; `null` is not the same as absent for those that limit the token.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    pub(super) sub: UserId,
    pub(super) exp: NumericDate,
    #[serde(default, deserialize_with = "present")]
    pub(super) nbf: Option<NumericDate>,
    #[serde(default, deserialize_with = "present")]
    pub(super) iss: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) aud: Option<SetOfText>,
    /// Left out if it is not a valid name: identity providers send empty and very long ones, which must not lock users out.
    #[serde(default, deserialize_with = "valid_name")]
    pub(super) name: Option<DisplayName>,
    #[serde(default, deserialize_with = "present")]
    pub(super) rooms: Option<Grants>,
}

fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

fn valid_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DisplayName>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(value.as_str().and_then(|name| name.parse().ok()))
}

/// Seconds since the Unix epoch, possibly with a fraction (RFC 7519 section 2). Rounded down, at most [`Self::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NumericDate(pub(super) Duration);

impl NumericDate {
    /// The end of the year 9999. Later times have no meaning, and sums with them could overflow.
    const MAX: f64 = 253_402_300_799.0;
}

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        if seconds < 0.0 {
            return Err(D::Error::custom("a time before 1970"));
        }
        // The conversion drops the fraction. JSON has no infinity and no NaN.
        Ok(Self(Duration::from_secs(seconds.min(Self::MAX) as u64)))
    }
}

/// One text, or an array of texts (RFC 7519 section 4.1.3).
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SetOfText(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for SetOfText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum OneOrMany {
            One(String),
            Many(Vec<String>),
        }
        Ok(Self(match OneOrMany::deserialize(deserializer)? {
            OneOrMany::One(text) => vec![text],
            OneOrMany::Many(texts) => texts,
        }))
    }
}
