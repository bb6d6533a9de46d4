//! `cargo xtask chaos`: every row of the fault matrix, in real processes on this machine, while clients write and read.
//!
//! A row starts a deployment of its own on loopback, lets `trunkline-check` in, breaks something under a mark, heals it,
//! and has what the clients saw judged. It passes if the promise held, what the row requires beyond it held, and the
//! fault was seen to fire. Ctrl-C ends everything that was started.

mod checker;
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
    report::{Outcome, Report, Standing},
    rows::Row,
    scene::{Programs, Scale, Scene},
    site::Site,
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
            list: false,
            gateway: None,
            checker: None,
        }
    }
}

pub(crate) fn run(options: &Options, console: &Console) -> Result<ExitCode> {
    if options.list {
        Row::all().for_each(|row| console.say(&format!("{:<24}{}", row.name, row.fault)));
        return Ok(ExitCode::SUCCESS);
    }
    let stop = Stop::on_signals(|| ())?;
    let report = carry_out(options, console, &stop)?;
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the rows, shows the table, and writes the reports.
pub(crate) fn carry_out(options: &Options, console: &Console, stop: &Stop) -> Result<Report> {
    let rows = chosen(&options.only)?;
    let folder = project_root().join("target/chaos");
    fs::create_dir_all(&folder).on("cannot create", &folder)?;
    let programs = programs(options, &folder, console, stop)?;
    let stage = Stage {
        scale: if options.quick { Scale::Quick } else { Scale::Full },
        seed: options.seed,
        folder: &folder,
        programs: &programs,
        stop,
    };
    let began = Instant::now();
    let jobs = options.jobs.unwrap_or(if options.quick { 3 } else { 1 }).clamp(1, 8);
    let outcomes = stage.run_all(&rows, jobs, console);
    if stop.is_asked() {
        return Err(Error::Stopped);
    }
    let not_run = if options.only.is_empty() { rows::NOT_RUN } else { &[] };
    let report = Report::new(outcomes, not_run, options.seed, began.elapsed());
    report.write(&folder)?;
    console.say(&report.table());
    console.headline(&report.summary());
    console.say(&format!("report: {}", folder.join("report.html").display()));
    Ok(report)
}

fn chosen(only: &[String]) -> Result<Vec<&'static Row>> {
    if let Some(unknown) = only.iter().find(|name| Row::all().all(|row| row.name != **name)) {
        return Err(Error::NoSuchRow(unknown.clone()));
    }
    Ok(Row::all().filter(|row| only.is_empty() || only.iter().any(|name| name == row.name)).collect())
}

/// Builds what is tested and copies it, so that nothing changes while rows run; fetches Redis and HAProxy.
fn programs(options: &Options, folder: &Path, console: &Console, stop: &Stop) -> Result<Programs> {
    let steps = console.steps(stop);
    let toolbox = Toolbox::project();
    toolbox.get(Tool::Redis, &steps)?;
    toolbox.get(Tool::HaProxy, &steps)?;
    let get = |given: &Option<PathBuf>, wanted: Program| match given {
        Some(path) => Ok(path.clone()),
        None => keep(&cargo::build(wanted, options.release, console, &steps)?, &folder.join("bin")),
    };
    Ok(Programs {
        gateway: get(&options.gateway, Program::GATEWAY)?,
        checker: get(&options.checker, Program::CHECKER)?,
    })
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
    folder: &'a Path,
    programs: &'a Programs,
    stop: &'a Stop,
}

impl Stage<'_> {
    /// Runs all rows, `jobs` at a time, and gives their outcomes in the order of the rows.
    fn run_all(&self, rows: &[&'static Row], jobs: usize, console: &Console) -> Vec<Outcome> {
        let next = Mutex::new(rows.iter().enumerate());
        let done = Mutex::new(Vec::new());
        let lock = |done: &Mutex<Vec<(usize, Outcome)>>, item| {
            done.lock().unwrap_or_else(PoisonError::into_inner).push(item);
        };
        thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    while let Some((place, row)) = next.lock().unwrap_or_else(PoisonError::into_inner).next() {
                        if self.stop.is_asked() {
                            return;
                        }
                        let outcome = self.run_one(row);
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

    fn run_one(&self, row: &Row) -> Outcome {
        let began = Instant::now();
        let folder = self.folder.join(row.name);
        let mut outcome = Outcome::new(row);
        if let Err(e) = self.play(row, &folder, &mut outcome) {
            outcome.trouble = Some(e.to_string());
        }
        outcome.seconds = began.elapsed().as_secs();
        outcome.conclude();
        if outcome.standing == Standing::Passed {
            // Of no more use; histories are large.
            let _ = fs::remove_dir_all(&folder);
        }
        outcome
    }

    fn play(&self, row: &Row, folder: &Path, outcome: &mut Outcome) -> Result<()> {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).on("cannot create", folder)?;
        let site = Site::new(row.store, self.programs, row.arguments, folder)?;
        let mut scene = Scene::new(site, self.scale, self.seed, folder, self.programs, self.stop);
        let played = (row.act)(&mut scene).and_then(|()| {
            if scene.verdict.is_none() && !scene.is_judged() {
                scene.judge()?;
            }
            Ok(())
        });
        outcome.take(scene.seen, scene.expectations, scene.verdict);
        played
    }
}
