//! Latencies and errors per phase of a run.

use super::{quantiles::TimeHistogram, verdict::PhaseReport};
use crate::history::Micros;

/// Assigns latencies and errors to the current phase.
#[derive(Debug, Default)]
pub(crate) struct PhaseTracker {
    phases: Vec<TrackedPhase>,
    /// Indices of the current phase and of its group.
    current: Vec<usize>,
}

#[derive(Debug)]
struct TrackedPhase {
    report: PhaseReport,
    delivery: TimeHistogram,
    acknowledgement: TimeHistogram,
}

impl PhaseTracker {
    /// Ends the current phase and begins another. A phase that began before is continued.
    pub(crate) fn begin(&mut self, t: Micros, name: &str) {
        let group = name.split_once('/').map(|(group, _)| group);
        self.current = group.into_iter().chain([name]).map(|name| self.index_of(t, name)).collect();
    }

    fn index_of(&mut self, t: Micros, name: &str) -> usize {
        self.phases.iter().position(|phase| phase.report.name == name).unwrap_or_else(|| {
            let report = PhaseReport { name: name.to_owned(), t, ..PhaseReport::default() };
            let (delivery, acknowledgement) = (TimeHistogram::new(2), TimeHistogram::new(2));
            self.phases.push(TrackedPhase { report, delivery, acknowledgement });
            self.phases.len() - 1
        })
    }

    pub(crate) fn delivered(&mut self, latency: Micros) {
        self.current.iter().for_each(|index| self.phases[*index].delivery.record(latency));
    }

    pub(crate) fn acknowledged(&mut self, latency: Micros) {
        self.current.iter().for_each(|index| self.phases[*index].acknowledgement.record(latency));
    }

    /// Updates the reports of the current phases, for example to count an error.
    pub(crate) fn count(&mut self, update: impl Fn(&mut PhaseReport)) {
        self.current.iter().for_each(|index| update(&mut self.phases[*index].report));
    }

    pub(crate) fn reports(&self) -> Vec<PhaseReport> {
        let report = |phase: &TrackedPhase| PhaseReport {
            delivery: phase.delivery.quantiles(),
            acknowledgement: phase.acknowledgement.quantiles(),
            ..phase.report.clone()
        };
        self.phases.iter().map(report).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_and_errors_count_in_their_phase_and_its_group() {
        let mut tracker = PhaseTracker::default();
        tracker.delivered(1);
        tracker.begin(10, "quiet");
        tracker.delivered(5);
        for (t, name) in [(20, "attack/flood"), (30, "attack/churn")] {
            tracker.begin(t, name);
            tracker.delivered(t);
            tracker.count(|report| report.closed += 1);
        }
        let reports = tracker.reports();
        let found: Vec<_> =
            reports.iter().map(|report| (&*report.name, report.t, report.delivery.count, report.errors())).collect();
        let expected =
            [("quiet", 10, 1, 0), ("attack", 20, 2, 2), ("attack/flood", 20, 1, 1), ("attack/churn", 30, 1, 1)];
        assert_eq!(found, expected);
    }
}
