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
use trunkline_testbed::{Ended, LineSink, Process, Stream};

use super::verdict::Verdict;
use crate::{
    error::{Error, OnFile, Result},
    stop::Stop,
};

/// How long logging in and joining may take: a busy machine is slow.
const GATHER: Duration = Duration::from_secs(600);
/// How long a mark may take to stand in the history.
const MARK: Duration = Duration::from_secs(30);
/// How long settling, reading afresh, leaving and judging may take.
const JUDGE: Duration = Duration::from_secs(240);

/// What is written and read while a fault is on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) writers: u32,
    pub(crate) readers: u32,
    pub(crate) rooms: u32,
    /// Messages a second, of all writers together.
    pub(crate) rate: u32,
    /// Bytes of a message's text.
    pub(crate) text: u32,
    /// Readers of one user.
    pub(crate) tabs: u32,
}

impl Load {
    /// How many clients there are.
    pub(crate) fn clients(&self) -> u32 {
        self.writers + self.readers
    }
}

/// What the checker is told when something is broken; see `history::Fault` there.
#[derive(Debug, Serialize)]
pub(crate) struct Fault {
    mark: &'static str,
    name: String,
    redis: bool,
    visible: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    closes: Option<Vec<u16>>,
}

impl Fault {
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
pub(crate) struct Run {
    /// Where clients connect.
    pub(crate) url: String,
    /// The gateways, whose memory, descriptors and threads must be back in the end where they were; those that are gone by
    /// then are passed over.
    pub(crate) pids: Vec<u32>,
    pub(crate) load: Load,
    /// Whoever is logged out logs in again.
    pub(crate) login_again: bool,
    /// How long all that was written may take to be settled and shown.
    pub(crate) settle: Duration,
    pub(crate) seed: u64,
}

/// A run of the checker that goes on.
pub(crate) struct Checker {
    process: Process,
    states: Receiver<Value>,
    stop: Stop,
}

impl Checker {
    /// Starts it, and returns when all its clients are in their rooms and begin to write. Its history and its report go
    /// to `folder`.
    pub(crate) fn start(program: &Path, run: Run, folder: &Path, stop: &Stop) -> Result<Self> {
        let Run { url, pids, load, login_again, settle, seed } = run;
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
        let log = Mutex::new(File::create(&path).on("cannot create", &path)?);
        let sink: LineSink = Arc::new(move |line| match line.stream {
            Stream::Out => {
                if let Ok(state) = serde_json::from_str(line.text) {
                    let _ = tell.send(state);
                }
            }
            Stream::Err => {
                _ = writeln!(log.lock().unwrap_or_else(PoisonError::into_inner), "{}", line.text);
            }
        });
        let process = Process::spawn_with_input("trunkline-check", command, Some(sink))?;
        let mut checker = Self { process, states, stop: stop.clone() };
        checker.wait_for("writing", GATHER)?;
        Ok(checker)
    }

    /// Marks a fault in the history; it stands there when this returns. Call it just before the fault.
    pub(crate) fn fault(&mut self, fault: &Fault) -> Result<()> {
        let order = serde_json::to_string(fault).map_err(|e| Error::Row(e.to_string()))?;
        self.mark(&order)
    }

    /// Marks that the faults are over.
    pub(crate) fn healed(&mut self) -> Result<()> {
        self.mark(&json!({"mark": "healed"}).to_string())
    }

    fn mark(&mut self, order: &str) -> Result<()> {
        self.process.tell(order)?;
        self.wait_for("marked", MARK).map(drop)
    }

    /// An error if it has ended by itself.
    pub(crate) fn must_live(&mut self) -> Result<()> {
        match self.process.ended() {
            None => Ok(()),
            Some(ended) => Err(self.early_end(ended)),
        }
    }

    /// Ends the writing and waits for the verdict.
    pub(crate) fn judge(mut self) -> Result<Verdict> {
        self.process.tell(&json!({"stop": true}).to_string())?;
        let state = self.wait_for("verdict", JUDGE)?;
        let verdict = serde_json::from_value(state["verdict"].clone());
        self.process.wait(Duration::from_secs(10));
        verdict.map_err(|e| Error::Row(format!("the verdict cannot be read: {e}")))
    }

    fn wait_for(&mut self, wanted: &str, limit: Duration) -> Result<Value> {
        let deadline = Instant::now() + limit;
        loop {
            if self.stop.is_asked() {
                return Err(Error::Stopped);
            }
            match self.states.recv_timeout(Duration::from_millis(100)) {
                Ok(state) if state["state"] == wanted => return Ok(state),
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let ended = self.process.wait(Duration::from_secs(5)).unwrap_or(Ended::Code(-1));
                    return Err(self.early_end(ended));
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() > deadline => {
                    return Err(Error::Row(format!("the checker is not {wanted} after {} s", limit.as_secs())));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn early_end(&self, ended: Ended) -> Error {
        Error::Row(format!("the checker ended ({ended}):{}", self.process.last_lines()))
    }
}
