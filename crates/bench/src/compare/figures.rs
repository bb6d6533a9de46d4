//! From what a load counted to figures, and from figures of several rounds to their median. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::plan::{BenchCell, Peer, Workload};

/// What `trunkline-bench load` tells. CPU time is user and system time of all threads, in microseconds.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LoadResult {
    /// Length of the measured window.
    seconds: f64,
    acknowledged: Option<f64>,
    delivered: f64,
    lost: f64,
    server_cpu_us: f64,
    redis_cpu_us: Option<f64>,
    latency_us: Option<LatencyResult>,
    connects: Option<f64>,
    connect_seconds: Option<f64>,
    connect_cpu_us: Option<f64>,
    /// Resident memory, shared pages divided among those who share them.
    pss_kib_before: Option<f64>,
    pss_kib_after: Option<f64>,
}

/// From the intended time of a send to its delivery, in microseconds.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct LatencyResult {
    p50: f64,
    p99: f64,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    /// CPU of the servers for a delivery, µs.
    ServerCpu,
    /// CPU of Redis for a delivery, µs.
    RedisCpu,
    /// Both.
    TotalCpu,
    /// Deliveries a second.
    Deliveries,
    /// Half of the deliveries took no longer, ms.
    P50,
    /// 99 of 100 deliveries took no longer, ms.
    P99,
    /// Growth of the servers' memory for a socket, KiB. The kernel's is not in it.
    Memory,
    /// CPU of the servers for a handshake, µs.
    ConnectCpu,
    /// Handshakes a second.
    Connects,
    /// Acknowledged sends a second.
    Sends,
    /// CPU of Redis for an acknowledged send, µs.
    RedisPerSend,
    /// Deliveries that did not come.
    Lost,
}

impl Figure {
    /// The heading of its column.
    pub(crate) fn heading(self) -> &'static str {
        match self {
            Self::ServerCpu => "server µs",
            Self::RedisCpu => "Redis µs",
            Self::TotalCpu => "both µs",
            Self::Deliveries => "deliv./s",
            Self::P50 => "p50 ms",
            Self::P99 => "p99 ms",
            Self::Memory => "KiB/conn.",
            Self::ConnectCpu => "µs/connect",
            Self::Connects => "connects/s",
            Self::Sends => "sends/s",
            Self::RedisPerSend => "Redis µs/send",
            Self::Lost => "lost",
        }
    }

    /// Whether less is better.
    pub(crate) fn is_cost(self) -> bool {
        !matches!(self, Self::Deliveries | Self::Connects | Self::Sends)
    }
}

impl Workload {
    /// The figure that it is there for, by which ratios are taken.
    pub(crate) fn figure(self) -> Figure {
        match self {
            Self::Paced | Self::Bystander => Figure::ServerCpu,
            Self::Flat => Figure::Deliveries,
            Self::Rooms | Self::Mixed => Figure::TotalCpu,
            Self::Idle => Figure::Memory,
            Self::Connect | Self::Herd => Figure::ConnectCpu,
            Self::Publish => Figure::Sends,
            Self::Recovery => Figure::Lost,
        }
    }
}

/// The figures of one run; what was not counted is left out.
pub(crate) type FigureValues = BTreeMap<Figure, f64>;

/// What one run shows.
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
    /// How many were taken.
    pub(crate) rounds: usize,
}

impl Spread {
    /// Of an even number of values the median is the mean of the middle two. Nothing of no values.
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
    fn the_median_of_odd_and_even() {
        let spread = |values: &[f64]| Spread::of(values.to_vec()).map(|spread| (spread.median, spread.min, spread.max));
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[7.0]), Some((7.0, 7.0, 7.0)));
        assert_eq!(spread(&[9.0, 1.0, 3.0]), Some((3.0, 1.0, 9.0)));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 9.0]), Some((3.0, 1.0, 9.0)));
    }

    #[test]
    fn costs_are_divided_by_what_was_delivered() {
        let told = r#"{"dialect":"nchan","seconds":2.0,"sent":20,"acknowledged":20,"delivered":20000,"lost":0,
            "server_cpu_us":100000,"redis_cpu_us":2000,"latency_us":{"p50":500,"p90":1,"p99":2500,"p999":1,"max":9}}"#;
        let shown = figures(&cell(Workload::Paced), Peer::Nchan, &serde_json::from_str(told).unwrap());
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
    fn what_was_not_counted_is_left_out() {
        let nothing = LoadResult { seconds: 3.0, ..LoadResult::default() };
        assert_eq!(
            figures(&cell(Workload::Paced), Peer::Nats, &nothing).keys().collect::<Vec<_>>(),
            [&Figure::Deliveries, &Figure::Lost]
        );
        assert!(figures(&cell(Workload::Idle), Peer::Nats, &nothing).is_empty());
        assert_eq!(figures(&cell(Workload::Connect), Peer::Nats, &nothing).len(), 1, "nothing was lost");
    }

    #[test]
    fn memory_is_growth_per_socket_and_rounds_are_gathered() {
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
