//! `cargo xtask test`: placeholder
use crate::{console::Console, error::Result};
use std::process::ExitCode;
#[derive(Debug, clap::Args)]
pub(crate) struct Options {}
pub(crate) fn run(_: &Options, _: &Console) -> Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
