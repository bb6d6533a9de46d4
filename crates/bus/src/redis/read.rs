//! Assembles a page from replies of Redis: which entries, whether they follow, whether there are more. Pure.

use trunkline_domain::{Entry, Position};

use super::codec::StreamEntry;
use crate::{Page, Range, log::proves_continuity};

/// Collects the entries of replies until they make up a page.
///
/// A stream may contain entries that no gateway wrote ([`StreamEntry::Damaged`]). They are skipped: the next intact entry
/// takes over the `prev` of the first damaged one before it, so the chain of `prev` holds and reading continues.
pub(super) struct PageReader {
    range: Range,
    /// In the order of reading: oldest first for `After`, otherwise newest first.
    entries: Vec<StreamEntry>,
    /// Whether the end of the log in the direction of reading was reached.
    reached_end: bool,
}

/// A query to Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RangeQuery {
    /// `XRANGE` or `XREVRANGE`.
    pub(super) command: &'static str,
    /// Start, in the notation of that command.
    pub(super) from: String,
    /// End, in the notation of that command.
    pub(super) to: &'static str,
    /// Maximum number of entries.
    pub(super) count: usize,
}

impl PageReader {
    pub(super) fn new(range: Range) -> Self {
        // No entry precedes the origin, and Redis rejects a query that ends before it.
        Self { range, entries: Vec::new(), reached_end: matches!(range, Range::Before(Position::ORIGIN, _)) }
    }

    fn limit(&self) -> usize {
        match self.range {
            Range::After(_, limit) | Range::Before(_, limit) | Range::Latest(limit) => limit,
        }
    }

    /// The next query, or `None` if the entries suffice for the page. One query suffices unless entries are damaged.
    pub(super) fn next_query(&self) -> Option<RangeQuery> {
        let counts =
            |entry: &&StreamEntry| matches!(entry, StreamEntry::Intact(_)) && Some(entry.pos()) != self.after();
        // One more than the page contains shows whether there are more.
        let missing = self.limit().saturating_add(1).saturating_sub(self.entries.iter().filter(counts).count());
        if self.reached_end || missing == 0 {
            return None;
        }
        let from = match (self.entries.last(), self.range) {
            (Some(last), _) => format!("({}", last.pos()),
            (None, Range::After(after, _)) => after.to_string(),
            (None, Range::Before(before, _)) => format!("({before}"),
            (None, Range::Latest(_)) => "+".to_owned(),
        };
        // The entry at `after` itself is read too, if it still exists: it proves continuity.
        let proof = usize::from(self.entries.is_empty() && self.after().is_some());
        let (command, to) = if self.after().is_some() { ("XRANGE", "+") } else { ("XREVRANGE", "-") };
        Some(RangeQuery { command, from, to, count: missing.saturating_add(proof) })
    }

    /// Adds the reply to `query`.
    pub(super) fn add_reply(&mut self, query: &RangeQuery, entries: Vec<StreamEntry>) {
        self.reached_end = entries.len() < query.count;
        self.entries.extend(entries);
    }

    fn after(&self) -> Option<Position> {
        if let Range::After(after, _) = self.range { Some(after) } else { None }
    }

    /// The page. `head` is the head of the log, read before the first reply.
    pub(super) fn into_page(self, head: Position) -> Page {
        let (limit, after) = (self.limit(), self.after());
        let mut entries = self.entries;
        if after.is_none() {
            entries.reverse();
        }
        let head = entries.last().map_or(head, |last| head.max(last.pos()));
        if let Some(after) = after {
            // An entry with unknown `prev` proves continuity only by its own position.
            let first = entries.first().map(|first| (first.prev().unwrap_or(first.pos()), first.pos()));
            if !proves_continuity(after, first) {
                return Page { head, ..Page::default() };
            }
            if entries.first().is_some_and(|first| first.pos() == after) {
                entries.remove(0);
            }
        }
        let mut entries = skip_damaged(after, entries);
        let more = entries.len() > limit;
        if after.is_some() {
            entries.truncate(limit);
        } else {
            entries.drain(..entries.len().saturating_sub(limit));
        }
        // Damaged entries behind the last intact one do not count for the head: a reader could never reach them.
        let head = match (self.range, entries.last()) {
            (Range::After(after, _), last) if !more => last.map_or(after, |last| last.message.pos),
            (Range::Latest(_), Some(last)) => last.message.pos,
            _ => head,
        };
        Page { entries, follows: true, more, head }
    }
}

