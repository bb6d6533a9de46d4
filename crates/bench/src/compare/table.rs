//! The figures of all cells and peers, and their ratios. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    figures::{Figure, FigureValues, Measured, OfferedLoad, Spread, spreads},
    growth_axis::GrowthAxis,
    plan::{BenchCell, Peer, Workload},
};

/// One peer in one cell.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct TableRow {
    #[serde(flatten)]
    pub(crate) cell: BenchCell,
    pub(crate) peer: Peer,
    /// Medians and extremes over the rounds.
    pub(crate) figures: BTreeMap<Figure, Spread>,
    /// The workload's main figure divided by the floor's.
    pub(crate) to_floor: Option<f64>,
    /// The workload's main figure divided by that of the best peer.
    pub(crate) to_best: Option<f64>,
    /// Why a round failed.
    pub(crate) error: Option<String>,
    /// Steps of all searches for the capacity.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) steps: Vec<OfferedLoad>,
}

/// All rows, in the order of the plan.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct ResultTable(pub(crate) Vec<TableRow>);

/// The measurements of one peer in one cell.
#[derive(Debug, Default)]
pub(crate) struct CellRounds {
    /// Figures of each round that succeeded.
    pub(crate) figures: Vec<FigureValues>,
    /// Why another round failed.
    pub(crate) error: Option<String>,
    pub(crate) steps: Vec<OfferedLoad>,
}

impl CellRounds {
    /// Adds a round.
    pub(crate) fn add(&mut self, measured: Measured) {
        self.figures.push(measured.figures);
        self.steps.extend(measured.steps);
    }
}

impl ResultTable {
    /// Computes the medians and their ratios. Rows are in the order of `cells`.
    pub(crate) fn new(cells: &[BenchCell], mut measured: BTreeMap<(BenchCell, Peer), CellRounds>) -> Self {
        let mut rows = Vec::new();
        for cell in cells {
            for peer in Peer::all() {
                if let Some(CellRounds { figures, error, steps }) = measured.remove(&(*cell, *peer)) {
                    let figures = spreads(&figures);
                    let (to_floor, to_best) = (None, None);
                    rows.push(TableRow { cell: *cell, peer: *peer, figures, to_floor, to_best, error, steps });
                }
            }
        }
        let mut table = Self(rows);
        let ratios: Vec<_> = table.0.iter().map(|row| (table.to_floor(row), table.to_best(row))).collect();
        for (row, ratios) in table.0.iter_mut().zip(ratios) {
            (row.to_floor, row.to_best) = ratios;
        }
        table
    }

    /// The median of a figure. `sockets` 0 selects any number of sockets.
    pub(crate) fn get(
        &self,
        workload: Workload,
        sockets: u32,
        instances: u32,
        peer: Peer,
        figure: Figure,
    ) -> Option<f64> {
        let is_it = |row: &&TableRow| {
            let BenchCell { workload: w, sockets: s, instances: i, .. } = row.cell;
            (w, i, row.peer) == (workload, instances, peer) && (sockets == 0 || s == sockets)
        };
        self.0.iter().find(is_it)?.figures.get(&figure).map(|spread| spread.median)
    }

    /// The median of a figure in the first cell that `is_it`.
    pub(crate) fn find(&self, peer: Peer, figure: Figure, is_it: impl Fn(&BenchCell) -> bool) -> Option<f64> {
        let row = self.0.iter().find(|row| row.peer == peer && is_it(&row.cell))?;
        row.figures.get(&figure).map(|spread| spread.median)
    }

    /// The best median of the other peers.
    pub(crate) fn best(&self, workload: Workload, sockets: u32, instances: u32, figure: Figure) -> Option<f64> {
        let all = Peer::rivals().filter_map(|peer| self.get(workload, sockets, instances, peer, figure));
        if figure.is_cost() { all.reduce(f64::min) } else { all.reduce(f64::max) }
    }

