//! Secrets among the settings.

use std::{convert::Infallible, fmt};

/// A text that is never printed or logged.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RedactedText(String);

impl RedactedText {
    /// Accepts any text; the place that uses it validates it.
    pub(super) fn parse(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }

    /// Returns the text.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RedactedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The error if Redis is configured but no key, so that other instances could not verify this one's cookies.
pub(super) const KEY_REQUIRED: &str = "with --redis, all instances need the same key to sign session cookies: create one with\n\
     `openssl rand -hex 64 > secret` and pass it with --secret-file secret (or in TRUNKLINE_SECRET)";

/// Returns the keys of a secret file: one per line, without surrounding whitespace and blank lines.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}
