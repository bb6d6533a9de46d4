//! The fold of amendments: the shared vectors, and a simulated log that arrives in any order.

use std::{collections::BTreeMap, fs, path::Path};

use proptest::{prelude::*, sample::Index};
use serde_json::{Map, Value, json};
use trunkline_client::{Fold, FoldedMessage};
use trunkline_domain::{Body, Content, Message, Position};

#[test]
fn fold_shows_what_every_vector_shows() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/vectors/fold");
    let mut ran = 0;
    for file in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
        let cases: Vec<Value> = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        for case in cases {
            let entry_at = |pos: &str| {
                let log = case["log"].as_array().unwrap();
                log.iter().find(|entry| entry["pos"] == pos).unwrap_or_else(|| panic!("{pos} in {}", case["name"]))
            };
            let mut fold = Fold::default();
            for arrival in case["arrivals"].as_array().unwrap() {
                match arrival {
                    Value::String(gap) if gap == "gap" => fold.clear(),
                    Value::Array(entries) => {
                        for entry in entries {
                            let entry = entry.as_str().map_or(entry, entry_at);
                            // An entry of another form is a frame that cannot be read.
                            if let Ok(message) = serde_json::from_str::<Message>(&entry.to_string()) {
                                fold.add(&message);
                            }
                        }
                    }
                    Value::Object(step) if step.contains_key("forget_before") => {
                        fold.forget_before(step["forget_before"].as_str().unwrap().parse().unwrap());
                    }
                    other => panic!("unknown arrival {other} in {}", case["name"]),
                }
            }
            let shown: Vec<Value> = fold.iter().map(|folded| shown(&folded)).collect();
            assert_eq!(json!(shown), case["shown"], "{}", case["name"]);
            ran += 1;
        }
    }
    assert!(ran > 20, "only {ran} vectors were found");
}

fn shown(folded: &FoldedMessage) -> Value {
    let mut fields: Map<String, Value> =
        serde_json::from_str(&serde_json::to_string(&folded.message).unwrap()).unwrap();
    let reactions = folded.reactions.iter().map(|reaction| json!({"key": reaction.key, "users": reaction.users}));
    fields.insert("reactions".to_owned(), reactions.collect());
    fields.extend(folded.edited.map(|edited| ("edited".to_owned(), json!(edited))));
    Value::Object(fields)
}

/// One entry of a generated log. `target` chooses the text that an amendment changes.
#[derive(Clone, Debug)]
enum Append {
    Text,
    Event,
    Edit(Index),
    Delete(Index),
    React { target: Index, user: u8, key: u8, on: bool },
}

fn append() -> impl Strategy<Value = Append> {
    prop_oneof![
        5 => Just(Append::Text),
        1 => Just(Append::Event),
        3 => any::<Index>().prop_map(Append::Edit),
        1 => any::<Index>().prop_map(Append::Delete),
        3 => (any::<Index>(), 0..3u8, 0..2u8, any::<bool>())
            .prop_map(|(target, user, key, on)| Append::React { target, user, key, on }),
    ]
}

/// What reading a log once, in order, shows: text or deletion, the time of the last edit, and the reacting users with their times.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    text: Option<String>,
    edited: Option<u64>,
    /// By key, the users with the position since which they react.
    reactions: BTreeMap<String, Vec<(String, Position)>>,
}

/// A log as the server keeps it, and what it shows.
#[derive(Clone, Debug, Default)]
struct Log {
    entries: Vec<Message>,
    rows: BTreeMap<Position, Row>,
}

