//! Computes figures from the counts of a load, and medians from the figures of several rounds. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::plan::{BenchCell, Peer, Workload};

/// Minimum number of joins whose cost is a figure. With fewer, it is mostly what else the server did meanwhile.
const MIN_JOINS: f64 = 100.0;

/// The JSON that `trunkline-bench load` prints. CPU time is user plus system time of all threads, in µs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LoadResult {
    /// Length of the measured window in seconds.
    seconds: f64,
    acknowledged: Option<f64>,
    delivered: f64,
    lost: f64,
    server_cpu_us: f64,
    redis_cpu_us: Option<f64>,
    pub(super) redis_cpu_us_each: Vec<f64>,
    sent: f64,
    latency_us: Option<LatencyResult>,
    capacity: Option<f64>,
    /// Steps of the search for the capacity.
    steps: Vec<OfferedLoad>,
    connects: Option<f64>,
    connect_seconds: Option<f64>,
    connect_cpu_us: Option<f64>,
    /// Proportional set size (PSS) of the servers.
    pub(super) pss_kib_before: Option<f64>,
    pub(super) pss_kib_after: Option<f64>,
}

impl LoadResult {
    /// The counts of load generators that ran at the same time, without latencies.
    pub(super) fn sum(results: Vec<Self>) -> Self {
        let add = |a: Option<f64>, b: Option<f64>| a.into_iter().chain(b).reduce(|a, b| a + b);
        results.into_iter().fold(Self::default(), |sum, result| Self {
            seconds: sum.seconds.max(result.seconds),
            delivered: sum.delivered + result.delivered,
            lost: sum.lost + result.lost,
            sent: sum.sent + result.sent,
            server_cpu_us: sum.server_cpu_us + result.server_cpu_us,
            redis_cpu_us: add(sum.redis_cpu_us, result.redis_cpu_us),
            connects: add(sum.connects, result.connects),
            connect_cpu_us: add(sum.connect_cpu_us, result.connect_cpu_us),
            ..Self::default()
        })
    }
}

/// One step of a search for the capacity.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct OfferedLoad {
    /// Messages per second.
    pub(crate) rate: f64,
    latency_us: LatencyResult,
    pub(crate) is_sustained: bool,
}

impl OfferedLoad {
    /// In ms.
    pub(crate) fn p99(&self) -> f64 {
        self.latency_us.p99 / 1000.0
    }
}

/// Time from the intended send to the delivery, in µs.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
struct LatencyResult {
    p50: f64,
    p99: f64,
    p999: f64,
}

/// A quantity that is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    /// CPU time of the servers per delivery, µs.
    ServerCpu,
    /// CPU time of Redis per delivery, µs.
    RedisCpu,
    /// CPU time of the servers and Redis per delivery, µs.
    TotalCpu,
    /// Deliveries per second.
    Deliveries,
    /// Median latency, ms.
    P50,
    /// 99th percentile of the latency, ms.
    P99,
    /// Quantile 99.9 % of the latency, ms.
    P999,
    /// Highest sustained rate, messages per second.
    Capacity,
    /// CPU time of the servers per joined room, µs: handshakes, with a session lookup, and joins.
    JoinCpu,
    /// CPU time of the servers, % of a core.
    ServerShare,
    /// CPU time of Redis, % of a core.
    RedisShare,
    /// Growth of the servers' memory per socket, KiB. Memory of the kernel is not included.
    Memory,
    /// Growth of the kernel's memory per socket, KiB: objects of both ends of a connection, halved, and TCP buffers.
    KernelMemory,
    /// Number of sockets.
    Sockets,
    /// CPU time of the servers per send, µs.
    ServerPerSend,
    /// CPU time of servers and all masters per send, µs.
    TotalPerSend,
    /// CPU time of the busiest master per send of all, µs.
    BusiestPerSend,
    /// Connections per instance to the master that has the most.
    Connections,
    /// Sharded subscriptions of one instance, over all masters.
    Subscriptions,
    /// Memory of one instance, MiB.
    InstanceMemory,
    /// Time from a killed master to the first acknowledged send to one of its rooms, s.
    Failover,
    /// CPU time of the servers per handshake, µs.
    ConnectCpu,
    /// Handshakes per second.
    Connects,
    /// Acknowledged sends per second.
    Sends,
    /// CPU time of Redis per acknowledged send, µs.
    RedisPerSend,
    /// Expected deliveries that did not arrive.
    Lost,
}

