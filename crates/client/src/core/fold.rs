//! The fold of a part of a room's log: messages and events as their amendments have changed them.

use std::collections::{BTreeMap, HashMap};

use trunkline_domain::{Body, Content, Message, MessageText, Millis, Position, ReactionKey, UserId};

use crate::mutant;

/// The messages and events of a contiguous part of a room's log, each as its amendments have changed it.
///
/// An amendment is later than the message that it changes. A part that reaches up to the last entry that has arrived
/// therefore contains every amendment of its messages. Entries may be added in any order and repeatedly, as history pages,
/// resumes and live frames bring them: the latest edit by position counts, and so does the latest reaction per user and key;
/// a deletion is final.
///
/// Memory: each entry that is no amendment, and the latest amendments of each message, also of messages that have not
/// arrived. [`forget_before`](Self::forget_before) bounds it.
///
/// ```
/// use trunkline_client::{ClientEvent, Fold};
///
/// fn show(fold: &mut Fold, event: &ClientEvent) {
///     match event {
///         ClientEvent::Joined { gap: true, .. } => fold.clear(),
///         ClientEvent::Message { message, .. } => drop(fold.add(message)),
///         ClientEvent::History { messages, .. } => messages.iter().for_each(|message| drop(fold.add(message))),
///         _ => {}
///     }
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Fold {
    entries: BTreeMap<Position, Message>,
    /// By position of the message that they change.
    changes: HashMap<Position, Changes>,
}

/// The latest amendments of one message.
#[derive(Clone, Debug, Default)]
struct Changes {
    edit: Option<Edit>,
    deletion: Option<Position>,
    reactions: HashMap<ReactionKey, HashMap<UserId, Reaction>>,
}

#[derive(Clone, Debug)]
struct Edit {
    pos: Position,
    text: MessageText,
    at: Millis,
}

#[derive(Clone, Copy, Debug)]
struct Reaction {
    pos: Position,
    on: bool,
}

/// A message or an event as its amendments have changed it.
#[derive(Clone, Debug, PartialEq)]
pub struct FoldedMessage {
    /// The message with its current text, or without it if it was deleted.
    pub message: Message,
    /// When its text was last edited, in ms since the Unix epoch.
    pub edited: Option<Millis>,
    /// Its reactions, in the order of the first user who reacts with each key now.
    pub reactions: Vec<FoldedReaction>,
}

/// The users who react to a message with one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoldedReaction {
    /// The key, usually an emoji.
    pub key: ReactionKey,
    /// The users, in the order of their ids. Not empty.
    pub users: Vec<UserId>,
}

/// Whether the amendment at `pos` counts instead of the one at `known`.
fn supersedes(pos: Position, known: Position) -> bool {
    pos > known || mutant::fold_ignores_positions()
}

impl Fold {
    /// Adds an entry. Returns the position of the message that is shown differently now, if one is.
    pub fn add(&mut self, entry: &Message) -> Option<Position> {
        let Body::Content(content) = &entry.body else {
            return match entry.body {
                // The server sends an edit without text only if the message was deleted.
                Body::DeletedEdit { of } => self.delete(of, entry.pos),
                _ => self.insert(entry),
            };
        };
        match content {
            Content::Text { .. } | Content::Event { .. } => self.insert(entry),
            Content::Delete { of } => self.delete(*of, entry.pos),
            Content::Edit { of, text } => {
                let changes = self.changes.entry(*of).or_default();
                let is_later = changes.edit.as_ref().is_none_or(|edit| supersedes(entry.pos, edit.pos));
                if !is_later || changes.deletion.is_some() {
                    return None;
                }
                changes.edit = Some(Edit { pos: entry.pos, text: text.clone(), at: entry.at });
                self.entries.contains_key(of).then_some(*of)
            }
            Content::React { of, key, on } => {
                let users = self.changes.entry(*of).or_default().reactions.entry(key.clone()).or_default();
                if users.get(&entry.user).is_some_and(|known| !supersedes(entry.pos, known.pos)) {
                    return None;
                }
                users.insert(entry.user.clone(), Reaction { pos: entry.pos, on: *on });
                self.entries.contains_key(of).then_some(*of)
            }
        }
    }

