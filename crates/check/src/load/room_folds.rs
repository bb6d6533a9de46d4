//! What a client shows of its rooms: a fold of the messages and amendments that it received.

use std::collections::{BTreeSet, VecDeque};

use trunkline_client::{Fold, FoldedMessage};
use trunkline_domain::{Body, Content, Message, Position};

use super::traced_text::TracedText;
use crate::history::{FoldedEntry, FoldedRange};

/// Largest number of messages per room that a fold keeps after it was trimmed. It is trimmed at twice this number.
const FOLDED_MAX: usize = 1000;
/// Number of recent texts per room that a writer may react to.
const RECENT_TEXTS: usize = 16;

/// The fold of one room.
#[derive(Debug, Default)]
pub(crate) struct RoomFold {
    fold: Fold,
    /// Position of the first entry, `None` before it has arrived.
    from: Option<Position>,
    /// Position of the last entry.
    to: Position,
    /// Positions of the latest texts that were not deleted when they arrived.
    recent_texts: VecDeque<Position>,
}

impl RoomFold {
    /// Continuity was lost.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn add(&mut self, message: &Message) {
        self.fold.add(message);
        self.from = self.from.map_or(message.pos, |from| from.min(message.pos)).into();
        self.to = self.to.max(message.pos);
        if let Body::Content(content) = &message.body {
            match content {
                Content::Text { .. } => {
                    if self.recent_texts.len() == RECENT_TEXTS {
                        self.recent_texts.pop_front();
                    }
                    self.recent_texts.push_back(message.pos);
                }
                Content::Delete { of } => self.recent_texts.retain(|pos| pos != of),
                _ => {}
            }
        }
    }

    /// Forgets the oldest messages if there are very many.
    pub(crate) fn trim(&mut self) {
        let count = self.fold.positions().len();
        if count > 2 * FOLDED_MAX {
            self.from = self.fold.positions().nth(count - FOLDED_MAX);
            self.fold.forget_before(self.from.unwrap_or_default());
        }
    }

    pub(crate) fn recent_texts(&self) -> &VecDeque<Position> {
        &self.recent_texts
    }

    /// Position of the first entry.
    pub(crate) fn oldest(&self) -> Option<Position> {
        self.from
    }

    /// What is shown. `None` if that is nothing.
    pub(crate) fn shown(&self) -> Option<FoldedRange<'static>> {
        let from = self.from?;
        Some(FoldedRange {
            from,
            to: self.to,
            changed: self.fold.iter().filter_map(|message| changed(&message)).collect(),
        })
    }
}

fn changed(FoldedMessage { message, edited, reactions }: &FoldedMessage) -> Option<FoldedEntry<'static>> {
    let is_deleted = matches!(message.body, Body::DeletedText { .. });
    if !is_deleted && edited.is_none() && reactions.is_empty() {
        return None;
    }
    let text_of = message.text().map(|text| TracedText::parse(text.as_str()).map_or("?", |text| text.id).to_owned());
    let reactions = reactions.iter().map(|reaction| {
        let users: BTreeSet<String> = reaction.users.iter().map(ToString::to_string).collect();
        (reaction.key.as_str().to_owned(), users)
    });
    Some(FoldedEntry { pos: message.pos, text_of: text_of.map(Into::into), reactions: reactions.collect() })
}
