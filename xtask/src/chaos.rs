//! `cargo xtask chaos`: every row of the fault matrix, in real processes on this machine, while clients write and read.
//!
//! A row starts a deployment of its own on loopback, lets `trunkline-check` in, breaks something under a mark, heals it,
//! and has what the clients saw judged. It passes if the promise held, what the row requires beyond it held, and the
//! fault was seen to fire. Ctrl-C ends everything that was started.

mod checker;
mod mutants;
mod page;
mod report;
mod rows;
mod scene;
mod site;
mod verdict;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Mutex, PoisonError},
    thread,
    time::Instant,
};

use clap::Args;
use trunkline_testbed::{Tool, Toolbox, project_root};

use self::{
    mutants::MUTANTS,
    report::{Outcome, Report, Standing},
    rows::Row,
};
// `cargo xtask bench` has one fault, too.
pub(crate) use self::{
    checker::{Fault, Load},
    scene::{Programs, Scale, Scene},
    site::{Site, Store},
    verdict::FaultReport,
};
use crate::{
    cargo::{self, Program},
    console::Console,
    error::{Error, OnFile, Result},
    stop::Stop,
};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only these rows; see --list.
    #[arg(long, value_name = "ROW", value_delimiter = ',')]
    only: Vec<String>,
    /// Short rows with few clients, several at a time: what `cargo xtask test` runs.
    #[arg(long)]
    quick: bool,
    /// From which the choices of the clients come.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Rows at a time. Default: 1; with --quick 3, since rows mostly wait.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Build gateway and checker optimised.
    #[arg(long)]
    release: bool,
    /// Instead: show that the checker notices a gateway in which repair, resync, dedupe, epochs or catching up is off.
    #[arg(long, conflicts_with_all = ["only", "release"])]
    mutants: bool,
    /// Show the rows.
    #[arg(long)]
    list: bool,
    /// Another program than the workspace's gateway.
    #[arg(long, value_name = "FILE", hide = true)]
    gateway: Option<PathBuf>,
    /// Another program than the workspace's checker.
    #[arg(long, value_name = "FILE", hide = true)]
    checker: Option<PathBuf>,
}

impl Options {
    /// What `cargo xtask test` runs.
    pub(crate) fn quick() -> Self {
        Self {
            only: Vec::new(),
            quick: true,
            seed: 1,
            jobs: None,
            release: false,
            mutants: false,
            list: false,
            gateway: None,
            checker: None,
        }
    }
}

impl Options {
    /// Rows at a time.
    fn jobs(&self) -> usize {
        self.jobs.unwrap_or(if self.quick || self.mutants { 3 } else { 1 }).clamp(1, 8)
    }
}

