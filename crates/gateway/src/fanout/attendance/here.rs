//! Who is in a room, ready to be shown.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use trunkline_domain::{Event, PresenceDebouncer, Room, Roster, UserName};

use crate::fanout::text;

/// A room's state as its members are shown it.
#[derive(Clone, Debug)]
pub(crate) struct PresenceState {
    /// The frame.
    pub(crate) bytes: Bytes,
    /// Who is named in it; `None` for a bare count.
    names: Option<Arc<BTreeSet<UserName>>>,
}

impl PresenceState {
    /// What the announcer's room was told.
    pub(super) fn of(room: &Room, announcer: &PresenceDebouncer, roster: &Roster) -> Self {
        let names = announcer.is_named().then(|| Arc::new(announcer.shown(roster.users())));
        let here = names.as_ref().map(|names| names.iter().cloned().collect());
        let state = Event::Presence { room: room.clone(), count: announcer.count(), here, came: None, went: None };
        Self { bytes: text(&state), names }
    }

    /// Whether the user finds their own name in it, where there are names.
    pub(crate) fn includes(&self, user: &UserName) -> bool {
        self.names.as_ref().is_none_or(|names| names.contains(user))
    }
}
