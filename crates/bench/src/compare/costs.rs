//! The unit costs that a run measured, for `cargo xtask plan --costs`. Costs that the run did not measure are the
//! checked-in ones.

use std::{fs, path::Path};

use trunkline_testbed::IoContext;

use super::{
    figures::Figure,
    plan::{BenchCell, Peer, Workload},
    report::ComparisonReport,
    table::ResultTable,
};
use crate::{
    error::Result,
    sizing::costs::{Cost, UnitCosts},
};

/// Members of the rooms of the workload `latency` with many rooms, and of its one room.
const SMALL_ROOM: f64 = 5.0;
const LARGE_ROOM: f64 = 100.0;
/// Instances besides the first in cells with three of them.
const FURTHER_INSTANCES: f64 = 2.0;

/// Writes `costs.json`.
pub(super) fn write(report: &ComparisonReport, folder: &Path) -> Result<()> {
    let mut costs = UnitCosts::checked_in()?;
    let machine = &report.machine;
    costs.measured = format!(
        "{} cores of {}, Linux {}, {}; costs that name another command were not measured there",
        machine.cores, machine.processor, machine.kernel, report.command
    );
    let revision = report.versions.get("revision").map_or("?", String::as_str);
    measured(&report.rows, &mut costs, &format!("`{}`, {revision}", report.command));
    let json = serde_json::to_string_pretty(&costs).unwrap_or_default();
    let path = folder.join("costs.json");
    fs::write(&path, json + "\n").on_path("cannot write", &path)?;
    Ok(())
}

/// Replaces the costs that these results contain. docs/SCALING.md explains the differences.
fn measured(table: &ResultTable, costs: &mut UnitCosts, run: &str) {
    let value = |figure, is_it: &dyn Fn(&BenchCell) -> bool| table.find(Peer::Trunkline, figure, is_it);
    let small = |figure, rate: u32, instances: u32| {
        value(figure, &|cell: &BenchCell| {
            cell.workload == Workload::Latency && cell.rooms > 1 && (cell.rate, cell.instances) == (rate, instances)
        })
    };
    let large = |figure| value(figure, &|cell: &BenchCell| cell.workload == Workload::Latency && cell.rooms == 1);
    let of = |workload: Workload, figure: Figure| value(figure, &|cell: &BenchCell| cell.workload == workload);
    let mut put = |cost, value: Option<f64>, how: &str| {
        if let Some(value) = value {
            costs.replace(cost, rounded(value), format!("{run}: {how}"));
        }
    };
    let delivery = large(Figure::ServerCpu).zip(small(Figure::ServerCpu, 1000, 1));
    let delivery = delivery.map(|(large, small)| (LARGE_ROOM * large - SMALL_ROOM * small) / (LARGE_ROOM - SMALL_ROOM));
    put(Cost::GatewayDelivery, delivery, "latency, a room of 100 less a room of 5, by 95 members");
    let send = small(Figure::ServerCpu, 3000, 1).zip(delivery).map(|(cpu, delivery)| SMALL_ROOM * (cpu - delivery));
    put(Cost::GatewaySend, send, "latency, rooms of 5 at 3,000/s, without five deliveries");
    let further = |figure| {
        let pair = small(figure, 3000, 3).zip(small(figure, 3000, 1));
        pair.map(|(three, one)| SMALL_ROOM * (three - one) / FURTHER_INSTANCES)
    };
    put(Cost::GatewayPublication, further(Figure::ServerCpu), "latency at 3,000/s, three instances less one, by two");
    put(Cost::RedisPublication, further(Figure::RedisCpu), "latency at 3,000/s, three instances less one, by two");
    put(Cost::RedisSend, of(Workload::Publish, Figure::RedisPerSend), "publish");
    put(Cost::GatewayHandshake, of(Workload::Connect, Figure::ConnectCpu), "connect");
    let memory =
        |figure| value(figure, &|cell: &BenchCell| cell.workload == Workload::Memory && cell.sockets == 20_000);
    put(Cost::SocketUser, memory(Figure::Memory), "memory, 20,000 sockets");
    put(Cost::SocketKernel, memory(Figure::KernelMemory), "memory, 20,000 sockets");
}

/// Three significant digits.
fn rounded(value: f64) -> f64 {
    let scale = 10f64.powi(2 - value.abs().log10().floor() as i32);
    if scale.is_finite() { (value * scale).round() / scale } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{
        figures::FigureValues,
        plan::BenchPlan,
        table::{CellRounds, ResultTable},
    };

    fn cell(is_it: impl Fn(&BenchCell) -> bool) -> BenchCell {
        *BenchPlan::Full.cells().iter().chain(BenchPlan::cells_on_request()).find(|cell| is_it(cell)).unwrap()
    }

    #[test]
    fn measured_costs_replace_checked_in_ones() {
        let latency = |rooms, rate, instances| {
            cell(|cell| {
                cell.workload == Workload::Latency
                    && (cell.rooms, cell.rate, cell.instances) == (rooms, rate, instances)
            })
        };
        let cells = [
            (latency(1, 200, 1), vec![(Figure::ServerCpu, 7.0)]),
            (latency(1000, 1000, 1), vec![(Figure::ServerCpu, 45.0)]),
            (latency(1000, 3000, 1), vec![(Figure::ServerCpu, 35.0), (Figure::RedisCpu, 10.0)]),
            (latency(1000, 3000, 3), vec![(Figure::ServerCpu, 45.0), (Figure::RedisCpu, 9.0)]),
            (cell(|cell| cell.workload == Workload::Publish), vec![(Figure::RedisPerSend, 21.333)]),
            (cell(|cell| cell.sockets == 20_000), vec![(Figure::Memory, 1.9), (Figure::KernelMemory, 4.2)]),
        ];
        let rows = cells.iter().map(|(cell, figures)| {
            let figures = vec![figures.iter().copied().collect::<FigureValues>()];
            ((*cell, Peer::Trunkline), CellRounds { figures, ..CellRounds::default() })
        });
        let table = ResultTable::new(&cells.each_ref().map(|(cell, _)| *cell), rows.collect());
        let before = UnitCosts::checked_in().unwrap();
        let mut costs = before.clone();
        measured(&table, &mut costs, "`cargo xtask bench`, abc");
        assert_eq!(costs.get(Cost::GatewayDelivery), 5.0);
        assert_eq!(costs.get(Cost::GatewaySend), 150.0);
        assert_eq!(costs.get(Cost::GatewayPublication), 25.0);
        assert_eq!(costs.get(Cost::RedisPublication), before.get(Cost::RedisPublication), "a difference below zero");
        assert_eq!(costs.get(Cost::RedisSend), 21.3);
        assert_eq!((costs.get(Cost::SocketUser), costs.get(Cost::SocketKernel)), (1.9, 4.2));
        assert_eq!(costs.get(Cost::GatewayHandshake), before.get(Cost::GatewayHandshake), "not measured");
        assert!(costs.markdown().contains("`cargo xtask bench`, abc: publish |"));
    }
}
