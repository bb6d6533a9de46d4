//! 2: what is received was sent, and what was refused for certain is never received.

use std::collections::HashSet;

use super::{
    Invariant,
    facts::Facts,
    record::{MessageNumber, Record, What},
    verdict::{Breaches, Ruling},
};

#[derive(Debug, Default)]
pub(super) struct Phantom {
    seen: HashSet<MessageNumber>,
    breaches: Breaches,
}

impl Invariant for Phantom {
    fn see(&mut self, record: &Record, facts: &Facts) {
        match record.what {
            What::Message { room, pos, message, torn } => {
                if torn {
                    self.breaches
                        .add(|| format!("{} got a text at {pos} that nobody sent", facts.place(record.client, room)));
                }
                if self.seen.insert(message) && facts.sending(message).attempts == 0 {
                    self.breaches.add(|| {
                        let name = facts.names.message_name(message);
                        format!("{} got {name} at {pos}, which nobody had sent", facts.place(record.client, room))
                    });
                }
            }
            What::Sent { room, message, pos } if facts.sending(message).attempts == 0 => {
                self.breaches.add(|| {
                    format!("{} was told that {pos} is its, which it had not sent", facts.place(record.client, room))
                });
            }
            _ => {}
        }
    }

    fn rule(&mut self, facts: &Facts) -> Ruling {
        let mut refused: Vec<_> = self
            .seen
            .iter()
            .copied()
            .filter(|message| {
                let sending = facts.sending(*message);
                sending.attempts > 0 && sending.attempts == sending.refused
            })
            .collect();
        refused.sort_unstable();
        for message in refused {
            self.breaches.add(|| format!("{} was refused and came nevertheless", facts.names.message_name(message)));
        }
        self.breaches.ruling(2, "no phantom: what is received was sent and not refused")
    }
}
