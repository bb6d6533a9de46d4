//! The results of a run as text, JSON and HTML.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use serde::Serialize;

use super::{
    figures::Figure,
    goals::Goal,
    growth_axis::GrowthFit,
    growth_report::growth_text,
    machine::MachineInfo,
    page::comparison_page,
    plan::{BenchCell, Peer, RoomSizes, Workload},
    table::{ResultTable, TableRow},
};
use trunkline_chaos::{RecoveryResult, write_report};

use crate::error::Result;

/// Systems that should be compared and that no package registry has.
pub(crate) const UNAVAILABLE_SYSTEMS: [&str; 3] = ["Centrifugo", "AnyCable", "Phoenix"];

pub(super) const RECOVERY_TITLE: &str =
    "recovery: one of 3 servers killed, 1000 clients in 20 rooms, 20 messages per second";
pub(super) const RECOVERY_HEADINGS: [&str; 8] =
    ["acknowledged", "delivered", "lost", "duplicated", "sockets cut", "never back", "p50 ms", "p99 ms"];

/// The results of a run.
#[derive(Debug, Serialize)]
pub(crate) struct ComparisonReport {
    /// The command line.
    pub(crate) command: String,
    pub(crate) machine: MachineInfo,
    pub(crate) versions: BTreeMap<&'static str, String>,
    /// Peers that are not available on this machine, with the reason.
    pub(crate) missing: BTreeMap<Peer, String>,
    /// Systems that npm, crates.io, PyPI and Debian do not have.
    pub(crate) unavailable_systems: [&'static str; 3],
    pub(crate) rows: ResultTable,
    pub(crate) recovery: BTreeMap<Peer, RecoveryResult>,
    pub(crate) goals: Vec<Goal>,
    pub(crate) growth: Vec<GrowthFit>,
    /// Number of measurements that were left out because the time was over.
    pub(crate) left_out: usize,
    pub(crate) seconds: u64,
}

/// Columns of a workload's table.
pub(super) fn columns(workload: Workload) -> &'static [Figure] {
    use Figure::{
        BusiestPerSend, Capacity, ConnectCpu, Connections, Connects, Deliveries, Failover, InstanceMemory,
        KernelMemory, Lost, Memory, P50, P99, P999, RedisCpu, RedisPerSend, Sends, ServerCpu, ServerPerSend, Sockets,
        Subscriptions, TotalCpu, TotalPerSend,
    };
    match workload {
        Workload::Idle => &[Memory],
        Workload::Memory => &[Sockets, Memory, KernelMemory],
        Workload::Shards => &[
            TotalPerSend,
            ServerPerSend,
            RedisPerSend,
            BusiestPerSend,
            Connections,
            Subscriptions,
            InstanceMemory,
            Failover,
            P99,
            Lost,
        ],
        Workload::Connect => &[ConnectCpu, Connects],
        Workload::Herd => &[ConnectCpu, Connects, Lost],
        Workload::Publish => &[Sends, RedisPerSend, Lost],
        Workload::Latency => &[TotalCpu, ServerCpu, RedisCpu, P50, P99, P999, Lost],
        Workload::Capacity => &[Capacity, Deliveries, TotalCpu, P50, P99],
        Workload::Rooms | Workload::Mixed => &[ServerCpu, RedisCpu, TotalCpu, Deliveries, P50, P99, Lost],
        _ => &[ServerCpu, RedisCpu, Deliveries, P50, P99, Lost],
    }
}

/// Title of a cell's table.
pub(super) fn title(cell: &BenchCell) -> String {
    let BenchCell { workload, sockets, rooms, instances, rate, sizes, masters, .. } = *cell;
    match (workload, sockets) {
        (Workload::Memory, 0) => return "memory: as many idle sockets as the machine holds".to_owned(),
        (Workload::Memory, _) => return format!("memory: {sockets} idle sockets in rooms of 1000"),
        _ => {}
    }
    let rooms = if rooms == 1 { "one room".to_owned() } else { format!("{rooms} rooms") };
    let instances = if instances == 1 { "1 instance".to_owned() } else { format!("{instances} instances") };
    let rooms = if sizes == RoomSizes::Mixed { format!("{rooms} of different sizes") } else { rooms };
    let masters = if masters == 1 { "1 master".to_owned() } else { format!("{masters} masters") };
    let rest = match workload {
        Workload::Latency => format!(", {rate} messages per second"),
        Workload::Shards => format!(", {rate} messages per second, {masters}"),
        _ => String::new(),
    };
    format!("{workload}: {sockets} sockets, {rooms}, {instances}{rest}")
}

