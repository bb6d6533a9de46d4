//! What is broken on purpose.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::Micros;

/// A fault that was injected while the run went on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault<'a> {
    /// When.
    #[serde(default)]
    pub t: Micros,
    /// What, for people.
    pub name: Cow<'a, str>,
    /// Whether Redis may lose data or its identity by it: only after such a fault may an epoch change.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redis: bool,
    /// Whether clients must notice it (a close, a refusal, an attempt that fails); if none does, it did not fire.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub visible: bool,
    /// The close codes that it explains; left out: 1001, 1006, 1012 and 4408.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closes: Option<Vec<u16>>,
}

fn yes() -> bool {
    true
}
