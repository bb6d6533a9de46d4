//! One room's log in memory: its latest entries.

use std::collections::VecDeque;

use trunkline_domain::{Body, Content, Entry, Message, Position, follows};

use crate::{Page, Range};

/// The latest entries of one room, oldest first and contiguous: the `prev` of each is the position of the one before it.
///
/// Bounded by number and bytes: an append beyond a bound drops the oldest entries. The newest entry always stays, so the
/// head is known once anything was appended.
#[derive(Clone, Debug)]
pub struct Log {
    entries: VecDeque<Entry>,
    /// Sum of [`weight`] over `entries`.
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
}

/// The `prev` of the entry is not the head of the log: entries are missing between them, or it was appended already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the entry follows {prev}, but the log ends at {head}")]
pub struct NotContiguous {
    /// The position before the entry.
    pub prev: Position,
    /// Head of the log.
    pub head: Position,
}

/// Approximate memory of an entry, in bytes: the struct and its strings.
pub(crate) fn weight(entry: &Entry) -> usize {
    let message = &entry.message;
    let content = match &message.body {
        Body::Content(Content::Text { text, .. } | Content::Edit { text, .. }) => text.as_str().len(),
        Body::Content(Content::Event { event, data }) => event.as_str().len() + data.as_str().len(),
        Body::Content(Content::React { key, .. }) => key.as_str().len(),
        Body::Content(Content::Delete { .. }) | Body::DeletedText { .. } | Body::DeletedEdit { .. } => 0,
    };
    let name = message.name.as_ref().map_or(0, |name| name.as_str().len());
    size_of::<Entry>() + content + message.id.as_str().len() + message.user.as_str().len() + name
}

impl Log {
    /// An empty log that retains at max `max_entries` and `max_bytes`, and at least one entry.
    #[must_use]
    pub fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, max_entries, max_bytes }
    }

    /// Position of the newest entry; [`Position::ORIGIN`] if the log is empty.
    #[must_use]
    pub fn head(&self) -> Position {
        self.entries.back().map_or(Position::ORIGIN, |entry| entry.message.pos)
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was ever appended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Appends an entry, and drops the oldest entries beyond the bounds.
    ///
    /// # Errors
    /// [`NotContiguous`] if the entry does not follow the head; the log is unchanged. Read the missing entries first. An
    /// empty log accepts any entry, because it retains nothing before it.
    pub fn append(&mut self, entry: Entry) -> Result<(), NotContiguous> {
        if !self.entries.is_empty() && !follows(entry.prev, self.head()) {
            return Err(NotContiguous { prev: entry.prev, head: self.head() });
        }
        self.bytes += weight(&entry);
        self.entries.push_back(entry);
        while self.entries.len() > 1 && (self.entries.len() > self.max_entries || self.bytes > self.max_bytes) {
            self.bytes -= self.entries.pop_front().as_ref().map_or(0, weight);
        }
        Ok(())
    }

    /// The message at `pos`, if it is retained.
    #[must_use]
    pub fn get(&self, pos: Position) -> Option<&Message> {
        let at = self.entries.binary_search_by_key(&pos, |entry| entry.message.pos).ok()?;
        self.entries.get(at).map(|entry| &entry.message)
    }

    /// Removes the text at `deleted` and all edits of it.
    pub fn redact(&mut self, deleted: Position) {
        let first = self.entries.partition_point(|entry| entry.message.pos < deleted);
        for entry in self.entries.range_mut(first..) {
            let before = weight(entry);
            if entry.message.redact(|pos| pos == deleted) {
                self.bytes -= before - weight(entry);
            }
        }
    }

    /// Reads a part of the log.
    #[must_use]
    pub fn read(&self, range: Range) -> Page {
        let total = self.entries.len();
        let (start, end) = match range {
            Range::After(after, limit) => {
                if !self.continues(after) {
                    return Page { head: self.head(), ..Page::default() };
                }
                let start = self.entries.partition_point(|entry| entry.message.pos <= after);
                (start, total.min(start.saturating_add(limit)))
            }
            Range::Before(before, limit) => {
                let end = self.entries.partition_point(|entry| entry.message.pos < before);
                (end.saturating_sub(limit), end)
            }
            Range::Latest(limit) => (total.saturating_sub(limit), total),
        };
        Page {
            entries: self.entries.range(start..end).cloned().collect(),
            follows: true,
            more: if matches!(range, Range::After(..)) { end < total } else { start > 0 },
            head: self.head(),
        }
    }

    /// Whether it is proven that the log contains every entry after `after`.
    fn continues(&self, after: Position) -> bool {
        let at = self.entries.partition_point(|entry| entry.message.pos < after);
        proves_continuity(after, self.entries.get(at).map(|entry| (entry.prev, entry.message.pos)))
    }
}

