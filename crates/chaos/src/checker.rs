//! `trunkline-check` as a child process. It connects clients, records faults, and judges what the clients saw.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::{Value, json};
use trunkline_testbed::{IoContext, LineSink, OutputStream, Process, ProcessEnd, StopSignal};

use super::verdict::CheckerVerdict;
use crate::error::{ChaosError, Result};

/// Maximum time for all clients to log in and join. A busy machine is slow.
const JOIN_TIMEOUT: Duration = Duration::from_secs(600);
/// Maximum time until a mark is recorded in the history.
const MARK_TIMEOUT: Duration = Duration::from_secs(30);
/// Lifetime of the users' tokens. Clients refresh them after 80 % of it.
pub(crate) const TOKEN_LIFETIME: Duration = Duration::from_secs(6);
/// Maximum time to settle, read all logs again, disconnect and judge.
const VERDICT_TIMEOUT: Duration = Duration::from_secs(240);

/// The clients of a scenario and their messages.
#[derive(Debug, Clone, Copy)]
pub struct ClientLoad {
    /// Number of clients that send and receive.
    pub writers: u32,
    /// Number of clients that only receive.
    pub readers: u32,
    /// Number of rooms, over which the clients are distributed.
    pub rooms: u32,
    /// Messages per second, over all writers.
    pub rate: u32,
    /// Length of a message's text in bytes.
    pub text: u32,
    /// Readers per user: they share a session, as the tabs of a browser do.
    pub tabs: u32,
}

impl ClientLoad {
    /// Number of clients.
    pub(crate) fn clients(&self) -> u32 {
        self.writers + self.readers
    }
}

/// What the names of a checker's users and rooms begin with. A number follows, counted from 0: `chaos-0` is the first room.
#[derive(Debug, Clone)]
pub(crate) struct NamePrefixes {
    pub(crate) users: String,
    pub(crate) rooms: String,
}

impl Default for NamePrefixes {
    fn default() -> Self {
        Self { users: "u".to_owned(), rooms: "chaos".to_owned() }
    }
}

/// A mark in the checker's history that names the broken part and the effects on clients that it explains. Serialized as
/// the checker's `history::Fault`.
#[derive(Debug, Serialize)]
pub(crate) struct FaultMark {
    mark: &'static str,
    name: String,
    redis: bool,
    visible: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    closes: Option<Vec<u16>>,
}

impl FaultMark {
    /// A fault that clients notice.
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { mark: "fault", name: name.into(), redis: false, visible: true, closes: None }
    }

    /// Clients need not notice the fault. Evidence of it comes from elsewhere.
    pub(crate) fn unnoticed(mut self) -> Self {
        self.visible = false;
        self
    }

    /// Redis may lose data or be replaced, so epochs may change.
    pub(crate) fn in_redis(mut self) -> Self {
        self.redis = true;
        self
    }

    /// The fault explains sockets closed with these codes.
    pub(crate) fn closing_with(mut self, codes: &[u16]) -> Self {
        self.closes = Some(codes.to_vec());
        self
    }
}

/// Settings of a run of the checker.
#[derive(Debug)]
pub(crate) struct CheckerSettings {
    /// URL that the clients connect to.
    pub(crate) url: String,
    /// Gateways whose memory, descriptors and threads must return to their initial values. Gateways that have ended by
    /// then are left out.
    pub(crate) pids: Vec<u32>,
    pub(crate) names: NamePrefixes,
    pub(crate) load: ClientLoad,
    /// Whether clients whose session ends log in again.
    pub(crate) login_again: bool,
    /// Percentage of messages that are not texts but edits, deletions, reactions and events.
    pub(crate) amend_percent: u32,
    /// Secret that signs the tokens of the users; `None`: they log in.
    pub(crate) jwt_secret: Option<PathBuf>,
    /// Names of the active mutants, separated by commas.
    pub(crate) mutants: String,
    /// Maximum time from the end of the load until all messages are delivered.
    pub(crate) settle: Duration,
    pub(crate) seed: u64,
}

/// A running checker.
pub(crate) struct CheckerProcess {
    process: Process,
    states: Receiver<Value>,
    stop: StopSignal,
}

