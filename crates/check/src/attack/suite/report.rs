//! Results of a suite as text and as an HTML page.

use std::fmt::Write as _;

use maud::html;

use super::runner::{AttackResult, HonestResult, SuiteResult};
use crate::report::{TableCell, format_millis, page, table};

/// Returns the results as a text table.
#[must_use]
pub fn attack_table(result: &SuiteResult) -> String {
    let mut text = String::new();
    let width = result.attacks.iter().map(|attack| attack.name.len()).max().unwrap_or(0);
    for attack in &result.attacks {
        let AttackResult { name, expected, seen, .. } = attack;
        let _ = writeln!(text, "{:<4} {name:width$}  expected: {expected}", mark(attack.ok));
        let _ = writeln!(text, "     {:width$}  seen:     {seen}", "");
        if let Some(delivery) = &attack.honest_delivery {
            let (p99, errors) = (format_millis(delivery.p99), attack.honest_errors);
            let _ = writeln!(text, "     {:width$}  honest:   p99 {p99}, {errors} errors", "");
        }
    }
    let _ = writeln!(text);
    if let Some(honest) = &result.honest {
        let _ = writeln!(text, "{:<4} {}", mark(Some(honest.ok)), describe_honest(honest));
        for broken in honest.verdict.invariants.iter().filter(|invariant| invariant.holds == Some(false)) {
            let _ = writeln!(text, "     broken invariant {}: {}", broken.number, broken.title);
            for example in &broken.examples {
                let _ = writeln!(text, "       {example}");
            }
        }
    }
    for process in &result.processes {
        let [before, largest, after] = [process.before, process.largest, process.after].map(mebibytes);
        let ok = mark(Some(process.ok));
        let _ = writeln!(text, "{ok:<4} process {}: {before} before, at most {largest}, {after} after", process.pid);
    }
    let count = |wanted| result.attacks.iter().filter(|attack| attack.ok == wanted).count();
    let (ok, failed, not_applicable) = (count(Some(true)), count(Some(false)), count(None));
    let verdict = if result.passed { "passed" } else { "FAILED" };
    let _ = writeln!(text, "\n{verdict}: {ok} as expected, {failed} unexpected, {not_applicable} not applicable");
    text
}

/// Returns the results as an HTML page.
#[must_use]
pub fn suite_page(result: &SuiteResult, title: &str) -> String {
    let rows = result.attacks.iter().map(|attack| {
        let name = html! { (attack.name) br; small { (attack.sends) } };
        let p99 = attack.honest_delivery.map_or_else(|| "–".to_owned(), |delivery| format_millis(delivery.p99));
        vec![
            TableCell::markup(name),
            TableCell::text(attack.expected),
            TableCell::text(&attack.seen),
            TableCell::result(attack.ok, mark(attack.ok)),
            TableCell::number(p99),
            TableCell::number(attack.honest_errors),
            TableCell::number(format!("{} ms", attack.ms)),
        ]
    });
    let header = ["attack", "expected", "seen", "result", "honest p99", "honest errors", "duration"];
    let processes = result.processes.iter().map(|process| {
        let [before, largest, after] = [process.before, process.largest, process.after].map(mebibytes);
        vec![
            TableCell::number(process.pid),
            TableCell::number(before),
            TableCell::number(largest),
            TableCell::number(after),
            TableCell::result(Some(process.ok), mark(Some(process.ok))),
        ]
    });
    let body = html! {
        @let (class, word) = if result.passed { ("ok", "passed") } else { ("failed", "failed") };
        p class=(class) { "Result: " (word) }
        @if let Some(honest) = &result.honest { p { (describe_honest(honest)) } }
        (table("Attacks", &header, rows))
        @if !result.processes.is_empty() {
            (table("Memory of gateways", &["process", "before", "largest", "after", "result"], processes))
        }
    };
    page(title, &body)
}

fn describe_honest(honest: &HonestResult) -> String {
    let [quiet, attacked, limit] = [honest.quiet.p99, honest.attacked.p99, honest.p99_limit].map(format_millis);
    let broken = honest.verdict.invariants.iter().filter(|invariant| invariant.holds == Some(false)).count();
    format!(
        "{} honest clients: p99 {attacked} during the attacks, {quiet} before them (limit {limit}); {} errors; {broken} invariants broken",
        honest.clients, honest.errors
    )
}

fn mark(ok: Option<bool>) -> &'static str {
    match ok {
        Some(true) => "ok",
        Some(false) => "FAIL",
        None => "n/a",
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
