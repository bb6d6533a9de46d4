//! Builds programs of this workspace.

use std::{
    env,
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use crate::{
    Console, ConsoleProgress, LineSink, OutputStream, Process, ProcessEnd, Progress, Result, TestbedError, project_root,
};

/// A command for the `cargo` that started this process (`$CARGO`), or else for the one on `PATH`.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(project_root());
    command
}

/// A program of this workspace.
#[derive(Debug, Clone, Copy)]
pub struct WorkspaceProgram {
    /// Name in messages, as in "building the gateway".
    description: &'static str,
    package: &'static str,
    name: &'static str,
    /// `--bin` or `--example`.
    kind: &'static str,
    feature: Option<&'static str>,
}

impl WorkspaceProgram {
    /// `trunkline`.
    pub const GATEWAY: Self = Self {
        description: "the gateway",
        package: "trunkline-gateway",
        name: "trunkline",
        kind: "--bin",
        feature: None,
    };
    /// `trunkline-check`.
    pub const CHECKER: Self = Self {
        description: "the checker",
        package: "trunkline-check",
        name: "trunkline-check",
        kind: "--bin",
        feature: None,
    };
    /// The gateway's example `mounted`: its routes in an actix-web `App`.
    pub const MOUNTED: Self =
        Self { description: "the gateway in an App", name: "mounted", kind: "--example", ..Self::GATEWAY };
    /// The gateway's example `echo`: an echo server over both transports.
    pub const ECHO: Self = Self {
        description: "the echo server",
        name: "echo",
        kind: "--example",
        feature: Some("echo"),
        ..Self::GATEWAY
    };
    /// The gateway with the feature `mutants`.
    pub const MUTANT: Self =
        Self { description: "the gateway with mutants", feature: Some("mutants"), ..Self::GATEWAY };
    /// The checker with the feature `mutants`.
    pub const MUTANT_CHECKER: Self =
        Self { description: "the checker with mutants", feature: Some("mutants"), ..Self::CHECKER };

    /// Builds the program and returns its path. The next build of the same program may replace the file.
    ///
    /// # Errors
    /// Returns [`TestbedError::Build`] if cargo fails, [`TestbedError::NoProgram`] if cargo does not report the
    /// executable, and [`TestbedError::Cancelled`] if `progress` asks to stop.
    pub fn build(self, release: bool, console: &Console, progress: &ConsoleProgress<'_>) -> Result<PathBuf> {
        let Self { description, package, name, kind, feature } = self;
        progress.step(&format!("building {description}"));
        let mut command = cargo();
        command.args(["build", "--package", package, kind, name]);
        command.arg("--message-format=json-render-diagnostics");
        if release {
            command.arg("--release");
        }
        if let Some(feature) = feature {
            command.args(["--features", feature]);
        }
        if console.has_colour() {
            command.env("CARGO_TERM_COLOR", "always");
        }
        let (program, last) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(String::new())));
        let sink: LineSink = {
            let (program, last, console) = (Arc::clone(&program), Arc::clone(&last), console.clone());
            Arc::new(move |line| match line.stream {
                OutputStream::Out => {
                    if let Some(path) = executable(line.text, name) {
                        *program.lock().unwrap_or_else(PoisonError::into_inner) = Some(path);
                    }
                }
                OutputStream::Err if is_progress(line.text) => {
                    line.text.trim().clone_into(&mut last.lock().unwrap_or_else(PoisonError::into_inner));
                }
                OutputStream::Err => console.raw(line.text),
            })
        };
        let mut process = Process::spawn("cargo build", command, Some(sink))?;
        let end = loop {
            if let Some(end) = process.ended() {
                break end;
            }
            if progress.cancelled() {
                return Err(TestbedError::Cancelled);
            }
            progress
                .detail(&format!("building {description}: {}", last.lock().unwrap_or_else(PoisonError::into_inner)));
            thread::sleep(Duration::from_millis(50));
        };
        process.finish_reading();
        if end != ProcessEnd::Code(0) {
            return Err(TestbedError::Build(format!("cargo build --package {package}")));
        }
        let program = program.lock().unwrap_or_else(PoisonError::into_inner).take();
        program.ok_or(TestbedError::NoProgram(name))
    }
}

/// The path of `program` in one line of cargo's JSON output, if the line reports that executable.
fn executable(message: &str, program: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    (message["target"]["name"] == program).then(|| message["executable"].as_str().map(PathBuf::from))?
}

/// Whether the line reports progress: a right-aligned verb, as in `   Compiling serde v1.0`, with or without colours.
fn is_progress(line: &str) -> bool {
    let line = line.trim_start_matches("\x1b[1m").trim_start_matches("\x1b[92m").trim_start_matches("\x1b[32m");
    line.starts_with("  ") && line.trim_start().starts_with(char::is_uppercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executable_is_found_in_cargo_messages() {
        let line = r#"{"reason":"compiler-artifact","target":{"name":"trunkline"},"executable":"/t/trunkline"}"#;
        assert_eq!(executable(line, "trunkline"), Some("/t/trunkline".into()));
        assert_eq!(executable(line, "other"), None);
        assert_eq!(executable(r#"{"target":{"name":"trunkline"},"executable":null}"#, "trunkline"), None);
        assert_eq!(executable("what", "trunkline"), None);
    }

    #[test]
    fn progress_lines_differ_from_diagnostics() {
        assert!(is_progress("   Compiling serde v1.0"));
        assert!(is_progress("\x1b[1m\x1b[92m   Compiling\x1b[0m serde v1.0"));
        assert!(!is_progress("error[E0502]: cannot borrow"));
        assert!(!is_progress("  --> src/main.rs:1:1"));
    }
}
