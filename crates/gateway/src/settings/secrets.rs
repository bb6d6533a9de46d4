//! Values that are never printed, and the keys that sign session cookies.

use std::fmt;

/// Text that is never printed or logged.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// Any text; what is right is judged where it is used.
    pub(super) fn parse(text: &str) -> Result<Self, std::convert::Infallible> {
        Ok(Self(text.to_owned()))
    }

    /// The text, for whoever has to use it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Shortest key, in bytes: what the signing of cookies takes.
const MIN_BYTES: usize = 64;

/// Said when there is no key but a Redis, so that other instances must accept what this one signs.
pub(super) const NEEDED: &str = "with --redis, all instances need the same key to sign session cookies: make one with\n\
     `openssl rand -hex 64 > secret` and give it by --secret-file secret (or in TRUNKLINE_SECRET)";

/// Why keys are refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadKeys {
    #[error("there is no key in it; make one with `openssl rand -hex 64`")]
    None,
    #[error("key {0} has fewer than {MIN_BYTES} bytes; make one with `openssl rand -hex 64`")]
    TooShort(usize),
}

/// Keys, one a line; blank lines and space around a key do not count.
pub(super) fn keys(text: &str) -> Result<Vec<Secret>, BadKeys> {
    let keys: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match keys.iter().position(|key| key.len() < MIN_BYTES) {
        _ if keys.is_empty() => Err(BadKeys::None),
        Some(short) => Err(BadKeys::TooShort(short + 1)),
        None => Ok(keys.into_iter().map(|key| Secret(key.to_owned())).collect()),
    }
}
