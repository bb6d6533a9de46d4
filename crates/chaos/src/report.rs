//! Results of scenarios as a table, as JSON and as HTML.

use std::{fs, path::Path, time::Duration};

use serde::Serialize;
use trunkline_testbed::IoContext;

use super::{
    page::chaos_page,
    run::{Expectation, ScenarioRun},
    scenarios::Scenario,
    verdict::{CheckerVerdict, millis},
};
use crate::error::{ChaosError, Result};

/// How a scenario ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ScenarioStatus {
    Passed,
    Failed,
}

/// The result of one scenario.
#[derive(Debug, Serialize)]
pub(crate) struct ScenarioResult {
    pub(crate) name: &'static str,
    pub(crate) fault: &'static str,
    pub(crate) required: &'static str,
    pub(crate) status: ScenarioStatus,
    /// Observations which show that the fault occurred.
    pub(crate) evidence: Vec<String>,
    /// Measurements of interest. They do not decide the result.
    pub(crate) notes: Vec<String>,
    pub(crate) expectations: Vec<Expectation>,
    /// Why the scenario ended early.
    pub(crate) error: Option<String>,
    pub(crate) seconds: u64,
    pub(crate) verdict: Option<CheckerVerdict>,
}

impl ScenarioResult {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self {
            name: scenario.name,
            fault: scenario.fault,
            required: scenario.required,
            status: ScenarioStatus::Failed,
            evidence: Vec::new(),
            notes: Vec::new(),
            expectations: Vec::new(),
            error: None,
            seconds: 0,
            verdict: None,
        }
    }

    /// Takes the observations of the scenario's run.
    pub(crate) fn take(&mut self, run: ScenarioRun<'_>) {
        let ScenarioRun { evidence, notes, expectations, verdict, .. } = run;
        (self.evidence, self.notes, self.expectations, self.verdict) = (evidence, notes, expectations, verdict);
    }

    /// Decides the status. A scenario passes if it ran to its end, was judged, the invariants and all expectations hold,
    /// and there is evidence of the fault.
    pub(crate) fn conclude(&mut self) {
        let held = self.verdict.as_ref().is_some_and(|verdict| verdict.passed)
            && self.expectations.iter().all(|expectation| expectation.held);
        let passed = held && self.error.is_none() && !self.evidence.is_empty();
        self.status = if passed { ScenarioStatus::Passed } else { ScenarioStatus::Failed };
    }

    /// All failures, one per line.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let mut complaints: Vec<String> = self.error.iter().cloned().collect();
        if let Some(verdict) = &self.verdict {
            for ruling in verdict.invariants.iter().filter(|ruling| ruling.holds == Some(false)) {
                let example = ruling.examples.first().map(|example| format!(": {example}")).unwrap_or_default();
                complaints.push(format!("broken: {}. {}{example}", ruling.number, ruling.title));
            }
        }
        let missed = self.expectations.iter().filter(|expectation| !expectation.held);
        complaints.extend(missed.map(|expectation| format!("not met: {}", expectation.what)));
        if self.error.is_none() && self.evidence.is_empty() {
            complaints.push("there is no evidence that the fault occurred".to_owned());
        }
        complaints
    }

    /// The status line, followed by notes and failures.
    pub(crate) fn line(&self) -> String {
        let verdict = match self.status {
            ScenarioStatus::Passed => "ok    ",
            ScenarioStatus::Failed => "FAILED",
        };
        let mut line = format!("{verdict} {:>4} s  {}", self.seconds, self.name);
        let times = self.verdict.as_ref().map(times_of_clients);
        for text in times.into_iter().chain(self.notes.iter().cloned()).chain(self.complaints()) {
            line += &format!("\n         {text}");
        }
        line
    }
}

