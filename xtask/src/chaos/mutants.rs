//! `cargo xtask chaos --mutants`: does the checker notice? A gateway with one thing switched off must fail a row, by the
//! invariant that the thing is there for, and pass it with the thing on.

use std::fmt::Write as _;

use serde::Serialize;

use super::{report::Outcome, rows};

/// One thing that is switched off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mutant {
    /// What it is called in `TRUNKLINE_MUTANT`.
    pub(crate) name: &'static str,
    /// The row that reveals it.
    pub(crate) row: &'static str,
    /// What both runs of the row have on.
    pub(crate) also: &'static str,
    reveals: Sign,
}

/// By what it must be noticed.
#[derive(Debug, Clone, Copy)]
enum Sign {
    /// At least one of these invariants is broken.
    Invariants(&'static [u8]),
    /// What the row expects and begins with this is not so.
    Expectation(&'static str),
}

/// The five things that the promise rests on.
pub(crate) const MUTANTS: &[Mutant] = &[
    Mutant { name: "repair", row: rows::ENTRIES_LOST.name, also: "lossy", reveals: Sign::Invariants(&[1, 4]) },
    Mutant { name: "resync", row: "subscriber-cut", also: "", reveals: Sign::Invariants(&[1, 4]) },
    Mutant { name: "dedupe", row: "same-id-twice", also: "", reveals: Sign::Expectation("one message") },
    Mutant { name: "epoch", row: "redis-loses-writes", also: "", reveals: Sign::Invariants(&[3, 4]) },
    Mutant { name: "catch-up", row: "gateway-killed", also: "", reveals: Sign::Invariants(&[1, 4]) },
];

/// What came of one.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    mutant: &'static str,
    row: &'static str,
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
    pub(crate) fn judge(&self, on: &Outcome, off: &Outcome) -> Finding {
        let verdict = on.verdict.as_ref();
        let broken = verdict.map(super::verdict::Verdict::broken).unwrap_or_default();
        let counts = verdict.map(|verdict| verdict.counts).unwrap_or_default();
        let without = off.complaints();
        let expectations = on.expectations.iter().filter(|expectation| !expectation.held);
        let missed: Vec<_> = expectations.map(|expectation| expectation.what.clone()).collect();
        let revealed = match self.reveals {
            Sign::Invariants(numbers) => numbers.iter().any(|number| broken.contains(number)),
            Sign::Expectation(words) => missed.iter().any(|missed| missed.starts_with(words)),
        };
        let noticed = without.is_empty() && revealed;
        let (lost, duplicated) = (counts.lost, counts.duplicated);
        Finding { mutant: self.name, row: self.row, broken, missed, lost, duplicated, without, noticed }
    }
}

/// The table that people see.
pub(crate) fn table(findings: &[Finding]) -> String {
    let mut text =
        format!("\n{:<12}{:<24}{:<18}{:>8}{:>8}  verdict", "without", "row", "broken invariants", "lost", "dupl.");
    for Finding { mutant, row, broken, missed, lost, duplicated, without, noticed } in findings {
        let verdict = if *noticed { "noticed" } else { "NOT NOTICED" };
        let _ = write!(text, "\n{mutant:<12}{row:<24}{:<18}{lost:>8}{duplicated:>8}  {verdict}", format!("{broken:?}"));
        for missed in missed {
            let _ = write!(text, "\n            not so: {missed}");
        }
        for complaint in without {
            let _ = write!(text, "\n            with it on: {complaint}");
        }
    }
    text
}
