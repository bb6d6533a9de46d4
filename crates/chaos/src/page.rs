//! The report as one self-contained HTML file: a table, and one plot per scenario.

use std::fmt::Write as _;

use super::{
    report::{ChaosReport, ScenarioResult, ScenarioStatus},
    verdict::{CheckerVerdict, FaultOutcome, TimelineSecond},
};
use crate::html::{escape, head};

pub(super) fn page(report: &ChaosReport) -> String {
    let mut html = head("Trunkline under faults") + &format!("<p>{}</p>", escape(&report.summary()));
    html += "<table><tr><th>FaultMark<th>Fired<th>Delivered<th>Lost<th>Duplicated<th>Reordered<th>Gaps reported<th>Recovery p50<th>p99\
             <th>CheckerVerdict</tr>";
    report.scenarios.iter().for_each(|scenario| html += &table_row(scenario));
    html += "</table>";
    report.scenarios.iter().for_each(|scenario| html += &section(scenario));
    html + "</html>\n"
}

fn table_row(scenario: &ScenarioResult) -> String {
    let counts = scenario.verdict.as_ref().map(|verdict| verdict.counts).unwrap_or_default();
    let recovery = scenario.verdict.as_ref().map(CheckerVerdict::recovery).filter(|recovery| recovery.count > 0);
    let seconds = |time: Option<u64>| time.map_or("–".to_owned(), |time| format!("{:.2} s", time as f64 / 1e6));
    format!(
        "<tr><td><a href=\"#{}\">{}</a><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td class=\"{}\">{}</tr>",
        scenario.name,
        escape(scenario.fault),
        if scenario.evidence.is_empty() { "no" } else { "yes" },
        counts.delivered,
        counts.lost,
        counts.duplicated,
        counts.reordered,
        counts.gaps_told,
        seconds(recovery.map(|recovery| recovery.p50)),
        seconds(recovery.map(|recovery| recovery.p99)),
        class(scenario),
        class(scenario)
    )
}

fn class(scenario: &ScenarioResult) -> &'static str {
    match scenario.status {
        ScenarioStatus::Passed => "ok",
        ScenarioStatus::Failed => "failed",
    }
}

fn section(scenario: &ScenarioResult) -> String {
    let mut html = format!(
        "<h2 id=\"{}\">{}</h2><p>Required besides the invariants: {}. <span class=\"{}\">{}</span>, {} s.</p><ul>",
        scenario.name,
        escape(scenario.fault),
        escape(scenario.required),
        class(scenario),
        class(scenario),
        scenario.seconds
    );
    for evidence in &scenario.evidence {
        _ = write!(html, "<li>evidence: {}", escape(evidence));
    }
    for note in &scenario.notes {
        _ = write!(html, "<li>{}", escape(note));
    }
    for expectation in scenario.expectations.iter().filter(|expectation| expectation.held) {
        _ = write!(html, "<li>{}", escape(&expectation.what));
    }
    for complaint in scenario.complaints() {
        _ = write!(html, "<li class=\"failed\">{}", escape(&complaint));
    }
    html += "</ul>";
    if let Some(verdict) = &scenario.verdict {
        html += &plot(verdict);
    }
    html
}

/// Acknowledged messages, deliveries and connected clients per second. Faults are grey bands.
fn plot(verdict: &CheckerVerdict) -> String {
    const WIDTH: f64 = 1000.0;
    const HEIGHT: f64 = 150.0;
    let seconds = verdict.timeline.len().max(2);
    let x = |second: f64| second / (seconds - 1) as f64 * WIDTH;
    let mut svg = format!("<svg viewBox=\"0 -4 {WIDTH} {}\" role=\"img\">", HEIGHT + 8.0);
    for FaultOutcome { t, healed, name, .. } in &verdict.faults {
        let from = x(*t as f64 / 1e6).min(WIDTH);
        let to = healed.map_or(WIDTH, |healed| x(healed as f64 / 1e6).min(WIDTH));
        let width = (to - from).max(2.0);
        _ = write!(
            svg,
            "<rect x=\"{from:.1}\" y=\"-4\" width=\"{width:.1}\" height=\"{}\" fill=\"#888\" opacity=\".25\"><title>{}</title></rect>",
            HEIGHT + 8.0,
            escape(name)
        );
    }
    let mut line = |colour: &str, value: fn(&TimelineSecond) -> u64| {
        let most = verdict.timeline.iter().map(value).max().unwrap_or(1).max(1);
        let mut points = String::new();
        for (second, one) in verdict.timeline.iter().enumerate() {
            let y = HEIGHT - value(one) as f64 / most as f64 * HEIGHT;
            _ = write!(points, "{:.1},{y:.1} ", x(second as f64));
        }
        _ = write!(svg, "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>");
        most
    };
    let acknowledged = line("#2b6cb0", |second| second.acknowledged);
    let delivered = line("#2f855a", |second| second.delivered);
    let connected = line("#b7791f", |second| second.connected);
    format!(
        "{svg}</svg><p class=\"key\">{seconds} s. Blue: acknowledged, up to {acknowledged} per second; green: delivered, up to \
         {delivered}; yellow: clients connected, up to {connected}. Grey: the fault.</p>"
    )
}