impl Log {
    fn append(&mut self, append: &Append) {
        let number = self.entries.len() as u64 + 1;
        let pos = Position::new(7, number);
        let texts: Vec<Position> =
            self.rows.iter().filter(|(_, row)| row.text.is_some()).map(|(pos, _)| *pos).collect();
        let target = |index: &Index| (!texts.is_empty()).then(|| *index.get(&texts));
        let (content, user) = match append {
            Append::Text => (text(&format!("text {number}")), "ann".to_owned()),
            Append::Event => {
                let data = number.to_string().parse().unwrap();
                (Content::Event { event: "shipped".parse().unwrap(), data }, "ann".to_owned())
            }
            Append::Edit(index) => {
                let Some(of) = target(index) else { return };
                (Content::Edit { of, text: format!("edit {number}").parse().unwrap() }, "ann".to_owned())
            }
            Append::Delete(index) => {
                let Some(of) = target(index) else { return };
                (Content::Delete { of }, "ann".to_owned())
            }
            Append::React { target: index, user, key, on } => {
                let Some(of) = target(index) else { return };
                (Content::React { of, key: format!("k{key}").parse().unwrap(), on: *on }, format!("user{user}"))
            }
        };
        match &content {
            Content::Text { text, .. } => {
                let text = Some(text.as_str().to_owned());
                self.rows.insert(pos, Row { text, edited: None, reactions: BTreeMap::new() });
            }
            Content::Event { .. } => {
                self.rows.insert(pos, Row { text: None, edited: None, reactions: BTreeMap::new() });
            }
            Content::Edit { of, text } => {
                let row = self.rows.get_mut(of).unwrap();
                (row.text, row.edited) = (Some(text.as_str().to_owned()), Some(number));
            }
            Content::Delete { of } => {
                self.rows.insert(*of, Row { text: None, edited: None, reactions: BTreeMap::new() });
            }
            Content::React { of, key, on } => {
                let reactions = &mut self.rows.get_mut(of).unwrap().reactions;
                let users = reactions.entry(key.as_str().to_owned()).or_default();
                users.retain(|(known, _)| *known != user);
                if *on {
                    users.push((user.clone(), pos));
                }
                reactions.retain(|_, users| !users.is_empty());
            }
        }
        let body = Body::Content(content);
        let id = format!("m{number}").parse().unwrap();
        self.entries.push(Message { pos, id, user: user.parse().unwrap(), name: None, body, at: number });
    }

    /// The entry at an index as the server sends it now. `stale`: as an instance sends it that does not know of deletions.
    fn send(&self, index: usize, stale: bool) -> Message {
        let mut message = self.entries[index].clone();
        if !stale {
            message.redact(|of| self.entries.iter().any(|other| other.deletes() == Some(of)));
        }
        message
    }
}

fn text(text: &str) -> Content {
    Content::Text { text: text.parse().unwrap(), reply_to: None }
}

/// A client that holds a contiguous part of the log.
#[derive(Debug, Default)]
struct Reader {
    fold: Fold,
    /// Index of the first entry held, and of the first one that is not held any more.
    held: std::ops::Range<usize>,
}

#[derive(Clone, Debug)]
enum Step {
    Append(Append),
    /// The next entries arrive: live, or by a resume.
    Receive {
        count: usize,
        stale: bool,
    },
    /// The last entries arrive again, as during a hand-over.
    Repeat(usize),
    /// A page of older entries arrives.
    Page {
        count: usize,
        stale: bool,
    },
    /// Continuity is lost: the latest entries arrive.
    Gap(usize),
    /// The client forgets its oldest entries.
    Forget(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => append().prop_map(Step::Append),
        4 => (1..6usize, any::<bool>()).prop_map(|(count, stale)| Step::Receive { count, stale }),
        1 => (1..6usize).prop_map(Step::Repeat),
        4 => (1..6usize, any::<bool>()).prop_map(|(count, stale)| Step::Page { count, stale }),
        1 => (0..6usize).prop_map(Step::Gap),
        1 => (1..6usize).prop_map(Step::Forget),
    ]
}

