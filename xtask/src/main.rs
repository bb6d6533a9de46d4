//! Development commands: `cargo xtask cluster 3`, `cargo xtask test`, `cargo xtask chaos`, `cargo xtask bench`,
//! `cargo xtask plan`, `cargo xtask conformance`, `cargo xtask fuzz`.
//!
//! `chaos`, `bench` and `plan` are programs of their own, which this one builds and then becomes, so that `cargo xtask cluster 3`
//! on a fresh clone compiles none of them. The other commands are implemented here.

mod cluster;
mod conformance;
mod error;
mod external;
mod fuzz;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use trunkline_testbed::Console;

use crate::{error::XtaskError, external::ExternalArguments};

/// Development commands of Trunkline.
///
/// Redis and HAProxy are taken from PATH or from target/tools, or else unpacked there from Debian packages. If no package
/// can be had, `cargo xtask-docker` is the same command with one more source: containers, run by the engine that
/// DOCKER_HOST names or that listens at the default socket.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", max_term_width = 100)]
struct XtaskCommandLine {
    #[command(subcommand)]
    command: XtaskCommand,
}

#[derive(Debug, Subcommand)]
enum XtaskCommand {
    /// Run N gateways with one Redis and one load balancer on this machine.
    Cluster(cluster::ClusterArguments),
    /// Run all checks and tests, after installing what this machine lacks.
    #[command(alias = "ci")]
    Test(test::TestArguments),
    /// Inject every fault into real processes while clients send and receive, and check what they saw.
    #[command(disable_help_flag = true)]
    Chaos(ExternalArguments),
    /// Measure Trunkline beside a minimal server and other servers, and write a report.
    #[command(disable_help_flag = true)]
    Bench(ExternalArguments),
    /// Compute from measured costs how many gateways and how much Redis a load needs, and what limits it first.
    #[command(disable_help_flag = true)]
    Plan(ExternalArguments),
    /// Feed the parsers of outside input with inputs that libFuzzer makes up. Needs cargo-fuzz.
    Fuzz(fuzz::FuzzArguments),
    /// Run the Autobahn test suite for RFC 6455 against both transports of the gateway. Needs Python 2.7.
    Conformance(conformance::ConformanceArguments),
}

fn main() -> ExitCode {
    let console = Console::new();
    let result = match XtaskCommandLine::parse().command {
        XtaskCommand::Cluster(arguments) => cluster::run(&arguments, &console).map(|()| ExitCode::SUCCESS),
        XtaskCommand::Test(arguments) => test::run(&arguments, &console),
        XtaskCommand::Chaos(arguments) => external::become_chaos(&arguments),
        XtaskCommand::Bench(arguments) => external::become_bench(&arguments),
        XtaskCommand::Plan(arguments) => external::become_plan(&arguments),
        XtaskCommand::Fuzz(arguments) => fuzz::run(&arguments, &console),
        XtaskCommand::Conformance(arguments) => conformance::run(&arguments, &console),
    };
    match result {
        Ok(code) => code,
        // A signal arrived during preparation. 128 + SIGINT, as shells report it.
        Err(XtaskError::Stopped) => ExitCode::from(130),
        Err(error) => {
            console.error(&error.to_string());
            ExitCode::FAILURE
        }
    }
}
