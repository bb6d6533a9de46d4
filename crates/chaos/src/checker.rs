//! `trunkline-check` as a child process: it writes, reads, is told of faults, and judges.

use std::{
    fs::File,
    io::Write,
    path::Path,
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

/// How long logging in and joining may take: a busy machine is slow.
const JOIN_TIMEOUT: Duration = Duration::from_secs(600);
/// How long a mark may take to stand in the history.
const MARK_TIMEOUT: Duration = Duration::from_secs(30);
/// How long settling, reading afresh, leaving and judging may take.
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
    /// How many clients there are.
    pub(crate) fn clients(&self) -> u32 {
        self.writers + self.readers
    }
}

/// What the checker is told when something is broken; see `history::FaultMark` there.
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
    /// Clients must notice it.
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { mark: "fault", name: name.into(), redis: false, visible: true, closes: None }
    }

    /// Clients need not notice it; that it fired is seen elsewhere.
    pub(crate) fn unseen(mut self) -> Self {
        self.visible = false;
        self
    }

    /// Redis may lose data or become another: epochs may change.
    pub(crate) fn of_redis(mut self) -> Self {
        self.redis = true;
        self
    }

    /// The close codes that it explains.
    pub(crate) fn closing(mut self, codes: &[u16]) -> Self {
        self.closes = Some(codes.to_vec());
        self
    }
}

/// What a run of the checker is made of.
#[derive(Debug)]
pub(crate) struct CheckerSettings {
    /// Where clients connect.
    pub(crate) url: String,
    /// The gateways, whose memory, descriptors and threads must be back in the end where they were; those that are gone by
    /// then are passed over.
    pub(crate) pids: Vec<u32>,
    pub(crate) load: ClientLoad,
    /// Whoever is logged out logs in again.
    pub(crate) login_again: bool,
    /// How long all that was written may take to be settled and shown.
    pub(crate) settle: Duration,
    pub(crate) seed: u64,
}

/// A run of the checker that goes on.
pub(crate) struct CheckerProcess {
    process: Process,
    states: Receiver<Value>,
    stop: StopSignal,
}

impl CheckerProcess {
    /// Starts it, and returns when all its clients are in their rooms and begin to write. Its history and its report go
    /// to `folder`.
    pub(crate) fn start(program: &Path, run: CheckerSettings, folder: &Path, stop: &StopSignal) -> Result<Self> {
        let CheckerSettings { url, pids, load, login_again, settle, seed } = run;
        let mut command = Command::new(program);
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
        // Until it is told to stop.
        flag("--for", "1h".to_owned());
        flag("--settle", format!("{}s", settle.as_secs()));
        flag("--patience", "9m".to_owned());
        flag("--users-prefix", "u".to_owned());
        flag("--rooms-prefix", "chaos".to_owned());
        flag("--history", folder.join("history.jsonl").display().to_string());
        flag("--report", folder.join("check.html").display().to_string());
        flag("--tabs", load.tabs.to_string());
        if login_again {
            command.arg("--login-again");
        }
        let (tell, states) = mpsc::channel();
        let path = folder.join("checker.log");
        let log = Mutex::new(File::create(&path).on_path("cannot create", &path)?);
        let sink: LineSink = Arc::new(move |line| match line.stream {
            OutputStream::Out => {
                if let Ok(state) = serde_json::from_str(line.text) {
                    let _ = tell.send(state);
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

    /// Marks a fault in the history; it stands there when this returns. Call it just before the fault.
    pub(crate) fn mark_fault(&mut self, fault: &FaultMark) -> Result<()> {
        let order = serde_json::to_string(fault).map_err(|e| ChaosError::Scenario(e.to_string()))?;
        self.mark(&order)
    }

    /// Marks that the faults are over.
    pub(crate) fn mark_healed(&mut self) -> Result<()> {
        self.mark(&json!({"mark": "healed"}).to_string())
    }

    fn mark(&mut self, order: &str) -> Result<()> {
        self.process.tell(order)?;
        self.wait_for("marked", MARK_TIMEOUT).map(drop)
    }

    /// An error if it has ended by itself.
    pub(crate) fn must_live(&mut self) -> Result<()> {
        match self.process.ended() {
            None => Ok(()),
            Some(ended) => Err(self.early_end(ended)),
        }
    }

    /// Ends the writing and waits for the verdict.
    pub(crate) fn judge(mut self) -> Result<CheckerVerdict> {
        self.process.tell(&json!({"stop": true}).to_string())?;
        let state = self.wait_for("verdict", VERDICT_TIMEOUT)?;
        let verdict = serde_json::from_value(state["verdict"].clone());
        self.process.wait(Duration::from_secs(10));
        verdict.map_err(|e| ChaosError::Scenario(format!("the verdict cannot be read: {e}")))
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
                        "the checker is not {wanted} after {} s",
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