/// The intact entries. An entry behind damaged ones gets the `prev` of the first of them; if that is unknown, the position
/// of the entry before it in the stream (`last` for the first one).
fn skip_damaged(mut last: Option<Position>, stored: Vec<StreamEntry>) -> Vec<Entry> {
    let mut skipped_prev: Option<Position> = None;
    let mut entries = Vec::with_capacity(stored.len());
    for stored in stored {
        match stored {
            StreamEntry::Intact(mut entry) => {
                entry.prev = skipped_prev.take().unwrap_or(entry.prev);
                last = Some(entry.message.pos);
                entries.push(entry);
            }
            StreamEntry::Damaged { pos, prev } => {
                skipped_prev.get_or_insert(prev.or(last).unwrap_or(pos));
            }
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trunkline_domain::{Body, Content, Message};

    use super::*;
    use crate::Log;

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

    /// A stream without its first `trimmed` entries. Each step says whether a new epoch starts and whether the entry is
    /// damaged.
    fn stream(steps: &[(bool, bool)], trimmed: usize) -> Vec<StreamEntry> {
        let mut head = Position::ORIGIN;
        let mut all = Vec::new();
        for &(new_epoch, damaged) in steps {
            let pos =
                if new_epoch || head.epoch == 0 { Position::new(head.epoch + 3, 1) } else { head.next_in_epoch() };
            let entry = entry(head, pos);
            let prev = pos.before_in_epoch();
            all.push(if damaged { StreamEntry::Damaged { pos, prev } } else { StreamEntry::Intact(entry) });
            head = pos;
        }
        all.split_off(trimmed.min(all.len()))
    }

    /// Replies as Redis does.
    fn reply(stream: &[StreamEntry], query: &RangeQuery) -> Vec<StreamEntry> {
        let (exclusive, from) = query.from.strip_prefix('(').map_or((false, &*query.from), |from| (true, from));
        let from = if from == "+" { Position::new(u64::MAX, u64::MAX) } else { from.parse().unwrap() };
        let inside = |s: &&StreamEntry| !exclusive || s.pos() != from;
        match query.command {
            "XRANGE" => stream.iter().filter(|s| s.pos() >= from).filter(inside).take(query.count).cloned().collect(),
            _ => stream.iter().rev().filter(|s| s.pos() <= from).filter(inside).take(query.count).cloned().collect(),
        }
    }

    fn read(stream: &[StreamEntry], range: Range) -> (Page, usize) {
        let mut reader = PageReader::new(range);
        let mut queries = 0;
        while let Some(query) = reader.next_query() {
            queries += 1;
            let reply = reply(stream, &query);
            reader.add_reply(&query, reply);
        }
        (reader.into_page(stream.last().map_or(Position::ORIGIN, StreamEntry::pos)), queries)
    }

    fn ranges() -> impl Strategy<Value = Range> {
        let position = (0_u64..30, 0_u64..12).prop_map(|(epoch, offset)| Position::new(epoch, offset));
        (0_u8..3, position, 0_usize..8).prop_map(|(kind, position, limit)| match kind {
            0 => Range::After(position, limit),
            1 => Range::Before(position, limit),
            _ => Range::Latest(limit),
        })
    }

    proptest! {
        #[test]
        fn page_of_a_stream_equals_page_of_a_log_in_memory(
            steps in prop::collection::vec((prop::bool::weighted(0.2), Just(false)), 0..30),
            trimmed in 0_usize..20,
            range in ranges(),
        ) {
            let stream = stream(&steps, trimmed);
            let mut log = Log::new(usize::MAX, usize::MAX);
            for stored in &stream {
                if let StreamEntry::Intact(entry) = stored {
                    log.append(entry.clone()).unwrap();
                }
            }
            let (page, queries) = read(&stream, range);
            prop_assert_eq!(page, log.read(range));
            prop_assert!(queries <= 1);
        }

        #[test]
        fn reader_skips_damaged_entries_and_reaches_the_head(
            steps in prop::collection::vec((prop::bool::weighted(0.2), prop::bool::weighted(0.5)), 1..40),
            limit in 1_usize..6,
        ) {
            // The first entry is intact: the `prev` of a damaged entry that starts an epoch is unknown.
            let steps: Vec<_> = [(false, false)].into_iter().chain(steps).collect();
            let stream = stream(&steps, 0);
            let intact: Vec<_> = stream.iter().filter(|s| matches!(s, StreamEntry::Intact(_))).map(StreamEntry::pos).collect();
            let mut after = Position::ORIGIN;
            let mut seen = Vec::new();
            loop {
                let (page, _) = read(&stream, Range::After(after, limit));
                prop_assert!(page.follows);
                prop_assert!(page.entries.len() == limit || !page.more);
                for entry in &page.entries {
                    prop_assert_eq!(entry.prev, after);
                    after = entry.message.pos;
                    seen.push(after);
                }
                if !page.more {
                    prop_assert_eq!(page.head, after);
                    break;
                }
            }
            prop_assert_eq!(&seen, &intact);
            let (latest, _) = read(&stream, Range::Latest(limit));
            let expected = &intact[intact.len().saturating_sub(limit)..];
            prop_assert_eq!(latest.entries.iter().map(|e| e.message.pos).collect::<Vec<_>>(), expected);
            prop_assert_eq!(latest.more, intact.len() > limit);
        }
    }
}
