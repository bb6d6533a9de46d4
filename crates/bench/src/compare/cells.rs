//! The cells of the plan, in order. Pure.

use super::plan::{BenchCell, BenchPlan, RoomSizes, Workload};

impl BenchPlan {
    /// All cells of the first round. Cells that goals compare come first, because the time may run out.
    pub(crate) fn cells(self) -> &'static [BenchCell] {
        use Workload::{Bystander, Connect, Flat, Herd, Idle, Mixed, Paced, Publish, Recovery, Rooms};
        const QUICK: &[BenchCell] = &[
            BenchCell::new(Paced, 1000, 1, 1),
            BenchCell::new(Flat, 1000, 1, 1),
            BenchCell::new(Paced, 100, 1, 1),
            BenchCell::new(Flat, 100, 1, 1),
            BenchCell::new(Idle, 1000, 1, 1),
            BenchCell::new(Connect, 1000, 1, 1),
            BenchCell::new(Publish, 8, 1, 1),
        ];
        const FULL: &[BenchCell] = &[
            BenchCell::new(Paced, 1000, 1, 1),
            BenchCell::new(Flat, 1000, 1, 1),
            BenchCell::new(Paced, 5000, 1, 1),
            BenchCell::new(Flat, 5000, 1, 1),
            BenchCell::new(Paced, 1000, 1, 3),
            BenchCell::new(Paced, 5000, 1, 3),
            BenchCell::new(Rooms, 5000, 1000, 1),
            BenchCell::new(Rooms, 5000, 1000, 3),
            BenchCell::new(Publish, 8, 1, 1),
            BenchCell::new(Connect, 5000, 1, 1),
            BenchCell::new(Idle, 5000, 1, 1),
            BenchCell::new(Bystander, 1000, 1000, 3),
            BenchCell::new(Recovery, 1000, 20, 3),
            BenchCell::new(Flat, 1000, 1, 3),
            BenchCell::new(Flat, 5000, 1, 3),
            BenchCell::new(Herd, 5000, 1, 1),
            BenchCell::new(Mixed, 1000, 50, 1),
            BenchCell::new(Paced, 100, 1, 1),
            BenchCell::new(Flat, 100, 1, 1),
            BenchCell::new(Paced, 10_000, 1, 1),
        ];
        match self {
            Self::Quick => QUICK,
            Self::Full => FULL,
        }
    }

    /// Cells of workloads that are measured only if `--only` names them, because they take long.
    pub(crate) fn cells_on_request() -> &'static [BenchCell] {
        const CELLS: &[BenchCell] = &[
            BenchCell::latency(5000, 1000, 100, 1),
            BenchCell::latency(5000, 1000, 1000, 1),
            BenchCell::latency(5000, 1000, 3000, 1),
            BenchCell::latency(5000, 1000, 1000, 3),
            BenchCell::latency(5000, 1000, 3000, 3),
            BenchCell::latency(100, 1, 200, 1),
            BenchCell::capacity(1000, 1, RoomSizes::Equal, 16, 1),
            BenchCell::capacity(5000, 1000, RoomSizes::Equal, 1000, 1),
            BenchCell::capacity(1000, 50, RoomSizes::Mixed, 200, 1),
            BenchCell::capacity(1000, 1, RoomSizes::Equal, 16, 3),
            BenchCell::capacity(5000, 1000, RoomSizes::Equal, 1000, 3),
            BenchCell::capacity(1000, 50, RoomSizes::Mixed, 200, 3),
            BenchCell::memory(2000),
            BenchCell::memory(20_000),
            BenchCell::memory(0),
            BenchCell::shards(1),
            BenchCell::shards(3),
            BenchCell::shards(6),
            BenchCell::growing_rooms(10),
            BenchCell::growing_rooms(100),
            BenchCell::growing_rooms(1000),
            BenchCell::growing_rooms(10_000),
            BenchCell::growing_rooms(100_000),
            BenchCell::growing_sockets(100),
            BenchCell::growing_sockets(1000),
            BenchCell::growing_sockets(5000),
            BenchCell::growing_sockets(10_000),
            BenchCell::growing_sockets(18_000),
            BenchCell::growing_sockets(50_000),
            BenchCell::growing_instances(1),
            BenchCell::growing_instances(2),
            BenchCell::growing_instances(3),
            BenchCell::growing_instances(4),
            BenchCell::growing_instances(5),
            BenchCell::quiet_rooms(100_000),
        ];
        CELLS
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;
    use crate::compare::plan::Peer;

    #[test]
    fn every_workload_is_planned_and_suits_trunkline() {
        for workload in Workload::value_variants() {
            let mut cells = BenchPlan::Full.cells().iter().chain(BenchPlan::cells_on_request());
            let cell = cells.find(|cell| cell.workload == *workload);
            assert!(cell.is_some_and(|cell| cell.suits(Peer::Trunkline)), "{workload}");
        }
        for cell in BenchPlan::Quick.cells() {
            assert_eq!(cell.instances, 1, "{cell} takes long");
        }
    }
}
