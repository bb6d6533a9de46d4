//! Parts of history lines.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use trunkline_domain::Position;

use super::Micros;

/// A fault that was injected during a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InjectedFault<'a> {
    /// Time of the injection.
    #[serde(default)]
    pub t: Micros,
    /// Name of the fault, for reports.
    pub name: Cow<'a, str>,
    /// Whether Redis may lose data or its generation. The epoch of a room may change only after such a fault.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redis: bool,
    /// Whether at least one client must notice the fault (a close, an error, a failed connection attempt). If no client
    /// does, the fault did not fire.
    #[serde(default = "visible_by_default", skip_serializing_if = "Clone::clone")]
    pub visible: bool,
    /// Close codes that the fault explains. Default: 1001, 1006, 1012 and 4408.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closes: Option<Vec<u16>>,
}

fn visible_by_default() -> bool {
    true
}

/// One message of a reference read: the history of a room as a new client reads it at the end of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferenceMessage<'a> {
    /// Position of the message.
    pub pos: Position,
    /// Id of the message.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// Author of the message.
    #[serde(borrow)]
    pub user: Cow<'a, str>,
}

/// Stage of a run at which the resources of a process were measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MeasurementStage {
    /// Before the first client connects.
    Before,
    /// While all clients are connected, after the last send.
    Under,
    /// After the last client has disconnected.
    After,
}
