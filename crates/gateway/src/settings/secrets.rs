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

/// Said when there is no key but a Redis, so that other instances must accept what this one signs.
pub(super) const NEEDED: &str = "with --redis, all instances need the same key to sign session cookies: make one with\n\
     `openssl rand -hex 64 > secret` and give it by --secret-file secret (or in TRUNKLINE_SECRET)";

/// Keys, one a line; blank lines and space around a key do not count.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}
