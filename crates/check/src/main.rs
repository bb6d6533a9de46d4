//! `trunkline-check`: proves or disproves, from outside, that a deployment keeps its promise.

use std::{io::Write, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};
use serde_json::json;
use trunkline_check::{
    Error,
    attack::{self, Attack},
    judge::Verdict,
    judge_file, load, proxy, report,
};

#[derive(Debug, Parser)]
#[command(name = "trunkline-check", version, about = "Delivery checker and load generator for Trunkline deployments")]
#[command(
    after_help = "Exit code: 0 every invariant holds, 1 one is broken, 2 wrong usage or the deployment cannot be reached."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write, read and judge
    Run(Box<Run>),
    /// Hold thousands of readers, with orders on standard input as `run --control` takes them: for a reconnect storm,
    /// mark the fault, kill an instance, mark it healed, and stop
    Storm(Storm),
    /// Judge a recorded history
    Judge {
        /// The history, as `run --history` wrote it
        file: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Pass TCP connections on, and break them as told on standard input
    Proxy(proxy::Settings),
    /// Do what a hostile or broken client does, and tell what came of it
    Attack(Attack),
}

#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    settings: load::Settings,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
struct Storm {
    /// Where the deployment is reached
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// Readers
    #[arg(long, value_name = "N", default_value_t = 5000)]
    clients: u32,
    /// Readers that share one session
    #[arg(long, value_name = "N", default_value_t = 5)]
    tabs: u32,
    /// Rooms
    #[arg(long, value_name = "N", default_value_t = 20)]
    rooms: u32,
    /// Messages a second, of twenty writers together
    #[arg(long, value_name = "N", default_value_t = 20.0)]
    rate: f64,
    /// How long to stay, unless stopped before
    #[arg(long = "for", value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration)]
    duration: Duration,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
struct Output {
    /// Write the verdict as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the verdict as an HTML page with plots
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::from(2);
        }
    };
    let result = runtime.block_on(carry_out(cli.command));
    // A read of standard input that is under way would hold the process.
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

/// True where all is well.
async fn carry_out(command: Command) -> Result<bool, Error> {
    match command {
        Command::Run(run) => check(&run).await,
        Command::Storm(storm) => check(&storm.run()).await,
        Command::Judge { file, output } => {
            let verdict = judge_file(&file)?;
            println!("{}", report::Text(&verdict));
            output.write(&verdict, &file.display().to_string())?;
            Ok(verdict.passed)
        }
        Command::Proxy(settings) => proxy::serve(&settings).await.map(|()| true),
        Command::Attack(attack) => {
            let seen = attack::carry_out(&attack).await?;
            println!("{seen}");
            Ok(true)
        }
    }
}

async fn check(run: &Run) -> Result<bool, Error> {
    let control = run.settings.control;
    let mut live = report::Live::new();
    let mut state = None;
    let verdict = load::run(&run.settings, |progress| {
        live.show(&progress);
        if control && state.replace(progress.state) != Some(progress.state) {
            tell(&json!({"state": progress.state, "t": progress.elapsed.as_micros() as u64}));
        }
    })
    .await;
    live.end();
    let verdict = verdict?;
    run.output.write(&verdict, &run.settings.url)?;
    if control {
        eprintln!("{}", report::Text(&verdict));
        tell(&json!({"state": "verdict", "verdict": verdict}));
    } else {
        println!("{}", report::Text(&verdict));
    }
    Ok(verdict.passed)
}

/// One line of JSON on standard output, at once. Whoever does not read it any more does not need it.
fn tell(value: &serde_json::Value) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{value}").and_then(|()| out.flush());
}

impl Storm {
    /// A storm is a run of many readers and few writers.
    fn run(self) -> Run {
        let Self { url, clients, tabs, rooms, rate, duration, output } = self;
        let settings = load::Settings {
            url,
            readers: clients,
            tabs,
            rooms,
            rate,
            duration,
            control: true,
            ..load::Settings::default()
        };
        Run { settings, output }
    }
}

impl Output {
    fn write(&self, verdict: &Verdict, title: &str) -> Result<(), Error> {
        let file = |path: &PathBuf, text: String| {
            std::fs::write(path, text).map_err(|source| Error::File { path: path.clone(), source })
        };
        if let Some(path) = &self.json {
            file(path, format!("{:#}\n", json!(verdict)))?;
        }
        if let Some(path) = &self.report {
            file(path, report::page(verdict, &format!("Trunkline delivery check: {title}")))?;
        }
        Ok(())
    }
}
