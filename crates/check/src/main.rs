//! `trunkline-check`: checks from outside whether a deployment keeps its guarantees.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use serde_json::json;
use trunkline_check::{
    CheckError,
    attack::{self, AttackArguments, AttackCommand, suite},
    judge::{Verdict, judge_file},
    load,
    output::print_json,
    proxy, report,
};

#[derive(Debug, Parser)]
#[command(name = "trunkline-check", version, about = "Delivery checker and load generator for Trunkline deployments")]
#[command(
    after_help = "Exit codes: 0 if every invariant holds, 1 if one is broken, 2 if an argument is invalid or the deployment cannot be reached."
)]
struct CheckCli {
    #[command(subcommand)]
    command: CheckCommand,
}

#[derive(Debug, Subcommand)]
enum CheckCommand {
    /// Write and read messages, and judge the result
    Run(Box<RunArguments>),
    /// Connect thousands of readers for a reconnect storm. Takes the commands of `run --control` on standard input: mark
    /// the fault, kill an instance, mark it healed, and stop
    Storm(StormArguments),
    /// Judge a recorded history
    Judge {
        /// The history, as written by `run --history`
        file: PathBuf,
        #[command(flatten)]
        output: OutputArguments,
    },
    /// Forward TCP connections, and impair them by commands on standard input
    Proxy(proxy::ProxySettings),
    /// Act as a hostile or broken client, and report the reaction of the deployment
    Attack(AttackArguments),
}

#[derive(Debug, Args)]
struct RunArguments {
    #[command(flatten)]
    settings: load::LoadSettings,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Debug, Args)]
struct StormArguments {
    /// URL of the deployment
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// Number of readers
    #[arg(long, value_name = "N", default_value_t = 5000)]
    clients: u32,
    /// Number of readers that share one session
    #[arg(long, value_name = "N", default_value_t = 5)]
    tabs: u32,
    /// Number of rooms
    #[arg(long, value_name = "N", default_value_t = 20)]
    rooms: u32,
    /// Messages per second, over all of the twenty writers
    #[arg(long, value_name = "N", default_value_t = 20.0)]
    rate: f64,
    /// Longest duration; a stop command ends the run earlier
    #[arg(long = "for", value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration)]
    duration: Duration,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Debug, Args)]
struct OutputArguments {
    /// Write the verdict to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the verdict to this file as an HTML page with plots
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = CheckCli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("trunkline-check: cannot start the async runtime: {error}");
            return ExitCode::from(2);
        }
    };
    let result = runtime.block_on(execute(cli.command));
    // A pending read of standard input would block an orderly shutdown.
    runtime.shutdown_background();
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("trunkline-check: {}", error.chain());
            ExitCode::from(2)
        }
    }
}

/// Executes a command. Returns false if the deployment failed the check.
async fn execute(command: CheckCommand) -> Result<bool, CheckError> {
    match command {
        CheckCommand::Run(run) => check(&run).await,
        CheckCommand::Storm(storm) => check(&storm.into_run()).await,
        CheckCommand::Judge { file, output } => {
            let verdict = judge_file(&file)?;
            println!("{}", report::TextReport(&verdict));
            output.write(&verdict, &file.display().to_string())?;
            Ok(verdict.passed)
        }
        CheckCommand::Proxy(settings) => proxy::serve(&settings).await.map(|()| true),
        CheckCommand::Attack(arguments) => match &arguments.command {
            AttackCommand::Single(kind) => {
                println!("{}", attack::execute(&arguments, kind).await?);
                Ok(true)
            }
            AttackCommand::Suite(_) if arguments.user.is_some() || arguments.room.is_some() => Err(CheckError::Usage(
                "--user and --room apply to single attacks; the suite chooses its own".to_owned(),
            )),
            AttackCommand::Suite(suite) => execute_suite(&arguments.url, suite).await,
        },
    }
}

async fn check(run: &RunArguments) -> Result<bool, CheckError> {
    let control = run.settings.control;
    let mut progress_line = report::ProgressLine::new();
    let mut state = None;
    let verdict = load::run(&run.settings, |progress| {
        progress_line.show(&progress);
        if control && state.replace(progress.state) != Some(progress.state) {
            print_json(&json!({"state": progress.state, "t": progress.elapsed.as_micros() as u64}));
        }
    })
    .await;
    progress_line.finish();
    let verdict = verdict?;
    run.output.write(&verdict, &run.settings.url)?;
    if control {
        eprintln!("{}", report::TextReport(&verdict));
        print_json(&json!({"state": "verdict", "verdict": verdict}));
    } else {
        println!("{}", report::TextReport(&verdict));
    }
    Ok(verdict.passed)
}

async fn execute_suite(url: &str, arguments: &suite::SuiteArguments) -> Result<bool, CheckError> {
    let result = suite::run(url, arguments, |attack| eprintln!("{}: {}", attack.name, attack.seen)).await?;
    if let Some(path) = &arguments.json {
        write_file(path, format!("{:#}\n", json!(result)))?;
    }
    if let Some(path) = &arguments.report {
        write_file(path, suite::suite_page(&result, &format!("Trunkline attack suite: {url}")))?;
    }
    println!("{}", suite::attack_table(&result));
    Ok(result.passed)
}

fn write_file(path: &Path, text: String) -> Result<(), CheckError> {
    std::fs::write(path, text).map_err(|source| CheckError::File { path: path.to_owned(), source })
}

impl StormArguments {
    /// A reconnect storm is a run with many readers and few writers.
    fn into_run(self) -> RunArguments {
        let Self { url, clients, tabs, rooms, rate, duration, output } = self;
        let settings = load::LoadSettings {
            url,
            readers: clients,
            tabs,
            rooms,
            rate,
            duration,
            control: true,
            amend_percent: 0,
            ..load::LoadSettings::default()
        };
        RunArguments { settings, output }
    }
}

impl OutputArguments {
    fn write(&self, verdict: &Verdict, title: &str) -> Result<(), CheckError> {
        if let Some(path) = &self.json {
            write_file(path, format!("{:#}\n", json!(verdict)))?;
        }
        if let Some(path) = &self.report {
            write_file(path, report::verdict_page(verdict, &format!("Trunkline delivery check: {title}")))?;
        }
        Ok(())
    }
}
