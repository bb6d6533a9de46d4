//! Parts of history lines.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

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
    /// Whether it may happen at any time after `t`, and repeatedly. The recovery time of a client then counts from the loss of
    /// its socket.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub anytime: bool,
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

/// One message of a page of history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedMessage<'a> {
    /// Position of the message.
    pub pos: Position,
    /// Id of the message.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// Author of the message.
    #[serde(borrow)]
    pub user: Cow<'a, str>,
    /// Name of the event, if it is one or an amendment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Cow<'a, str>>,
    /// Message that it amends.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Position>,
    /// Key of a reaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Cow<'a, str>>,
    /// Whether a reaction is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<bool>,
    /// Whether the text was deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
}

impl LoggedMessage<'_> {
    /// The message without borrowed parts.
    pub(crate) fn into_owned(self) -> LoggedMessage<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        let Self { pos, id, user, event, of, key, on, deleted } = self;
        LoggedMessage { pos, id: own(id), user: own(user), event: event.map(own), of, key: key.map(own), on, deleted }
    }
}

/// A part of a log as a client shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoldedRange<'a> {
    /// Position of the first entry that the client received.
    pub from: Position,
    /// Position of the last entry that the client received.
    pub to: Position,
    /// The messages of the part that amendments have changed. All others are shown as they were sent.
    #[serde(borrow)]
    pub changed: Vec<FoldedEntry<'a>>,
}

/// A message as its amendments have changed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoldedEntry<'a> {
    /// Position of the message.
    pub pos: Position,
    /// Id of the message whose text is shown: its own, or that of the latest edit. `None` if it was deleted.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub text_of: Option<Cow<'a, str>>,
    /// Users who react, by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reactions: BTreeMap<String, BTreeSet<String>>,
}

impl FoldedEntry<'_> {
    /// The entry without borrowed parts.
    pub(crate) fn into_owned(self) -> FoldedEntry<'static> {
        let Self { pos, text_of, reactions } = self;
        FoldedEntry { pos, text_of: text_of.map(|id| id.into_owned().into()), reactions }
    }
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