/// How long clients needed to recover. Those that keep their socket have no recovery time; they wait for messages.
fn times_of_clients(verdict: &CheckerVerdict) -> String {
    let (recovery, silence) = (verdict.recovery(), verdict.silence);
    let recovery = match recovery.count {
        0 => "no socket was lost".to_owned(),
        count => format!("recovery of {count} clients: p50 {}, p99 {}", ms(recovery.p50), ms(recovery.p99)),
    };
    let [p50, p99, max] = [silence.p50, silence.p99, silence.max].map(ms);
    format!("{recovery}; longest wait of each client for a due message: p50 {p50}, p99 {p99}, max {max}")
}

fn ms(micros: u64) -> String {
    millis(Some(micros))
}

/// The results of a run.
#[derive(Debug, Serialize)]
pub(crate) struct ChaosReport {
    pub(crate) scenarios: Vec<ScenarioResult>,
    pub(crate) seed: u64,
    pub(crate) seconds: u64,
    /// Checked deliveries, over all scenarios.
    pub(crate) deliveries: u64,
}

impl ChaosReport {
    pub(crate) fn new(scenarios: Vec<ScenarioResult>, seed: u64, took: Duration) -> Self {
        let deliveries =
            scenarios.iter().filter_map(|scenario| scenario.verdict.as_ref()).map(|verdict| verdict.counts.delivered);
        Self { deliveries: deliveries.sum(), scenarios, seed, seconds: took.as_secs() }
    }

    /// Whether at least one scenario ran and all passed.
    pub(crate) fn passed(&self) -> bool {
        !self.scenarios.is_empty() && self.scenarios.iter().all(|scenario| scenario.status == ScenarioStatus::Passed)
    }

    /// Numbers of scenarios that passed and that failed.
    pub(crate) fn passed_and_failed(&self) -> (u64, u64) {
        let passed = self.scenarios.iter().filter(|scenario| scenario.status == ScenarioStatus::Passed).count() as u64;
        (passed, self.scenarios.len() as u64 - passed)
    }

    pub(crate) fn summary(&self) -> String {
        let (passed, failed) = self.passed_and_failed();
        format!(
            "{passed} scenarios passed, {failed} failed; {} deliveries checked in {} s, seed {}",
            self.deliveries, self.seconds, self.seed
        )
    }

    /// The result table.
    pub(crate) fn table(&self) -> String {
        let mut lines = vec![format!(
            "\n{:<27}{:>7}{:>10}{:>6}{:>6}{:>6}{:>7}{:>17}{:>14}  {}",
            "scenario",
            "fault",
            "delivered",
            "lost",
            "dupl.",
            "reord",
            "gaps",
            "recovery p50/p99",
            "wait p99/max",
            "verdict"
        )];
        for scenario in &self.scenarios {
            let fired = if scenario.evidence.is_empty() { "no" } else { "yes" };
            let counts = scenario.verdict.as_ref().map(|verdict| verdict.counts).unwrap_or_default();
            let recovery = scenario.verdict.as_ref().map(CheckerVerdict::recovery).unwrap_or_default();
            let silence = scenario.verdict.as_ref().map(|verdict| verdict.silence).unwrap_or_default();
            let pair = |count, [one, other]: [u64; 2]| match count {
                0 => "-".to_owned(),
                _ => format!("{:.1}/{:.1} s", one as f64 / 1e6, other as f64 / 1e6),
            };
            let recovery = pair(recovery.count, [recovery.p50, recovery.p99]);
            let wait = pair(silence.count, [silence.p99, silence.max]);
            let verdict = match scenario.status {
                ScenarioStatus::Passed => "ok".to_owned(),
                ScenarioStatus::Failed => format!("FAILED: target/chaos/{}/", scenario.name),
            };
            lines.push(format!(
                "{:<27}{fired:>7}{:>10}{:>6}{:>6}{:>6}{:>7}{recovery:>17}{wait:>14}  {verdict}",
                scenario.name, counts.delivered, counts.lost, counts.duplicated, counts.reordered, counts.gaps_reported
            ));
        }
        lines.join("\n")
    }

    /// Writes `report.json` and `report.html`.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        write_report(folder, self, &chaos_page(self))
    }
}

