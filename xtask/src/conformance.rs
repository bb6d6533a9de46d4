//! `cargo xtask conformance`: RFC 6455 judged by the Autobahn test suite.
//!
//! The suite connects to an echo server made of the gateway's frame check, decoder, hub and transports (the example `echo`)
//! and tries its cases against each transport. It runs on Python 2.7, in an environment in `target/conformance`.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use serde::{Deserialize, Serialize};
use trunkline_testbed::{
    Console, IoContext, LineSink, Process, ProcessEnd, Progress, StopSignal, TestbedError, WorkspaceProgram, free_port,
    project_root,
};

use crate::error::{Result, XtaskError};

/// Names under which Python 2.7 is searched on `PATH`.
const PYTHON_NAMES: [&str; 5] = ["python2.7", "python2", "pypy2.7", "pypy2", "pypy"];
/// Creates the environment. The last release that supports Python 2.7.
const VIRTUALENV: &str = "virtualenv==20.21.1";
/// The test suite. Its dependencies are the last releases for Python 2.7 with which it runs.
const TEST_SUITE: &str = "autobahntestsuite==25.10.1";
const DEPENDENCIES: [&str; 14] = [
    "txaio==2.1.0",
    "incremental==16.10.1",
    "pyOpenSSL==19.1.0",
    "cryptography==3.3.2",
    "Twisted==19.10.0",
    "zope.interface==4.6.0",
    "jinja2==2.11.3",
    "markupsafe==1.1.1",
    "Werkzeug==1.0.1",
    "klein==17.10.0",
    "service_identity==18.1.0",
    "unittest2==1.1.0",
    "six==1.16.0",
    "autobahn[twisted]==0.10.9",
];
/// Transports, as the echo server takes their ports.
const TRANSPORTS: [&str; 2] = ["takeover", "mounted"];
/// Maximum time until the echo server listens.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// Interval between two checks of a child process.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub(crate) struct ConformanceArguments {
    /// A Python 2.7 or PyPy 2.7 program. Default: `python2.7` or `pypy` on PATH.
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
    /// Cases to run. 12 and 13 test compression, which the gateway does not offer.
    #[arg(long, value_name = "PATTERN", value_delimiter = ',', default_values_t = (1..=10).map(|group| format!("{group}.*")))]
    cases: Vec<String>,
}

/// One case of one transport in the suite's `index.json`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct CaseResult {
    /// `OK`, `NON-STRICT`, `INFORMATIONAL`, `UNIMPLEMENTED`, `FAILED` and others.
    behavior: String,
    /// The same for the end of the connection.
    behavior_close: String,
}

/// How a case counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum CaseVerdict {
    Passed,
    /// RFC 6455 allows the behaviour, and the suite knows a stricter one.
    NonStrict,
    /// RFC 6455 prescribes nothing.
    Informational,
    Failed,
}

impl CaseVerdict {
    const ALL: [Self; 4] = [Self::Passed, Self::NonStrict, Self::Informational, Self::Failed];
}

impl CaseResult {
    fn verdict(&self) -> CaseVerdict {
        match (self.behavior.as_str(), self.behavior_close.as_str()) {
            ("OK", "OK") => CaseVerdict::Passed,
            ("NON-STRICT", "OK") => CaseVerdict::NonStrict,
            ("INFORMATIONAL", "OK" | "INFORMATIONAL") => CaseVerdict::Informational,
            _ => CaseVerdict::Failed,
        }
    }
}

/// All results: transport, then case. The suite's `index.json` has this form.
type Results = BTreeMap<String, BTreeMap<String, CaseResult>>;

