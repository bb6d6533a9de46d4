//! The trait that every invariant implements.

use super::{event::HistoryEvent, state::HistoryState, verdict::InvariantResult};

/// Largest number of violations of one invariant that a verdict describes. It counts all of them.
const EXAMPLES_MAX: usize = 5;

/// One invariant of `docs/GUARANTEES.md`.
pub(crate) trait Invariant {
    /// Observes an event. `state` follows from all events before it.
    fn observe(&mut self, event: &HistoryEvent, state: &HistoryState);

    /// Returns the result. Called once, after the last event.
    fn result(&mut self, state: &HistoryState) -> InvariantResult;
}

/// Violations of one invariant.
#[derive(Debug, Default)]
pub(crate) struct Violations {
    count: u64,
    examples: Vec<String>,
}

impl Violations {
    /// Adds one violation. `describe` is called only for the first [`EXAMPLES_MAX`].
    pub(crate) fn add(&mut self, describe: impl FnOnce() -> String) {
        self.add_many(1, describe);
    }

    /// Adds `count` violations that one description covers.
    pub(crate) fn add_many(&mut self, count: u64, describe: impl FnOnce() -> String) {
        self.count += count;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(describe());
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Takes the examples out and returns the result: the invariant holds if there is no violation.
    pub(crate) fn result(&mut self, number: u8, title: &'static str) -> InvariantResult {
        let examples = std::mem::take(&mut self.examples);
        InvariantResult { number, title, holds: Some(self.count == 0), broken: self.count, examples, note: None }
    }
}
