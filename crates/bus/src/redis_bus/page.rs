//! Pages out of what Redis answers: which entries, whether they follow, whether there are more. Pure.

use trunkline_domain::{Entry, Position};

use super::codec::Stored;
use crate::{Page, Range, log::proves};

/// Answers that are read until they hold a page.
///
/// A stream may hold entries that no gateway wrote whole (see [`Stored::Damaged`]). They are passed over: the next whole
/// entry takes over what the damaged one followed, so the chain of `prev` holds and reading goes on behind them.
pub(super) struct Reading {
    range: Range,
    /// In the order of reading: oldest first for `After`, else newest first.
    stored: Vec<Stored>,
    /// Whether the log's end in the direction of reading was reached.
    ended: bool,
}

/// What to ask Redis next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    /// `XRANGE` or `XREVRANGE`.
    pub(super) command: &'static str,
    /// Where to begin, in the notation of that command.
    pub(super) from: String,
    /// Where to end.
    pub(super) to: &'static str,
    /// How many entries.
    pub(super) count: usize,
}

impl Reading {
    pub(super) fn new(range: Range) -> Self {
        // Nothing is before the origin, and Redis refuses to be asked for it.
        Self { range, stored: Vec::new(), ended: matches!(range, Range::Before(Position::ORIGIN, _)) }
    }

    fn limit(&self) -> usize {
        match self.range {
            Range::After(_, limit) | Range::Before(_, limit) | Range::Latest(limit) => limit,
        }
    }

    /// The next question, or `None` when there is enough for the page. One question, unless entries are damaged.
    pub(super) fn next(&self) -> Option<Ask> {
        let whole = |stored: &&Stored| matches!(stored, Stored::Whole(_)) && Some(stored.pos()) != self.after();
        // One more than the page holds tells whether there are more.
        let missing = self.limit().saturating_add(1).saturating_sub(self.stored.iter().filter(whole).count());
        if self.ended || missing == 0 {
            return None;
        }
        let from = match (self.stored.last(), self.range) {
            (Some(last), _) => format!("({}", last.pos()),
            (None, Range::After(after, _)) => after.to_string(),
            (None, Range::Before(before, _)) => format!("({before}"),
            (None, Range::Latest(_)) => "+".to_owned(),
        };
        // The position itself comes too, where it is still there: it is the proof.
        let proof = usize::from(self.stored.is_empty() && self.after().is_some());
        let (command, to) = if self.after().is_some() { ("XRANGE", "+") } else { ("XREVRANGE", "-") };
        Some(Ask { command, from, to, count: missing.saturating_add(proof) })
    }

    /// Takes the answer to `ask`.
    pub(super) fn take(&mut self, ask: &Ask, answer: Vec<Stored>) {
        self.ended = answer.len() < ask.count;
        self.stored.extend(answer);
    }

    fn after(&self) -> Option<Position> {
        if let Range::After(after, _) = self.range { Some(after) } else { None }
    }

    /// The page, where `head` is the log's end as it was read before the first answer.
    pub(super) fn page(self, head: Position) -> Page {
        let (limit, after) = (self.limit(), self.after());
        let mut stored = self.stored;
        if after.is_none() {
            stored.reverse();
        }
        let head = stored.last().map_or(head, |last| head.max(last.pos()));
        if let Some(after) = after {
            // Of an entry whose `prev` is unknown only its position can prove something.
            let first = stored.first().map(|first| (first.prev().unwrap_or(first.pos()), first.pos()));
            if !proves(after, first) {
                return Page { head, ..Page::default() };
            }
            if stored.first().is_some_and(|first| first.pos() == after) {
                stored.remove(0);
            }
        }
        let mut entries = relink(after, stored);
        let more = entries.len() > limit;
        if after.is_some() {
            entries.truncate(limit);
        } else {
            entries.drain(..entries.len().saturating_sub(limit));
        }
        // At the end of the log, damaged entries behind the last whole one do not count: nobody could ever reach them.
        let head = match (self.range, entries.last()) {
            (Range::After(after, _), last) if !more => last.map_or(after, |last| last.message.pos),
            (Range::Latest(_), Some(last)) => last.message.pos,
            _ => head,
        };
        Page { entries, follows: true, more, head }
    }
}

