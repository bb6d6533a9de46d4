//! Development commands: `cargo xtask cluster 3`, `cargo xtask test`, `cargo xtask chaos`,
//! `cargo xtask bench`.

mod bench;
mod cargo;
mod chaos;
mod cluster;
mod console;
mod error;
mod html;
mod stop;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{console::Console, error::Error};

/// Development commands of Trunkline.
///
/// Redis and HAProxy are found on PATH or under target/tools, or unpacked there from Debian's packages. Where none of
/// this helps, `cargo xtask-docker` is the same command with one more way: containers, by the engine that DOCKER_HOST
/// names or that listens at the usual socket.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run N gateways over one Redis behind one balancer, on this machine.
    Cluster(cluster::Options),
    /// Run all checks and tests; what is missing on this machine is fetched first.
    #[command(alias = "ci")]
    Test(test::Options),
    /// Break everything that can break, in real processes, while clients write and read, and judge what they saw.
    Chaos(chaos::Options),
    /// Measure Trunkline beside the floor and its peers, and write a report.
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let console = Console::new();
    let result = match arguments.command {
        Command::Cluster(options) => cluster::run(&options, &console).map(|()| ExitCode::SUCCESS),
        Command::Test(options) => test::run(&options, &console),
        Command::Chaos(options) => chaos::run(&options, &console),
        Command::Bench(options) => bench::run(&options, &console),
    };
    match result {
        Ok(code) => code,
        // Asked to end while preparing: as asked.
        Err(Error::Stopped) => ExitCode::from(130),
        Err(e) => {
            console.error(&e.to_string());
            ExitCode::FAILURE
        }
    }
}
