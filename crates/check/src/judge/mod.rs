//! The judge: a history in, a verdict out. Pure, and streaming: a record is looked at once and forgotten.
//!
//! Memory grows with messages, clients and told gaps, not with deliveries, but for four bytes each: which message it
//! was, for the comparison of orders.

mod causal;
mod closes;
mod contiguous;
mod entitled;
mod facts;
#[cfg(test)]
mod forged;
mod measure;
mod order;
mod phantom;
mod presence;
mod record;
mod silence;
mod tail;
mod unique;
mod vacuous;
mod verdict;

pub(crate) use closes::MORE_FDS;
pub use verdict::{Counts, FaultReport, Quantiles, Ruling, Second, Stranger, Verdict};

use crate::history::Line;
use facts::Facts;
use measure::Measure;
use record::Record;

/// One invariant of GUARANTEES.
trait Invariant {
    /// Sees a record; `facts` are those of before it.
    fn see(&mut self, record: &Record, facts: &Facts);

    /// Rules, once, at the end.
    fn rule(&mut self, facts: &Facts) -> Ruling;
}

/// A judgement under way.
#[derive(Debug)]
pub struct Judge {
    facts: Facts,
    measure: Measure,
    entitled: entitled::Entitled,
    phantom: phantom::Phantom,
    unique: unique::Unique,
    contiguous: contiguous::Contiguous,
    order: order::Order,
    causal: causal::Causal,
    silence: silence::Silence,
    tail: tail::Tail,
    presence: presence::Presence,
    closes: closes::Closes,
    vacuous: vacuous::Vacuous,
}

impl Default for Judge {
    fn default() -> Self {
        Self::new()
    }
}

impl Judge {
    /// A judge who has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            facts: Facts::default(),
            measure: Measure::new(),
            entitled: entitled::Entitled::default(),
            phantom: phantom::Phantom::default(),
            unique: unique::Unique::default(),
            contiguous: contiguous::Contiguous::default(),
            order: order::Order::default(),
            causal: causal::Causal::default(),
            silence: silence::Silence::default(),
            tail: tail::Tail::default(),
            presence: presence::Presence::default(),
            closes: closes::Closes::default(),
            vacuous: vacuous::Vacuous::default(),
        }
    }

    /// Takes the next line of the history.
    pub fn take(&mut self, line: Line<'_>) {
        let record = self.facts.names.record(line);
        let facts = std::mem::take(&mut self.facts);
        for invariant in self.invariants() {
            invariant.see(&record, &facts);
        }
        self.measure.see(&record, &facts);
        self.facts = facts;
        self.facts.apply(&record);
        self.measure.see_after(&record, &self.facts);
    }

    /// What was counted so far. What shows only at the end (lost, indeterminate) is 0.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            duplicated: self.contiguous.duplicated() + self.unique.twice(),
            reordered: self.contiguous.reordered(),
            skipped: self.contiguous.skipped(),
            lost: self.entitled.lost(),
            flickers: self.presence.flickers(),
            ..self.measure.counts
        }
    }

    /// Whether presence was right when it was last compared.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.presence.is_right()
    }

    /// The delivery times so far.
    #[must_use]
    pub fn delivery(&self) -> Quantiles {
        self.measure.delivery()
    }

    /// Rules.
    #[must_use]
    pub fn verdict(mut self) -> Verdict {
        let facts = std::mem::take(&mut self.facts);
        let invariants: Vec<Ruling> = self.invariants().into_iter().map(|invariant| invariant.rule(&facts)).collect();
        let sendings = || facts.messages.iter().filter(|sending| sending.attempts > 0);
        let refused = sendings().filter(|sending| sending.attempts == sending.refused).count() as u64;
        let counts = self.counts();
        Verdict {
            passed: invariants.iter().all(|ruling| ruling.holds != Some(false)),
            counts: Counts {
                refused,
                indeterminate: counts.sent.saturating_sub(counts.acknowledged).saturating_sub(refused),
                ..counts
            },
            delivery: self.measure.delivery(),
            acknowledgement: self.measure.acknowledgement(),
            recovery: self.measure.recovery(),
            silence: self.measure.silence(),
            faults: self.measure.faults(&facts),
            strangers: self.presence.strangers(&facts),
            timeline: self.measure.timeline(),
            invariants,
        }
    }

    fn invariants(&mut self) -> [&mut dyn Invariant; 11] {
        [
            &mut self.entitled,
            &mut self.phantom,
            &mut self.unique,
            &mut self.contiguous,
            &mut self.order,
            &mut self.causal,
            &mut self.silence,
            &mut self.tail,
            &mut self.presence,
            &mut self.closes,
            &mut self.vacuous,
        ]
    }
}
