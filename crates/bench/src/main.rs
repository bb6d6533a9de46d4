//! `trunkline-bench`: what `cargo xtask bench` starts beside the servers that it compares.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    use clap::Parser;
    use trunkline_bench::{floor, load};

    #[derive(Debug, Parser)]
    #[command(
        name = "trunkline-bench",
        version,
        about = "The floor, and the load generator for it, Trunkline and its peers"
    )]
    #[command(after_help = "Exit code: 0 measured, 1 not, 2 wrong usage.")]
    enum Command {
        /// Serve as the floor: the least that a server can do for a message
        Floor(floor::Settings),
        /// Open sockets, make messages, and print what came of them as one JSON object
        Load(load::Settings),
    }

    let result = match Command::parse() {
        Command::Floor(settings) => floor::serve(&settings),
        Command::Load(settings) => load::run(&settings).map(|report| println!("{}", report.json())),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("trunkline-bench: {}", error.chain());
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("trunkline-bench: Linux only");
    ExitCode::FAILURE
}
