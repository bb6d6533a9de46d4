//! The results of the workload `growth` as text, tables and plots: one for each axis.

use std::fmt::Write as _;

use maud::{Markup, html};
use trunkline_check::report::{LinePlot, PlotSeries, TableCell, XAxis, YScale, table};

use super::{
    figures::Figure,
    growth_axis::{GrowthAxis, growth_points},
    page::colour,
    plan::Peer,
    report::{ComparisonReport, maybe},
};

/// The lines of an axis: a name and the value of each column. Empty if nothing was measured.
struct AxisTable {
    axis: GrowthAxis,
    lines: Vec<(String, Vec<String>)>,
}

impl AxisTable {
    fn all(report: &ComparisonReport) -> impl Iterator<Item = Self> {
        GrowthAxis::ALL.into_iter().map(|axis| Self::new(report, axis)).filter(|table| !table.lines.is_empty())
    }

    fn new(report: &ComparisonReport, axis: GrowthAxis) -> Self {
        let rows = report.rows.0.iter().filter(|row| row.cell.axis == Some(axis));
        let mut lines: Vec<_> = rows
            .map(|row| {
                let value = |figure| maybe(row.figures.get(figure).map(|spread| spread.median));
                let error = row.error.as_ref().and_then(|error| error.lines().last());
                let error = error.map(|error| format!("! {}", error.trim()));
                let name = format!("{}, {} {}", row.peer, axis.value(&row.cell), axis.name());
                (name, axis.figures().iter().map(value).chain(error).collect())
            })
            .collect();
        for peer in Peer::all() {
            let exponent = |figure: &Figure| {
                let fit = report.growth.iter().find(|fit| (fit.axis, fit.peer, fit.figure) == (axis, *peer, *figure));
                fit.map_or("–".to_owned(), |fit| format!("{:.2}", fit.exponent))
            };
            if report.growth.iter().any(|fit| (fit.axis, fit.peer) == (axis, *peer)) {
                lines.push((format!("{peer}, exponent"), axis.figures().iter().map(exponent).collect()));
            }
        }
        Self { axis, lines }
    }
}

/// All tables as text.
pub(super) fn growth_text(report: &ComparisonReport) -> String {
    let mut text = String::new();
    for AxisTable { axis, lines } in AxisTable::all(report) {
        _ = write!(text, "\n{}\n{:<34}", axis.title(), "");
        axis.figures().iter().for_each(|figure| _ = write!(text, "{:>14}", figure.heading()));
        for (name, values) in lines {
            _ = write!(text, "\n  {name:<32}");
            values.iter().for_each(|value| _ = write!(text, "{value:>14}"));
        }
        text.push('\n');
    }
    text
}

/// All tables as HTML.
pub(super) fn growth_tables(report: &ComparisonReport) -> Markup {
    html! {
        @for AxisTable { axis, lines } in AxisTable::all(report) {
            @let header: Vec<_> = [""].into_iter().chain(axis.figures().iter().map(|figure| figure.heading())).collect();
            (table(axis.title(), &header, lines.into_iter().map(|(name, values)| {
                [TableCell::text(name)].into_iter().chain(values.into_iter().map(TableCell::number)).collect()
            })))
        }
    }
}

/// A plot for each axis and figure with at least two points.
pub(super) fn growth_plots(report: &ComparisonReport) -> Markup {
    let plots = GrowthAxis::ALL.into_iter().flat_map(|axis| axis.figures().iter().map(move |figure| (axis, *figure)));
    html! {
        @for (axis, figure) in plots.filter(|(_, figure)| *figure != Figure::Lost) { (growth_plot(report, axis, figure)) }
    }
}

fn growth_plot(report: &ComparisonReport, axis: GrowthAxis, figure: Figure) -> Markup {
    let mut places: Vec<u32> =
        report.rows.0.iter().filter(|row| row.cell.axis == Some(axis)).map(|row| axis.value(&row.cell)).collect();
    places.sort_unstable();
    places.dedup();
    if places.len() < 2 {
        return html! {};
    }
    let column = |x: f64| places.iter().position(|place| f64::from(*place) == x).unwrap_or_default() as f64;
    let names: Vec<_> = Peer::all().iter().map(|peer| (*peer, peer.to_string())).collect();
    let series = names.iter().map(|(peer, name)| {
        let points = growth_points(&report.rows, axis, *peer, figure).map(|(x, y)| (column(x), y)).collect();
        PlotSeries { name, colour: colour(*peer), width: if peer.is_ours() { 3 } else { 2 }, points }
    });
    let series = series.filter(|series| !series.points.is_empty()).collect();
    let columns: Vec<_> = places.iter().map(|place| format!("{place} {}", axis.name())).collect();
    let (title, x) = (format!("{}, over {}", figure.heading(), axis.name()), XAxis::Columns(&columns));
    LinePlot { title: &title, unit: "", x, y: YScale::Linear, series, markers: Vec::new() }.draw()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::compare::{
        figures::FigureValues,
        growth_axis::growth_fits,
        plan::BenchPlan,
        report::tests::report,
        table::{CellRounds, ResultTable},
    };

    #[test]
    fn each_axis_has_a_table_with_exponents_and_plots() {
        let cells: Vec<_> = BenchPlan::cells_on_request()
            .iter()
            .filter(|cell| cell.axis == Some(GrowthAxis::Sockets))
            .copied()
            .collect();
        let rounds = |cell| {
            let figures = FigureValues::from([(Figure::ServerCpu, f64::from(GrowthAxis::Sockets.value(cell)))]);
            CellRounds { figures: vec![figures], ..CellRounds::default() }
        };
        let mut measured: BTreeMap<_, _> = cells.iter().map(|cell| ((*cell, Peer::Trunkline), rounds(cell))).collect();
        measured.insert(
            (cells[0], Peer::Floor),
            CellRounds { error: Some("no files".to_owned()), ..CellRounds::default() },
        );
        let rows = ResultTable::new(&cells, measured);
        let report = ComparisonReport { growth: growth_fits(&rows), rows, ..report() };
        let text = growth_text(&report);
        for line in ["growth over sockets", "trunkline, 18000 sockets", "trunkline, exponent", "! no files"] {
            assert!(text.contains(line), "{line}: {text}");
        }
        let exponent = text.lines().find(|line| line.contains("exponent")).unwrap();
        assert_eq!(exponent.split_whitespace().collect::<Vec<_>>(), ["trunkline,", "exponent", "1.00", "–", "–", "–"]);
        assert!(!text.contains("over rooms"), "nothing was measured: {text}");
        assert!(growth_tables(&report).0.contains("trunkline, exponent") && growth_plots(&report).0.contains("<svg"));
    }
}
