//! `cargo xtask bench`: Trunkline, the floor and the peers, measured in one run on one machine.
//!
//! Each measurement starts its own servers and its own Redis on loopback and ends them afterwards. The peers of a cell (a
//! workload in one size) are measured one after another, and all cells are measured in several rounds, so that other load
//! on the machine affects all peers alike. See docs/BENCHMARKS.md.

mod cells;
mod costs;
mod deployment;
mod figures;
mod goals;
mod growth;
mod growth_axis;
mod growth_report;
mod machine;
mod measure;
mod memory;
mod page;
mod peer;
mod plan;
mod probe;
mod programs;
mod recovery;
mod report;
mod running_load;
mod shards;
mod spread;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use clap::Args;
use trunkline_chaos::RecoveryResult;
use trunkline_testbed::{Console, ConsoleProgress, Progress, StopSignal};

use self::{
    goals::goals,
    growth_axis::growth_fits,
    machine::MachineInfo,
    plan::{BenchCell, BenchPlan, Peer, Workload},
    programs::PreparedPeers,
    recovery::recovery,
    report::{ComparisonReport, UNAVAILABLE_SYSTEMS},
    table::{CellRounds, ResultTable},
};
use crate::{
    error::{BenchError, Result},
    socket::raise_file_limit,
};

/// Flags of `cargo xtask bench`.
#[derive(Debug, Args)]
pub struct CompareArguments {
    /// Measure 100 and 1,000 sockets with one instance in one round: less than 4 minutes once everything is built.
    #[arg(long)]
    quick: bool,
    /// Measure only these workloads.
    #[arg(long, value_enum, value_name = "WORKLOAD", value_delimiter = ',')]
    only: Vec<Workload>,
    /// Measure only these peers beside the floor and Trunkline.
    #[arg(long, value_enum, value_name = "PEER", value_delimiter = ',')]
    peers: Vec<Peer>,
    /// Measure only cells with this many sockets.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    sockets: Vec<u32>,
    /// Number of rounds. Default: 3, with --quick 1. Without --only or --sockets, rounds after the first measure only the
    /// cells that goals compare.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: Option<u32>,
    /// Start no measurement after this many minutes. Default: 24, with --quick 4.
    #[arg(long, value_name = "N")]
    minutes: Option<u64>,
    /// List the measurements and exit.
    #[arg(long)]
    list: bool,
}

impl CompareArguments {
    fn plan(&self) -> BenchPlan {
        if self.quick { BenchPlan::Quick } else { BenchPlan::Full }
    }

    fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 })
    }

    /// Time in which measurements may start.
    fn time(&self) -> Duration {
        Duration::from_secs(60 * self.minutes.unwrap_or(if self.quick { 4 } else { 24 }))
    }

    /// Number of cells, from the first, that a round measures. Later rounds are shorter, because there is no time to
    /// repeat all cells.
    fn repeated(&self, round: u32, cells: usize) -> usize {
        let selected = round == 1 || !self.only.is_empty() || !self.sockets.is_empty();
        if selected { cells } else { cells.min(BenchPlan::REPEATED) }
    }

    /// The selected cells. Workloads that the quick plan does not contain come from the full plan.
    fn cells(&self) -> Vec<BenchCell> {
        let selected = |cell: &&BenchCell| {
            (self.only.is_empty() || self.only.contains(&cell.workload))
                && (self.sockets.is_empty() || self.sockets.contains(&cell.sockets))
        };
        let planned: Vec<BenchCell> = self.plan().cells().iter().filter(selected).copied().collect();
        let absent = |cell: &&BenchCell| {
            self.only.contains(&cell.workload) && planned.iter().all(|planned| planned.workload != cell.workload)
        };
        let more = BenchPlan::Full.cells().iter().filter(selected).filter(absent);
        let on_request = BenchPlan::cells_on_request().iter().filter(selected).filter(|_| !self.only.is_empty());
        planned.iter().chain(more).chain(on_request).copied().collect()
    }

    /// Whether a peer is selected. The floor and Trunkline always are, because every figure is compared with theirs.
    fn selects(&self, peer: Peer) -> bool {
        let always = peer.is_floor() || peer.is_ours();
        self.peers.is_empty() || self.peers.contains(&peer) || always
    }

    fn peers(&self, cell: &BenchCell) -> impl Iterator<Item = Peer> {
        Peer::all().iter().copied().filter(|peer| self.selects(*peer) && cell.suits(*peer))
    }
}

