//! Contents of load messages besides texts: edits, deletions, reactions, and events with data.

use std::collections::VecDeque;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use trunkline_domain::{Content, Data, MessageId, Position, ReactionKey};

use super::traced_text::TracedText;
use crate::history::Micros;

/// Number of own texts that a writer amends.
const OWN_TEXTS_MAX: usize = 64;
/// Keys of reactions.
const KEYS: [&str; 3] = ["👍", "❤️", ":tada:"];

/// Chooses what a writer sends. The seed of the run determines the choices.
#[derive(Debug)]
pub(crate) struct ContentChooser {
    rng: StdRng,
    /// Percentage of messages that are not texts.
    percent: u32,
    /// Positions of own texts that this writer has not deleted, from the oldest.
    own: VecDeque<Position>,
}

impl ContentChooser {
    pub(crate) fn new(seed: u64, percent: u32) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), percent, own: VecDeque::new() }
    }

    /// Composes the message `name-number`, which is due at `due`, with its id. `others`: positions of recent texts in the
    /// room.
    pub(crate) fn compose(
        &mut self,
        name: &str,
        number: u64,
        due: Micros,
        text_bytes: usize,
        others: &VecDeque<Position>,
    ) -> Option<(MessageId, Content)> {
        // Readable ids, which name the author and the number of the message in the history. Only texts have room for their
        // time; the other ids end with it.
        let (plain, timed) = (format!("{name}-{number}"), format!("{name}-{number}-{due}"));
        let edited = |id: &MessageId| TracedText::compose(due, id, text_bytes);
        if self.rng.random_range(0..100) < self.percent {
            let id: MessageId = timed.parse().ok()?;
            let content = match self.rng.random_range(0..10) {
                0..5 => {
                    let key: ReactionKey = KEYS[self.rng.random_range(0..KEYS.len())].parse().ok()?;
                    // Every second reaction is to an old text, so that reactions to it are spread over the log.
                    let of = if self.rng.random() { self.own_text() } else { self.choose(others) };
                    of.map(|of| Content::React { of, key, on: self.rng.random_bool(0.7) })
                }
                5..8 => self.own_text().zip(edited(&id)).map(|(of, text)| Content::Edit { of, text }),
                8 => {
                    // Every second deletion is of the latest text, which gateways still have in memory.
                    let latest = self.own.back().copied().filter(|_| self.rng.random());
                    latest.or_else(|| self.own_text()).map(|of| {
                        self.forget(of);
                        Content::Delete { of }
                    })
                }
                _ => {
                    let event = "checked".parse().ok()?;
                    traced_data(&id).map(|data| Content::Event { event, data })
                }
            };
            if let Some(content) = content {
                return Some((id, content));
            }
        }
        let id: MessageId = plain.parse().ok()?;
        let text = edited(&id)?;
        Some((id, Content::Text { text, reply_to: self.choose(others).filter(|_| self.percent > 0) }))
    }

    /// The oldest own text, or any of them.
    fn own_text(&mut self) -> Option<Position> {
        if self.rng.random() {
            return self.own.front().copied();
        }
        let own = std::mem::take(&mut self.own);
        let chosen = self.choose(&own);
        self.own = own;
        chosen
    }

    fn choose(&mut self, positions: &VecDeque<Position>) -> Option<Position> {
        (!positions.is_empty()).then(|| positions[self.rng.random_range(0..positions.len())])
    }

    /// An own text was acknowledged.
    pub(crate) fn acknowledged(&mut self, pos: Position) {
        // The oldest one stays: amendments of it are spread over the whole log.
        if self.own.len() == OWN_TEXTS_MAX {
            self.own.remove(1);
        }
        self.own.push_back(pos);
    }

    /// A text cannot be amended any more.
    pub(crate) fn forget(&mut self, pos: Position) {
        self.own.retain(|own| *own != pos);
    }

    /// The log may have lost entries.
    pub(crate) fn forget_all(&mut self) {
        self.own.clear();
    }
}

/// Data of the event `id`. Gateways pass it through byte for byte, so it is spelled in a way that none would choose.
pub(crate) fn traced_data(id: &MessageId) -> Option<Data> {
    format!("{{\"n\":1.0, \"id\":\"{id}\",\"a\":[ ]}}").parse().ok()
}

/// Time at which the message with this id is due, if the id says it.
pub(crate) fn due_in_id(id: &MessageId) -> Option<Micros> {
    id.as_str().rsplit_once('-')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_content_is_chosen_and_deleted_texts_are_left_alone() {
        let mut chooser = ContentChooser::new(7, 50);
        let others = VecDeque::from([Position::new(5, 1)]);
        let (mut seen, mut deleted) = ([0; 5], Vec::new());
        for number in 0..1000 {
            let (id, content) = chooser.compose("w1", number, 1500, 64, &others).unwrap();
            if !matches!(content, Content::Text { .. }) {
                assert_eq!(due_in_id(&id), Some(1500));
            }
            let kind = match &content {
                Content::Text { text, .. } => {
                    assert_eq!(TracedText::parse(text.as_str()).unwrap().id, id.as_str());
                    chooser.acknowledged(Position::new(6, number + 1));
                    0
                }
                Content::Event { data, .. } => {
                    assert_eq!(Some(data), traced_data(&id).as_ref());
                    1
                }
                Content::Edit { .. } => 2,
                Content::Delete { of } => {
                    deleted.push(*of);
                    3
                }
                Content::React { .. } => 4,
            };
            if kind != 3
                && let Some(of) = content.amends()
            {
                assert!(!deleted.contains(&of) || others.contains(&of), "{of} was deleted");
            }
            seen[kind] += 1;
        }
        assert!(seen.iter().all(|count| *count > 20), "{seen:?}");
        let mut none = ContentChooser::new(7, 0);
        let (_, content) = none.compose("w1", 1, 1500, 64, &others).unwrap();
        assert!(matches!(content, Content::Text { reply_to: None, .. }));
    }
}
