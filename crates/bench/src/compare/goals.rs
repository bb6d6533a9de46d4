//! Performance goals of Trunkline, and whether a run reached them. Except sizes and absolute rates, goals are ratios within
//! one run, so that they mean the same on every machine. Pure.

use serde::Serialize;

use super::{
    figures::Figure::{
        self, BusiestPerSend, Capacity, ConnectCpu, Connections, Deliveries, P50, P99, RedisPerSend, Sends, ServerCpu,
        ServerShare, TotalCpu, TotalPerSend,
    },
    growth_axis::GrowthAxis,
    plan::{
        BenchCell, BenchPlan,
        Peer::{
            self, Floor, FloorBatched, Nchan, SocketioRedis, SocketioStreams, Socketioxide, Trunkline, TrunklineMounted,
        },
        Workload::{self, Bystander, Connect, Flat, Idle, Latency, Memory, Paced, Publish, Rooms},
    },
    table::ResultTable,
};

/// A goal and its result.
#[derive(Debug, Serialize)]
pub(crate) struct Goal {
    pub(crate) what: String,
    /// The measured value, in the unit of its figure, or a ratio.
    pub(crate) value: Option<f64>,
    /// The value that it is compared with.
    pub(crate) limit: Option<f64>,
    /// `None` if one of the two values was not measured.
    pub(crate) reached: Option<bool>,
}

impl Goal {
    fn at_most(what: impl Into<String>, value: Option<f64>, limit: Option<f64>) -> Self {
        let reached = value.zip(limit).map(|(value, limit)| value <= limit);
        Self { what: what.into(), value, limit, reached }
    }

    fn at_least(what: impl Into<String>, value: Option<f64>, limit: Option<f64>) -> Self {
        let reached = value.zip(limit).map(|(value, limit)| value >= limit);
        Self { what: what.into(), value, limit, reached }
    }
}

/// All goals, evaluated for these results.
pub(crate) fn goals(table: &ResultTable) -> Vec<Goal> {
    let mut goals = latency(table);
    goals.extend(capacity(table));
    for sockets in [1000, 5000] {
        goals.extend(paced(table, sockets));
        goals.extend(flat(table, sockets));
    }

    let memory = table.get(Idle, 0, 1, Trunkline, Figure::Memory);
    goals.push(Goal::at_most("idle: memory per logged-in socket in one room at most 2.5 KiB", memory, Some(2.5)));
    let memory = table.get(Idle, 0, 1, TrunklineMounted, Figure::Memory);
    goals.push(Goal::at_most("idle: the same mounted in an App at most 14 KiB", memory, Some(14.0)));

    let connect = |peer| table.get(Connect, 0, 1, peer, ConnectCpu);
    let what = "connect: CPU with a session lookup at most that of socketioxide, which has no sessions";
    goals.push(Goal::at_most(what, connect(Trunkline), connect(Socketioxide)));
    let socketio = connect(SocketioRedis).into_iter().chain(connect(SocketioStreams)).reduce(f64::min);
    let what = "connect: CPU at most a fifth of Socket.IO's, which also looks up a session";
    goals.push(Goal::at_most(what, connect(Trunkline), times(0.2, socketio)));

    let growth = |peer| {
        let cpu = |sockets| table.get(Paced, sockets, 1, peer, ServerCpu);
        cpu(5000).zip(cpu(1000)).map(|(large, small)| large / small)
    };
    let what = "growth: CPU per delivery from 1,000 to 5,000 sockets grows no faster than the floor's";
    goals.push(Goal::at_most(what, growth(Trunkline), growth(Floor)));
    let what = "bystander: two instances without sockets in the rooms use at most a tenth of the CPU of one with them";
    let serving = table.get(Rooms, 0, 1, Trunkline, ServerCpu);
    goals.push(Goal::at_most(what, table.get(Bystander, 0, 3, Trunkline, ServerCpu), times(0.1, serving)));

    let rooms = |instances| table.get(Rooms, 0, instances, Trunkline, TotalCpu);
    let best = |instances| table.best(Rooms, 0, instances, TotalCpu);
    let what = "rooms of 5: CPU of server and Redis per delivery at most the best peer's";
    goals.push(Goal::at_most(what, rooms(1), best(1)));
    let what = "rooms of 5: the same with 3 instances at most 0.7 of the best peer's";
    goals.push(Goal::at_most(what, rooms(3), times(0.7, best(3))));

    let memory = |sockets| table.get(Memory, sockets, 1, Trunkline, Figure::Memory);
    let what = |sockets| format!("memory: at most 2.0 KiB of the gateway per socket with {sockets} idle sockets");
    goals.push(Goal::at_most(what("20,000"), memory(20_000), Some(2.0)));
    let rest = table.find(Trunkline, ServerShare, |cell| cell.axis == Some(GrowthAxis::QuietRooms));
    let what = "quiet rooms: an instance with 100,000 of them uses at most 2 % of a core";
    goals.push(Goal::at_most(what, rest, Some(2.0)));
    goals.extend(shards(table));

    let publish = |figure| table.get(Publish, 0, 1, Trunkline, figure);
    goals.push(Goal::at_least(
        "publish: at least 20,000 acknowledged sends per second",
        publish(Sends),
        Some(20_000.0),
    ));
    goals.push(Goal::at_most("publish: at most 30 µs of Redis per send", publish(RedisPerSend), Some(30.0)));
    goals
}

