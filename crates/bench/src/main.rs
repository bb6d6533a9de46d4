//! `trunkline-bench`: the program behind `cargo xtask bench`, and the floor and the load generator that it starts.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    use clap::Parser;
    use trunkline_bench::{BenchError, compare, floor, load, sizing};
    use trunkline_testbed::Console;

    #[derive(Debug, Parser)]
    #[command(name = "trunkline-bench", version, about = "Benchmarks of Trunkline, a minimal server and other servers")]
    #[command(after_help = "Exit code: 0 measured, 1 not measured, 2 wrong usage, 130 stopped by a signal.")]
    #[command(max_term_width = 100)]
    enum BenchCommand {
        /// Serve as the floor: a minimal server that only fans messages out
        Floor(floor::FloorArguments),
        /// Open sockets, send messages, and print the measurements as one JSON object
        Load(load::LoadArguments),
        /// Measure Trunkline beside the floor and its peers, and write a report
        #[command(override_usage = "cargo xtask bench [OPTIONS]")]
        Compare(compare::CompareArguments),
        /// Compute from measured costs how many gateways and how much Redis a load needs, and what limits it first
        #[command(override_usage = "cargo xtask plan --users N [OPTIONS]")]
        #[command(
            after_help = "Numbers may end with k, M or G: 200k, 10M. Exit code: 0 the load fits, 1 it does not, 2 wrong usage."
        )]
        Plan(sizing::SizingArguments),
    }

    let result = match BenchCommand::parse() {
        BenchCommand::Floor(arguments) => floor::serve(&arguments),
        BenchCommand::Load(arguments) => load::run(&arguments).map(|report| println!("{}", report.json())),
        BenchCommand::Compare(arguments) => compare::run(&arguments, &Console::new()),
        BenchCommand::Plan(arguments) => return plan(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(BenchError::Stopped) => ExitCode::from(130),
        Err(error) => {
            eprintln!("trunkline-bench: {}", error.chain());
            ExitCode::FAILURE
        }
    }
}

#[cfg(target_os = "linux")]
fn plan(arguments: &trunkline_bench::sizing::SizingArguments) -> ExitCode {
    use std::io::Write;

    let typed: Vec<String> = std::env::args().skip(2).collect();
    match trunkline_bench::sizing::run(arguments, &typed) {
        Ok((text, fits)) => {
            // The reader of a pipe may have enough.
            let _ = std::io::stdout().write_all(text.as_bytes());
            if fits { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("trunkline-bench: {}", error.chain());
            ExitCode::from(2)
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("trunkline-bench: Linux only");
    ExitCode::FAILURE
}
