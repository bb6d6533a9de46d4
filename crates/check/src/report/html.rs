//! The verdict as one HTML file, with plots and without anything from elsewhere.

use std::fmt::Write as _;

use super::{
    plot::{Mark, Series, plot},
    text::millis,
};
use crate::{
    history::Micros,
    judge::{Quantiles, Second, Verdict},
};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1d2430;\
background:#fff}table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .9rem .25rem 0;text-align:left;vertical-align:top;\
border-bottom:1px solid #e3e7ee}td.n{text-align:right;font-variant-numeric:tabular-nums}.ok{color:#12733b}.bad{color:#b3261e;font-weight:600}\
.open{color:#6b7280}small{color:#6b7280}figure{margin:1.5rem 0}svg{width:100%;height:auto}.grid path{stroke:#e3e7ee;fill:none}\
text{font:11px system-ui,sans-serif;fill:#6b7280}.line{fill:none;stroke-width:1.6}.mark path{stroke:#b3261e;stroke-dasharray:4 3}\
.mark text{fill:#b3261e}ul{margin:.2rem 0;padding-left:1.2rem}";

/// The page.
#[must_use]
pub fn page(verdict: &Verdict, title: &str) -> String {
    let title = escape(title);
    let (class, word) = if verdict.passed { ("ok", "every invariant holds") } else { ("bad", "failed") };
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style><h1>{title}</h1><p class=\"{class}\">Verdict: {word}</p>"
    );
    html.push_str(&counts(verdict));
    html.push_str(&rulings(verdict));
    html.push_str(&times(verdict));
    html.push_str(&faults(verdict));
    html.push_str(&plots(verdict));
    html.push_str("</html>\n");
    html
}

fn counts(verdict: &Verdict) -> String {
    let counts = &verdict.counts;
    let rows = [
        ("clients", counts.clients),
        ("sent", counts.sent),
        ("acknowledged", counts.acknowledged),
        ("indeterminate", counts.indeterminate),
        ("refused", counts.refused),
        ("delivered", counts.delivered),
        ("lost", counts.lost),
        ("duplicated", counts.duplicated),
        ("reordered", counts.reordered),
        ("skipped", counts.skipped),
        ("gaps told", counts.gaps_told),
        ("resumed", counts.resumed),
        ("sockets closed", counts.closed),
        ("attempts refused", counts.rejected),
        ("users told gone while there", counts.flickers),
    ];
    table("Counts", rows.iter().map(|(name, count)| format!("<tr><td>{name}<td class=\"n\">{count}")))
}

fn rulings(verdict: &Verdict) -> String {
    let rows = verdict.invariants.iter().map(|ruling| {
        let (class, word) = match ruling.holds {
            Some(true) => ("ok", "holds".to_owned()),
            Some(false) => ("bad", format!("broken {} times", ruling.broken)),
            None => ("open", "not judged".to_owned()),
        };
        let mut row = format!("<tr><td class=\"n\">{}<td>{}", ruling.number, escape(ruling.title));
        if let Some(note) = &ruling.note {
            let _ = write!(row, "<br><small>{}</small>", escape(note));
        }
        if !ruling.examples.is_empty() {
            let items: String = ruling.examples.iter().map(|example| format!("<li>{}", escape(example))).collect();
            let _ = write!(row, "<ul>{items}</ul>");
        }
        let _ = write!(row, "<td class=\"{class}\">{word}");
        row
    });
    table("Invariants", rows)
}

fn times(verdict: &Verdict) -> String {
    let rows = [
        ("delivery, from the intended time of the send", &verdict.delivery),
        ("acknowledgement, from the intended time of the send", &verdict.acknowledgement),
        ("recovery, from the loss of the socket to caught up", &verdict.recovery),
        ("longest silence of each client and room while a message was due", &verdict.silence),
    ];
    let head = "<tr><th><th>p50<th>p99<th>p99.9<th>longest<th>measured".to_owned();
    let rows = rows.iter().map(|(name, times)| format!("<tr><td>{name}{}", cells(times)));
    table("Times", std::iter::once(head).chain(rows))
}

fn faults(verdict: &Verdict) -> String {
    if verdict.faults.is_empty() {
        return String::new();
    }
    let head = "<tr><th>fault<th>at<th>closed<th>attempts failed<th>unavailable<th>never back<th>p50<th>p99<th>p99.9<th>longest<th>recovered";
    let rows = verdict.faults.iter().map(|fault| {
        format!(
            "<tr><td>{}<td class=\"n\">{} s<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}{}",
            escape(&fault.name),
            fault.t / 1_000_000,
            fault.closed,
            fault.rejected,
            fault.unavailable,
            fault.never_back,
            cells(&fault.recovery)
        )
    });
    table("Faults, and recovery from the fault to caught up", std::iter::once(head.to_owned()).chain(rows))
}

fn cells(times: &Quantiles) -> String {
    let Quantiles { count, p50, p99, p999, max } = *times;
    let time = |time: Micros| if count == 0 { "–".to_owned() } else { millis(time) };
    format!(
        "<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{count}",
        time(p50),
        time(p99),
        time(p999),
        time(max)
    )
}

fn plots(verdict: &Verdict) -> String {
    // Counts of a second and milliseconds are far below what a float holds exactly.
    #[allow(clippy::cast_precision_loss)]
    let line = |name, colour, value: fn(&Second) -> u64| {
        let values = verdict.timeline.iter().map(|second| value(second) as f64).collect();
        Series { name, colour, values }
    };
    #[allow(clippy::cast_precision_loss)]
    let time = |name, colour, value: fn(&Second) -> Micros| {
        let values = verdict.timeline.iter().map(|second| value(second) as f64 / 1000.0).collect();
        Series { name, colour, values }
    };
    #[allow(clippy::cast_precision_loss)]
    let marks: Vec<Mark> =
        verdict.faults.iter().map(|fault| Mark { second: fault.t as f64 / 1e6, name: fault.name.clone() }).collect();
    [
        plot("Deliveries", "a second", &[line("delivered", "#2a6fdb", |s| s.delivered)], &marks),
        plot(
            "Messages",
            "a second",
            &[
                line("sent", "#2a6fdb", |s| s.sent),
                line("acknowledged", "#12733b", |s| s.acknowledged),
                line("refused", "#b3261e", |s| s.refused),
            ],
            &marks,
        ),
        plot(
            "Delivery time",
            "milliseconds",
            &[time("p50", "#12733b", |s| s.p50), time("p99", "#b3261e", |s| s.p99)],
            &marks,
        ),
        plot(
            "Clients",
            "",
            &[line("connected", "#2a6fdb", |s| s.connected), line("sockets lost", "#b3261e", |s| s.closed)],
            &marks,
        ),
    ]
    .concat()
}

fn table(title: &str, rows: impl Iterator<Item = String>) -> String {
    format!("<h2>{title}</h2><table>{}</table>", rows.collect::<String>())
}

/// Text as HTML content and attribute values.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
