//! Scripts, style sheet and icon, embedded in the binary under content-hashed names.

#[cfg(test)]
mod bundle;

/// A file that browsers load.
pub(crate) struct Asset {
    /// The file name in `web/`.
    pub(crate) name: &'static str,
    /// The hashed file name.
    pub(crate) file: &'static str,
    pub(crate) content_type: &'static str,
    pub(crate) bytes: &'static [u8],
}

/// The files that the build script found in `web/`. Pages name files by these constants, so a page cannot name a
/// missing file.
#[allow(
    dead_code,
    reason = "pages name only the files that they load; scripts import the others, and without the feature `pages` there are none"
)]
mod embedded {
    use super::Asset;

    include!(concat!(env!("OUT_DIR"), "/assets.rs"));
}

pub(crate) use embedded::*;

/// Hexadecimal digits of the content hash in a file name; see `bundle.rs`.
pub(crate) const HASH_DIGITS: usize = 16;