pub(crate) fn run(options: &Options, console: &Console) -> Result<ExitCode> {
    if options.list {
        Row::all().for_each(|row| console.say(&format!("{:<24}{}", row.name, row.fault)));
        return Ok(ExitCode::SUCCESS);
    }
    let stop = Stop::on_signals(|| ())?;
    if options.mutants {
        let (_, unnoticed) = try_mutants(options, console, &stop)?;
        return Ok(if unnoticed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let report = carry_out(options, console, &stop)?;
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the rows, shows the table, and writes the reports.
pub(crate) fn carry_out(options: &Options, console: &Console, stop: &Stop) -> Result<Report> {
    let rows = chosen(&options.only)?;
    let folder = project_root().join("target/chaos");
    fs::create_dir_all(&folder).on("cannot create", &folder)?;
    let programs = programs(options, Program::GATEWAY, &folder, console, stop)?;
    let scale = if options.quick { Scale::Quick } else { Scale::Full };
    let stage = Stage { scale, seed: options.seed, programs: &programs, stop };
    let began = Instant::now();
    let plays: Vec<_> = rows.iter().map(|row| Play { row, mutants: "", folder: folder.join(row.name) }).collect();
    let outcomes = stage.run_all(&plays, options.jobs(), console);
    if stop.is_asked() {
        return Err(Error::Stopped);
    }
    let report = Report::new(outcomes, options.seed, began.elapsed());
    report.write(&folder)?;
    console.say(&report.table());
    console.headline(&report.summary());
    console.say(&format!("report: {}", folder.join("report.html").display()));
    Ok(report)
}

/// Runs each mutant's row with the mutant and without, and shows the table. Numbers of those noticed and not.
pub(crate) fn try_mutants(options: &Options, console: &Console, stop: &Stop) -> Result<(u64, u64)> {
    let folder = project_root().join("target/chaos/mutants");
    fs::create_dir_all(&folder).on("cannot create", &folder)?;
    let programs = programs(options, Program::MUTANT, &folder, console, stop)?;
    let stage = Stage { scale: Scale::Quick, seed: options.seed, programs: &programs, stop };
    let named: Vec<_> = MUTANTS.iter().map(|mutant| format!("{},{}", mutant.also, mutant.name)).collect();
    let mut plays = Vec::new();
    for (mutant, on) in MUTANTS.iter().zip(&named) {
        let row = Row::all().chain([&rows::ENTRIES_LOST]).find(|row| row.name == mutant.row);
        let row = row.ok_or_else(|| Error::NoSuchRow(mutant.row.to_owned()))?;
        plays.push(Play { row, mutants: on, folder: folder.join(mutant.name) });
        plays.push(Play { row, mutants: mutant.also, folder: folder.join(format!("without-{}", mutant.name)) });
    }
    let outcomes = stage.run_all(&plays, options.jobs(), console);
    if stop.is_asked() {
        return Err(Error::Stopped);
    }
    let pairs = outcomes.chunks_exact(2).zip(MUTANTS);
    let findings: Vec<_> = pairs.map(|(pair, mutant)| mutant.judge(&pair[0], &pair[1])).collect();
    let path = folder.join("report.json");
    fs::write(&path, serde_json::to_string_pretty(&findings).unwrap_or_default()).on("cannot write", &path)?;
    console.say(&mutants::table(&findings));
    let noticed = findings.iter().filter(|finding| finding.noticed).count() as u64;
    console.headline(&format!("{noticed} of {} mutants noticed", findings.len()));
    Ok((noticed, findings.len() as u64 - noticed))
}

fn chosen(only: &[String]) -> Result<Vec<&'static Row>> {
    if let Some(unknown) = only.iter().find(|name| Row::all().all(|row| row.name != **name)) {
        return Err(Error::NoSuchRow(unknown.clone()));
    }
    Ok(Row::all().filter(|row| only.is_empty() || only.iter().any(|name| name == row.name)).collect())
}

/// Builds what is tested and copies it, so that nothing changes while rows run; fetches Redis and HAProxy.
fn programs(options: &Options, gateway: Program, folder: &Path, console: &Console, stop: &Stop) -> Result<Programs> {
    let steps = console.steps(stop);
    let toolbox = Toolbox::project();
    toolbox.get(Tool::Redis, &steps)?;
    toolbox.get(Tool::HaProxy, &steps)?;
    let get = |given: &Option<PathBuf>, wanted: Program| match given {
        Some(path) => Ok(path.clone()),
        None => keep(&cargo::build(wanted, options.release, console, &steps)?, &folder.join("bin")),
    };
    Ok(Programs { gateway: get(&options.gateway, gateway)?, checker: get(&options.checker, Program::CHECKER)? })
}

fn keep(program: &Path, folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).on("cannot create", folder)?;
    let copy = folder.join(program.file_name().unwrap_or_default());
    // A copy that still runs elsewhere can be removed, but not written to.
    let _ = fs::remove_file(&copy);
    fs::copy(program, &copy).on("cannot write", &copy)?;
    Ok(copy)
}

/// What all rows have in common.
struct Stage<'a> {
    scale: Scale,
    seed: u64,
    programs: &'a Programs,
    stop: &'a Stop,
}

/// One run of a row.
struct Play<'a> {
    row: &'a Row,
    /// The mutants that are on, divided by commas; only a gateway that was built for it heeds this.
    mutants: &'a str,
    /// Where logs and history go; gone afterwards if the row passes.
    folder: PathBuf,
}

impl Stage<'_> {
    /// Runs all rows, `jobs` at a time, and gives their outcomes in the order of the rows.
    fn run_all(&self, plays: &[Play<'_>], jobs: usize, console: &Console) -> Vec<Outcome> {
        let next = Mutex::new(plays.iter().enumerate());
        let done = Mutex::new(Vec::new());
        let lock = |done: &Mutex<Vec<(usize, Outcome)>>, item| {
            done.lock().unwrap_or_else(PoisonError::into_inner).push(item);
        };
        thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    loop {
                        // A statement of its own: the lock must not be held while the row runs.
                        let taken = next.lock().unwrap_or_else(PoisonError::into_inner).next();
                        let Some((place, play)) = taken.filter(|_| !self.stop.is_asked()) else { return };
                        let outcome = self.run_one(play);
                        console.say(&outcome.line());
                        lock(&done, (place, outcome));
                    }
                });
            }
        });
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(place, _)| *place);
        done.into_iter().map(|(_, outcome)| outcome).collect()
    }

    fn run_one(&self, play: &Play<'_>) -> Outcome {
        let began = Instant::now();
        let mut outcome = Outcome::new(play.row);
        if let Err(e) = self.play(play, &mut outcome) {
            outcome.trouble = Some(e.to_string());
        }
        outcome.seconds = began.elapsed().as_secs();
        outcome.conclude();
        if outcome.standing == Standing::Passed {
            // Of no more use; histories are large.
            let _ = fs::remove_dir_all(&play.folder);
        }
        outcome
    }

    fn play(&self, Play { row, mutants, folder }: &Play<'_>, outcome: &mut Outcome) -> Result<()> {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).on("cannot create", folder)?;
        let mut site = Site::new(row.store, self.programs, row.arguments, folder)?;
        if !mutants.is_empty() {
            site.environment("TRUNKLINE_MUTANT", *mutants);
        }
        let mut scene = Scene::new(site, self.scale, self.seed, folder, self.programs, self.stop);
        let played = (row.act)(&mut scene).and_then(|()| {
            if scene.verdict.is_none() && !scene.is_judged() {
                scene.judge()?;
            }
            Ok(())
        });
        outcome.take(scene);
        played
    }
}