    /// The ratio to the batching floor for `flat`, otherwise to the floor. The floor always has one instance.
    fn to_floor(&self, row: &TableRow) -> Option<f64> {
        let BenchCell { workload, sockets, axis, .. } = row.cell;
        if axis.is_some_and(|axis| axis != GrowthAxis::Sockets) {
            return None;
        }
        let floor = if workload == Workload::Flat { Peer::FloorBatched } else { Peer::Floor };
        let figure = workload.figure();
        ratio(row.figures.get(&figure)?.median, self.get(workload, sockets, 1, floor, figure)?)
    }

    fn to_best(&self, row: &TableRow) -> Option<f64> {
        let BenchCell { workload, sockets, instances, .. } = row.cell;
        let figure = workload.figure();
        ratio(row.figures.get(&figure)?.median, self.best(workload, sockets, instances, figure)?)
    }

    /// The cells that have rows, in order.
    pub(crate) fn cells(&self) -> Vec<BenchCell> {
        let mut cells: Vec<BenchCell> = self.0.iter().map(|row| row.cell).collect();
        cells.dedup();
        cells
    }
}

fn ratio(ours: f64, theirs: f64) -> Option<f64> {
    (theirs > 0.0).then_some(ours / theirs)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::compare::plan::BenchPlan;

    /// A table from figures of one round.
    pub(crate) fn table(values: &[(Workload, u32, u32, Peer, Figure, f64)]) -> ResultTable {
        let mut cells = Vec::new();
        let mut measured: BTreeMap<(BenchCell, Peer), CellRounds> = BTreeMap::new();
        for &(workload, sockets, instances, peer, figure, value) in values {
            let is_it = |cell: &&BenchCell| {
                (cell.workload, cell.instances) == (workload, instances) && (sockets == 0 || cell.sockets == sockets)
            };
            let mut cells_of_all_plans = BenchPlan::Full.cells().iter().chain(BenchPlan::cells_on_request());
            let cell = *cells_of_all_plans.find(is_it).unwrap();
            if !cells.contains(&cell) {
                cells.push(cell);
            }
            let rounds = measured.entry((cell, peer)).or_default();
            rounds.figures.push(FigureValues::from([(figure, value)]));
        }
        ResultTable::new(&cells, measured)
    }

    #[test]
    fn ratios_are_to_the_floor_and_to_the_best_peer() {
        use Figure::{Deliveries, ServerCpu};
        use Peer::{Floor, FloorBatched, Nats, Nchan, Trunkline};
        use Workload::{Flat, Paced};
        let table = table(&[
            (Paced, 1000, 1, Floor, ServerCpu, 4.0),
            (Paced, 1000, 1, Nchan, ServerCpu, 8.0),
            (Paced, 1000, 1, Nats, ServerCpu, 16.0),
            (Paced, 1000, 1, Trunkline, ServerCpu, 6.0),
            (Paced, 1000, 3, Trunkline, ServerCpu, 10.0),
            (Flat, 1000, 1, Floor, Deliveries, 10.0),
            (Flat, 1000, 1, FloorBatched, Deliveries, 100.0),
            (Flat, 1000, 1, Nchan, Deliveries, 20.0),
            (Flat, 1000, 1, Nats, Deliveries, 40.0),
            (Flat, 1000, 1, Trunkline, Deliveries, 80.0),
        ]);
        let ratios = |workload, instances, peer| {
            let row = table
                .0
                .iter()
                .find(|row| (row.cell.workload, row.cell.instances, row.peer) == (workload, instances, peer));
            row.map(|row| (row.to_floor, row.to_best))
        };
        assert_eq!(ratios(Paced, 1, Trunkline), Some((Some(1.5), Some(0.75))));
        assert_eq!(ratios(Paced, 1, Nats), Some((Some(4.0), Some(2.0))));
        assert_eq!(ratios(Paced, 3, Trunkline), Some((Some(2.5), None)), "no other peer ran three instances");
        assert_eq!(ratios(Flat, 1, Trunkline), Some((Some(0.8), Some(2.0))));
        assert_eq!(ratios(Flat, 1, Floor), Some((Some(0.1), Some(0.25))));
        assert_eq!(table.cells().len(), 3);
    }
}