/// Builds and installs all servers, measures them, prints the tables and writes `target/bench/report.{json,html}` and
/// `target/bench/costs.json`.
///
/// # Errors
/// Returns [`BenchError::Testbed`] if Trunkline cannot be built, Redis cannot be installed or the report cannot be written,
/// and [`BenchError::Stopped`] after a signal. A peer that cannot be installed and a measurement that fails are reported
/// in the tables and are no errors.
pub fn run(arguments: &CompareArguments, console: &Console) -> Result<()> {
    let cells = arguments.cells();
    if arguments.list {
        for cell in &cells {
            let peers: Vec<_> = arguments.peers(cell).map(|peer| peer.to_string()).collect();
            console.say(&format!("{cell:<26}{}", peers.join(" ")));
        }
        return Ok(());
    }
    let stop = StopSignal::install(|| ())?;
    // Child processes inherit the limit.
    raise_file_limit(0)?;
    let progress = console.progress(&stop);
    let peers: BTreeSet<_> = cells.iter().flat_map(|cell| arguments.peers(cell)).collect();
    let needs_checker = cells.iter().any(|cell| cell.workload == Workload::Recovery);
    let prepared = PreparedPeers::prepare(&peers, needs_checker, console, &progress)?;
    let began = Instant::now();
    let mut bench = BenchRun {
        arguments,
        prepared: &prepared,
        console,
        progress: &progress,
        stop: &stop,
        measured: BTreeMap::new(),
        recovery: BTreeMap::new(),
    };
    let left_out = bench.measure(&cells, began + arguments.time())?;
    let BenchRun { measured, recovery, .. } = bench;
    drop(progress);
    let rows = ResultTable::new(&cells, measured);
    let command: Vec<String> = std::env::args().skip(2).collect();
    let report = ComparisonReport {
        command: format!("cargo xtask bench {}", command.join(" ")).trim_end().to_owned(),
        machine: MachineInfo::read(),
        goals: goals(&rows),
        growth: growth_fits(&rows),
        rows,
        recovery,
        unavailable_systems: UNAVAILABLE_SYSTEMS,
        left_out,
        seconds: began.elapsed().as_secs(),
        versions: prepared.versions,
        missing: prepared.missing,
    };
    report.write(&prepared.folder)?;
    costs::write(&report, &prepared.folder)?;
    console.say(&report.text());
    console.headline(&report.summary());
    console.say(&format!("report: {}", prepared.folder.join("report.html").display()));
    Ok(())
}

/// The state of a run.
struct BenchRun<'a> {
    arguments: &'a CompareArguments,
    prepared: &'a PreparedPeers,
    console: &'a Console,
    progress: &'a ConsoleProgress<'a>,
    stop: &'a StopSignal,
    measured: BTreeMap<(BenchCell, Peer), CellRounds>,
    recovery: BTreeMap<Peer, RecoveryResult>,
}

impl BenchRun<'_> {
    /// Measures all cells, round by round, and starts no measurement after `deadline`. Returns the number of measurements
    /// that were left out. A measurement that fails is recorded, and the run continues.
    fn measure(&mut self, cells: &[BenchCell], deadline: Instant) -> Result<usize> {
        let mut left_out = 0;
        for round in 1..=self.arguments.rounds() {
            for cell in &cells[..self.arguments.repeated(round, cells.len())] {
                for peer in self.arguments.peers(cell) {
                    if self.prepared.missing.contains_key(&peer) || (cell.workload == Workload::Recovery && round > 1) {
                        continue;
                    }
                    if Instant::now() > deadline {
                        left_out += 1;
                        continue;
                    }
                    self.progress.step(&format!("round {round} of {}: {cell}, {peer}", self.arguments.rounds()));
                    self.measure_one(cell, peer)?;
                }
            }
        }
        Ok(left_out)
    }

    fn measure_one(&mut self, cell: &BenchCell, peer: Peer) -> Result<()> {
        let measured = match cell.workload {
            Workload::Recovery => {
                recovery(peer, self.prepared, self.stop).map(|result| _ = self.recovery.insert(peer, result))
            }
            _ => measure::measure(cell, peer, self.arguments.plan(), self.prepared, self.stop)
                .map(|measured| self.measured.entry((*cell, peer)).or_default().add(measured)),
        };
        match measured {
            Err(_) if self.stop.is_requested() => Err(BenchError::Stopped),
            Err(error) => {
                self.console.error(&format!("{cell}, {peer}: {error}"));
                self.measured.entry((*cell, peer)).or_default().error = Some(error.to_string());
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}
