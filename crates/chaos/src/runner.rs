//! Runs scenarios and mutants, several at a time, and writes the reports.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::Instant,
};

use clap::Args;
use trunkline_testbed::{Console, IoContext, StopSignal, Tool, Toolbox, WorkspaceProgram, project_root};

use crate::{
    deployment::Deployment,
    error::{ChaosError, Result},
    mutants::{self, MUTANTS},
    report::{ChaosReport, ScenarioResult, ScenarioStatus},
    run::{ScenarioRun, ScenarioScale, TestedPrograms},
    scenarios::{ENTRIES_LOST, Scenario},
};

/// Flags of `cargo xtask chaos`.
#[derive(Debug, Args)]
pub struct ChaosArguments {
    /// Run only these scenarios; --list shows their names.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Run short scenarios with few clients, several at a time, as `cargo xtask test` does.
    #[arg(long)]
    quick: bool,
    /// Seed of the clients' random choices.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Number of scenarios that run at the same time. Default: 1; with --quick 3, because scenarios mostly wait.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Build the gateway and the checker with optimisation.
    #[arg(long)]
    release: bool,
    /// Check the checker instead: it must notice gateways and clients in which one safeguard is switched off: repair, resync,
    /// deduplication, epochs, catch-up, redaction, the order of amendments; in a cluster: subscribing where slots moved to,
    /// redirections, a probe per shard.
    #[arg(long, conflicts_with_all = ["only", "release"])]
    mutants: bool,
    /// List the scenarios and exit.
    #[arg(long)]
    list: bool,
    /// Use this gateway program instead of building it.
    #[arg(long, value_name = "FILE", hide = true)]
    gateway: Option<PathBuf>,
    /// Use this checker program instead of building it.
    #[arg(long, value_name = "FILE", hide = true)]
    checker: Option<PathBuf>,
}

impl ChaosArguments {
    fn jobs(&self) -> usize {
        self.jobs.unwrap_or(if self.quick || self.mutants { 3 } else { 1 }).clamp(1, 8)
    }
}

/// Runs what the arguments ask for. Returns whether everything passed.
///
/// # Errors
/// Returns [`ChaosError::NoSuchScenario`] for an unknown name, [`ChaosError::Testbed`] if a program cannot be built or a
/// report cannot be written, and [`ChaosError::Stopped`] after a signal. A scenario that fails is no error.
pub fn run(arguments: &ChaosArguments, console: &Console) -> Result<bool> {
    if arguments.list {
        Scenario::all().for_each(|scenario| console.say(&format!("{:<24}{}", scenario.name, scenario.fault)));
        return Ok(true);
    }
    let stop = StopSignal::install(|| ())?;
    if arguments.mutants { run_mutants(arguments, console, &stop) } else { run_scenarios(arguments, console, &stop) }
}

/// Runs the scenarios, prints the table and writes the reports.
fn run_scenarios(arguments: &ChaosArguments, console: &Console, stop: &StopSignal) -> Result<bool> {
    let scenarios = select(&arguments.only)?;
    let folder = project_root().join("target/chaos");
    fs::create_dir_all(&folder).on_path("cannot create", &folder)?;
    let programs = [WorkspaceProgram::GATEWAY, WorkspaceProgram::CHECKER];
    let programs = prepare_programs(arguments, programs, &folder, console, stop)?;
    let scale = if arguments.quick { ScenarioScale::Quick } else { ScenarioScale::Full };
    let runner = ScenarioRunner { scale, seed: arguments.seed, programs: &programs, stop };
    let began = Instant::now();
    let planned: Vec<_> = scenarios
        .iter()
        .map(|scenario| PlannedRun { scenario, mutants: "", folder: folder.join(scenario.name) })
        .collect();
    let results = runner.run_all(&planned, arguments.jobs(), console)?;
    let report = ChaosReport::new(results, arguments.seed, began.elapsed());
    report.write(&folder)?;
    console.say(&report.table());
    console.headline(&report.summary());
    console.say(&format!("report: {}", folder.join("report.html").display()));
    Ok(report.passed())
}

/// Runs each mutant's scenario with and without the mutant, and prints the table.
fn run_mutants(arguments: &ChaosArguments, console: &Console, stop: &StopSignal) -> Result<bool> {
    let folder = project_root().join("target/chaos/mutants");
    fs::create_dir_all(&folder).on_path("cannot create", &folder)?;
    let programs = [WorkspaceProgram::MUTANT, WorkspaceProgram::MUTANT_CHECKER];
    let programs = prepare_programs(arguments, programs, &folder, console, stop)?;
    let runner = ScenarioRunner { scale: ScenarioScale::Quick, seed: arguments.seed, programs: &programs, stop };
    let with_mutant: Vec<_> = MUTANTS.iter().map(|mutant| format!("{},{}", mutant.also, mutant.name)).collect();
    let mut planned = Vec::new();
    for (mutant, with_mutant) in MUTANTS.iter().zip(&with_mutant) {
        let scenario = Scenario::all().chain([&ENTRIES_LOST]).find(|scenario| scenario.name == mutant.scenario);
        let scenario = scenario.ok_or_else(|| ChaosError::NoSuchScenario(mutant.scenario.to_owned()))?;
        planned.push(PlannedRun { scenario, mutants: with_mutant, folder: folder.join(mutant.name) });
        let without = folder.join(format!("without-{}", mutant.name));
        planned.push(PlannedRun { scenario, mutants: mutant.also, folder: without });
    }
    let results = runner.run_all(&planned, arguments.jobs(), console)?;
    let pairs = results.chunks_exact(2).zip(MUTANTS);
    let results: Vec<_> = pairs.map(|(pair, mutant)| mutant.judge(&pair[0], &pair[1])).collect();
    let path = folder.join("report.json");
    fs::write(&path, serde_json::to_string_pretty(&results).unwrap_or_default()).on_path("cannot write", &path)?;
    console.say(&mutants::table(&results));
    let noticed = results.iter().filter(|result| result.noticed).count();
    console.headline(&format!("{noticed} of {} mutants noticed", results.len()));
    Ok(noticed == results.len())
}

