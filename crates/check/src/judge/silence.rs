//! 7: nothing of a room after its `left`, nothing after the end of the session, nothing of a room not joined.

use super::{
    Invariant,
    facts::Facts,
    record::{Record, What},
    verdict::{Breaches, Ruling},
};

#[derive(Debug, Default)]
pub(super) struct Silence {
    breaches: Breaches,
}

impl Invariant for Silence {
    fn see(&mut self, record: &Record, facts: &Facts) {
        let Record { t, client, ref what } = *record;
        if let What::Message { room, pos, .. } = *what
            && !facts.view(client, room).is_some_and(|view| view.joined)
        {
            self.breaches.add(|| format!("{} got {pos}, without being joined", facts.place(client, room)));
        }
        if let What::Presence { room, .. } = *what
            && !facts.view(client, room).is_some_and(|view| view.joined)
        {
            self.breaches.add(|| format!("{} was told who is there, without being joined", facts.place(client, room)));
        }
        let told =
            matches!(what, What::Message { .. } | What::Joined { .. } | What::Sent { .. } | What::Presence { .. });
        let silent_from = facts.clients.get(client as usize).and_then(|client| client.silent_from);
        if told && silent_from.is_some_and(|from| t > from) {
            self.breaches.add(|| {
                format!("client {client} ({}) was told something after its session had ended", facts.names.user(client))
            });
        }
    }

    fn rule(&mut self, _: &Facts) -> Ruling {
        self.breaches.ruling(7, "nothing after `left`, nothing after the session, nothing of a room not joined")
    }
}