fn times(factor: f64, value: Option<f64>) -> Option<f64> {
    value.map(|value| factor * value)
}

/// Rooms of five, beside the quickest peer with Redis, and a room of 100, beside the one that is best there.
fn latency(table: &ResultTable) -> Vec<Goal> {
    let mut goals = Vec::new();
    let mut goal = |(rooms, rate, instances): (u32, u32, u32), figure: Figure, rival: Peer, factor: f64| {
        let of = |peer| {
            table.find(peer, figure, |cell| {
                cell.workload == Latency
                    && (cell.rate, cell.instances) == (rate, instances)
                    && (cell.rooms > 1) == (rooms > 1)
            })
        };
        let place = if rooms > 1 { "rooms of 5" } else { "one room of 100" };
        let what = format!(
            "latency, {place}, {rate} messages per second, {instances} instance(s): {} at most {factor} of {rival}'s",
            figure.heading()
        );
        goals.push(Goal::at_most(what, of(Trunkline), times(factor, of(rival))));
    };
    for (rate, instances) in [(1000, 1), (3000, 1), (1000, 3), (3000, 3)] {
        for (figure, factor) in [(P50, 1.5), (P99, 1.5), (TotalCpu, 1.0)] {
            goal((1000, rate, instances), figure, Socketioxide, factor);
        }
    }
    for (figure, factor) in [(P50, 1.5), (TotalCpu, 1.2)] {
        goal((1000, 100, 1), figure, Socketioxide, factor);
    }
    for (figure, factor) in [(P50, 1.25), (P99, 1.25), (TotalCpu, 1.0)] {
        goal((1, 200, 1), figure, Nchan, factor);
    }
    goals
}

fn capacity(table: &ResultTable) -> Vec<Goal> {
    let cells = BenchPlan::cells_on_request().iter().filter(|cell| cell.workload == Workload::Capacity);
    let goal = |cell: &BenchCell| {
        let of = |peer| table.find(peer, Capacity, |other| other == cell);
        let best = Peer::rivals().filter(|peer| peer.has_redis()).filter_map(of).reduce(f64::max);
        Goal::at_least(format!("{cell}: at least 1.3 of the best peer with Redis"), of(Trunkline), times(1.3, best))
    };
    cells.map(goal).collect()
}

fn shards(table: &ResultTable) -> [Goal; 5] {
    let of = |masters, figure| {
        table.find(Trunkline, figure, |cell| cell.workload == Workload::Shards && cell.masters == masters)
    };
    let busiest = |masters: u32| {
        let what = format!("shards: the busiest of {masters} masters does at most 1.15 of its share of their work");
        let share = times(1.15 / f64::from(masters), of(masters, RedisPerSend));
        Goal::at_most(what, of(masters, BusiestPerSend), share)
    };
    let total = |masters: u32| {
        let what = format!("shards: CPU per send with {masters} masters at most 1.15 of that with one");
        Goal::at_most(what, of(masters, TotalPerSend), times(1.15, of(1, TotalPerSend)))
    };
    let what = "shards: an instance has at most four connections to a master";
    [busiest(3), busiest(6), total(3), total(6), Goal::at_most(what, of(3, Connections), Some(4.0))]
}

