//! `trunkline-chaos`: the program behind `cargo xtask chaos`.

use std::process::ExitCode;

use clap::Parser;
use trunkline_chaos::{ChaosArguments, ChaosError, run};
use trunkline_testbed::Console;

/// Inject every fault of docs/GUARANTEES.md into real processes while clients send and receive, and check what they saw.
#[derive(Debug, Parser)]
#[command(name = "trunkline-chaos", bin_name = "cargo xtask chaos", max_term_width = 100)]
struct ChaosCommandLine {
    #[command(flatten)]
    arguments: ChaosArguments,
}

fn main() -> ExitCode {
    let ChaosCommandLine { arguments } = ChaosCommandLine::parse();
    let console = Console::new();
    match run(&arguments, &console) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(ChaosError::Stopped) => ExitCode::from(130),
        Err(error) => {
            console.error(&error.to_string());
            ExitCode::FAILURE
        }
    }
}
