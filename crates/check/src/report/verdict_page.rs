//! The verdict as an HTML page.

use maud::{Markup, html};

use super::{
    page::{TableCell, page, table},
    plot::{Colour, LinePlot, Marker, PlotSeries, XAxis, YScale},
    time::format_millis,
};
use crate::{
    history::Micros,
    judge::{Quantiles, TimelineSecond, Verdict},
};

/// Column names of the quantiles of a distribution.
const QUANTILES: [&str; 5] = ["p50", "p99", "p99.9", "longest", "count"];

/// Returns the verdict as an HTML page.
#[must_use]
pub fn verdict_page(verdict: &Verdict, title: &str) -> String {
    let (class, result) =
        if verdict.passed { ("ok", "every invariant holds") } else { ("failed", "at least one invariant is broken") };
    let body = html! {
        p class=(class) { "Verdict: " (result) }
        (counts(verdict))
        (invariants(verdict))
        (times(verdict))
        @if !verdict.faults.is_empty() { (faults(verdict)) }
        @for plot in plots(verdict) { (plot) }
    };
    page(title, &body)
}

fn counts(verdict: &Verdict) -> Markup {
    let counts = &verdict.counts;
    let rows = [
        ("clients", counts.clients),
        ("messages sent", counts.sent),
        ("messages acknowledged", counts.acknowledged),
        ("messages without a definite answer", counts.indeterminate),
        ("messages refused", counts.refused),
        ("deliveries", counts.delivered),
        ("deliveries missing", counts.lost),
        ("duplicates", counts.duplicated),
        ("deliveries out of order", counts.reordered),
        ("deliveries that skip positions", counts.skipped),
        ("reported gaps", counts.gaps_reported),
        ("resumed joins", counts.resumed),
        ("sockets lost", counts.closed),
        ("failed connection attempts", counts.rejected),
        ("users reported as gone while connected", counts.flickers),
    ];
    table("Counts", &[], rows.map(|(name, count)| vec![TableCell::text(name), TableCell::number(count)]))
}

fn invariants(verdict: &Verdict) -> Markup {
    let rows = verdict.invariants.iter().map(|result| {
        let statement = html! {
            (result.title)
            @if let Some(note) = &result.note { br; small { (note) } }
            @if !result.examples.is_empty() { ul { @for example in &result.examples { li { (example) } } } }
        };
        let outcome = match result.holds {
            Some(true) => "holds".to_owned(),
            Some(false) => format!("{} violations", result.broken),
            None => "not judged".to_owned(),
        };
        vec![TableCell::number(result.number), TableCell::markup(statement), TableCell::result(result.holds, outcome)]
    });
    table("Invariants", &["", "invariant", "result"], rows)
}

fn times(verdict: &Verdict) -> Markup {
    let rows = [
        ("delivery latency, from the scheduled time of the send", &verdict.delivery),
        ("acknowledgement latency, from the scheduled time of the send", &verdict.acknowledgement),
        ("recovery, from the loss of a socket until the client has caught up", &verdict.recovery),
        ("longest time without a due message, per client and room", &verdict.silence),
    ];
    let rows =
        rows.map(|(name, times)| [vec![TableCell::text(name)], quantile_cells(times)].into_iter().flatten().collect());
    table("Times", &[&[""][..], &QUANTILES].concat(), rows)
}

fn faults(verdict: &Verdict) -> Markup {
    let header = ["fault", "at", "sockets lost", "attempts failed", "unavailable", "never back"];
    let rows = verdict.faults.iter().map(|fault| {
        let mut row = vec![TableCell::text(&fault.name), TableCell::number(format!("{} s", fault.t / 1_000_000))];
        row.extend([fault.closed, fault.rejected, fault.unavailable, fault.never_back].map(TableCell::number));
        row.extend(quantile_cells(&fault.recovery));
        row
    });
    table("Faults, with the recovery time from the injection", &[&header[..], &QUANTILES].concat(), rows)
}

fn quantile_cells(times: &Quantiles) -> Vec<TableCell> {
    let Quantiles { count, p50, p99, p999, max } = *times;
    let time = |time: Micros| TableCell::number(if count == 0 { "–".to_owned() } else { format_millis(time) });
    vec![time(p50), time(p99), time(p999), time(max), TableCell::number(count)]
}

#[allow(clippy::cast_precision_loss, reason = "counts and times of a run are far below 2^52")]
fn plots(verdict: &Verdict) -> [Markup; 4] {
    let line = |name, colour, value: fn(&TimelineSecond) -> u64| {
        let values = verdict.timeline.iter().map(|second| value(second) as f64);
        PlotSeries::new(name, colour, values.enumerate().map(|(second, value)| (second as f64, value)))
    };
    let millis = |name, colour, value: fn(&TimelineSecond) -> Micros| {
        let mut series = line(name, colour, value);
        series.points.iter_mut().for_each(|(_, micros)| *micros /= 1000.0);
        series
    };
    let plot = |title, unit, series| {
        let markers = verdict.faults.iter().map(|fault| Marker {
            x: fault.t as f64 / 1e6,
            end: fault.healed.map(|healed| healed as f64 / 1e6),
            name: &fault.name,
        });
        LinePlot { title, unit, x: XAxis::Seconds, y: YScale::Linear, series, markers: markers.collect() }.draw()
    };
    [
        plot("Deliveries", "per second", vec![line("delivered", Colour::BLUE, |s| s.delivered)]),
        plot(
            "Messages",
            "per second",
            vec![
                line("sent", Colour::BLUE, |s| s.sent),
                line("acknowledged", Colour::GREEN, |s| s.acknowledged),
                line("refused", Colour::RED, |s| s.refused),
            ],
        ),
        plot(
            "Delivery latency",
            "ms",
            vec![millis("p50", Colour::GREEN, |s| s.p50), millis("p99", Colour::RED, |s| s.p99)],
        ),
        plot(
            "Clients",
            "",
            vec![line("connected", Colour::BLUE, |s| s.connected), line("sockets lost", Colour::RED, |s| s.closed)],
        ),
    ]
}
