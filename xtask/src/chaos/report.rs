//! What came of the rows: a table, JSON, and a page.

use std::{path::Path, time::Duration};

use serde::Serialize;

use super::{
    page,
    rows::Row,
    scene::{Expectation, Scene},
    verdict::Verdict,
};
use crate::{error::Result, html};

/// How a row ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Standing {
    Passed,
    Failed,
}

/// What came of one row.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    pub(crate) fault: &'static str,
    pub(crate) required: &'static str,
    pub(crate) standing: Standing,
    /// Where the fault was seen to fire.
    pub(crate) seen: Vec<String>,
    /// Figures of interest.
    pub(crate) told: Vec<String>,
    pub(crate) expectations: Vec<Expectation>,
    /// Why the row could not be carried out to its end.
    pub(crate) trouble: Option<String>,
    pub(crate) seconds: u64,
    pub(crate) verdict: Option<Verdict>,
}

impl Outcome {
    pub(crate) fn new(row: &Row) -> Self {
        Self {
            name: row.name,
            fault: row.fault,
            required: row.required,
            standing: Standing::Failed,
            seen: Vec::new(),
            told: Vec::new(),
            expectations: Vec::new(),
            trouble: None,
            seconds: 0,
            verdict: None,
        }
    }

    /// What came of its scene.
    pub(crate) fn take(&mut self, scene: Scene<'_>) {
        let Scene { seen, told, expectations, verdict, .. } = scene;
        (self.seen, self.told, self.expectations, self.verdict) = (seen, told, expectations, verdict);
    }

    /// Passed is only what was carried out, judged, held in everything, and seen to fire.
    pub(crate) fn conclude(&mut self) {
        let held = self.verdict.as_ref().is_some_and(|verdict| verdict.passed)
            && self.expectations.iter().all(|expectation| expectation.held);
        let passed = held && self.trouble.is_none() && !self.seen.is_empty();
        self.standing = if passed { Standing::Passed } else { Standing::Failed };
    }

    /// What is wrong, a line each.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let mut complaints: Vec<String> = self.trouble.iter().cloned().collect();
        if let Some(verdict) = &self.verdict {
            for ruling in verdict.invariants.iter().filter(|ruling| ruling.holds == Some(false)) {
                let example = ruling.examples.first().map(|example| format!(": {example}")).unwrap_or_default();
                complaints.push(format!("broken: {}. {}{example}", ruling.number, ruling.title));
            }
        }
        let missed = self.expectations.iter().filter(|expectation| !expectation.held);
        complaints.extend(missed.map(|expectation| format!("not so: {}", expectation.what)));
        if self.trouble.is_none() && self.seen.is_empty() {
            complaints.push("the fault was not seen to fire".to_owned());
        }
        complaints
    }

    /// One line as soon as it has ended, and what is wrong below.
    pub(crate) fn line(&self) -> String {
        let verdict = match self.standing {
            Standing::Passed => "ok    ",
            Standing::Failed => "FAILED",
        };
        let mut line = format!("{verdict} {:>4} s  {}", self.seconds, self.name);
        for complaint in self.told.iter().cloned().chain(self.complaints()) {
            line += &format!("\n         {complaint}");
        }
        line
    }
}

/// All rows of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Outcome>,
    pub(crate) seed: u64,
    pub(crate) seconds: u64,
    /// Deliveries that were checked, over all rows.
    pub(crate) deliveries: u64,
}

impl Report {
    pub(crate) fn new(rows: Vec<Outcome>, seed: u64, took: Duration) -> Self {
        let deliveries = rows.iter().filter_map(|row| row.verdict.as_ref()).map(|verdict| verdict.counts.delivered);
        Self { deliveries: deliveries.sum(), rows, seed, seconds: took.as_secs() }
    }

    /// Whether every row that ran passed, and any did.
    pub(crate) fn passed(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(|row| row.standing == Standing::Passed)
    }

    /// How many passed, and how many did not.
    pub(crate) fn tally(&self) -> (u64, u64) {
        let passed = self.rows.iter().filter(|row| row.standing == Standing::Passed).count() as u64;
        (passed, self.rows.len() as u64 - passed)
    }

    pub(crate) fn summary(&self) -> String {
        let (passed, failed) = self.tally();
        format!(
            "{passed} rows passed, {failed} failed; {} deliveries checked in {} s, seed {}",
            self.deliveries, self.seconds, self.seed
        )
    }