/// Formats a value with about three significant digits, which is the precision of the figures.
pub(super) fn shown(value: f64) -> String {
    match value.abs() {
        size if size >= 1_000_000.0 => format!("{:.2}M", value / 1e6),
        size if size >= 10_000.0 => format!("{:.0}k", value / 1e3),
        size if size >= 100.0 || value == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

pub(super) fn maybe(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), shown)
}

impl Goal {
    pub(super) fn word(&self) -> &'static str {
        match self.reached {
            Some(true) => "reached",
            Some(false) => "not reached",
            None => "not measured",
        }
    }
}

impl ComparisonReport {
    /// All tables and goals as text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for cell in self.rows.cells().iter().filter(|cell| cell.axis.is_none()) {
            text += &self.cell(cell);
        }
        text += &growth_text(self);
        text += &self.recovery_text();
        _ = write!(text, "\nGoals");
        for goal in self.goals.iter().filter(|goal| goal.reached.is_some()) {
            let (value, limit) = (maybe(goal.value), maybe(goal.limit));
            _ = write!(text, "\n  {:<13}{value:>8} against {limit:>7}  {}", goal.word(), goal.what);
        }
        for (peer, why) in &self.missing {
            _ = write!(text, "\n{peer} is not available: {why}");
        }
        _ = write!(
            text,
            "\nNot compared, because no package registry has them: {}.",
            self.unavailable_systems.join(", ")
        );
        text
    }

    fn cell(&self, cell: &BenchCell) -> String {
        let columns = columns(cell.workload);
        let mut text = format!("\n{}\n{:<18}", title(cell), "");
        for figure in columns {
            _ = write!(text, "{:>14}", figure.heading());
        }
        _ = write!(text, "{:>10}{:>10}{:>8}", "× floor", "× best", "rounds");
        for row in self.rows.0.iter().filter(|row| row.cell == *cell) {
            _ = write!(text, "\n  {:<16}", row.peer);
            for figure in columns {
                _ = write!(text, "{:>14}", maybe(row.figures.get(figure).map(|spread| spread.median)));
            }
            let rounds = row.figures.values().map(|spread| spread.rounds).max().unwrap_or(0);
            _ = write!(text, "{:>10}{:>10}{rounds:>8}", maybe(row.to_floor), maybe(row.to_best));
            _ = write!(text, "{}", spread(row));
            if let Some(error) = &row.error {
                _ = write!(text, "  ! {}", error.lines().last().unwrap_or_default().trim());
            }
        }
        text + "\n"
    }

    fn recovery_text(&self) -> String {
        if self.recovery.is_empty() {
            return String::new();
        }
        let mut text = format!("\n{RECOVERY_TITLE}\n{:<18}", "");
        RECOVERY_HEADINGS.iter().for_each(|head| _ = write!(text, "{head:>14}"));
        for (peer, recovery) in &self.recovery {
            _ = write!(text, "\n  {peer:<16}");
            recovery_columns(recovery).iter().for_each(|cell| _ = write!(text, "{cell:>14}"));
        }
        text + "\n"
    }

    /// Numbers of goals that were reached, not reached and not measured, in one line.
    pub(crate) fn summary(&self) -> String {
        let count = |reached| self.goals.iter().filter(|goal| goal.reached == reached).count();
        let errors = self.rows.0.iter().filter(|row| row.error.is_some()).count();
        format!(
            "{} goals reached, {} not, {} not measured; {errors} measurements failed, {} left out because the time was over; {} s",
            count(Some(true)),
            count(Some(false)),
            count(None),
            self.left_out,
            self.seconds
        )
    }

    /// Writes `report.json` and `report.html`.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        Ok(write_report(folder, self, &comparison_page(self))?)
    }
}