impl Figure {
    /// Heading of the column.
    pub(crate) fn heading(self) -> &'static str {
        match self {
            Self::ServerCpu => "server µs",
            Self::RedisCpu => "Redis µs",
            Self::TotalCpu => "both µs",
            Self::Deliveries => "deliv./s",
            Self::P50 => "p50 ms",
            Self::P99 => "p99 ms",
            Self::P999 => "p99.9 ms",
            Self::Capacity => "messages/s",
            Self::JoinCpu => "µs/join",
            Self::ServerShare => "% of a core",
            Self::RedisShare => "Redis %",
            Self::Memory => "KiB/conn.",
            Self::KernelMemory => "kernel KiB",
            Self::Sockets => "sockets",
            Self::ServerPerSend => "µs/send",
            Self::TotalPerSend => "both µs/send",
            Self::BusiestPerSend => "busiest µs",
            Self::Connections => "conn./master",
            Self::Subscriptions => "subscriptions",
            Self::InstanceMemory => "MiB/instance",
            Self::Failover => "failover s",
            Self::ConnectCpu => "µs/connect",
            Self::Connects => "connects/s",
            Self::Sends => "sends/s",
            Self::RedisPerSend => "Redis µs/send",
            Self::Lost => "lost",
        }
    }

    /// Whether smaller values are better.
    pub(crate) fn is_cost(self) -> bool {
        !matches!(self, Self::Deliveries | Self::Connects | Self::Sends | Self::Capacity | Self::Sockets)
    }
}

impl Workload {
    /// The main figure of the workload, from which ratios are computed.
    pub(crate) fn figure(self) -> Figure {
        match self {
            Self::Paced | Self::Bystander => Figure::ServerCpu,
            Self::Flat => Figure::Deliveries,
            Self::Rooms | Self::Mixed => Figure::TotalCpu,
            Self::Idle | Self::Memory => Figure::Memory,
            Self::Shards => Figure::TotalPerSend,
            Self::Growth => Figure::ServerPerSend,
            Self::Connect | Self::Herd => Figure::ConnectCpu,
            Self::Publish => Figure::Sends,
            Self::Recovery => Figure::Lost,
            Self::Latency => Figure::P99,
            Self::Capacity => Figure::Capacity,
        }
    }
}

/// Figures of one measurement. Quantities that were not measured are absent.
pub(crate) type FigureValues = BTreeMap<Figure, f64>;

/// One measurement.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) figures: FigureValues,
    /// Empty without a search for the capacity.
    pub(crate) steps: Vec<OfferedLoad>,
}

impl Measured {
    pub(crate) fn new(cell: &BenchCell, peer: Peer, run: LoadResult) -> Self {
        Self { figures: figures(cell, peer, &run), steps: run.steps }
    }
}

