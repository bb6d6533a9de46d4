//! Secrets among the settings.

use std::{convert::Infallible, fmt, fs::File, io::Read as _, os::unix::fs::PermissionsExt as _, path::Path};

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

/// Maximum size of a secret file, in bytes. A larger file is not one.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Reads a secret file that contains text.
///
/// # Errors
/// As [`read_bytes`], and if the file is not UTF-8 text.
pub(super) fn read(path: &Path) -> Result<String, String> {
    match String::from_utf8(read_bytes(path)?) {
        Ok(text) if !text.starts_with('\u{feff}') && !text.contains('\0') => Ok(text),
        _ => Err("the file is not plain UTF-8 text; create one with `openssl rand -hex 64`".to_owned()),
    }
}

/// Reads a secret file.
///
/// # Errors
/// Returns what is wrong and what to do if the file cannot be read, is too large, or can be changed by every user of the
/// machine. Files that others can read are accepted: secrets that Kubernetes and Docker mount are
/// such.
pub(super) fn read_bytes(path: &Path) -> Result<Vec<u8>, String> {
    let readable = "; the user that runs trunkline must be able to read it";
    let file = File::open(path).map_err(|error| format!("{error}{readable}"))?;
    let about = file.metadata().map_err(|error| format!("{error}{readable}"))?;
    if about.is_dir() {
        return Err("this is a directory; name the file in it".to_owned());
    }
    if about.is_file() && about.permissions().mode() & 0o002 != 0 {
        return Err(
            "every user of this machine can change this file; take the permission away with chmod o-w".to_owned()
        );
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| format!("{error}{readable}"))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("the file is larger than {MAX_FILE_BYTES} bytes, so it is probably not a secret file"));
    }
    Ok(bytes)
}