    fn insert(&mut self, entry: &Message) -> Option<Position> {
        let pos = entry.pos;
        if let Some(known) = self.entries.get_mut(&pos) {
            // An older copy does not bring a deleted text back.
            let is_deleted = matches!(entry.body, Body::DeletedText { .. });
            return (is_deleted && known.redact(|deleted| deleted == pos)).then_some(pos);
        }
        self.entries.insert(pos, entry.clone());
        if self.changes.get(&pos).is_some_and(|changes| changes.deletion.is_some()) {
            self.redact(pos);
        }
        Some(pos)
    }

    fn delete(&mut self, of: Position, by: Position) -> Option<Position> {
        let changes = self.changes.entry(of).or_default();
        let was_deleted = changes.deletion.is_some();
        changes.deletion = changes.deletion.max(Some(by));
        changes.edit = None;
        self.redact(of);
        self.entries.contains_key(&of).then_some(of).filter(|_| !was_deleted)
    }

    /// Drops a deleted text from memory.
    fn redact(&mut self, pos: Position) {
        if let Some(message) = self.entries.get_mut(&pos) {
            message.redact(|deleted| deleted == pos);
        }
    }

    /// The message or event at a position.
    #[must_use]
    pub fn get(&self, pos: Position) -> Option<FoldedMessage> {
        self.entries.get(&pos).map(|message| self.folded(message))
    }

    /// All messages and events, in the order of their positions.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = FoldedMessage> + ExactSizeIterator {
        self.entries.values().map(|message| self.folded(message))
    }

    /// The positions of all messages and events, in their order.
    pub fn positions(&self) -> impl DoubleEndedIterator<Item = Position> + ExactSizeIterator {
        self.entries.keys().copied()
    }

    /// Forgets the entries before a position: the part of the log begins there.
    pub fn forget_before(&mut self, pos: Position) {
        self.entries = self.entries.split_off(&pos);
        self.changes.retain(|of, changes| *of >= pos || changes.forget_before(pos));
    }

    /// Forgets everything. Call it when messages may be missing.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.changes.clear();
    }

    fn folded(&self, message: &Message) -> FoldedMessage {
        let mut folded = FoldedMessage { message: message.clone(), edited: None, reactions: Vec::new() };
        let Some(changes) = self.changes.get(&message.pos) else { return folded };
        if let Body::Content(Content::Text { text, .. }) = &mut folded.message.body {
            if let Some(edit) = &changes.edit {
                text.clone_from(&edit.text);
                folded.edited = Some(edit.at);
            }
            folded.reactions = changes.reactions();
        }
        folded
    }
}

impl Changes {
    /// Of a message before `pos`, only the amendments from `pos` on are kept: the others come again with the message.
    /// Returns whether any is left.
    fn forget_before(&mut self, pos: Position) -> bool {
        self.edit.take_if(|edit| edit.pos < pos);
        self.deletion.take_if(|deletion| *deletion < pos);
        for users in self.reactions.values_mut() {
            users.retain(|_, reaction| reaction.pos >= pos);
        }
        self.reactions.retain(|_, users| !users.is_empty());
        self.edit.is_some() || self.deletion.is_some() || !self.reactions.is_empty()
    }

    fn reactions(&self) -> Vec<FoldedReaction> {
        let mut found: Vec<(Position, FoldedReaction)> = Vec::new();
        for (key, users) in &self.reactions {
            let on = || users.iter().filter(|(_, reaction)| reaction.on);
            let Some(first) = on().map(|(_, reaction)| reaction.pos).min() else { continue };
            let mut users: Vec<UserId> = on().map(|(user, _)| user.clone()).collect();
            users.sort_unstable();
            found.push((first, FoldedReaction { key: key.clone(), users }));
        }
        found.sort_unstable_by_key(|(first, _)| *first);
        found.into_iter().map(|(_, reaction)| reaction).collect()
    }
}
