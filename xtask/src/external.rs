//! Commands that are programs of other crates.

use std::{
    env,
    ffi::OsString,
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use clap::Args;
use trunkline_testbed::cargo;

use crate::error::{Result, XtaskError};

/// Everything after the command's name, `--help` included.
#[derive(Debug, Args)]
pub(crate) struct ExternalArguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

/// Replaces this process with `cargo run --package trunkline-chaos`.
pub(crate) fn become_chaos(ExternalArguments { arguments }: &ExternalArguments) -> Result<ExitCode> {
    replace_process(chaos().args(arguments))
}

/// Replaces this process with `cargo run --release --package trunkline-bench -- compare`. The load generator is the same
/// program, so it is built with optimisation.
pub(crate) fn become_bench(ExternalArguments { arguments }: &ExternalArguments) -> Result<ExitCode> {
    let mut command = cargo();
    command.args(["run", "--release", "--package", "trunkline-bench", "--", "compare"]);
    replace_process(command.args(arguments))
}

/// Replaces this process with `cargo run --package trunkline-bench -- plan`.
pub(crate) fn become_plan(ExternalArguments { arguments }: &ExternalArguments) -> Result<ExitCode> {
    let mut command = cargo();
    command.args(["run", "--quiet", "--package", "trunkline-bench", "--", "plan"]);
    replace_process(command.args(arguments))
}

/// The command that builds and runs `trunkline-chaos`; its arguments are appended.
pub(crate) fn chaos() -> Command {
    let mut command = cargo();
    command.args(["run", "--package", "trunkline-chaos", "--"]);
    command
}

/// `cargo run` replaces its own process with the program, so signals and the exit code need no forwarding.
fn replace_process(command: &mut Command) -> Result<ExitCode> {
    // `cargo run` has set them to describe xtask. Build scripts, such as that of `ring`, run again when they change.
    let described = |name: &OsString| {
        ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.as_encoded_bytes().starts_with(start.as_bytes()))
    };
    for (name, _) in env::vars_os().filter(|(name, _)| described(name)) {
        command.env_remove(name);
    }
    let source = command.exec();
    Err(XtaskError::Testbed(trunkline_testbed::TestbedError::Io { doing: "cannot run cargo", source }))
}