fn select(only: &[String]) -> Result<Vec<&'static Scenario>> {
    if let Some(unknown) = only.iter().find(|name| Scenario::all().all(|scenario| scenario.name != **name)) {
        return Err(ChaosError::NoSuchScenario(unknown.clone()));
    }
    let selected = |scenario: &&Scenario| only.is_empty() || only.iter().any(|name| name == scenario.name);
    Ok(Scenario::all().filter(selected).collect())
}

/// Builds and copies the tested programs, so that a build during the run cannot replace them, and installs Redis and
/// HAProxy where they are missing.
fn prepare_programs(
    arguments: &ChaosArguments,
    [gateway, checker]: [WorkspaceProgram; 2],
    folder: &Path,
    console: &Console,
    stop: &StopSignal,
) -> Result<TestedPrograms> {
    let progress = console.progress(stop);
    let toolbox = Toolbox::project();
    toolbox.get(Tool::Redis, &progress)?;
    toolbox.get(Tool::HaProxy, &progress)?;
    let get = |given: &Option<PathBuf>, program: WorkspaceProgram| match given {
        Some(path) => Ok(path.clone()),
        None => copy_program(&program.build(arguments.release, console, &progress)?, &folder.join("bin")),
    };
    Ok(TestedPrograms { gateway: get(&arguments.gateway, gateway)?, checker: get(&arguments.checker, checker)? })
}

fn copy_program(program: &Path, folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).on_path("cannot create", folder)?;
    let copy = folder.join(program.file_name().unwrap_or_default());
    // An executable that still runs can be removed, but not overwritten (ETXTBSY).
    let _ = fs::remove_file(&copy);
    fs::copy(program, &copy).on_path("cannot write", &copy)?;
    Ok(copy)
}

/// Settings that all scenarios of a run share.
struct ScenarioRunner<'a> {
    scale: ScenarioScale,
    seed: u64,
    programs: &'a TestedPrograms,
    stop: &'a StopSignal,
}

/// One run of a scenario.
struct PlannedRun<'a> {
    scenario: &'a Scenario,
    /// Names of the active mutants, separated by commas. A gateway built without the feature ignores them.
    mutants: &'a str,
    /// Folder of logs and history. It is removed if the scenario passes.
    folder: PathBuf,
}

impl ScenarioRunner<'_> {
    /// Runs all scenarios, at most `jobs` at a time, and returns their results in the order of `planned`.
    fn run_all(&self, planned: &[PlannedRun<'_>], jobs: usize, console: &Console) -> Result<Vec<ScenarioResult>> {
        let next = Mutex::new(planned.iter().enumerate());
        let done = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    loop {
                        // A separate statement, so that the lock is released before the scenario runs.
                        let taken = next.lock().unwrap_or_else(PoisonError::into_inner).next();
                        let Some((index, planned)) = taken.filter(|_| !self.stop.is_requested()) else { return };
                        let result = self.run_one(planned);
                        console.say(&result.line());
                        done.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
                    }
                });
            }
        });
        self.stop.check()?;
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(index, _)| *index);
        Ok(done.into_iter().map(|(_, result)| result).collect())
    }

    fn run_one(&self, planned: &PlannedRun<'_>) -> ScenarioResult {
        let began = Instant::now();
        let mut result = ScenarioResult::new(planned.scenario);
        if let Err(e) = self.execute(planned, &mut result) {
            result.error = Some(e.to_string());
        }
        result.seconds = began.elapsed().as_secs();
        result.conclude();
        if result.status == ScenarioStatus::Passed {
            // Histories are large, and a scenario that passed needs no analysis.
            let _ = fs::remove_dir_all(&planned.folder);
        }
        result
    }

    fn execute(&self, planned: &PlannedRun<'_>, result: &mut ScenarioResult) -> Result<()> {
        let PlannedRun { scenario, mutants, folder } = planned;
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).on_path("cannot create", folder)?;
        let mut deployment = Deployment::new(scenario.redis, self.programs, scenario.arguments, folder)?;
        if !mutants.is_empty() {
            deployment.environment("TRUNKLINE_MUTANT", *mutants);
        }
        let mut run = ScenarioRun::new(deployment, self.scale, self.seed, folder, self.programs, self.stop);
        (*mutants).clone_into(&mut run.mutants);
        let executed = (scenario.execute)(&mut run).and_then(|()| {
            if run.has_clients() {
                run.judge()?;
            }
            Ok(())
        });
        result.take(run);
        executed
    }
}
