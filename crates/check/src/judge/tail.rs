//! 8: after the last fault has healed, a fresh read of the history equals every client's tail.

use std::collections::HashMap;

use trunkline_domain::Position;

use super::{
    Invariant,
    facts::{Facts, View},
    record::{MessageNumber, Record, RoomNumber, What},
    verdict::{Breaches, Ruling},
};

const TITLE: &str = "a fresh read of the history equals every client's tail";

#[derive(Debug, Default)]
pub(super) struct Tail {
    /// The fresh reads, newest first.
    fresh: HashMap<RoomNumber, Vec<(Position, MessageNumber)>>,
    breaches: Breaches,
}

impl Invariant for Tail {
    fn see(&mut self, record: &Record, _: &Facts) {
        if let What::Tail { room, ref messages } = record.what {
            self.fresh.entry(room).or_default().extend(messages.iter().rev());
        }
    }

    fn rule(&mut self, facts: &Facts) -> Ruling {
        if self.fresh.is_empty() {
            return Ruling::not_judged(8, TITLE, "the history holds no fresh read");
        }
        for (room, fresh) in &self.fresh {
            for &(pos, message) in fresh {
                if facts.sending(message).pos.is_some_and(|known| known != pos && !facts.redis_failed()) {
                    self.breaches.add(|| {
                        format!("a fresh read of {} has another message at {pos}", facts.names.room_name(*room))
                    });
                }
            }
        }
        for (client, room, view) in facts.views().filter(|(_, _, view)| view.wanted) {
            let Some(fresh) = self.fresh.get(&room) else { continue };
            if let Some((shown, read)) = difference(view, fresh) {
                self.breaches.add(|| {
                    let name = |message: Option<MessageNumber>| {
                        message.map_or("nothing".into(), |m| facts.names.message_name(m))
                    };
                    format!("{} holds {} where a fresh read has {}", facts.place(client, room), name(shown), name(read))
                });
            }
        }
        self.breaches.ruling(8, TITLE)
    }
}

/// The newest place where the view and the fresh read differ, as far back as both go.
fn difference(
    view: &View,
    fresh: &[(Position, MessageNumber)],
) -> Option<(Option<MessageNumber>, Option<MessageNumber>)> {
    match (view.shown.last(), fresh.first()) {
        (None, None) => None,
        (None, Some((pos, _))) if !view.has_tail() && *pos <= view.floor() => None,
        (shown @ None, Some((_, read))) => Some((shown.copied(), Some(*read))),
        (shown @ Some(_), None) => Some((shown.copied(), None)),
        (Some(_), Some(_)) => view
            .shown
            .iter()
            .rev()
            .zip(fresh)
            .find(|(shown, (_, read))| *shown != read)
            .map(|(shown, (_, read))| (Some(*shown), Some(*read))),
    }
}
