//! Builds programs of this workspace.

use std::{
    env,
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use trunkline_testbed::{Ended, LineSink, Process, Progress, Stream, project_root};

use crate::{
    console::{Console, Steps},
    error::{Error, Result},
};

/// The cargo that runs us.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(project_root());
    command
}

/// A program of this workspace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Program {
    /// For people.
    pub(crate) what: &'static str,
    package: &'static str,
    name: &'static str,
    /// `--bin` or `--example`.
    kind: &'static str,
    feature: Option<&'static str>,
}

impl Program {
    pub(crate) const GATEWAY: Self =
        Self { what: "the gateway", package: "trunkline-gateway", name: "trunkline", kind: "--bin", feature: None };
    pub(crate) const CHECKER: Self =
        Self { what: "the checker", package: "trunkline-check", name: "trunkline-check", kind: "--bin", feature: None };
    pub(crate) const BENCH: Self = Self {
        what: "the load generator",
        package: "trunkline-bench",
        name: "trunkline-bench",
        kind: "--bin",
        feature: None,
    };
    /// The gateway's routes in an App.
    pub(crate) const MOUNTED: Self =
        Self { what: "the gateway in an App", name: "mounted", kind: "--example", ..Self::GATEWAY };
    /// The gateway with its faults compiled in.
    pub(crate) const MUTANT: Self =
        Self { what: "the gateway with mutants", feature: Some("mutants"), ..Self::GATEWAY };
}

/// Builds the gateway, and gives the path of its program.
pub(crate) fn build_gateway(release: bool, console: &Console, steps: &Steps<'_>) -> Result<PathBuf> {
    build(Program::GATEWAY, release, console, steps)
}

/// Builds a program, and gives its path. The next build of the same program may replace it.
pub(crate) fn build(wanted: Program, release: bool, console: &Console, steps: &Steps<'_>) -> Result<PathBuf> {
    let Program { what, package, name, kind, feature } = wanted;
    steps.step(&format!("building {what}"));
    let mut cargo = command();
    cargo.args(["build", "--package", package, kind, name]);
    cargo.arg("--message-format=json-render-diagnostics");
    if release {
        cargo.arg("--release");
    }
    if let Some(feature) = feature {
        cargo.args(["--features", feature]);
    }
    if console.has_colour() {
        cargo.env("CARGO_TERM_COLOR", "always");
    }
    let (program, last) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(String::new())));
    let sink: LineSink = {
        let (program, last, console) = (Arc::clone(&program), Arc::clone(&last), console.clone());
        Arc::new(move |line| match line.stream {
            Stream::Out => {
                if let Some(path) = executable(line.text, name) {
                    *program.lock().unwrap_or_else(PoisonError::into_inner) = Some(path);
                }
            }
            Stream::Err if is_progress(line.text) => {
                line.text.trim().clone_into(&mut last.lock().unwrap_or_else(PoisonError::into_inner));
            }
            Stream::Err => console.raw(line.text),
        })
    };
    let mut process = Process::spawn("cargo build", cargo, Some(sink))?;
    let ended = loop {
        if let Some(ended) = process.ended() {
            break ended;
        }
        if steps.cancelled() {
            return Err(Error::Stopped);
        }
        steps.detail(&format!("building {what}: {}", last.lock().unwrap_or_else(PoisonError::into_inner)));
        thread::sleep(Duration::from_millis(50));
    };
    process.finish_reading();
    if ended != Ended::Code(0) {
        return Err(Error::Cargo(format!("cargo build --package {package}")));
    }
    let program = program.lock().unwrap_or_else(PoisonError::into_inner).take();
    program.ok_or(Error::NoProgram(name))
}

/// The path in one of cargo's JSON messages, if it announces that program.
fn executable(message: &str, program: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    (message["target"]["name"] == program).then(|| message["executable"].as_str().map(PathBuf::from))?
}

/// `   Compiling serde v1.0`, with or without colours: a verb, right-aligned.
fn is_progress(line: &str) -> bool {
    let line = line.trim_start_matches("\x1b[1m").trim_start_matches("\x1b[92m").trim_start_matches("\x1b[32m");
    line.starts_with("  ") && line.trim_start().starts_with(char::is_uppercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_program_among_messages() {
        let line = r#"{"reason":"compiler-artifact","target":{"name":"trunkline"},"executable":"/t/trunkline"}"#;
        assert_eq!(executable(line, "trunkline"), Some("/t/trunkline".into()));
        assert_eq!(executable(line, "other"), None);
        assert_eq!(executable(r#"{"target":{"name":"trunkline"},"executable":null}"#, "trunkline"), None);
        assert_eq!(executable("what", "trunkline"), None);
    }

    #[test]
    fn tells_progress_from_messages() {
        assert!(is_progress("   Compiling serde v1.0"));
        assert!(is_progress("\x1b[1m\x1b[92m   Compiling\x1b[0m serde v1.0"));
        assert!(!is_progress("error[E0502]: cannot borrow"));
        assert!(!is_progress("  --> src/main.rs:1:1"));
    }
}