impl Reader {
    fn step(&mut self, log: &mut Log, step: &Step) {
        let (length, held) = (log.entries.len(), self.held.clone());
        match *step {
            Step::Append(ref append) => log.append(append),
            Step::Receive { count, stale } => {
                self.held.end = (held.end + count).min(length);
                self.add(log, held.end..self.held.end, stale);
            }
            Step::Repeat(count) => self.add(log, held.end.saturating_sub(count).max(held.start)..held.end, true),
            Step::Page { count, stale } => {
                self.held.start = held.start.saturating_sub(count);
                self.add(log, self.held.start..held.start, stale);
            }
            Step::Gap(count) => {
                self.fold.clear();
                self.held = length.saturating_sub(count)..length;
                self.add(log, self.held.clone(), false);
            }
            Step::Forget(count) => {
                self.held.start = (held.start + count).min(held.end);
                if let Some(first) = log.entries.get(self.held.start) {
                    self.fold.forget_before(first.pos);
                } else {
                    self.fold.clear();
                }
            }
        }
    }

    fn add(&mut self, log: &Log, range: std::ops::Range<usize>, stale: bool) {
        for index in range {
            let before = self.fold.get(log.entries[index].pos);
            let target = match &log.entries[index].body {
                Body::Content(content) => content.amends().and_then(|of| Some((of, self.fold.get(of)?))),
                _ => None,
            };
            let changed = self.fold.add(&log.send(index, stale));
            let pos = log.entries[index].pos;
            match target {
                Some((of, before)) if self.fold.get(of).as_ref() != Some(&before) => assert_eq!(changed, Some(of)),
                _ if self.fold.get(pos) != before => assert_eq!(changed, Some(pos)),
                _ => {}
            }
        }
    }

    /// Asserts that the part is shown as reading the log once in order shows it.
    fn check(&self, log: &Log) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.held.end, log.entries.len());
        let shown: BTreeMap<Position, Row> =
            self.fold.iter().map(|folded| (folded.message.pos, row(&folded))).collect();
        let first = log.entries.get(self.held.start).map(|entry| entry.pos);
        let expected = first.map(|first| log.rows.range(first..)).into_iter().flatten();
        let expected: BTreeMap<_, _> = expected.map(|(pos, row)| (*pos, sorted(row))).collect();
        prop_assert_eq!(shown, expected);
        Ok(())
    }
}

/// The row with users in the order of their ids. The order of keys is checked by the vectors.
fn sorted(row: &Row) -> Row {
    let mut row = row.clone();
    for users in row.reactions.values_mut() {
        users.sort();
        users.iter_mut().for_each(|(_, since)| *since = Position::ORIGIN);
    }
    row
}

fn row(folded: &FoldedMessage) -> Row {
    let reactions = folded.reactions.iter().map(|reaction| {
        let users = reaction.users.iter().map(|user| (user.to_string(), Position::ORIGIN)).collect();
        (reaction.key.as_str().to_owned(), users)
    });
    let text = folded.message.text().map(|text| text.as_str().to_owned());
    Row { text, edited: folded.edited, reactions: reactions.collect() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn any_interleaving_of_pages_resumes_and_live_frames_ends_as_reading_the_log_once(
        steps in prop::collection::vec(step(), 0..80),
        pages in prop::collection::vec(1..9usize, 40),
        stale: bool,
    ) {
        let (mut log, mut reader) = (Log::default(), Reader::default());
        for step in &steps {
            reader.step(&mut log, step);
        }
        reader.step(&mut log, &Step::Receive { count: usize::MAX / 2, stale });
        reader.check(&log)?;
        for count in pages {
            reader.step(&mut log, &Step::Page { count, stale });
            reader.check(&log)?;
        }
    }

    /// A fold that applied amendments in the order of arrival would fail.
    #[test]
    fn entries_in_any_order_and_repeatedly_show_the_same(
        appends in prop::collection::vec(append(), 0..40),
        order in prop::collection::vec((any::<Index>(), any::<bool>()), 0..80),
    ) {
        let mut log = Log::default();
        appends.iter().for_each(|append| log.append(append));
        let mut reader = Reader { held: 0..log.entries.len(), ..Reader::default() };
        if !log.entries.is_empty() {
            for (index, stale) in order {
                let index = index.index(log.entries.len());
                reader.add(&log, index..index + 1, stale);
            }
        }
        reader.add(&log, 0..log.entries.len(), true);
        reader.check(&log)?;
    }
}
