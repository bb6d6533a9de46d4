//! The report as one HTML file: goals, plots and all tables.

use maud::{Markup, html};
use trunkline_check::report::{Bar, Colour, LinePlot, PlotSeries, TableCell, XAxis, YScale, bar_plot, page, table};

use super::{
    figures::Figure,
    growth_report::{growth_plots, growth_tables},
    plan::{BenchCell, Peer, Workload},
    report::{
        ComparisonReport, RECOVERY_HEADINGS, RECOVERY_TITLE, columns, maybe, recovery_columns, shown, spread, title,
    },
    table::TableRow,
};

/// Returns the report as an HTML document.
pub(super) fn comparison_page(report: &ComparisonReport) -> String {
    let machine = &report.machine;
    let body = html! {
        p { (report.summary()) }
        p {
            small {
                code { (report.command) } ", " (machine.cores) " cores of " (machine.processor) ", " (machine.memory_mib)
                " MiB, Linux " (machine.kernel) ". Servers, Redis and load generator share the machine, so what counts is CPU \
                time of the servers; docs/BENCHMARKS.md explains how to read the figures."
            }
        }
        (goals(report))
        (plots(report))
        @for cell in report.rows.cells().iter().filter(|cell| cell.axis.is_none()) { (cell_table(report, cell)) }
        (growth_tables(report))
        @if !report.recovery.is_empty() { (recovery(report)) }
        (versions(report))
        p { "Not compared, because no package registry has them: " (report.unavailable_systems.join(", ")) "." }
    };
    page("Trunkline and its peers", &body)
}

fn goals(report: &ComparisonReport) -> Markup {
    let rows = report.goals.iter().map(|goal| {
        vec![
            TableCell::text(&goal.what),
            TableCell::number(maybe(goal.value)),
            TableCell::number(maybe(goal.limit)),
            TableCell::result(goal.reached, goal.word()),
        ]
    });
    table("Goals", &["goal", "measured", "against", "result"], rows)
}

fn plots(report: &ComparisonReport) -> Markup {
    use Figure::{ConnectCpu, Deliveries, Memory, P99, ServerCpu};
    use Workload::{Connect, Flat, Idle, Paced};
    let over_sockets = [
        ("CPU time of the servers per delivery, paced", "µs", YScale::Linear, Paced, ServerCpu),
        ("Deliveries, flat out", "per second, logarithmic", YScale::Logarithmic, Flat, Deliveries),
        ("p99 latency, paced", "ms, logarithmic", YScale::Logarithmic, Paced, P99),
    ];
    let per_peer =
        [("Memory per idle socket", "KiB", Idle, Memory), ("CPU time per handshake", "µs", Connect, ConnectCpu)];
    html! {
        h2 { "Growth" }
        @for (instances, count) in [(1, "1 instance"), (3, "3 instances")] {
            @for (title, unit, y, workload, figure) in over_sockets {
                (plot_over_sockets(report, (&format!("{title}, {count}"), unit), y, (workload, instances), figure))
            }
        }
        @for cell in report.rows.cells() { (plot_over_load(report, &cell)) }
        (growth_plots(report))
        @for (title, unit, workload, figure) in per_peer { (plot_per_peer(report, title, unit, workload, figure)) }
    }
}

/// A plot of a figure over the number of sockets. Empty if fewer than two numbers were measured.
fn plot_over_sockets(
    report: &ComparisonReport,
    (title, unit): (&str, &str),
    y: YScale,
    (workload, instances): (Workload, u32),
    figure: Figure,
) -> Markup {
    let is_it = |cell: &BenchCell| (cell.workload, cell.instances) == (workload, instances);
    let mut sockets: Vec<u32> =
        report.rows.cells().iter().filter(|cell| is_it(cell)).map(|cell| cell.sockets).collect();
    sockets.sort_unstable();
    if sockets.len() < 2 {
        return html! {};
    }
    let names: Vec<_> = Peer::all().iter().map(|peer| (*peer, peer.to_string())).collect();
    let series = names.iter().map(|(peer, name)| {
        let value =
            |(column, &sockets)| Some((column as f64, report.rows.get(workload, sockets, instances, *peer, figure)?));
        let points = sockets.iter().enumerate().filter_map(value).collect();
        PlotSeries { name, colour: colour(*peer), width: if peer.is_ours() { 3 } else { 2 }, points }
    });
    let series = series.filter(|series| !series.points.is_empty()).collect();
    let columns: Vec<_> = sockets.iter().map(|sockets| format!("{sockets} sockets")).collect();
    LinePlot { title, unit, x: XAxis::Columns(&columns), y, series, markers: Vec::new() }.draw()
}

/// A plot of the p99 latency over the offered load, from the search for the capacity. Empty without one.
fn plot_over_load(report: &ComparisonReport, cell: &BenchCell) -> Markup {
    let rows = || report.rows.0.iter().filter(|row| row.cell == *cell && !row.steps.is_empty());
    // Each search begins at the same rate and doubles it, so columns are powers of two of it. Other rates are between them.
    let column = |rate: f64| (rate / f64::from(cell.rate.max(1))).log2();
    let columns = rows().flat_map(|row| row.steps.iter().map(|step| column(step.rate)));
    let Some((first, last)) =
        columns.map(|column| (column.floor(), column.ceil())).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    else {
        return html! {};
    };
    let labels: Vec<_> = (first as i32..=last as i32)
        .map(|power| format!("{}/s", shown(f64::from(cell.rate.max(1)) * 2f64.powi(power))))
        .collect();
    let names: Vec<_> = rows().map(|row| (row, row.peer.to_string())).collect();
    let series = names.iter().map(|(row, name)| {
        let mut points: Vec<_> = row.steps.iter().map(|step| (column(step.rate) - first, step.p99())).collect();
        points.retain(|(_, p99)| *p99 > 0.0);
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        PlotSeries { name, colour: colour(row.peer), width: if row.peer.is_ours() { 3 } else { 2 }, points }
    });
    let title = format!("p99 latency over the offered load, {cell}");
    let (unit, x) = ("ms, logarithmic", XAxis::Columns(&labels));
    LinePlot { title: &title, unit, x, y: YScale::Logarithmic, series: series.collect(), markers: Vec::new() }.draw()
}

