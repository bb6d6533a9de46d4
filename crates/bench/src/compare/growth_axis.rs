//! What grows in the workload `growth`, and how fast the costs grow with it. Pure.

use serde::Serialize;

use super::{
    figures::Figure,
    plan::{BenchCell, Peer},
    table::ResultTable,
};

/// What grows while the rest of the load stays the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum GrowthAxis {
    Rooms,
    Sockets,
    Instances,
    /// Rooms without messages.
    QuietRooms,
}

/// How fast one figure of one peer grows: it is proportional to the value on the axis, raised to the exponent.
#[derive(Debug, Serialize)]
pub(crate) struct GrowthFit {
    pub(crate) axis: GrowthAxis,
    pub(crate) peer: Peer,
    pub(crate) figure: Figure,
    pub(crate) exponent: f64,
}

impl GrowthAxis {
    pub(crate) const ALL: [Self; 4] = [Self::Rooms, Self::Sockets, Self::Instances, Self::QuietRooms];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rooms => "rooms",
            Self::Sockets => "sockets",
            Self::Instances => "instances",
            Self::QuietRooms => "quiet rooms",
        }
    }

    /// The value of a cell on this axis.
    pub(crate) fn value(self, cell: &BenchCell) -> u32 {
        match self {
            Self::Rooms | Self::QuietRooms => cell.rooms,
            Self::Sockets => cell.sockets,
            Self::Instances => cell.instances,
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Rooms => "growth over rooms: 1000 messages per second, one member per room, ten rooms per socket",
            Self::Sockets => "growth over sockets: 20000 deliveries per second, one room per instance",
            Self::Instances => "growth over instances: 1000 messages per second, 1000 rooms of 5",
            Self::QuietRooms => "quiet rooms: 100 per socket, for 60 s, from 75 s after the last message",
        }
    }

    /// Columns of the table.
    pub(crate) fn figures(self) -> &'static [Figure] {
        use Figure::{JoinCpu, Lost, RedisCpu, RedisPerSend, RedisShare, ServerCpu, ServerPerSend, ServerShare};
        match self {
            Self::Rooms => &[ServerPerSend, RedisPerSend, JoinCpu, Lost],
            Self::Sockets => &[ServerCpu, RedisCpu, JoinCpu, Lost],
            Self::Instances => &[ServerCpu, RedisCpu, ServerPerSend, RedisPerSend, JoinCpu, Lost],
            Self::QuietRooms => &[ServerShare, RedisShare, JoinCpu],
        }
    }
}

/// The exponents of all figures and peers.
pub(crate) fn growth_fits(table: &ResultTable) -> Vec<GrowthFit> {
    let mut fits = Vec::new();
    for axis in GrowthAxis::ALL {
        for peer in Peer::all() {
            for figure in axis.figures() {
                let points: Vec<_> = growth_points(table, axis, *peer, *figure).collect();
                fits.extend(exponent(&points).map(|exponent| GrowthFit {
                    axis,
                    peer: *peer,
                    figure: *figure,
                    exponent,
                }));
            }
        }
    }
    fits
}

/// The values on the axis, and the medians of a figure.
pub(crate) fn growth_points(
    table: &ResultTable,
    axis: GrowthAxis,
    peer: Peer,
    figure: Figure,
) -> impl Iterator<Item = (f64, f64)> {
    let rows = table.0.iter().filter(move |row| row.cell.axis == Some(axis) && row.peer == peer);
    rows.filter_map(move |row| Some((f64::from(axis.value(&row.cell)), row.figures.get(&figure)?.median)))
}

/// The exponent `b` of the curve `y = a · x^b` through these points: the slope of the straight line through their logarithms
/// with the least sum of squares. Points that are not positive are left out. `None` with fewer than three points, or all at
/// the same x.
fn exponent(points: &[(f64, f64)]) -> Option<f64> {
    let logs: Vec<_> = points.iter().filter(|(x, y)| *x > 0.0 && *y > 0.0).map(|(x, y)| (x.ln(), y.ln())).collect();
    let count = logs.len() as f64;
    let (mean_x, mean_y) =
        (logs.iter().map(|(x, _)| x).sum::<f64>() / count, logs.iter().map(|(_, y)| y).sum::<f64>() / count);
    let (mut above, mut below) = (0.0, 0.0);
    for (x, y) in &logs {
        above += (x - mean_x) * (y - mean_y);
        below += (x - mean_x) * (x - mean_x);
    }
    (logs.len() > 2 && below > 0.0).then_some(above / below)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::compare::{figures::FigureValues, plan::BenchPlan, table::CellRounds};

    #[test]
    fn exponent_of_a_power_is_found_with_and_without_noise() {
        let power = |b: f64| [10.0, 100.0, 1000.0, 1e5].map(|x: f64| (x, 3.0 * x.powf(b)));
        for b in [-0.5, 0.0, 0.3, 1.0, 2.0] {
            assert!((exponent(&power(b)).unwrap() - b).abs() < 1e-9, "{b}");
        }
        let noisy = [(1.0, 1.1), (2.0, 1.9), (4.0, 4.2), (8.0, 7.7)];
        assert!((exponent(&noisy).unwrap() - 1.0).abs() < 0.1);
    }

    #[test]
    fn exponent_needs_three_positive_points_at_different_places() {
        assert_eq!(exponent(&[]), None);
        assert_eq!(exponent(&[(1.0, 1.0), (2.0, 2.0)]), None);
        assert_eq!(exponent(&[(1.0, 1.0), (2.0, 2.0), (3.0, 0.0)]), None);
        assert_eq!(exponent(&[(2.0, 1.0), (2.0, 2.0), (2.0, 3.0)]), None);
    }

    #[test]
    fn each_axis_has_its_fits() {
        let cells: Vec<_> = BenchPlan::cells_on_request().iter().filter(|cell| cell.axis.is_some()).copied().collect();
        let measured: BTreeMap<_, _> = cells
            .iter()
            .map(|cell| {
                let x = f64::from(cell.axis.unwrap().value(cell));
                let figures = FigureValues::from([(Figure::ServerCpu, 2.0 * x), (Figure::JoinCpu, 40.0)]);
                ((*cell, Peer::Trunkline), CellRounds { figures: vec![figures], ..CellRounds::default() })
            })
            .collect();
        let fits = growth_fits(&ResultTable::new(&cells, measured));
        let of = |axis, figure| {
            let fit = fits.iter().find(|fit| (fit.axis, fit.figure) == (axis, figure));
            fit.map(|fit| (fit.exponent * 1000.0).round() / 1000.0)
        };
        assert_eq!(of(GrowthAxis::Sockets, Figure::ServerCpu), Some(1.0));
        assert_eq!(of(GrowthAxis::Instances, Figure::JoinCpu), Some(0.0));
        assert_eq!(of(GrowthAxis::QuietRooms, Figure::JoinCpu), None, "it has one cell");
    }
}