fn paced(table: &ResultTable, sockets: u32) -> [Goal; 4] {
    let ours = |instances, figure| table.get(Paced, sockets, instances, Trunkline, figure);
    let floor = table.get(Paced, sockets, 1, Floor, ServerCpu);
    let best = |figure: Figure| table.best(Paced, sockets, 1, figure);
    let what = |rest: &str| format!("paced, {sockets} sockets: {rest}");
    [
        Goal::at_most(
            what("CPU per delivery at most 1.15 of the floor's"),
            ours(1, ServerCpu),
            floor.map(|f| 1.15 * f),
        ),
        Goal::at_most(what("CPU per delivery at most the best peer's"), ours(1, ServerCpu), best(ServerCpu)),
        Goal::at_most(
            what("CPU per delivery with 3 instances at most 1.25 of the floor's"),
            ours(3, ServerCpu),
            floor.map(|f| 1.25 * f),
        ),
        Goal::at_most(what("p99 at most the best peer's"), ours(1, P99), best(P99)),
    ]
}

fn flat(table: &ResultTable, sockets: u32) -> [Goal; 4] {
    let ours = |figure| table.get(Flat, sockets, 1, Trunkline, figure);
    let of = |peer| table.get(Flat, sockets, 1, peer, Deliveries);
    // At 1,000 sockets the floor batches more than any server that also reads from Redis can.
    let (of_floor, of_cpu) = if sockets < 5000 { (0.6, 0.5) } else { (0.85, 0.7) };
    let what = |rest: String| format!("flat out, {sockets} sockets: {rest}");
    let socketio = of(SocketioRedis).into_iter().chain(of(SocketioStreams)).reduce(f64::max);
    [
        Goal::at_least(
            what(format!("deliveries at least {of_floor} of the batching floor's")),
            ours(Deliveries),
            of(FloorBatched).map(|floor| of_floor * floor),
        ),
        Goal::at_least(
            what("deliveries at least the best peer's".to_owned()),
            ours(Deliveries),
            table.best(Flat, sockets, 1, Deliveries),
        ),
        Goal::at_most(
            what(format!("CPU per delivery at most {of_cpu} of the best peer's")),
            ours(ServerCpu),
            table.best(Flat, sockets, 1, ServerCpu).map(|best| of_cpu * best),
        ),
        Goal::at_least(
            what("deliveries at least 15 times Socket.IO's".to_owned()),
            ours(Deliveries),
            socketio.map(|rate| 15.0 * rate),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{
        figures::FigureValues,
        plan::Peer::Nats,
        table::{CellRounds, tests::table},
    };

    fn reached(goals: &[Goal], words: &str) -> Option<bool> {
        let mut found = goals.iter().filter(|goal| goal.what.contains(words));
        let goal = found.next().unwrap_or_else(|| panic!("no goal {words}"));
        assert!(found.next().is_none(), "two goals {words}");
        goal.reached
    }

    #[test]
    fn goals_without_measurements_are_undecided() {
        let goals = goals(&table(&[]));
        assert_eq!(goals.len(), 56);
        // Absolute limits are set, but there is no value to compare.
        assert!(goals.iter().all(|goal| goal.reached.is_none() && goal.value.is_none()));
    }

    #[test]
    fn latency_and_capacity_are_compared_in_the_same_cell() {
        let goals = goals(&table(&[
            // The first cells of these workloads: rooms of five at 100 messages per second, and one room of 1,000.
            (Latency, 5000, 1, Socketioxide, P50, 0.4),
            (Latency, 5000, 1, Trunkline, P50, 0.59),
            (Latency, 5000, 1, Socketioxide, TotalCpu, 50.0),
            (Latency, 5000, 1, Trunkline, TotalCpu, 61.0),
            (Workload::Capacity, 1000, 1, Nats, Capacity, 300.0),
            (Workload::Capacity, 1000, 1, Nchan, Capacity, 100.0),
            (Workload::Capacity, 1000, 1, Trunkline, Capacity, 131.0),
        ]));
        assert_eq!(reached(&goals, "100 messages per second, 1 instance(s): p50"), Some(true));
        assert_eq!(reached(&goals, "100 messages per second, 1 instance(s): both"), Some(false));
        assert_eq!(reached(&goals, "rooms of 5, 1000 messages per second, 1 instance(s): p50"), None);
        assert_eq!(reached(&goals, "capacity 1000/1×1"), Some(true), "nats has no Redis");
        assert_eq!(reached(&goals, "capacity 5000/1000×1"), None);
    }

    #[test]
    fn shards_are_compared_with_one_master() {
        let cells = BenchPlan::cells_on_request();
        let of = |masters| *cells.iter().find(|cell| cell.masters == masters).unwrap();
        let rows = [(1, 100.0, 30.0), (3, 114.0, 11.6), (6, 116.0, 5.0)].map(|(masters, total, busiest)| {
            let figures = FigureValues::from([(TotalPerSend, total), (RedisPerSend, 30.0), (BusiestPerSend, busiest)]);
            ((of(masters), Trunkline), CellRounds { figures: vec![figures], ..CellRounds::default() })
        });
        let goals = goals(&ResultTable::new(cells, rows.into()));
        assert_eq!(reached(&goals, "CPU per send with 3 masters"), Some(true));
        assert_eq!(reached(&goals, "CPU per send with 6 masters"), Some(false));
        assert_eq!(reached(&goals, "busiest of 3 masters"), Some(false));
        assert_eq!(reached(&goals, "busiest of 6 masters"), Some(true));
    }

    #[test]
    fn goals_are_ratios_within_a_run() {
        let goals = goals(&table(&[
            (Paced, 1000, 1, Floor, ServerCpu, 4.0),
            (Paced, 5000, 1, Floor, ServerCpu, 6.0),
            (Paced, 1000, 1, Nchan, ServerCpu, 5.0),
            (Paced, 1000, 1, Nats, ServerCpu, 15.0),
            (Paced, 1000, 1, Trunkline, ServerCpu, 4.7),
            (Paced, 5000, 1, Trunkline, ServerCpu, 6.5),
            (Paced, 1000, 3, Trunkline, ServerCpu, 4.9),
            (Rooms, 0, 1, Trunkline, ServerCpu, 40.0),
            (Bystander, 0, 3, Trunkline, ServerCpu, 3.0),
            (Flat, 1000, 1, SocketioRedis, Deliveries, 10.0),
            (Flat, 1000, 1, SocketioStreams, Deliveries, 20.0),
            (Flat, 1000, 1, Trunkline, Deliveries, 299.0),
            (Idle, 0, 1, Trunkline, Figure::Memory, 2.5),
            (Publish, 0, 1, Trunkline, Sends, 19_999.0),
        ]));
        assert_eq!(reached(&goals, "paced, 1000 sockets: CPU per delivery at most 1.15"), Some(false));
        assert_eq!(reached(&goals, "paced, 1000 sockets: CPU per delivery at most the best"), Some(true));
        assert_eq!(reached(&goals, "paced, 1000 sockets: CPU per delivery with 3"), Some(true));
        assert_eq!(reached(&goals, "paced, 5000 sockets: CPU per delivery at most 1.15"), Some(true));
        assert_eq!(reached(&goals, "growth"), Some(true));
        assert_eq!(reached(&goals, "bystander"), Some(true));
        assert_eq!(reached(&goals, "flat out, 1000 sockets: deliveries at least 15"), Some(false));
        assert_eq!(reached(&goals, "flat out, 1000 sockets: deliveries at least the best"), Some(true));
        assert_eq!(reached(&goals, "flat out, 1000 sockets: deliveries at least 0.6"), None);
        assert_eq!(reached(&goals, "idle: memory per logged-in"), Some(true));
        assert_eq!(reached(&goals, "sends per second"), Some(false));
    }
}