/// A plot of a figure with one bar per peer. Empty if no peer was measured.
fn plot_per_peer(report: &ComparisonReport, title: &str, unit: &str, workload: Workload, figure: Figure) -> Markup {
    let value = |peer: &Peer| Some((*peer, peer.to_string(), report.rows.get(workload, 0, 1, *peer, figure)?));
    let values: Vec<_> = Peer::all().iter().filter_map(value).collect();
    let bars: Vec<_> =
        values.iter().map(|(peer, name, value)| Bar { name, colour: colour(*peer), value: *value }).collect();
    if bars.is_empty() {
        html! {}
    } else {
        bar_plot(title, unit, &bars)
    }
}

pub(super) fn colour(peer: Peer) -> Colour {
    match peer {
        Peer::Floor => Colour(0x88, 0x88, 0x88),
        Peer::FloorBatched => Colour(0xb0, 0xb0, 0xb0),
        Peer::SocketioRedis => Colour::YELLOW,
        Peer::SocketioStreams => Colour(0xdd, 0x6b, 0x20),
        Peer::Socketioxide => Colour::RED,
        Peer::Nchan => Colour::GREEN,
        Peer::Nats => Colour(0x80, 0x5a, 0xd5),
        Peer::Sockudo => Colour(0x2c, 0x7a, 0x7b),
        Peer::SockudoRecovery => Colour(0x81, 0xe6, 0xd9),
        Peer::Trunkline => Colour::BLUE,
        Peer::TrunklineMounted => Colour(0x63, 0xb3, 0xed),
    }
}

fn cell_table(report: &ComparisonReport, cell: &BenchCell) -> Markup {
    let figures = columns(cell.workload);
    let mut header = vec![""];
    header.extend(figures.iter().map(|figure| figure.heading()));
    header.extend(["× floor", "× best peer", "least … most"]);
    let rows = report.rows.0.iter().filter(|row| row.cell == *cell);
    let rows = rows.flat_map(|row| {
        let error = row.error.as_ref().map(|error| vec![TableCell::result(Some(false), error).spanning(header.len())]);
        [Some(peer_cells(row, figures)), error].into_iter().flatten()
    });
    table(&title(cell), &header, rows)
}

fn peer_cells(row: &TableRow, figures: &[Figure]) -> Vec<TableCell> {
    let mut cells = vec![TableCell::text(row.peer)];
    let medians = figures.iter().map(|figure| row.figures.get(figure).map(|spread| spread.median));
    cells.extend(medians.chain([row.to_floor, row.to_best]).map(|value| TableCell::number(maybe(value))));
    cells.push(TableCell::number(spread(row)));
    cells
}

fn recovery(report: &ComparisonReport) -> Markup {
    let rows = report.recovery.iter().map(|(peer, recovery)| {
        let mut row = vec![TableCell::text(peer)];
        row.extend(recovery_columns(recovery).map(TableCell::number));
        row
    });
    table(RECOVERY_TITLE, &[&[""][..], &RECOVERY_HEADINGS].concat(), rows)
}

fn versions(report: &ComparisonReport) -> Markup {
    let versions = report.versions.iter().map(|(name, version)| vec![TableCell::text(name), TableCell::text(version)]);
    let missing = report
        .missing
        .iter()
        .map(|(peer, why)| vec![TableCell::text(peer), TableCell::text(format!("not available: {why}"))]);
    table("Versions", &[], versions.chain(missing))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::compare::{
        figures::Measured,
        plan::BenchPlan,
        report::tests::report,
        table::{CellRounds, ResultTable},
    };

    #[test]
    fn page_contains_all_results_escaped() {
        let page = comparison_page(&report());
        for expected in
            ["1 &amp; 2", "ended: &lt;killed&gt;", "<svg", "not measured", "cargo xtask bench --quick", "20000"]
        {
            assert!(page.contains(expected), "{expected}");
        }
        assert!(!page.contains("NaN"));
    }

    #[test]
    fn latency_is_drawn_over_the_offered_load() {
        let cells = BenchPlan::cells_on_request();
        let cell = *cells.iter().find(|cell| cell.workload == Workload::Capacity).unwrap();
        let json = r#"{"steps":[{"rate":16.0,"latency_us":{"p99":900},"lost":0,"is_sustained":true},
            {"rate":32.0,"latency_us":{"p99":61000},"lost":3,"is_sustained":false},
            {"rate":22.6,"latency_us":{"p99":4000},"lost":0,"is_sustained":true}]}"#;
        let measured = Measured::new(&cell, Peer::Trunkline, serde_json::from_str(json).unwrap());
        let mut rounds = CellRounds::default();
        rounds.add(measured);
        let rows = ResultTable::new(&[cell], BTreeMap::from([((cell, Peer::Trunkline), rounds)]));
        let page = comparison_page(&ComparisonReport { rows, ..report() });
        assert!(page.contains("p99 latency over the offered load, capacity 1000/1×1"), "{page}");
        assert!(page.contains("16.0/s") && page.contains("32.0/s"), "{page}");
    }
}