/// Computes the figures of one measurement.
pub(crate) fn figures(cell: &BenchCell, peer: Peer, run: &LoadResult) -> FigureValues {
    let per = |amount: f64, count: f64| (count > 0.0).then_some(amount / count);
    let redis = if peer.has_redis() { run.redis_cpu_us } else { None };
    let both = run.server_cpu_us + redis.unwrap_or_default();
    let mut figures = FigureValues::new();
    let mut put = |figure, value: Option<f64>| figures.extend(value.map(|value| (figure, value)));
    match cell.workload {
        Workload::Idle => {
            let growth = run.pss_kib_after.zip(run.pss_kib_before).map(|(after, before)| after - before);
            put(Figure::Memory, growth.and_then(|growth| per(growth, cell.sockets.into())));
        }
        Workload::Shards => {
            put(Figure::ServerPerSend, per(run.server_cpu_us, run.sent));
            put(Figure::RedisPerSend, redis.and_then(|cpu| per(cpu, run.sent)));
            put(Figure::TotalPerSend, per(both, run.sent));
            let busiest = run.redis_cpu_us_each.iter().copied().reduce(f64::max);
            put(Figure::BusiestPerSend, busiest.and_then(|cpu| per(cpu, run.sent)));
            let instances = f64::from(cell.instances);
            put(Figure::InstanceMemory, run.pss_kib_after.map(|kib| kib / 1024.0 / instances));
            put(Figure::P99, run.latency_us.as_ref().map(|times| times.p99 / 1000.0));
            put(Figure::Lost, Some(run.lost));
        }
        Workload::Growth => {
            put(Figure::ServerCpu, per(run.server_cpu_us, run.delivered));
            put(Figure::RedisCpu, redis.and_then(|cpu| per(cpu, run.delivered)));
            put(Figure::ServerPerSend, per(run.server_cpu_us, run.sent));
            put(Figure::RedisPerSend, redis.and_then(|cpu| per(cpu, run.sent)));
            // 1 % of a core is 10 ms per second.
            put(Figure::ServerShare, per(run.server_cpu_us / 10_000.0, run.seconds));
            put(Figure::RedisShare, redis.and_then(|cpu| per(cpu / 10_000.0, run.seconds)));
            let joins = run.connects.unwrap_or_default() * f64::from(cell.rooms_per_socket);
            put(Figure::JoinCpu, run.connect_cpu_us.filter(|_| joins >= MIN_JOINS).and_then(|cpu| per(cpu, joins)));
            put(Figure::Lost, Some(run.lost));
        }
        Workload::Connect | Workload::Herd => {
            let connects = run.connects.unwrap_or_default();
            put(Figure::ConnectCpu, run.connect_cpu_us.and_then(|cpu| per(cpu, connects)));
            put(Figure::Connects, run.connect_seconds.and_then(|seconds| per(connects, seconds)));
            put(Figure::Lost, Some(run.lost));
        }
        Workload::Publish => {
            put(Figure::Sends, run.acknowledged.and_then(|acknowledged| per(acknowledged, run.seconds)));
            put(Figure::RedisPerSend, run.acknowledged.zip(redis).and_then(|(sends, cpu)| per(cpu, sends)));
            put(Figure::Lost, Some(run.lost));
        }
        _ => {
            put(Figure::ServerCpu, per(run.server_cpu_us, run.delivered));
            put(Figure::RedisCpu, redis.and_then(|cpu| per(cpu, run.delivered)));
            put(Figure::TotalCpu, per(both, run.delivered));
            put(Figure::Deliveries, per(run.delivered, run.seconds));
            put(Figure::P50, run.latency_us.as_ref().map(|times| times.p50 / 1000.0));
            put(Figure::P99, run.latency_us.as_ref().map(|times| times.p99 / 1000.0));
            if matches!(cell.workload, Workload::Latency | Workload::Capacity) {
                put(Figure::P999, run.latency_us.as_ref().map(|times| times.p999 / 1000.0));
                put(Figure::Capacity, run.capacity);
            }
            put(Figure::Lost, Some(run.lost));
        }
    }
    figures
}

/// A figure over several rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// Number of rounds.
    pub(crate) rounds: usize,
}

impl Spread {
    /// Median and extremes. The median of an even number of values is the mean of the middle two. `None` without values.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let rounds = values.len();
        let median = f64::midpoint(values[(rounds - 1) / 2], values[rounds / 2]);
        Some(Self { median, min, max, rounds })
    }
}