    /// The table that people see.
    pub(crate) fn table(&self) -> String {
        let mut lines = vec![format!(
            "\n{:<24}{:>7}{:>10}{:>6}{:>6}{:>6}{:>7}{:>17}  {}",
            "row", "fired", "delivered", "lost", "dupl.", "reord", "told", "recovery p50/p99", "verdict"
        )];
        for row in &self.rows {
            let fired = if row.seen.is_empty() { "no" } else { "yes" };
            let counts = row.verdict.as_ref().map(|verdict| verdict.counts).unwrap_or_default();
            let recovery = row.verdict.as_ref().map(Verdict::recovery).unwrap_or_default();
            let recovery = match recovery.count {
                0 => "-".to_owned(),
                _ => format!("{:.1}/{:.1} s", recovery.p50 as f64 / 1e6, recovery.p99 as f64 / 1e6),
            };
            let verdict = match row.standing {
                Standing::Passed => "ok".to_owned(),
                Standing::Failed => format!("FAILED: target/chaos/{}/", row.name),
            };
            lines.push(format!(
                "{:<24}{fired:>7}{:>10}{:>6}{:>6}{:>6}{:>7}{recovery:>17}  {verdict}",
                row.name, counts.delivered, counts.lost, counts.duplicated, counts.reordered, counts.gaps_told
            ));
        }
        lines.join("\n")
    }

    /// `report.json` and `report.html`.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        html::write(folder, self, &page::page(self))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn verdict(passed: bool) -> Verdict {
        let second =
            |acknowledged| json!({"sent": 1, "acknowledged": acknowledged, "delivered": 9, "connected": 3, "p99": 7});
        let timeline = [1, 0, 0, 0, 5].map(second);
        let times = json!({"count": 2, "p50": 1_500_000, "p99": 2_000_000, "max": 2_000_000});
        serde_json::from_value(json!({
            "passed": passed,
            "counts": {"sent": 9, "acknowledged": 9, "delivered": 90, "lost": 0, "duplicated": 0, "reordered": 0,
                "skipped": 0, "gaps_told": 0, "closed": 3, "rejected": 0, "flickers": 0},
            "invariants": [{"number": 3, "title": "once", "holds": passed, "examples": ["a < b"]}],
            "delivery": times, "recovery": times, "silence": times,
            "faults": [{"name": "f", "t": 1_000_000, "healed": 2_000_000, "closed": 3, "rejected": 0, "unavailable": 0, "silence": 0, "last_lost": 9_000, "written_again": null,
                "closing": 0, "recovery": times, "never_back": 0}],
            "strangers": [], "timeline": timeline,
        }))
        .unwrap()
    }

    fn outcome(seen: &[&str], held: bool, passed: bool) -> Outcome {
        let mut outcome = Outcome::new(Row::all().next().unwrap());
        let expectation = Expectation { what: "it held".to_owned(), held };
        outcome.seen = seen.iter().map(|&seen| seen.to_owned()).collect();
        (outcome.expectations, outcome.verdict) = (vec![expectation], Some(verdict(passed)));
        outcome.conclude();
        outcome
    }

    #[test]
    fn a_row_passes_only_if_everything_held_and_the_fault_fired() {
        assert_eq!(outcome(&["gone"], true, true).standing, Standing::Passed);
        for failed in [outcome(&[], true, true), outcome(&["gone"], false, true), outcome(&["gone"], true, false)] {
            assert_eq!(failed.standing, Standing::Failed);
            assert_eq!(failed.complaints().len(), 1, "{:?}", failed.complaints());
        }
        let mut early = Outcome::new(Row::all().next().unwrap());
        early.conclude();
        assert_eq!(early.standing, Standing::Failed, "nothing was judged");
    }

    #[test]
    fn times_are_taken_from_the_fault() {
        let verdict = verdict(true);
        assert_eq!(verdict.recovery().p99, 2_000_000);
        assert_eq!(verdict.usual_p99(0..u64::MAX), 7);
    }

    #[test]
    fn a_report_tells_all_rows_and_escapes_what_was_said() {
        let rows = vec![outcome(&["gone"], true, true), outcome(&["gone"], true, false)];
        let report = Report::new(rows, 7, Duration::from_secs(5));
        assert!(!report.passed());
        assert_eq!((report.tally(), report.deliveries), ((1, 1), 180));
        let table = report.table();
        assert!(table.contains("1.5/2.0 s") && table.contains("FAILED: target/chaos/"), "{table}");
        let page = page::page(&report);
        assert!(page.contains("<svg") && page.contains("a &lt; b") && !page.contains("a < b"));
    }
}
