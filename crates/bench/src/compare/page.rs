//! The report as one HTML file: goals, plots and all tables.

use std::fmt::Write as _;

use super::{
    figures::Figure,
    plan::{BenchCell, Peer, Workload},
    plot::{Axis, PlotSeries, bars, lines},
    report::{
        ComparisonReport, RECOVERY_HEADINGS, RECOVERY_TITLE, columns, maybe, recovery_columns, shown, spread, title,
    },
};
use trunkline_chaos::html::{escape, head};

pub(super) fn page(report: &ComparisonReport) -> String {
    let machine = &report.machine;
    let mut html = head("Trunkline and its peers");
    _ = write!(
        html,
        "<p>{}</p><p class=\"key\"><code>{}</code>, {} cores of {}, {} MiB, Linux {}. Servers, Redis and load generator share \
         the machine, so what counts is CPU time of the servers; docs/BENCHMARKS.md explains how to read the figures.</p>",
        escape(&report.summary()),
        escape(&report.command),
        machine.cores,
        escape(&machine.processor),
        machine.memory_mib,
        escape(&machine.kernel)
    );
    html += &goals(report);
    html += &plots(report);
    for cell in report.rows.cells() {
        html += &table(report, &cell);
    }
    html += &recovery(report);
    html += "<h2>Versions</h2><table>";
    for (name, version) in &report.versions {
        _ = write!(html, "<tr><td>{}<td>{}</tr>", escape(name), escape(version));
    }
    for (peer, why) in &report.missing {
        _ = write!(html, "<tr><td>{peer}<td>not available: {}</tr>", escape(why));
    }
    html += "</table><p>Not compared, because no package registry has them: ";
    html += &report.unavailable_systems.join(", ");
    html + ".</p></html>\n"
}

fn goals(report: &ComparisonReport) -> String {
    let mut html = "<h2>Goals</h2><table><tr><th>Goal<th>Measured<th>Against<th>Verdict</tr>".to_owned();
    for goal in &report.goals {
        let class = if goal.reached == Some(true) { "ok" } else { "" };
        let (value, limit) = (maybe(goal.value), maybe(goal.limit));
        _ = write!(
            html,
            "<tr><td>{}<td>{value}<td>{limit}<td class=\"{class}\">{}</tr>",
            escape(&goal.what),
            goal.word()
        );
    }
    html + "</table>"
}

fn plots(report: &ComparisonReport) -> String {
    use Figure::{Deliveries, Memory, P99, ServerCpu};
    use Workload::{Flat, Idle, Paced};
    let mut html = "<h2>Growth</h2>".to_owned();
    for instances in [1, 3] {
        let of = if instances == 1 { "1 instance" } else { "3 instances" };
        let plot = |title: &str, axis, workload, figure| {
            over_sockets(report, &format!("{title}, {of}"), axis, workload, instances, figure)
        };
        html += &plot("CPU time of the servers per delivery, paced, µs", Axis::FromZero, Paced, ServerCpu);
        html += &plot("Deliveries per second, flat out (logarithmic)", Axis::Logarithmic, Flat, Deliveries);
        html += &plot("p99 latency, paced, ms (logarithmic)", Axis::Logarithmic, Paced, P99);
    }
    for (title, workload, figure) in [
        ("Memory per idle socket, KiB", Idle, Memory),
        ("CPU time per handshake, µs", Workload::Connect, Figure::ConnectCpu),
    ] {
        let value = |peer: &Peer| Some((*peer, report.rows.get(workload, 0, 1, *peer, figure)?));
        let values: Vec<_> = Peer::all().iter().filter_map(value).collect();
        if !values.is_empty() {
            html += &bars(title, &values);
        }
    }
    html
}

/// A plot of a figure over the number of sockets. Empty if fewer than two numbers were measured.
fn over_sockets(
    report: &ComparisonReport,
    title: &str,
    axis: Axis,
    workload: Workload,
    instances: u32,
    figure: Figure,
) -> String {
    let is_it = |cell: &BenchCell| (cell.workload, cell.instances) == (workload, instances);
    let mut sockets: Vec<u32> =
        report.rows.cells().iter().filter(|cell| is_it(cell)).map(|cell| cell.sockets).collect();
    sockets.sort_unstable();
    if sockets.len() < 2 {
        return String::new();
    }
    let values =
        |peer| sockets.iter().map(|&sockets| report.rows.get(workload, sockets, instances, peer, figure)).collect();
    let series = Peer::all().iter().map(|&peer| PlotSeries { peer, values: values(peer) });
    let series: Vec<_> = series.filter(|one| one.values.iter().any(Option::is_some)).collect();
    let columns: Vec<_> = sockets.iter().map(|sockets| format!("{sockets} sockets")).collect();
    lines(title, axis, &columns, &series)
}

fn table(report: &ComparisonReport, cell: &BenchCell) -> String {
    let mut html = format!("<h2>{}</h2><table><tr><th>", title(cell));
    let columns = columns(cell.workload);
    columns.iter().for_each(|figure| _ = write!(html, "<th>{}", figure.heading()));
    html += "<th>× floor<th>× best peer<th>least … most</tr>";
    for row in report.rows.0.iter().filter(|row| row.cell == *cell) {
        _ = write!(html, "<tr><td>{}", row.peer);
        for figure in columns {
            _ = write!(html, "<td>{}", row.figures.get(figure).map_or("–".to_owned(), |spread| shown(spread.median)));
        }
        _ = write!(html, "<td>{}<td>{}<td>{}</tr>", maybe(row.to_floor), maybe(row.to_best), spread(row));
        if let Some(error) = &row.error {
            _ = write!(html, "<tr><td class=\"failed\" colspan={}>{}</tr>", columns.len() + 4, escape(error));
        }
    }
    html + "</table>"
}

fn recovery(report: &ComparisonReport) -> String {
    if report.recovery.is_empty() {
        return String::new();
    }
    let mut html = format!("<h2>{RECOVERY_TITLE}</h2><table><tr><th>");
    RECOVERY_HEADINGS.iter().for_each(|heading| _ = write!(html, "<th>{heading}"));
    html += "</tr>";
    for (peer, recovery) in &report.recovery {
        _ = write!(html, "<tr><td>{peer}");
        recovery_columns(recovery).iter().for_each(|cell| _ = write!(html, "<td>{cell}"));
        html += "</tr>";
    }
    html + "</table>"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::report::tests::report;

    #[test]
    fn page_contains_all_results_escaped() {
        let page = page(&report());
        for expected in
            ["1 &amp; 2", "ended: &lt;killed>", "<svg", "not measured", "cargo xtask bench --quick", "20000"]
        {
            assert!(page.contains(expected), "{expected}");
        }
        assert!(!page.contains("NaN"));
    }
}