/// The spread of each figure over the rounds of a cell.
pub(crate) fn spreads(rounds: &[FigureValues]) -> BTreeMap<Figure, Spread> {
    let all: BTreeMap<Figure, Vec<f64>> = rounds.iter().flatten().fold(BTreeMap::new(), |mut all, (figure, value)| {
        all.entry(*figure).or_insert_with(Vec::new).push(*value);
        all
    });
    all.into_iter().filter_map(|(figure, values)| Some((figure, Spread::of(values)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::plan::BenchPlan;

    fn cell(workload: Workload) -> BenchCell {
        *BenchPlan::Full.cells().iter().find(|cell| cell.workload == workload).unwrap()
    }

    #[test]
    fn median_is_computed_for_odd_and_even_counts() {
        let spread = |values: &[f64]| Spread::of(values.to_vec()).map(|spread| (spread.median, spread.min, spread.max));
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[7.0]), Some((7.0, 7.0, 7.0)));
        assert_eq!(spread(&[9.0, 1.0, 3.0]), Some((3.0, 1.0, 9.0)));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 9.0]), Some((3.0, 1.0, 9.0)));
    }

    #[test]
    fn costs_are_divided_by_deliveries() {
        let json = r#"{"dialect":"nchan","seconds":2.0,"sent":20,"acknowledged":20,"delivered":20000,"lost":0,
            "server_cpu_us":100000,"redis_cpu_us":2000,"latency_us":{"p50":500,"p90":1,"p99":2500,"p999":1,"max":9}}"#;
        let shown = figures(&cell(Workload::Paced), Peer::Nchan, &serde_json::from_str(json).unwrap());
        let expected = [
            (Figure::ServerCpu, 5.0),
            (Figure::RedisCpu, 0.1),
            (Figure::TotalCpu, 5.1),
            (Figure::Deliveries, 10_000.0),
            (Figure::P50, 0.5),
            (Figure::P99, 2.5),
            (Figure::Lost, 0.0),
        ];
        assert_eq!(shown, FigureValues::from(expected));
    }

    #[test]
    fn results_of_several_load_generators_add_up() {
        let json = r#"{"seconds":2.0,"sent":100,"delivered":1000,"server_cpu_us":4000,"redis_cpu_us":500,"connects":20,
            "connect_cpu_us":2000,"lost":0}"#;
        let run = || serde_json::from_str::<LoadResult>(json).unwrap();
        let cell = *BenchPlan::cells_on_request().iter().find(|cell| cell.rooms_per_socket == 10).unwrap();
        let shown = figures(&cell, Peer::Trunkline, &LoadResult::sum(vec![run(), run()]));
        assert_eq!(
            (shown[&Figure::ServerCpu], shown[&Figure::ServerPerSend], shown[&Figure::RedisPerSend]),
            (4.0, 40.0, 5.0)
        );
        assert_eq!((shown[&Figure::JoinCpu], shown[&Figure::ServerShare]), (10.0, 0.4));
    }

    #[test]
    fn capacity_has_its_rate_and_the_latencies_at_that_rate() {
        let json = r#"{"seconds":2.0,"delivered":4000,"server_cpu_us":8000,"capacity":400.0,
            "latency_us":{"p50":1000,"p99":40000,"p999":45000}}"#;
        let cell = *BenchPlan::cells_on_request().iter().find(|cell| cell.workload == Workload::Capacity).unwrap();
        let shown = figures(&cell, Peer::Nats, &serde_json::from_str(json).unwrap());
        assert_eq!((shown[&Figure::Capacity], shown[&Figure::P999], shown[&Figure::TotalCpu]), (400.0, 45.0, 2.0));
    }

    #[test]
    fn quantities_that_were_not_measured_are_absent() {
        let nothing = LoadResult { seconds: 3.0, ..LoadResult::default() };
        assert_eq!(
            figures(&cell(Workload::Paced), Peer::Nats, &nothing).keys().collect::<Vec<_>>(),
            [&Figure::Deliveries, &Figure::Lost]
        );
        assert!(figures(&cell(Workload::Idle), Peer::Nats, &nothing).is_empty());
        assert_eq!(figures(&cell(Workload::Connect), Peer::Nats, &nothing).len(), 1, "nothing was lost");
    }

    #[test]
    fn memory_is_growth_per_socket_over_all_rounds() {
        let idle = cell(Workload::Idle);
        let run = |after| {
            let (pss_kib_before, pss_kib_after) = (Some(1000.0), Some(after));
            figures(&idle, Peer::Nats, &LoadResult { pss_kib_before, pss_kib_after, ..LoadResult::default() })
        };
        let sockets = f64::from(idle.sockets);
        let spreads = spreads(&[run(1000.0 + 2.0 * sockets), FigureValues::new(), run(1000.0 + 4.0 * sockets)]);
        assert_eq!(spreads[&Figure::Memory], Spread { median: 3.0, min: 2.0, max: 4.0, rounds: 2 });
    }
}
