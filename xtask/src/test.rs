//! `cargo xtask test`: everything that has to hold, in one command, with one line at the end.
//!
//! A step that fails does not keep the next from running: one run shows all that is wrong. What a machine lacks is
//! fetched first (see the testbed); what cannot be fetched is said, and counts as failed only where a test needs it.

mod browser;
mod runner;
mod tally;

use std::{
    path::PathBuf,
    process::{Command, ExitCode},
    time::Instant,
};

use clap::{Args, ValueEnum};
use trunkline_testbed::{Browser, Tool, Toolbox, docker_answers, project_root};

use self::{
    browser::browser_tests,
    runner::Runner,
    tally::{Format, Tally},
};
use crate::{cargo, chaos, console::Console, error::Result, stop::Stop};

/// Whether this is `cargo xtask-docker`.
const IN_DOCKER: bool = cfg!(feature = "testcontainers");

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Leave out the tests that drive a browser.
    #[arg(long)]
    no_browser: bool,
    /// Leave out the faults in real processes.
    #[arg(long)]
    no_chaos: bool,
    /// Only these steps.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Step>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// rustfmt has nothing to change.
    Format,
    /// clippy has nothing to say.
    Lint,
    /// Unit, property, contract and integration tests.
    Rust,
    /// `cargo xtask chaos --quick`, and `--mutants`: every fault, and that the checker would notice.
    Chaos,
    /// Examples in the documentation.
    Doctest,
    /// Links in the documentation.
    Docs,
    /// The web client's tests, under Node.
    Javascript,
    /// Licences and sources of dependencies.
    Deny,
    /// Redis and HAProxy in Docker, where an engine answers.
    Docker,
    /// Tests that drive a browser.
    Browser,
}

/// What became of a step.
enum Outcome {
    Ran(Tally),
    /// Why not. Counts as one that was skipped.
    LeftOut(String),
}

pub(crate) fn run(options: &Options, console: &Console) -> Result<ExitCode> {
    let stop = Stop::on_signals(|| ())?;
    let suite = Suite { no_browser: options.no_browser, no_chaos: options.no_chaos, console, stop: &stop };
    let chosen = |step: &&Step| options.only.is_empty() || options.only.contains(step);
    let mut total = Tally::default();
    let mut lines = Vec::new();
    for step in Step::value_variants().iter().filter(chosen) {
        let name = step.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        console.headline(&format!("--- {name}"));
        let started = Instant::now();
        let result = match suite.run(*step)? {
            Outcome::Ran(tally) => {
                total += tally;
                let verdict = if tally.failed == 0 { "ok    " } else { "FAILED" };
                format!("{verdict} {:>4} s  {}", started.elapsed().as_secs(), tally.detail())
            }
            Outcome::LeftOut(why) => {
                total += Tally::SKIPPED;
                format!("left out: {why}")
            }
        };
        lines.push(format!("{name:<10}  {}", result.trim_end()));
    }
    console.say("");
    lines.iter().for_each(|line| console.say(line));
    console.headline(&total.to_string());
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Suite<'a> {
    no_browser: bool,
    no_chaos: bool,
    console: &'a Console,
    stop: &'a Stop,
}

