//! The data of events: JSON that nothing re-encodes.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// JSON that is passed through byte for byte: at most 16 KiB and 100 levels deep. Cheap to clone.
#[derive(Clone)]
pub struct Data(Arc<RawValue>);

impl Data {
    /// Maximum length of a message's data, in bytes as sent.
    pub const MAX_BYTES: usize = 16 << 10;
    /// Maximum length of a signal's data, in bytes as sent.
    pub const MAX_SIGNAL_BYTES: usize = 4 << 10;
    /// Maximum number of arrays and objects inside each other.
    pub const MAX_DEPTH: usize = 100;

    /// The data, if it is within the bounds.
    ///
    /// # Errors
    /// [`InvalidData`], by the bound that it exceeds.
    pub fn new(json: &RawValue) -> Result<Self, InvalidData> {
        check_bounds(json.get())?;
        Ok(Self(Arc::from(json.to_owned())))
    }

    /// `null`.
    #[must_use]
    pub fn null() -> Self {
        Self(Arc::from(RawValue::NULL.to_owned()))
    }

    /// The encoding of `value`.
    ///
    /// # Errors
    /// [`InvalidData`] if it exceeds the bounds, or does not serialise as JSON.
    pub fn encode(value: &impl Serialize) -> Result<Self, InvalidData> {
        let raw = serde_json::value::to_raw_value(value).map_err(|_| InvalidData::NotJson)?;
        check_bounds(raw.get())?;
        Ok(Self(Arc::from(raw)))
    }

    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

fn check_bounds(json: &str) -> Result<(), InvalidData> {
    if json.len() > Data::MAX_BYTES {
        Err(InvalidData::TooLong)
    } else if depth(json) > Data::MAX_DEPTH {
        Err(InvalidData::TooDeep)
    } else {
        Ok(())
    }
}

/// Number of arrays and objects inside each other in valid JSON.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Why data is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidData {
    /// Over [`Data::MAX_BYTES`].
    #[error("data is longer than 16384 bytes; send a link to it, or parts")]
    TooLong,
    /// Over [`Data::MAX_DEPTH`].
    #[error("data is deeper than 100 levels")]
    TooDeep,
    /// Not JSON.
    #[error("data is not JSON")]
    NotJson,
}

impl FromStr for Data {
    type Err = InvalidData;

    fn from_str(text: &str) -> Result<Self, InvalidData> {
        let raw: &RawValue = serde_json::from_str(text).map_err(|_| InvalidData::NotJson)?;
        Self::new(raw)
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PartialEq for Data {
    /// Equal bytes.
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Data {}

impl Serialize for Data {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}