/// The columns of a recovery result, in the order of [`RECOVERY_HEADINGS`].
pub(super) fn recovery_columns(result: &RecoveryResult) -> [String; 8] {
    let RecoveryResult { acknowledged, delivered, lost, duplicated, closed, never_back, p50, p99 } = result;
    let [p50, p99] = [p50, p99].map(|time| shown(*time));
    let [a, b, c, d, e, f] = [acknowledged, delivered, lost, duplicated, closed, never_back].map(u64::to_string);
    [a, b, c, d, e, f, p50, p99]
}

/// Minimum and maximum of the workload's main figure, if it was measured more than once.
pub(super) fn spread(row: &TableRow) -> String {
    match row.figures.get(&row.cell.workload.figure()) {
        Some(spread) if spread.rounds > 1 => format!("  {} … {}", shown(spread.min), shown(spread.max)),
        _ => String::new(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::compare::{goals::goals, table::tests::table};

    pub(crate) fn report() -> ComparisonReport {
        use Figure::{Memory, P99, ServerCpu};
        use Peer::{Floor, Nchan, Trunkline};
        use Workload::{Idle, Paced};
        let mut rows = table(&[
            (Paced, 1000, 1, Floor, ServerCpu, 4.0),
            (Paced, 1000, 1, Nchan, ServerCpu, 8.0),
            (Paced, 1000, 1, Trunkline, ServerCpu, 4.5),
            (Paced, 1000, 1, Trunkline, ServerCpu, 4.1),
            (Paced, 5000, 1, Trunkline, P99, 1234.0),
            (Idle, 0, 1, Trunkline, Memory, 1.5),
        ]);
        rows.0[1].error = Some("nchan 1 ended: <killed>\nmore".to_owned());
        let recovery = RecoveryResult {
            acknowledged: 400,
            delivered: 20_000,
            lost: 7,
            duplicated: 1,
            closed: 333,
            never_back: 0,
            p50: 1200.0,
            p99: 15_000.0,
        };
        ComparisonReport {
            command: "cargo xtask bench --quick".to_owned(),
            machine: MachineInfo::read(),
            versions: BTreeMap::from([("nginx", "1 & 2".to_owned())]),
            missing: BTreeMap::from([(Peer::Nats, "no pip".to_owned())]),
            unavailable_systems: UNAVAILABLE_SYSTEMS,
            goals: goals(&rows),
            growth: Vec::new(),
            rows,
            recovery: BTreeMap::from([(Peer::SocketioRedis, recovery)]),
            left_out: 2,
            seconds: 9,
        }
    }

    #[test]
    fn text_has_all_rows_errors_and_goals() {
        let text = report().text();
        for expected in
            ["paced: 1000 sockets, one room, 1 instance", "server µs", "4.10 … 4.50", "! more", "no pip", "Centrifugo"]
        {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        assert!(text.contains("reached          4.30 against    4.60"), "{text}");
        assert!(report().summary().contains("1 measurements failed, 2 left out"), "{}", report().summary());
    }

    #[test]
    fn json_has_all_results() {
        let json = serde_json::to_value(report()).unwrap();
        let row = &json["rows"][2];
        assert_eq!(
            (&row["workload"], &row["peer"], &row["sockets"]),
            (&"paced".into(), &"trunkline".into(), &1000.into())
        );
        assert_eq!(row["figures"]["server_cpu"]["rounds"], 2);
        assert_eq!(json["recovery"]["socketio-redis"]["lost"], 7);
        assert!(json["machine"]["cores"].as_u64() > Some(0));
    }

    #[test]
    fn values_have_three_significant_digits() {
        let numbers = [0.0, 0.123, 5.0, 42.34, 999.9, 12_345.0, 2_345_678.0].map(shown);
        assert_eq!(numbers, ["0", "0.12", "5.00", "42.3", "1000", "12k", "2.35M"]);
    }
}
