//! 128-bit values as 32 hexadecimal digits, and the hash that makes them.

use sha2::{Digest as _, Sha256};

/// The text is not a digest, salt, tag or login attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("digests, salts, tags and login attempts have 32 hexadecimal digits")]
pub struct InvalidHex;

/// Text form and serialization as 32 hexadecimal digits for newtypes of `u128`.
macro_rules! as_hex {
    ($($type:ty),*) => {$(
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl std::str::FromStr for $type {
            type Err = crate::InvalidHex;

            fn from_str(text: &str) -> Result<Self, crate::InvalidHex> {
                crate::hex::parse_hex(text).map(Self).ok_or(crate::InvalidHex)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                std::borrow::Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
pub(crate) use as_hex;

/// The first 128 bits of the SHA-256 of the parts. The first part is a label; each use has its own, and none is a
/// prefix of another.
pub(crate) fn hash(parts: &[&[u8]]) -> u128 {
    let mut sha = Sha256::new();
    parts.iter().for_each(|part| sha.update(part));
    sha.finalize().iter().take(16).fold(0, |bits, byte| bits << 8 | u128::from(*byte))
}

pub(crate) fn parse_hex(text: &str) -> Option<u128> {
    let well_formed = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    well_formed.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}
