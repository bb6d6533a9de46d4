//! Invariant 7: a client receives nothing of a room that it has not joined or has left, and nothing after its session ended.

use crate::judge::{
    event::{EventKind, HistoryEvent},
    invariant::{Invariant, Violations},
    state::HistoryState,
    verdict::InvariantResult,
};

#[derive(Debug, Default)]
pub(crate) struct SubscriptionInvariant {
    violations: Violations,
}

impl Invariant for SubscriptionInvariant {
    fn observe(&mut self, event: &HistoryEvent, state: &HistoryState) {
        let HistoryEvent { t, client, ref kind } = *event;
        if let EventKind::Message { room, .. } | EventKind::Presence { room, .. } = *kind
            && !state.view(client, room).is_some_and(|view| view.joined)
        {
            self.violations.add(|| {
                let frame = match kind {
                    EventKind::Message { pos, .. } => format!("message {pos}"),
                    _ => "a presence frame".to_owned(),
                };
                format!("{} received {frame} without being subscribed", state.place(client, room))
            });
        }
        let is_session_frame = matches!(
            kind,
            EventKind::Message { .. } | EventKind::Joined { .. } | EventKind::Sent { .. } | EventKind::Presence { .. }
        );
        let silent_from = state.clients.get(client as usize).and_then(|client| client.silent_from);
        if let Some(from) = silent_from.filter(|from| is_session_frame && t > *from) {
            self.violations.add(|| {
                let late = (t - from) / 1000;
                format!("{} received a frame {late} ms after its session had to be closed", state.client_name(client))
            });
        }
    }

    fn result(&mut self, _: &HistoryState) -> InvariantResult {
        let title =
            "nothing is received of a room that is not joined or has been left, and nothing after the session ended";
        self.violations.result(7, title)
    }
}
