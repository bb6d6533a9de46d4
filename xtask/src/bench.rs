//! `cargo xtask bench`: Trunkline beside the floor and its peers, in one run on one machine.
//!
//! Each measurement has servers and a Redis of its own, all on loopback, started for it and ended after it. The peers of a
//! cell (a workload in one size) come one after another, and all cells come in several rounds, so that what the machine
//! does meanwhile falls on everybody. See docs/BENCHMARKS.md. Ctrl-C ends everything that was started.

mod deployment;
mod figures;
mod goals;
mod load;
mod machine;
mod page;
mod plan;
mod plot;
mod recovery;
mod report;
mod stock;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use trunkline_testbed::Progress;

use self::{
    goals::goals,
    machine::Machine,
    plan::{Cell, Peer, Scale, Workload},
    recovery::{Recovery, recovery},
    report::{NOT_HAD, Report},
    stock::Stock,
    table::{Rounds, Table},
};
use crate::{
    console::{Console, Steps},
    error::{Error, Result},
    stop::Stop,
};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// 100 and 1,000 sockets, one instance, one round: below four minutes once everything is built.
    #[arg(long)]
    quick: bool,
    /// Only these workloads.
    #[arg(long, value_enum, value_name = "WORKLOAD", value_delimiter = ',')]
    only: Vec<Workload>,
    /// Only these, beside the floor and Trunkline.
    #[arg(long, value_enum, value_name = "PEER", value_delimiter = ',')]
    peers: Vec<Peer>,
    /// Only cells with this many sockets.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    sockets: Vec<u32>,
    /// How often cells are measured. Default: 3, with --quick 1. Without --only or --sockets, later rounds have only the
    /// cells that goals compare.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: Option<u32>,
    /// No measurement begins after so many minutes. Default: 24, with --quick 4.
    #[arg(long, value_name = "N")]
    minutes: Option<u64>,
    /// Show what would be measured.
    #[arg(long)]
    list: bool,
}

impl Options {
    fn scale(&self) -> Scale {
        if self.quick { Scale::Quick } else { Scale::Full }
    }

    fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 })
    }

    /// How long measurements may begin.
    fn time(&self) -> Duration {
        Duration::from_secs(60 * self.minutes.unwrap_or(if self.quick { 4 } else { 24 }))
    }

    /// How many of the cells, from the first, a round has. There is no time for all of them in each round.
    fn repeated(&self, round: u32, cells: usize) -> usize {
        let chosen = round == 1 || !self.only.is_empty() || !self.sockets.is_empty();
        if chosen { cells } else { cells.min(Scale::REPEATED) }
    }

    /// The cells that are asked for. Workloads that the quick plan lacks are taken from the full one.
    fn cells(&self) -> Vec<Cell> {
        let asked = |cell: &&Cell| {
            (self.only.is_empty() || self.only.contains(&cell.workload))
                && (self.sockets.is_empty() || self.sockets.contains(&cell.sockets))
        };
        let quick: Vec<Cell> = self.scale().cells().iter().filter(asked).copied().collect();
        let lacking = |cell: &&Cell| {
            self.only.contains(&cell.workload) && quick.iter().all(|quick| quick.workload != cell.workload)
        };
        let more = Scale::Full.cells().iter().filter(asked).filter(lacking);
        quick.iter().chain(more).copied().collect()
    }

    /// Whether a peer is asked for. The floor and Trunkline always are: all is compared with them.
    fn asks_for(&self, peer: Peer) -> bool {
        let always = peer.is_floor() || peer.is_ours();
        self.peers.is_empty() || self.peers.contains(&peer) || always
    }

    fn peers(&self, cell: &Cell) -> impl Iterator<Item = Peer> {
        Peer::all().iter().copied().filter(|peer| self.asks_for(*peer) && cell.suits(*peer))
    }
}

pub(crate) fn run(options: &Options, console: &Console) -> Result<ExitCode> {
    let cells = options.cells();
    if options.list {
        for cell in &cells {
            let peers: Vec<_> = options.peers(cell).map(|peer| peer.to_string()).collect();
            console.say(&format!("{cell:<22}{}", peers.join(" ")));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let stop = Stop::on_signals(|| ())?;
    raise_limit();
    let steps = console.steps(&stop);
    let wanted: BTreeSet<_> = cells.iter().flat_map(|cell| options.peers(cell)).collect();
    let checked = cells.iter().any(|cell| cell.workload == Workload::Recovery);
    let stock = Stock::get(&wanted, checked, console, &steps)?;
    let began = Instant::now();
    let mut bench = Bench {
        options,
        stock: &stock,
        console,
        steps: &steps,
        stop: &stop,
        measured: BTreeMap::new(),
        recovery: BTreeMap::new(),
    };
    let left_out = bench.measure(&cells, began + options.time())?;
    let Bench { measured, recovery, .. } = bench;
    drop(steps);
    let rows = Table::new(&cells, measured);
    let command: Vec<String> = std::env::args().skip(1).collect();
    let report = Report {
        command: format!("cargo xtask {}", command.join(" ")),
        machine: Machine::here(),
        goals: goals(&rows),
        rows,
        recovery,
        not_had: NOT_HAD,
        left_out,
        seconds: began.elapsed().as_secs(),
        versions: stock.versions,
        missing: stock.missing,
    };
    report.write(&stock.folder)?;
    console.say(&report.text());
    console.headline(&report.summary());
    console.say(&format!("report: {}", stock.folder.join("report.html").display()));
    Ok(ExitCode::SUCCESS)
}

/// A run under way.
struct Bench<'a> {
    options: &'a Options,
    stock: &'a Stock,
    console: &'a Console,
    steps: &'a Steps<'a>,
    stop: &'a Stop,
    measured: BTreeMap<(Cell, Peer), Rounds>,
    recovery: BTreeMap<Peer, Recovery>,
}

impl Bench<'_> {
    /// Measures all cells, round by round, until `deadline`; gives how many measurements were left out. One that fails
    /// does not keep the others from being taken.
    fn measure(&mut self, cells: &[Cell], deadline: Instant) -> Result<usize> {
        let mut left_out = 0;
        for round in 1..=self.options.rounds() {
            for cell in &cells[..self.options.repeated(round, cells.len())] {
                for peer in self.options.peers(cell) {
                    if self.stock.missing.contains_key(&peer) || (cell.workload == Workload::Recovery && round > 1) {
                        continue;
                    }
                    if Instant::now() > deadline {
                        left_out += 1;
                        continue;
                    }
                    self.steps.step(&format!("round {round} of {}: {cell}, {peer}", self.options.rounds()));
                    self.measure_one(cell, peer)?;
                }
            }
        }
        Ok(left_out)
    }

    fn measure_one(&mut self, cell: &Cell, peer: Peer) -> Result<()> {
        let measured = match cell.workload {
            Workload::Recovery => {
                recovery(peer, self.stock, self.stop).map(|seen| _ = self.recovery.insert(peer, seen))
            }
            _ => load::measure(cell, peer, self.options.scale(), self.stock, self.stop)
                .map(|figures| self.measured.entry((*cell, peer)).or_default().figures.push(figures)),
        };
        match measured {
            Err(_) if self.stop.is_asked() => Err(Error::Stopped),
            Err(why) => {
                self.console.error(&format!("{cell}, {peer}: {why}"));
                self.measured.entry((*cell, peer)).or_default().trouble = Some(why.to_string());
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

/// Sockets are file descriptors: as many as the system lets us have, for us and for what we start.
fn raise_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where this fails, the largest cells do, and say so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
