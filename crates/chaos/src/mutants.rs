//! `cargo xtask chaos --mutants`: does the checker notice? A gateway with one thing switched off must fail a row, by the
//! invariant that the thing is there for, and pass it with the thing on.

use std::fmt::Write as _;

use serde::Serialize;

use crate::{report::ScenarioResult, scenarios::ENTRIES_LOST};

/// One thing that is switched off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mutant {
    /// What it is called in `TRUNKLINE_MUTANT`.
    pub(crate) name: &'static str,
    /// The row that reveals it.
    pub(crate) scenario: &'static str,
    /// What both runs of the row have on.
    pub(crate) also: &'static str,
    reveals: Detection,
}

/// By what it must be noticed.
#[derive(Debug, Clone, Copy)]
enum Detection {
    /// At least one of these invariants is broken.
    Invariants(&'static [u8]),
    /// What the row expects and begins with this is not so.
    Expectation(&'static str),
}

/// The five things that the promise rests on.
pub(crate) const MUTANTS: &[Mutant] = &[
    Mutant { name: "repair", scenario: ENTRIES_LOST.name, also: "lossy", reveals: Detection::Invariants(&[1, 4]) },
    Mutant { name: "resync", scenario: "subscriber-cut", also: "", reveals: Detection::Invariants(&[1, 4]) },
    Mutant { name: "dedupe", scenario: "same-id-twice", also: "", reveals: Detection::Expectation("one message") },
    Mutant { name: "epoch", scenario: "redis-loses-writes", also: "", reveals: Detection::Invariants(&[3, 4]) },
    Mutant { name: "catch-up", scenario: "gateway-killed", also: "", reveals: Detection::Invariants(&[1, 4]) },
];

/// What came of one.
#[derive(Debug, Serialize)]
pub(crate) struct MutantResult {
    mutant: &'static str,
    scenario: &'static str,
    /// The invariants that broke with the mutant on.
    broken: Vec<u8>,
    /// What the row expected, and was not so.
    missed: Vec<String>,
    /// How many deliveries were lost, and messages doubled, with the mutant on.
    lost: u64,
    duplicated: u64,
    /// What is wrong with the run without it.
    without: Vec<String>,
    pub(crate) noticed: bool,
}

impl Mutant {
    /// Compares the row with it on and with it off.
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

/// The table that people see.
pub(crate) fn table(findings: &[MutantResult]) -> String {
    let mut text =
        format!("\n{:<12}{:<24}{:<18}{:>8}{:>8}  verdict", "mutant", "scenario", "broken invariants", "lost", "dupl.");
    for MutantResult { mutant, scenario, broken, missed, lost, duplicated, without, noticed } in findings {
        let verdict = if *noticed { "noticed" } else { "NOT DETECTION_LIMIT_US" };
        let _ = write!(
            text,
            "\n{mutant:<12}{scenario:<24}{:<18}{lost:>8}{duplicated:>8}  {verdict}",
            format!("{broken:?}")
        );
        for missed in missed {
            let _ = write!(text, "\n            not so: {missed}");
        }
        for complaint in without {
            let _ = write!(text, "\n            with it on: {complaint}");
        }
    }
    text
}
