//! Runs the invariants and the measurements over a history.

use super::{
    event::HistoryEvent,
    invariants::Invariants,
    measurements::Measurements,
    quantiles::Quantiles,
    state::HistoryState,
    verdict::{InvariantResult, RunCounts, Verdict},
};
use crate::{CheckError, history::HistoryLine};

/// A judgement in progress: give it the lines of a history with [`Judge::take`], then ask for the [`Judge::verdict`].
#[derive(Debug, Default)]
pub struct Judge {
    state: HistoryState,
    measurements: Measurements,
    invariants: Invariants,
}

impl Judge {
    /// Returns a judge that has read nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the next line of the history.
    pub fn take(&mut self, line: HistoryLine<'_>) {
        let event: HistoryEvent = self.state.names.intern(line);
        for invariant in self.invariants.all() {
            invariant.observe(&event, &self.state);
        }
        self.measurements.observe(&event, &self.state);
        self.state.apply(&event);
        self.measurements.observe_after(&event, &self.state);
    }

    /// Reads whole lines of JSON. `lines_before` is the number of lines that were read earlier; returns the new number.
    ///
    /// # Errors
    /// [`CheckError::History`] with the number of the first invalid line.
    pub fn take_lines(&mut self, bytes: &[u8], lines_before: usize) -> Result<usize, CheckError> {
        let mut count = lines_before;
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            count += 1;
            self.take(serde_json::from_slice(line).map_err(|source| CheckError::History { line: count, source })?);
        }
        Ok(count)
    }

    /// Returns the counts so far. `lost`, `refused` and `indeterminate` are known only at the end and are 0 before.
    #[must_use]
    pub fn counts(&self) -> RunCounts {
        let Invariants { delivery, unique_position, contiguity, presence, redaction, .. } = &self.invariants;
        RunCounts {
            duplicated: contiguity.duplicated() + unique_position.messages_at_several_positions(),
            reordered: contiguity.reordered(),
            skipped: contiguity.skipped(),
            lost: delivery.lost(),
            flickers: presence.flickers(),
            redacted: redaction.redacted(),
            ..self.measurements.counts
        }
    }

    /// Returns whether presence equalled the open sockets when it was last compared.
    #[must_use]
    pub fn is_presence_right(&self) -> bool {
        self.invariants.presence.is_right()
    }

    /// Returns the delivery latencies so far.
    #[must_use]
    pub fn delivery(&self) -> Quantiles {
        self.measurements.delivery()
    }

    /// Returns the verdict on all lines read.
    #[must_use]
    pub fn verdict(mut self) -> Verdict {
        let state = &self.state;
        let results: Vec<InvariantResult> =
            self.invariants.all().into_iter().map(|invariant| invariant.result(state)).collect();
        let sent = || state.messages.iter().filter(|message| message.attempts > 0);
        let refused = sent().filter(|message| message.attempts == message.refused).count() as u64;
        let counts = self.counts();
        Verdict {
            passed: results.iter().all(|result| result.holds != Some(false)),
            counts: RunCounts {
                refused,
                indeterminate: counts.sent.saturating_sub(counts.acknowledged).saturating_sub(refused),
                ..counts
            },
            delivery: self.measurements.delivery(),
            acknowledgement: self.measurements.acknowledgement(),
            recovery: self.measurements.recovery(),
            silence: self.measurements.silence(),
            faults: self.measurements.faults(&self.state),
            phases: self.measurements.phases(),
            unknown_users: self.invariants.presence.unknown_users(&self.state),
            timeline: self.measurements.timeline(),
            invariants: results,
        }
    }
}