impl CheckerProcess {
    /// Starts the checker. Returns when all clients have joined and begin to send. Writes history and report to `folder`.
    pub(crate) fn start(program: &Path, run: CheckerSettings, folder: &Path, stop: &StopSignal) -> Result<Self> {
        let CheckerSettings { url, pids, names, load, login_again, amend_percent, jwt_secret, mutants, settle, seed } =
            run;
        let mut command = Command::new(program);
        if !mutants.is_empty() {
            command.env("TRUNKLINE_MUTANT", mutants);
        }
        let mut flag = |name: &str, value: String| _ = command.arg(name).arg(value);
        flag("run", "--control".to_owned());
        flag("--url", url);
        pids.into_iter().for_each(|pid| flag("--pid", pid.to_string()));
        flag("--writers", load.writers.to_string());
        flag("--readers", load.readers.to_string());
        flag("--rooms", load.rooms.to_string());
        flag("--rate", load.rate.to_string());
        flag("--text", load.text.to_string());
        flag("--seed", seed.to_string());
        // An upper limit: `judge` ends the load.
        flag("--for", "1h".to_owned());
        flag("--settle", format!("{}s", settle.as_secs()));
        flag("--patience", "9m".to_owned());
        flag("--users-prefix", names.users);
        flag("--rooms-prefix", names.rooms);
        flag("--history", folder.join("history.jsonl").display().to_string());
        flag("--report", folder.join("check.html").display().to_string());
        flag("--tabs", load.tabs.to_string());
        flag("--amend", amend_percent.to_string());
        if let Some(secret) = jwt_secret {
            flag("--jwt-secret-file", secret.display().to_string());
            flag("--token-ttl", format!("{}s", TOKEN_LIFETIME.as_secs()));
        }
        if login_again {
            command.arg("--login-again");
        }
        let (sender, states) = mpsc::channel();
        let path = folder.join("checker.log");
        let log = Mutex::new(File::create(&path).on_path("cannot create", &path)?);
        let sink: LineSink = Arc::new(move |line| match line.stream {
            OutputStream::Out => {
                if let Ok(state) = serde_json::from_str(line.text) {
                    let _ = sender.send(state);
                }
            }
            OutputStream::Err => {
                _ = writeln!(log.lock().unwrap_or_else(PoisonError::into_inner), "{}", line.text);
            }
        });
        let process = Process::spawn_with_input("trunkline-check", command, Some(sink))?;
        let mut checker = Self { process, states, stop: stop.clone() };
        checker.wait_for("writing", JOIN_TIMEOUT)?;
        Ok(checker)
    }

    /// Records the beginning of a fault. Returns when the mark is in the history. Call this before injecting the fault.
    pub(crate) fn mark_fault(&mut self, fault: &FaultMark) -> Result<()> {
        let order = serde_json::to_string(fault).map_err(|e| ChaosError::Scenario(e.to_string()))?;
        self.mark(&order)
    }

    /// Records the end of all faults.
    pub(crate) fn mark_healed(&mut self) -> Result<()> {
        self.mark(&json!({"mark": "healed"}).to_string())
    }

    fn mark(&mut self, order: &str) -> Result<()> {
        self.process.write_line(order)?;
        self.wait_for("marked", MARK_TIMEOUT).map(drop)
    }

    /// Returns an error if the checker has exited.
    pub(crate) fn check_running(&mut self) -> Result<()> {
        match self.process.ended() {
            None => Ok(()),
            Some(ended) => Err(self.early_end(ended)),
        }
    }

    /// Ends the load and waits for the verdict.
    pub(crate) fn judge(mut self) -> Result<CheckerVerdict> {
        self.process.write_line(&json!({"stop": true}).to_string())?;
        let state = self.wait_for("verdict", VERDICT_TIMEOUT)?;
        let verdict = serde_json::from_value(state["verdict"].clone());
        self.process.wait(Duration::from_secs(10));
        verdict.map_err(|e| ChaosError::Scenario(format!("the checker's verdict cannot be parsed: {e}")))
    }

    fn wait_for(&mut self, wanted: &str, limit: Duration) -> Result<Value> {
        let deadline = Instant::now() + limit;
        loop {
            if self.stop.is_requested() {
                return Err(ChaosError::Stopped);
            }
            match self.states.recv_timeout(Duration::from_millis(100)) {
                Ok(state) if state["state"] == wanted => return Ok(state),
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let ended = self.process.wait(Duration::from_secs(5)).unwrap_or(ProcessEnd::Code(-1));
                    return Err(self.early_end(ended));
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() > deadline => {
                    return Err(ChaosError::Scenario(format!(
                        "the checker did not report {wanted:?} within {} s",
                        limit.as_secs()
                    )));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn early_end(&self, ended: ProcessEnd) -> ChaosError {
        ChaosError::Scenario(format!("the checker ended ({ended}):{}", self.process.last_lines()))
    }
}