/// Whether a log provably contains every entry after `after`, where `first` is the `prev` and the position of its first
/// entry at or after `after`: it does if that entry is at `after`, or if its `prev` is `after`. Without such an entry
/// nothing is proven unless `after` is the origin: the log may have lost its newest entries.
#[must_use]
pub(crate) fn proves_continuity(after: Position, first: Option<(Position, Position)>) -> bool {
    first.map_or(after == Position::ORIGIN, |(prev, pos)| pos == after || follows(prev, after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trunkline_domain::Message;

    use super::*;

    fn entry(prev: Position, pos: Position) -> Entry {
        let message = Message {
            pos,
            id: "id".parse().unwrap(),
            user: "ann".parse().unwrap(),
            name: None,
            body: Body::Content(Content::Text { text: "text".parse().unwrap(), reply_to: None }),
            at: 0,
        };
        Entry { prev, message }
    }

    /// Contiguous entries; each step says whether a new epoch starts.
    fn chain(steps: &[bool]) -> Vec<Entry> {
        let mut head = Position::ORIGIN;
        let step = |&new_epoch: &bool| {
            let pos =
                if new_epoch || head.epoch == 0 { Position::new(head.epoch + 5, 1) } else { head.next_in_epoch() };
            let entry = entry(head, pos);
            head = pos;
            entry
        };
        steps.iter().map(step).collect()
    }

    /// A naive model: filters a vector, and proves `after` by searching for it.
    fn model(all: &[Entry], kept: usize, range: Range) -> Page {
        let kept = &all[all.len() - kept..];
        let head = all.last().map_or(Position::ORIGIN, |e| e.message.pos);
        let page = |entries: Vec<Entry>, more| Page { entries, follows: true, more, head };
        match range {
            Range::After(after, limit) => {
                let known = kept.iter().any(|e| e.message.pos == after || e.prev == after);
                let new_reader = kept.is_empty() && after == Position::ORIGIN;
                if !known && !new_reader {
                    return Page { head, ..Page::default() };
                }
                let newer: Vec<_> = kept.iter().filter(|e| e.message.pos > after).cloned().collect();
                let more = newer.len() > limit;
                page(newer.into_iter().take(limit).collect(), more)
            }
            Range::Before(_, limit) | Range::Latest(limit) => {
                let before = if let Range::Before(before, _) = range { before } else { Position::new(u64::MAX, 0) };
                let older: Vec<_> = kept.iter().filter(|e| e.message.pos < before).cloned().collect();
                let skipped = older.len().saturating_sub(limit);
                page(older.into_iter().skip(skipped).collect(), skipped > 0)
            }
        }
    }

    fn ranges() -> impl Strategy<Value = Range> {
        let position = (0_u64..40, 0_u64..20).prop_map(|(epoch, offset)| Position::new(epoch, offset));
        (0_u8..3, position, 0_usize..12).prop_map(|(kind, position, limit)| match kind {
            0 => Range::After(position, limit),
            1 => Range::Before(position, limit),
            _ => Range::Latest(limit),
        })
    }

    proptest! {
        #[test]
        fn page_equals_page_of_the_model(
            steps in prop::collection::vec(prop::bool::weighted(0.2), 0..30),
            max in 1_usize..20,
            ranges in prop::collection::vec(ranges(), 1..20),
        ) {
            let all = chain(&steps);
            let mut log = Log::new(max, usize::MAX);
            for entry in &all {
                log.append(entry.clone()).unwrap();
            }
            prop_assert_eq!(log.len(), all.len().min(max));
            for range in ranges.into_iter().chain(all.iter().map(|e| Range::After(e.message.pos, 3))) {
                prop_assert_eq!(log.read(range), model(&all, log.len(), range), "{:?}", range);
            }
        }

        #[test]
        fn bytes_are_bounded_and_the_newest_entry_stays(count in 1_usize..50, max in 0_usize..5000) {
            let mut log = Log::new(usize::MAX, max);
            for entry in chain(&vec![false; count]) {
                log.append(entry).unwrap();
                prop_assert!(log.bytes <= max || log.len() == 1);
                prop_assert_eq!(log.bytes, log.entries.iter().map(weight).sum::<usize>());
            }
            prop_assert_eq!(log.head(), Position::new(5, count as u64));
        }
    }

    #[test]
    fn append_accepts_only_the_next_entry() {
        let all = chain(&[false, false, false]);
        let mut log = Log::new(10, usize::MAX);
        log.append(all[0].clone()).unwrap();
        let gap = NotContiguous { prev: all[1].message.pos, head: all[0].message.pos };
        assert_eq!(log.append(all[2].clone()), Err(gap));
        assert!(log.append(all[0].clone()).is_err(), "a second time");
        log.append(all[1].clone()).unwrap();
        assert_eq!(log.len(), 2);
    }
}
