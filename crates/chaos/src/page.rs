//! The report as one HTML file: a table of all scenarios, and one section with plots per scenario.

use maud::{Markup, html};
use trunkline_check::report::{Colour, LinePlot, Marker, PlotSeries, TableCell, XAxis, YScale, page, table};

use super::{
    report::{ChaosReport, ScenarioResult, ScenarioStatus},
    verdict::{CheckerVerdict, FaultOutcome, TimelineSecond},
};

/// Columns of the table of all scenarios.
const COLUMNS: [&str; 11] = [
    "fault",
    "injected",
    "delivered",
    "lost",
    "duplicated",
    "out of order",
    "gaps reported",
    "recovery p50",
    "p99",
    "wait p99",
    "result",
];

/// Returns the report as an HTML document.
pub(super) fn chaos_page(report: &ChaosReport) -> String {
    let body = html! {
        p { (report.summary()) }
        (table("Scenarios", &COLUMNS, report.scenarios.iter().map(row)))
        @for scenario in &report.scenarios { (section(scenario)) }
    };
    page("Trunkline under faults", &body)
}

fn row(scenario: &ScenarioResult) -> Vec<TableCell> {
    let counts = scenario.verdict.as_ref().map(|verdict| verdict.counts).unwrap_or_default();
    let recovery = scenario.verdict.as_ref().map(CheckerVerdict::recovery).filter(|recovery| recovery.count > 0);
    let time = |time: Option<u64>| {
        TableCell::number(time.map_or("–".to_owned(), |micros| format!("{:.2} s", seconds(micros))))
    };
    let mut row = vec![
        TableCell::markup(html! { a href={ "#" (scenario.name) } { (scenario.fault) } }),
        TableCell::text(if scenario.evidence.is_empty() { "no" } else { "yes" }),
    ];
    row.extend(
        [counts.delivered, counts.lost, counts.duplicated, counts.reordered, counts.gaps_reported]
            .map(TableCell::number),
    );
    let silence = scenario.verdict.as_ref().map(|verdict| verdict.silence);
    row.extend(
        [recovery.map(|times| times.p50), recovery.map(|times| times.p99), silence.map(|times| times.p99)].map(time),
    );
    let (passed, result) = result(scenario);
    row.push(TableCell::result(Some(passed), result));
    row
}

/// Whether the scenario passed, and the word for it, which is also the name of a style.
fn result(scenario: &ScenarioResult) -> (bool, &'static str) {
    match scenario.status {
        ScenarioStatus::Passed => (true, "ok"),
        ScenarioStatus::Failed => (false, "failed"),
    }
}

fn section(scenario: &ScenarioResult) -> Markup {
    let (_, result) = result(scenario);
    let met = scenario.expectations.iter().filter(|expectation| expectation.held);
    html! {
        h2 id=(scenario.name) { (scenario.fault) }
        p {
            "Required besides the invariants: " (scenario.required) ". "
            span class=(result) { (result) } ", " (scenario.seconds) " s."
        }
        ul {
            @for evidence in &scenario.evidence { li { "evidence: " (evidence) } }
            @for note in &scenario.notes { li { (note) } }
            @for expectation in met { li { (expectation.what) } }
            @for complaint in scenario.complaints() { li.failed { (complaint) } }
        }
        @if let Some(verdict) = &scenario.verdict { @for plot in plots(verdict) { (plot) } }
    }
}

/// Deliveries, acknowledged messages and connected clients over the time of the run. Faults are shaded.
fn plots(verdict: &CheckerVerdict) -> [Markup; 3] {
    let plot = |title, unit, colour, value: fn(&TimelineSecond) -> u64| {
        let values = verdict.timeline.iter().enumerate().map(|(second, one)| (second as f64, value(one) as f64));
        let marker = |fault: &FaultOutcome| fault.healed.map_or(verdict.timeline.len() as f64, seconds);
        let markers = verdict.faults.iter().map(|fault| Marker {
            x: seconds(fault.t),
            end: Some(marker(fault)),
            name: &fault.name,
        });
        let (x, y, series) = (XAxis::Seconds, YScale::Linear, vec![PlotSeries::new(title, colour, values)]);
        LinePlot { title, unit, x, y, series, markers: markers.collect() }.draw()
    };
    [
        plot("Deliveries", "per second", Colour::GREEN, |second| second.delivered),
        plot("Acknowledged messages", "per second", Colour::BLUE, |second| second.acknowledged),
        plot("Connected clients", "", Colour::YELLOW, |second| second.connected),
    ]
}

/// A time in µs as seconds.
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