/// The whole entries; one behind damaged ones follows what they followed. Where that is not known, it is what stands
/// before them in the stream: `last` at first.
fn relink(mut last: Option<Position>, stored: Vec<Stored>) -> Vec<Entry> {
    let mut passed_over: Option<Position> = None;
    let mut entries = Vec::with_capacity(stored.len());
    for stored in stored {
        match stored {
            Stored::Whole(mut entry) => {
                entry.prev = passed_over.take().unwrap_or(entry.prev);
                last = Some(entry.message.pos);
                entries.push(entry);
            }
            Stored::Damaged { pos, prev } => {
                passed_over.get_or_insert(prev.or(last).unwrap_or(pos));
            }
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trunkline_domain::Message;

    use super::*;
    use crate::Log;

    fn entry(prev: Position, pos: Position) -> Entry {
        let message = Message {
            pos,
            id: "id".parse().unwrap(),
            user: "ann".parse().unwrap(),
            text: "text".parse().unwrap(),
            at: 0,
        };
        Entry { prev, message }
    }

    /// A stream of which the first `trimmed` are gone; each step says whether a new epoch starts, and whether the
    /// entry is damaged.
    fn stream(steps: &[(bool, bool)], trimmed: usize) -> Vec<Stored> {
        let mut head = Position::ORIGIN;
        let mut all = Vec::new();
        for &(new_epoch, damaged) in steps {
            let pos =
                if new_epoch || head.epoch == 0 { Position::new(head.epoch + 3, 1) } else { head.next_in_epoch() };
            let entry = entry(head, pos);
            let prev = pos.before_in_epoch();
            all.push(if damaged { Stored::Damaged { pos, prev } } else { Stored::Whole(entry) });
            head = pos;
        }
        all.split_off(trimmed.min(all.len()))
    }

    /// Answers as Redis does.
    fn answer(stream: &[Stored], ask: &Ask) -> Vec<Stored> {
        let (exclusive, from) = ask.from.strip_prefix('(').map_or((false, &*ask.from), |from| (true, from));
        let from = if from == "+" { Position::new(u64::MAX, u64::MAX) } else { from.parse().unwrap() };
        let inside = |s: &&Stored| !exclusive || s.pos() != from;
        match ask.command {
            "XRANGE" => stream.iter().filter(|s| s.pos() >= from).filter(inside).take(ask.count).cloned().collect(),
            _ => stream.iter().rev().filter(|s| s.pos() <= from).filter(inside).take(ask.count).cloned().collect(),
        }
    }

    fn read(stream: &[Stored], range: Range) -> (Page, usize) {
        let mut reading = Reading::new(range);
        let mut asked = 0;
        while let Some(ask) = reading.next() {
            asked += 1;
            let answer = answer(stream, &ask);
            reading.take(&ask, answer);
        }
        (reading.page(stream.last().map_or(Position::ORIGIN, Stored::pos)), asked)
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
        fn reads_a_stream_as_a_log_in_memory(
            steps in prop::collection::vec((prop::bool::weighted(0.2), Just(false)), 0..30),
            trimmed in 0_usize..20,
            range in ranges(),
        ) {
            let stream = stream(&steps, trimmed);
            let mut log = Log::new(usize::MAX, usize::MAX);
            for stored in &stream {
                if let Stored::Whole(entry) = stored {
                    log.append(entry.clone()).unwrap();
                }
            }
            let (page, asked) = read(&stream, range);
            prop_assert_eq!(page, log.read(range));
            prop_assert!(asked <= 1);
        }

        #[test]
        fn damaged_entries_do_not_stop_a_reader(
            steps in prop::collection::vec((prop::bool::weighted(0.2), prop::bool::weighted(0.5)), 1..40),
            limit in 1_usize..6,
        ) {
            // The first entry is whole: of a damaged one at the start of an epoch nobody knows what it follows.
            let steps: Vec<_> = [(false, false)].into_iter().chain(steps).collect();
            let stream = stream(&steps, 0);
            let whole: Vec<_> = stream.iter().filter(|s| matches!(s, Stored::Whole(_))).map(Stored::pos).collect();
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
            prop_assert_eq!(&seen, &whole);
            let (latest, _) = read(&stream, Range::Latest(limit));
            let expected = &whole[whole.len().saturating_sub(limit)..];
            prop_assert_eq!(latest.entries.iter().map(|e| e.message.pos).collect::<Vec<_>>(), expected);
            prop_assert_eq!(latest.more, whole.len() > limit);
        }
    }
}