pub(crate) fn run(arguments: &ConformanceArguments, console: &Console) -> Result<ExitCode> {
    let stop = StopSignal::install(|| ())?;
    let python = find_python(arguments.python.as_deref()).ok_or(XtaskError::NoPython)?;
    let folder = project_root().join("target/conformance");
    let suite = TestSuite { folder: &folder, console, stop: &stop };
    let wstest = suite.install(&python)?;
    let echo = WorkspaceProgram::ECHO.build(false, console, &console.progress(&stop))?;

    let mut ports = [0; TRANSPORTS.len()];
    for port in &mut ports {
        *port = free_port()?;
    }
    let mut command = Command::new(echo);
    command.args(ports.map(|port| port.to_string())).env("RUST_LOG", "warn");
    let mut server = Process::spawn("echo server", command, None)?;
    suite.wait_until_listening(&mut server, ports)?;
    let reports = suite.run_cases(&wstest, ports, &arguments.cases)?;

    let index = reports.join("index.json");
    let results = read_results(&index)?;
    let summary = folder.join("summary.json");
    let counts: BTreeMap<_, _> = results.iter().map(|(transport, cases)| (transport, count(cases))).collect();
    let json =
        serde_json::json!({ "suite": TEST_SUITE, "cases": arguments.cases, "counts": counts, "results": results });
    fs::write(&summary, format!("{json:#}\n")).on_path("cannot write", &summary)?;

    console.headline(&format!("RFC 6455 by {TEST_SUITE}"));
    console.say(&table(&results));
    console.say(&format!("reports: {}", reports.join("index.html").display()));
    console.say(&format!("JSON:    {}", summary.display()));
    let has_failed = |cases: &BTreeMap<_, CaseResult>| cases.values().any(|case| case.verdict() == CaseVerdict::Failed);
    let is_complete = TRANSPORTS.iter().all(|&transport| results.get(transport).is_some_and(|cases| !cases.is_empty()));
    Ok(if is_complete && !results.values().any(has_failed) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns the program that was named, or else the first on `PATH` that is Python 2.7.
fn find_python(named: Option<&Path>) -> Option<PathBuf> {
    let candidates = match named {
        Some(named) => vec![named.to_owned()],
        None => PYTHON_NAMES.iter().map(PathBuf::from).collect(),
    };
    candidates.into_iter().find(|python| {
        let mut command = Command::new(python);
        command.args(["-c", "import sys; sys.exit(sys.version_info[:2] != (2, 7))"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}

/// The Autobahn test suite in its folder.
struct TestSuite<'a> {
    folder: &'a Path,
    console: &'a Console,
    stop: &'a StopSignal,
}

impl TestSuite<'_> {
    /// Installs the suite if necessary. Returns the path of its program `wstest`.
    fn install(&self, python: &Path) -> Result<PathBuf> {
        let (tools, env) = (self.folder.join("virtualenv"), self.folder.join("env"));
        let (installed, wstest) = (env.join("installed"), env.join("bin/wstest"));
        if fs::read_to_string(&installed).is_ok_and(|version| version == TEST_SUITE) {
            return Ok(wstest);
        }
        fs::create_dir_all(self.folder).on_path("cannot create", self.folder)?;
        self.step("installing virtualenv", Command::new("python3").args(["-m", "venv"]).arg(&tools))?;
        self.step("installing virtualenv", Command::new(tools.join("bin/pip")).args(["install", VIRTUALENV]))?;
        let mut virtualenv = Command::new(tools.join("bin/virtualenv"));
        self.step("creating an environment", virtualenv.args(["--clear", "-p"]).arg(python).arg(&env))?;
        let pip = || Command::new(env.join("bin/pip"));
        self.step("installing the libraries of the suite", pip().arg("install").args(DEPENDENCIES))?;
        // Without `accelerate`, whose module needs a C compiler and the headers of Python.
        self.step("installing the suite", pip().args(["install", "--no-deps", TEST_SUITE]))?;
        fs::write(&installed, TEST_SUITE).on_path("cannot write", &installed)?;
        Ok(wstest)
    }

    fn wait_until_listening(&self, server: &mut Process, ports: [u16; 2]) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        while !ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()) {
            self.stop.check()?;
            if server.ended().is_some() || Instant::now() > deadline {
                let reason = format!("it does not listen after {} s", START_TIMEOUT.as_secs());
                let (name, log) = (server.name().to_owned(), server.last_lines());
                return Err(TestbedError::Start { name, reason, log }.into());
            }
            thread::sleep(CHECK_INTERVAL);
        }
        Ok(())
    }

    /// Runs the cases against all transports. Returns the folder of the reports.
    fn run_cases(&self, wstest: &Path, ports: [u16; 2], cases: &[String]) -> Result<PathBuf> {
        let reports = self.folder.join("reports");
        if reports.exists() {
            fs::remove_dir_all(&reports).on_path("cannot remove", &reports)?;
        }
        let servers: Vec<_> = TRANSPORTS
            .iter()
            .zip(ports)
            .map(|(transport, port)| serde_json::json!({ "agent": transport, "url": format!("ws://127.0.0.1:{port}") }))
            .collect();
        let spec = serde_json::json!({
            "outdir": reports, "servers": servers, "cases": cases, "exclude-cases": [], "exclude-agent-cases": {},
        });
        let file = self.folder.join("spec.json");
        fs::write(&file, spec.to_string()).on_path("cannot write", &file)?;
        self.step("running the cases", Command::new(wstest).args(["--mode", "fuzzingclient", "--spec"]).arg(&file))?;
        Ok(reports)
    }

    /// Runs a program until it exits, and shows its last line meanwhile.
    fn step(&self, text: &str, command: &mut Command) -> Result<()> {
        let shown = format!("{command:?}").replace('"', "");
        let progress = self.console.progress(self.stop);
        progress.step(text);
        let last = Arc::new(std::sync::Mutex::new(String::new()));
        let sink: LineSink = {
            let last = Arc::clone(&last);
            Arc::new(move |line| line.text.clone_into(&mut last.lock().unwrap_or_else(|e| e.into_inner())))
        };
        let mut owned = Command::new(command.get_program());
        owned.args(command.get_args());
        let mut process = Process::spawn(text, owned, Some(sink))?;
        let end = loop {
            if let Some(end) = process.ended() {
                break end;
            }
            self.stop.check()?;
            progress.detail(&format!("{text}: {}", last.lock().unwrap_or_else(|e| e.into_inner())));
            thread::sleep(CHECK_INTERVAL);
        };
        process.finish_reading();
        if end == ProcessEnd::Code(0) {
            return Ok(());
        }
        Err(TestbedError::Command { command: shown, detail: format!("{end}{}", process.last_lines()) }.into())
    }
}

fn read_results(index: &Path) -> Result<Results> {
    let failed = |reason: String| XtaskError::Report { path: index.to_owned(), reason };
    let text = fs::read_to_string(index).map_err(|error| failed(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| failed(error.to_string()))
}

fn count(cases: &BTreeMap<String, CaseResult>) -> BTreeMap<CaseVerdict, usize> {
    let mut counts = BTreeMap::from(CaseVerdict::ALL.map(|verdict| (verdict, 0)));
    cases.values().for_each(|case| *counts.entry(case.verdict()).or_default() += 1);
    counts
}

/// One line per transport, then one per case that has not passed.
fn table(results: &Results) -> String {
    let mut text =
        format!("{:<10} {:>7} {:>11} {:>14} {:>7}\n", "transport", "passed", "non-strict", "informational", "failed");
    for (transport, cases) in results {
        let [passed, non_strict, informational, failed] = CaseVerdict::ALL.map(|verdict| count(cases)[&verdict]);
        text += &format!("{transport:<10} {passed:>7} {non_strict:>11} {informational:>14} {failed:>7}\n");
    }
    for (transport, cases) in results {
        for (case, result) in cases.iter().filter(|(_, result)| result.verdict() != CaseVerdict::Passed) {
            text += &format!("{transport:<10} {case:<7} {}, close {}\n", result.behavior, result.behavior_close);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_counted_by_behaviour_and_close() {
        let index = r#"{"takeover": {
            "1.1.1": {"behavior": "OK", "behaviorClose": "OK", "duration": 1, "remoteCloseCode": 1000},
            "6.4.1": {"behavior": "NON-STRICT", "behaviorClose": "OK"},
            "7.1.6": {"behavior": "INFORMATIONAL", "behaviorClose": "INFORMATIONAL"},
            "7.1.4": {"behavior": "OK", "behaviorClose": "FAILED BY CLIENT"},
            "9.1.1": {"behavior": "UNIMPLEMENTED", "behaviorClose": "OK"}
        }}"#;
        let results: Results = serde_json::from_str(index).unwrap();
        assert_eq!(count(&results["takeover"]).into_values().collect::<Vec<_>>(), [1, 1, 1, 2]);
        let table = table(&results);
        assert!(table.contains("takeover   7.1.4   OK, close FAILED BY CLIENT"), "{table}");
        assert!(!table.contains("1.1.1"), "{table}");
    }

    #[test]
    fn a_program_that_is_not_python_2_7_is_not_used() {
        assert_eq!(find_python(Some(Path::new("false"))), None);
        assert_eq!(find_python(Some(Path::new("/nonexistent/python2.7"))), None);
    }
}