/// Writes a report to a folder: `report` to `report.json` and the HTML document `page` to `report.html`.
///
/// # Errors
/// Returns [`ChaosError::Testbed`] if a file cannot be written, and [`ChaosError::Scenario`] if the report cannot be
/// serialized.
pub fn write_report(folder: &Path, report: &impl Serialize, page: &str) -> Result<()> {
    let json = serde_json::to_string_pretty(report).map_err(|e| ChaosError::Scenario(e.to_string()))?;
    for (name, text) in [("report.json", &*json), ("report.html", page)] {
        let path = folder.join(name);
        fs::write(&path, text).on_path("cannot write", &path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn verdict(passed: bool) -> CheckerVerdict {
        let second =
            |acknowledged| json!({"sent": 1, "acknowledged": acknowledged, "delivered": 9, "connected": 3, "p99": 7});
        let timeline = [1, 0, 0, 0, 5].map(second);
        let times = json!({"count": 2, "p50": 1_500_000, "p99": 2_000_000, "max": 2_000_000});
        serde_json::from_value(json!({
            "passed": passed,
            "counts": {"sent": 9, "acknowledged": 9, "delivered": 90, "lost": 0, "duplicated": 0, "reordered": 0,
                "skipped": 0, "gaps_reported": 0, "closed": 3, "rejected": 0, "flickers": 0, "amended": 5, "redacted": 2, "refreshed": 0},
            "invariants": [{"number": 3, "title": "once", "holds": passed, "examples": ["a < b"]}],
            "delivery": times, "recovery": times, "silence": times,
            "faults": [{"name": "f", "t": 1_000_000, "healed": 2_000_000, "closed": 3, "rejected": 0, "unavailable": 0, "silence": 0, "last_lost": 9_000, "written_again": null,
                "closing": 0, "recovery": times, "never_back": 0}],
            "unknown_users": [], "timeline": timeline,
        }))
        .unwrap()
    }

    fn outcome(seen: &[&str], held: bool, passed: bool) -> ScenarioResult {
        let mut outcome = ScenarioResult::new(Scenario::all().next().unwrap());
        let expectation = Expectation { what: "it held".to_owned(), held };
        outcome.evidence = seen.iter().map(|&seen| seen.to_owned()).collect();
        (outcome.expectations, outcome.verdict) = (vec![expectation], Some(verdict(passed)));
        outcome.conclude();
        outcome
    }

    #[test]
    fn scenario_passes_only_if_everything_holds_and_the_fault_occurred() {
        assert_eq!(outcome(&["gone"], true, true).status, ScenarioStatus::Passed);
        for failed in [outcome(&[], true, true), outcome(&["gone"], false, true), outcome(&["gone"], true, false)] {
            assert_eq!(failed.status, ScenarioStatus::Failed);
            assert_eq!(failed.complaints().len(), 1, "{:?}", failed.complaints());
        }
        let mut early = ScenarioResult::new(Scenario::all().next().unwrap());
        early.conclude();
        assert_eq!(early.status, ScenarioStatus::Failed, "nothing was judged");
    }

    #[test]
    fn recovery_times_are_those_of_the_fault() {
        let verdict = verdict(true);
        assert_eq!(verdict.recovery().p99, 2_000_000);
        assert_eq!(verdict.usual_p99(0..u64::MAX), 7);
    }

    #[test]
    fn report_lists_all_scenarios_and_escapes_text() {
        let scenarios = vec![outcome(&["gone"], true, true), outcome(&["gone"], true, false)];
        let report = ChaosReport::new(scenarios, 7, Duration::from_secs(5));
        assert!(!report.passed());
        assert_eq!((report.passed_and_failed(), report.deliveries), ((1, 1), 180));
        let table = report.table();
        assert!(table.contains("1.5/2.0 s") && table.contains("FAILED: target/chaos/"), "{table}");
        let line = report.scenarios[0].line();
        assert!(line.contains("2 clients: p50 1500 ms, p99 2000 ms") && line.contains("max 2000 ms"), "{line}");
        let page = chaos_page(&report);
        assert!(page.contains("<svg") && page.contains("a &lt; b") && !page.contains("a < b"));
    }
}