impl Suite<'_> {
    fn run(&self, step: Step) -> Result<Outcome> {
        let cargo = |args: &[&str]| {
            let mut command = cargo::command();
            command.args(args);
            command
        };
        match step {
            Step::Format => self.check(cargo(&["fmt", "--all", "--check"])),
            Step::Lint => {
                self.lint(cargo(&["clippy", "--workspace", "--all-targets", "--features", "trunkline-gateway/bench"]))
            }
            Step::Rust => self.rust_tests(),
            Step::Chaos => self.chaos(),
            Step::Doctest => self.tests(cargo(&["test", "--workspace", "--doc", "--no-fail-fast"]), Format::CargoTest),
            Step::Docs => {
                let mut command = cargo(&["doc", "--workspace", "--no-deps", "--document-private-items"]);
                command.env("RUSTDOCFLAGS", "-D warnings");
                self.check(command)
            }
            Step::Javascript => self.javascript_tests(),
            Step::Deny => self.deny(cargo(&["deny", "check", "bans", "licenses", "sources"])),
            Step::Docker => self.docker_tests(),
            Step::Browser => self.browser_tests(),
        }
    }

    fn lint(&self, mut clippy: Command) -> Result<Outcome> {
        // `--all-targets` passes over targets that are not tested by default.
        if !browser_tests()?.is_empty() {
            clippy.args(["--test", browser::TARGET]);
        }
        clippy.args(["--", "-D", "warnings"]);
        self.check(clippy)
    }

    fn rust_tests(&self) -> Result<Outcome> {
        let missing = self.fetch(|steps| {
            let toolbox = Toolbox::project();
            let found = toolbox.get(Tool::Redis, steps).and_then(|_| toolbox.get(Tool::HaProxy, steps).map(drop));
            match found {
                // Each test takes them from there.
                Err(trunkline_testbed::Error::NotFound { .. }) if IN_DOCKER && docker_answers().is_ok() => Ok(()),
                other => other,
            }
        })?;
        let mut command = cargo::command();
        let format = if has_nextest() {
            command.args(["nextest", "run", "--workspace", "--no-fail-fast", "--no-tests=pass"]);
            command.arg("-E").arg(format!("not binary({})", browser::TARGET));
            Format::Nextest
        } else {
            self.console.say("cargo-nextest is not installed: `cargo test` does as well, more slowly");
            command.args(["test", "--workspace", "--lib", "--bins", "--tests", "--examples", "--no-fail-fast"]);
            Format::CargoTest
        };
        if IN_DOCKER {
            command.args(["--features", "trunkline-testbed/testcontainers"]);
        }
        let tally = self.runner().run(command, format)?;
        Ok(Outcome::Ran(tally + missing))
    }

    fn chaos(&self) -> Result<Outcome> {
        if self.no_chaos {
            return Ok(Outcome::LeftOut("--no-chaos".to_owned()));
        }
        let options = chaos::Options::quick();
        let (passed, failed) = chaos::carry_out(&options, self.console, self.stop)?.tally();
        let (noticed, unnoticed) = chaos::try_mutants(&options, self.console, self.stop)?;
        Ok(Outcome::Ran(Tally { passed: passed + noticed, failed: failed + unnoticed, skipped: 0 }))
    }

    /// They need a big client library, which only a machine with an engine builds: it is linted here, too.
    fn docker_tests(&self) -> Result<Outcome> {
        const TARGET: [&str; 6] =
            ["--package", "trunkline-testbed", "--features", "testcontainers", "--test", "docker"];
        if let Err(why) = docker_answers() {
            return Ok(Outcome::LeftOut(why));
        }
        let mut clippy = cargo::command();
        clippy.arg("clippy").args(TARGET).args(["--lib", "--", "-D", "warnings"]);
        let lint = self.runner().run(clippy, Format::None)?;
        let (mut command, format) = test_runner();
        command.args(TARGET);
        Ok(Outcome::Ran(self.runner().run(command, format)? + lint))
    }

    fn browser_tests(&self) -> Result<Outcome> {
        if self.no_browser {
            return Ok(Outcome::LeftOut("--no-browser".to_owned()));
        }
        let packages = browser_tests()?;
        if packages.is_empty() {
            return Ok(Outcome::LeftOut(format!("no package has a test target named `{}`", browser::TARGET)));
        }
        let missing = self.fetch(|steps| Browser::get(steps).map(drop))?;
        if missing.failed > 0 {
            self.console.error("without a browser these tests cannot run; `--no-browser` leaves them out");
            return Ok(Outcome::Ran(missing));
        }
        let (mut command, format) = test_runner();
        command.args(["--test", browser::TARGET]);
        packages.iter().for_each(|package| _ = command.args(["--package", package]));
        self.tests(command, format)
    }

    fn javascript_tests(&self) -> Result<Outcome> {
        let Some(version) = version_of("node", &["--version"]) else {
            return Ok(Outcome::LeftOut("Node is not installed".to_owned()));
        };
        let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
        if major.is_none_or(|major| major < 20) {
            return Ok(Outcome::LeftOut(format!("Node {version} is too old: 20 or later")));
        }
        let root = project_root();
        let mut files = Vec::new();
        find_test_files(&root.join("web"), &mut files);
        if files.is_empty() {
            return Ok(Outcome::LeftOut("no `web/**/*.test.js`".to_owned()));
        }
        let mut node = Command::new("node");
        node.args(["--test", "--test-reporter=spec"]).args(files).current_dir(root);
        self.tests(node, Format::Node)
    }

    fn deny(&self, command: Command) -> Result<Outcome> {
        if version_of("cargo-deny", &["--version"]).is_none() {
            return Ok(Outcome::LeftOut("cargo-deny is not installed".to_owned()));
        }
        if !project_root().join("deny.toml").exists() {
            return Ok(Outcome::LeftOut("there is no deny.toml".to_owned()));
        }
        self.check(command)
    }

    fn tests(&self, command: Command, format: Format) -> Result<Outcome> {
        self.runner().run(command, format).map(Outcome::Ran)
    }

    /// A command that succeeds or not, and counts nothing.
    fn check(&self, command: Command) -> Result<Outcome> {
        self.tests(command, Format::None)
    }

    /// Gets programs; one that cannot be had is told, and counts as a failure.
    fn fetch(
        &self,
        get: impl FnOnce(&dyn trunkline_testbed::Progress) -> trunkline_testbed::Result<()>,
    ) -> Result<Tally> {
        match get(&self.console.steps(self.stop)).map_err(crate::error::Error::from) {
            Ok(()) => Ok(Tally::default()),
            Err(stopped @ crate::error::Error::Stopped) => Err(stopped),
            Err(e) => {
                self.console.error(&e.to_string());
                Ok(Tally::FAILURE)
            }
        }
    }

    fn runner(&self) -> Runner<'_> {
        Runner { console: self.console, stop: self.stop }
    }
}

/// Runs tests that are named next.
fn test_runner() -> (Command, Format) {
    let mut command = cargo::command();
    let format = if has_nextest() {
        command.args(["nextest", "run", "--no-fail-fast"]);
        Format::Nextest
    } else {
        command.args(["test", "--no-fail-fast"]);
        Format::CargoTest
    };
    (command, format)
}

fn has_nextest() -> bool {
    version_of("cargo-nextest", &["nextest", "--version"]).is_some()
}

/// What a program says its version is, if it is there.
fn version_of(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn find_test_files(folder: &std::path::Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "node_modules" {
            find_test_files(&path, found);
        } else if name.ends_with(".test.js") || name.ends_with(".test.mjs") {
            found.push(path);
        }
    }
}
