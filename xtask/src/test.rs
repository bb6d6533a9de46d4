//! `cargo xtask test`: all checks and tests in one command, with a one-line summary at the end.
//!
//! If a step fails, the next step still runs, so one run shows all failures. Programs that the machine lacks are
//! installed first (see the testbed). A program that cannot be installed is reported; it counts as a failure only if a
//! test needs it.

mod browser;
mod counts;
mod runner;

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

use clap::{Args, ValueEnum};
use trunkline_testbed::{
    Browser, Console, Progress, StopSignal, TestbedError, Tool, Toolbox, cargo, docker_answers, project_root,
};

use self::{browser::packages_with_browser_tests, counts::TestCounts};
pub(crate) use self::{counts::OutputFormat, runner::CommandRunner};
use crate::{
    error::{Result, XtaskError},
    external,
};

/// Whether this is `cargo xtask-docker`.
const DOCKER_ALLOWED: bool = cfg!(feature = "testcontainers");
/// Oldest major version of Node that runs the tests of the web client.
const MIN_NODE_VERSION: u32 = 20;

/// Name of the test target for the files of `deploy/`.
const DEPLOY_TARGET: &str = "deploy";
/// Name of the test target that needs Valkey.
const VALKEY_TARGET: &str = "valkey";

/// Arguments for what an application compiles that embeds the gateway without its pages, tokens and program.
const LEAN_GATEWAY: [&str; 4] = ["clippy", "--package", "trunkline-gateway", "--no-default-features"];

/// Features that only benchmarks and fuzz targets enable. The lint step compiles their code; the fuzz targets themselves
/// are a workspace of their own, which no step builds.
const FEATURES_OF_TOOLS: &str = "trunkline-gateway/bench,trunkline-gateway/fuzzing,trunkline-bus/fuzzing";

#[derive(Debug, Args)]
pub(crate) struct TestArguments {
    /// Leave out the tests that drive a browser.
    #[arg(long)]
    no_browser: bool,
    /// Leave out the faults in real processes.
    #[arg(long)]
    no_chaos: bool,
    /// Run only these steps.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<SuiteStep>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SuiteStep {
    /// Formatting, by rustfmt.
    Format,
    /// Lints, by clippy.
    Lint,
    /// Unit, property, contract and integration tests.
    Rust,
    /// `cargo xtask chaos --quick` and `cargo xtask chaos --mutants`.
    Chaos,
    /// Examples in the documentation.
    Doctest,
    /// Links in the documentation.
    Docs,
    /// The web client's tests, with Node.
    Javascript,
    /// Licences and sources of dependencies.
    Deny,
    /// Redis and HAProxy in Docker, if an engine answers.
    Docker,
    /// A cluster of Valkey servers, if Valkey is installed or can be unpacked.
    Valkey,
    /// The example deployments in `deploy/`, with real servers and faults.
    Deploy,
    /// Tests that drive a browser.
    Browser,
}

enum StepResult {
    Ran(TestCounts),
    /// The reason. Counts as one skipped test.
    LeftOut(String),
}

pub(crate) fn run(arguments: &TestArguments, console: &Console) -> Result<ExitCode> {
    let stop = StopSignal::install(|| ())?;
    let suite = TestSuite { arguments, console, stop: &stop };
    let selected = |step: &&SuiteStep| arguments.only.is_empty() || arguments.only.contains(step);
    let mut total = TestCounts::default();
    let mut lines = Vec::new();
    for step in SuiteStep::value_variants().iter().filter(selected) {
        let name = step.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        console.headline(&format!("--- {name}"));
        let started = Instant::now();
        let result = match suite.run(*step)? {
            StepResult::Ran(counts) => {
                total += counts;
                let verdict = if counts.failed == 0 { "ok    " } else { "FAILED" };
                format!("{verdict} {:>4} s  {}", started.elapsed().as_secs(), counts.detail())
            }
            StepResult::LeftOut(reason) => {
                total += TestCounts::SKIPPED;
                format!("left out: {reason}")
            }
        };
        lines.push(format!("{name:<10}  {}", result.trim_end()));
    }
    console.say("");
    lines.iter().for_each(|line| console.say(line));
    console.headline(&total.to_string());
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct TestSuite<'a> {
    arguments: &'a TestArguments,
    console: &'a Console,
    stop: &'a StopSignal,
}

