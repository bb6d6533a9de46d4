//! The presence of one room, encoded for its members.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use trunkline_domain::{Event, Member, Room, Roster, UserId};

use super::debouncer::PresenceDebouncer;
use crate::frame::text_frame;

/// A room's presence as members see it.
#[derive(Clone, Debug)]
pub(crate) struct PresenceState {
    /// The `presence` frame with the whole state.
    pub(crate) bytes: Bytes,
    /// The users that it names; `None` if it has a count only.
    names: Option<Arc<BTreeSet<Member>>>,
}

impl PresenceState {
    /// Encodes what members see after the debouncer's last update.
    pub(super) fn encode(room: &Room, debouncer: &PresenceDebouncer, roster: &Roster) -> Self {
        let names = debouncer.shows_names().then(|| Arc::new(debouncer.visible_users(roster.users())));
        let users = names.as_ref().map(|names| names.iter().cloned().collect());
        let state = Event::Presence { room: room.clone(), count: debouncer.count(), users, joined: None, left: None };
        Self { bytes: text_frame(&state), names }
    }

    /// Returns whether the state names `user`. A state without names counts as naming everyone.
    pub(crate) fn includes(&self, user: &UserId) -> bool {
        self.names.as_ref().is_none_or(|names| names.contains(user))
    }
}
