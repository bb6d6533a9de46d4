//! `cargo xtask chaos --mutants` checks the checker: a gateway or client with one mechanism switched off must fail a scenario,
//! by an invariant that the mechanism protects, and the same program with the mechanism on must pass it.

use std::fmt::Write as _;

use serde::Serialize;

use crate::{
    report::ScenarioResult,
    scenarios::{ENTRIES_LOST, NO_LONG_WAIT, SUBSCRIBED_AGAIN},
};

/// One mechanism that is switched off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MutantCase {
    /// Its name in `TRUNKLINE_MUTANT`.
    pub(crate) name: &'static str,
    /// Name of the scenario that must detect it.
    pub(crate) scenario: &'static str,
    /// A mutant that is active in both runs of the scenario.
    pub(crate) also: &'static str,
    reveals: Detection,
}

/// How the mutant must be detected.
#[derive(Debug, Clone, Copy)]
enum Detection {
    /// At least one of these invariants is violated.
    Invariants(&'static [u8]),
    /// An expectation that begins with this text is not met.
    Expectation(&'static str),
}

/// One mutant per mechanism that the guarantees rest on.
pub(crate) const MUTANTS: &[MutantCase] = &[
    MutantCase { name: "repair", scenario: ENTRIES_LOST.name, also: "lossy", reveals: Detection::Invariants(&[1, 4]) },
    MutantCase { name: "resync", scenario: "subscriber-cut", also: "", reveals: Detection::Invariants(&[1, 4]) },
    MutantCase { name: "dedupe", scenario: "same-id-twice", also: "", reveals: Detection::Expectation("one message") },
    MutantCase { name: "epoch", scenario: "redis-loses-writes", also: "", reveals: Detection::Invariants(&[3, 4]) },
    MutantCase { name: "catch-up", scenario: "gateway-killed", also: "", reveals: Detection::Invariants(&[1, 4]) },
    MutantCase { name: "redact", scenario: "amendments", also: "", reveals: Detection::Invariants(&[12]) },
    MutantCase {
        name: "resubscribe",
        scenario: "cluster-slots-move",
        also: "",
        reveals: Detection::Expectation(NO_LONG_WAIT),
    },
    MutantCase {
        name: "moved",
        scenario: "cluster-slots-move",
        also: "",
        reveals: Detection::Expectation(NO_LONG_WAIT),
    },
    MutantCase {
        name: "shared-probe",
        scenario: "cluster-shard-stalls",
        also: "",
        reveals: Detection::Expectation(SUBSCRIBED_AGAIN),
    },
    // In the checker's clients.
    MutantCase { name: "fold-order", scenario: "amendments", also: "", reveals: Detection::Invariants(&[13]) },
];

/// The result of one mutant.
#[derive(Debug, Serialize)]
pub(crate) struct MutantResult {
    mutant: &'static str,
    scenario: &'static str,
    /// Numbers of the invariants that are violated with the mutant.
    broken: Vec<u8>,
    /// Expectations that are not met with the mutant.
    missed: Vec<String>,
    /// Deliveries lost with the mutant.
    lost: u64,
    duplicated: u64,
    /// Failures of the run without the mutant. Must be empty.
    without: Vec<String>,
    pub(crate) noticed: bool,
}

impl MutantCase {
    /// Compares the scenario with and without the mutant.
    pub(crate) fn judge(&self, on: &ScenarioResult, off: &ScenarioResult) -> MutantResult {
        let verdict = on.verdict.as_ref();
        let broken = verdict.map(crate::verdict::CheckerVerdict::broken).unwrap_or_default();
        let counts = verdict.map(|verdict| verdict.counts).unwrap_or_default();
        let without = off.complaints();
        let expectations = on.expectations.iter().filter(|expectation| !expectation.held);
        let missed: Vec<_> = expectations.map(|expectation| expectation.what.clone()).collect();
        let revealed = match self.reveals {
            Detection::Invariants(numbers) => numbers.iter().any(|number| broken.contains(number)),
            Detection::Expectation(words) => missed.iter().any(|missed| missed.starts_with(words)),
        };
        let noticed = without.is_empty() && revealed;
        let (lost, duplicated) = (counts.lost, counts.duplicated);
        MutantResult { mutant: self.name, scenario: self.scenario, broken, missed, lost, duplicated, without, noticed }
    }
}

/// The result table.
pub(crate) fn table(results: &[MutantResult]) -> String {
    let mut text =
        format!("\n{:<14}{:<24}{:<18}{:>8}{:>8}  verdict", "mutant", "scenario", "broken invariants", "lost", "dupl.");
    for MutantResult { mutant, scenario, broken, missed, lost, duplicated, without, noticed } in results {
        let verdict = if *noticed { "noticed" } else { "NOT NOTICED" };
        let _ = write!(
            text,
            "\n{mutant:<14}{scenario:<24}{:<18}{lost:>8}{duplicated:>8}  {verdict}",
            format!("{broken:?}")
        );
        for missed in missed {
            let _ = write!(text, "\n              not met: {missed}");
        }
        for complaint in without {
            let _ = write!(text, "\n              without the mutant: {complaint}");
        }
    }
    text
}