impl TestSuite<'_> {
    fn run(&self, step: SuiteStep) -> Result<StepResult> {
        let cargo = |args: &[&str]| {
            let mut command = cargo();
            command.args(args);
            command
        };
        match step {
            SuiteStep::Format => {
                let fuzz = ["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"];
                let runner = self.runner();
                let counts = runner.run(cargo(&["fmt", "--all", "--check"]), OutputFormat::None)?;
                Ok(StepResult::Ran(counts + runner.run(cargo(&fuzz), OutputFormat::None)?))
            }
            SuiteStep::Lint => {
                self.lint(cargo(&["clippy", "--workspace", "--all-targets", "--features", FEATURES_OF_TOOLS]))
            }
            SuiteStep::Rust => self.rust_tests(),
            SuiteStep::Chaos => self.chaos(),
            SuiteStep::Doctest => {
                self.tests(cargo(&["test", "--workspace", "--doc", "--no-fail-fast"]), OutputFormat::CargoTest)
            }
            SuiteStep::Docs => {
                let mut command = cargo(&["doc", "--workspace", "--no-deps", "--document-private-items"]);
                command.env("RUSTDOCFLAGS", "-D warnings");
                self.check(command)
            }
            SuiteStep::Javascript => self.javascript_tests(),
            SuiteStep::Deny => self.deny(cargo(&["deny", "check", "bans", "licenses", "sources"])),
            SuiteStep::Docker => self.docker_tests(),
            SuiteStep::Valkey => self.valkey_tests(),
            SuiteStep::Deploy => self.deploy_tests(),
            SuiteStep::Browser => self.browser_tests(),
        }
    }

    fn lint(&self, mut clippy: Command) -> Result<StepResult> {
        // `--all-targets` does not include targets with `test = false`.
        clippy.args(["--test", DEPLOY_TARGET, "--test", VALKEY_TARGET]);
        if !packages_with_browser_tests()?.is_empty() {
            clippy.args(["--test", browser::TARGET]);
        }
        clippy.args(["--", "-D", "warnings"]);
        let mut lean = cargo();
        lean.args(LEAN_GATEWAY).args(["--", "-D", "warnings"]);
        let runner = self.runner();
        let counts = runner.run(clippy, OutputFormat::None)?;
        Ok(StepResult::Ran(counts + runner.run(lean, OutputFormat::None)?))
    }

    fn rust_tests(&self) -> Result<StepResult> {
        let missing = self.install(|progress| {
            let toolbox = Toolbox::project();
            let found = toolbox.get(Tool::Redis, progress).and_then(|_| toolbox.get(Tool::HaProxy, progress).map(drop));
            match found {
                // Each test starts containers itself.
                Err(TestbedError::NotFound { .. }) if DOCKER_ALLOWED && docker_answers().is_ok() => Ok(()),
                other => other,
            }
        })?;
        let mut command = cargo();
        let format = if has_nextest() {
            command.args(["nextest", "run", "--workspace", "--no-fail-fast", "--no-tests=pass"]);
            let others = [browser::TARGET, DEPLOY_TARGET, VALKEY_TARGET].map(|target| format!("not binary({target})"));
            command.arg("-E").arg(others.join(" and "));
            OutputFormat::Nextest
        } else {
            self.console.say("cargo-nextest is not installed; `cargo test` runs the same tests more slowly");
            command.args(["test", "--workspace", "--lib", "--bins", "--tests", "--examples", "--no-fail-fast"]);
            OutputFormat::CargoTest
        };
        if DOCKER_ALLOWED {
            command.args(["--features", "trunkline-testbed/testcontainers"]);
        }
        let counts = self.runner().run(command, format)?;
        Ok(StepResult::Ran(counts + missing))
    }

    fn chaos(&self) -> Result<StepResult> {
        if self.arguments.no_chaos {
            return Ok(StepResult::LeftOut("--no-chaos".to_owned()));
        }
        let run = |flag| {
            let mut command = external::chaos();
            command.arg(flag);
            self.runner().run(command, OutputFormat::Chaos)
        };
        Ok(StepResult::Ran(run("--quick")? + run("--mutants")?))
    }

    /// These tests need Testcontainers, which is compiled only if an engine answers, so they are also linted here.
    fn docker_tests(&self) -> Result<StepResult> {
        const TARGET: [&str; 6] =
            ["--package", "trunkline-testbed", "--features", "testcontainers", "--test", "docker"];
        if let Err(reason) = docker_answers() {
            return Ok(StepResult::LeftOut(reason));
        }
        let mut clippy = cargo();
        clippy.arg("clippy").args(TARGET).args(["--lib", "--", "-D", "warnings"]);
        let lint = self.runner().run(clippy, OutputFormat::None)?;
        let (mut command, format) = test_runner();
        command.args(TARGET);
        Ok(StepResult::Ran(self.runner().run(command, format)? + lint))
    }

    fn valkey_tests(&self) -> Result<StepResult> {
        match Toolbox::project().get(Tool::Valkey, &self.console.progress(self.stop)) {
            Ok(_) => {}
            Err(TestbedError::Cancelled) => return Err(XtaskError::Stopped),
            Err(_) => {
                return Ok(StepResult::LeftOut("Valkey is not installed and has no Debian package here".to_owned()));
            }
        }
        let (mut command, format) = test_runner();
        command.args(["--package", "trunkline-testbed", "--test", VALKEY_TARGET]);
        self.tests(command, format)
    }

    /// These tests measure times, so they run while no other step loads the machine.
    fn deploy_tests(&self) -> Result<StepResult> {
        let missing = self.install(|progress| {
            let toolbox = Toolbox::project();
            let mut tools = [Tool::Redis, Tool::HaProxy, Tool::Nginx].into_iter();
            tools.try_for_each(|tool| toolbox.get(tool, progress).map(drop))
        })?;
        if missing.failed > 0 {
            return Ok(StepResult::Ran(missing));
        }
        let (mut command, format) = test_runner();
        command.args(["--package", "trunkline-testbed", "--test", DEPLOY_TARGET]);
        self.tests(command, format)
    }

    fn browser_tests(&self) -> Result<StepResult> {
        if self.arguments.no_browser {
            return Ok(StepResult::LeftOut("--no-browser".to_owned()));
        }
        let packages = packages_with_browser_tests()?;
        if packages.is_empty() {
            return Ok(StepResult::LeftOut(format!("no package has a test target named `{}`", browser::TARGET)));
        }
        let missing = self.install(|progress| Browser::get(progress).map(drop))?;
        if missing.failed > 0 {
            self.console.error("these tests need a browser; `--no-browser` leaves them out");
            return Ok(StepResult::Ran(missing));
        }
        let (mut command, format) = test_runner();
        command.args(["--test", browser::TARGET]);
        packages.iter().for_each(|package| _ = command.args(["--package", package]));
        self.tests(command, format)
    }

    fn javascript_tests(&self) -> Result<StepResult> {
        let Some(version) = version_of("node", &["--version"]) else {
            return Ok(StepResult::LeftOut("Node is not installed".to_owned()));
        };
        let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
        if major.is_none_or(|major| major < MIN_NODE_VERSION) {
            return Ok(StepResult::LeftOut(format!(
                "Node {version} is too old: {MIN_NODE_VERSION} or later is needed"
            )));
        }
        let root = project_root();
        let mut files = Vec::new();
        find_test_files(&root.join("web"), &mut files);
        if files.is_empty() {
            return Ok(StepResult::LeftOut("there is no `web/**/*.test.js`".to_owned()));
        }
        let mut node = Command::new("node");
        node.args(["--test", "--test-reporter=spec"]).args(files).current_dir(root);
        self.tests(node, OutputFormat::Node)
    }

    fn deny(&self, command: Command) -> Result<StepResult> {
        if version_of("cargo-deny", &["--version"]).is_none() {
            return Ok(StepResult::LeftOut("cargo-deny is not installed".to_owned()));
        }
        if !project_root().join("deny.toml").exists() {
            return Ok(StepResult::LeftOut("there is no deny.toml".to_owned()));
        }
        self.check(command)
    }

    fn tests(&self, command: Command, format: OutputFormat) -> Result<StepResult> {
        self.runner().run(command, format).map(StepResult::Ran)
    }

    /// Runs a command whose exit code is its only result.
    fn check(&self, command: Command) -> Result<StepResult> {
        self.tests(command, OutputFormat::None)
    }

    /// Installs programs. A program that cannot be installed is reported and counts as one failure.
    fn install(&self, get: impl FnOnce(&dyn Progress) -> trunkline_testbed::Result<()>) -> Result<TestCounts> {
        match get(&self.console.progress(self.stop)).map_err(XtaskError::from) {
            Ok(()) => Ok(TestCounts::default()),
            Err(stopped @ XtaskError::Stopped) => Err(stopped),
            Err(error) => {
                self.console.error(&error.to_string());
                Ok(TestCounts::FAILURE)
            }
        }
    }

    fn runner(&self) -> CommandRunner<'_> {
        CommandRunner { console: self.console, stop: self.stop }
    }
}

/// A command that runs tests, without the arguments that select them.
fn test_runner() -> (Command, OutputFormat) {
    let mut command = cargo();
    let format = if has_nextest() {
        command.args(["nextest", "run", "--no-fail-fast"]);
        OutputFormat::Nextest
    } else {
        command.args(["test", "--no-fail-fast"]);
        OutputFormat::CargoTest
    };
    (command, format)
}

fn has_nextest() -> bool {
    version_of("cargo-nextest", &["nextest", "--version"]).is_some()
}

/// What a program prints as its version, or `None` if it is not installed.
pub(crate) fn version_of(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn find_test_files(folder: &Path, found: &mut Vec<PathBuf>) {
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
