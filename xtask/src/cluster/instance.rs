//! One gateway of the cluster. Its ports stay the same when its process is started again.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::Sender,
    },
    thread,
    time::Duration,
};

use serde::Serialize;
use trunkline_testbed::{Console, Gateway, ProcessEnd, http_get};

use super::ClusterEvent;
use crate::error::Result;

/// Time between two readiness probes.
const PROBE_INTERVAL: Duration = Duration::from_millis(150);
/// Maximum time for the answer to a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Settings that all instances share.
#[derive(Debug)]
pub(crate) struct LaunchSettings {
    pub(crate) binary: PathBuf,
    pub(crate) redis: String,
    /// The CA of Redis's certificates.
    pub(crate) redis_ca: Option<PathBuf>,
    pub(crate) secret_file: PathBuf,
    /// Public origins: the URLs of the balancer.
    pub(crate) origins: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum InstanceState {
    /// The process runs and was not ready yet.
    Starting,
    Ready,
    /// The process answers 503 on `/readyz`.
    NotReady,
    /// The process runs and does not answer.
    Unresponsive,
    /// The process got SIGTERM and serves until its clients have left.
    Draining,
    /// The process exited with code 0 after SIGTERM.
    Stopped,
    /// The process was ended by SIGKILL.
    Killed,
    /// The process ended in another way.
    Crashed,
}

impl InstanceState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::NotReady => "not ready",
            Self::Unresponsive => "unresponsive",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Killed => "killed",
            Self::Crashed => "crashed",
        }
    }
}

/// The result of one readiness probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProbeResult {
    Ready,
    /// Status and body of the answer.
    NotReady(String),
    Unresponsive,
}

pub(crate) struct ClusterInstance {
    pub(crate) number: usize,
    pub(crate) port: u16,
    pub(crate) admin: u16,
    pub(crate) state: InstanceState,
    pub(crate) restarts: u32,
    /// Whether the instance is removed from the cluster when its process has ended.
    pub(crate) leaving: bool,
    /// The answer to the last probe that was not 200.
    pub(crate) reason: String,
    gateway: Option<Gateway>,
    /// Ends the probe thread of the current process. Results of earlier processes have another `run` and are ignored.
    prober: Arc<AtomicBool>,
    run: u32,
}

impl ClusterInstance {
    pub(crate) fn new(number: usize, port: u16, admin: u16) -> Self {
        Self {
            number,
            port,
            admin,
            state: InstanceState::Stopped,
            restarts: 0,
            leaving: false,
            reason: String::new(),
            gateway: None,
            prober: Arc::default(),
            run: 0,
        }
    }

    pub(crate) fn name(&self) -> String {
        format!("gw-{}", self.number)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.gateway.as_ref().map(Gateway::pid)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.gateway.is_some()
    }

    pub(crate) fn last_lines(&self) -> String {
        self.gateway.as_ref().map(Gateway::last_lines).unwrap_or_default()
    }

    pub(crate) fn start(
        &mut self,
        launch: &LaunchSettings,
        console: &Console,
        events: &Sender<ClusterEvent>,
    ) -> Result<()> {
        let mut builder = Gateway::builder(&launch.binary)
            .listen(self.port)
            .admin_listen(self.admin)
            .redis(&launch.redis)
            .instance(self.name())
            .arg("--secret-file")
            .arg(&launch.secret_file)
            .args(["--trust-proxy", "127.0.0.1/32", "--login-rate", "0"]);
        if let Some(ca) = &launch.redis_ca {
            builder = builder.arg("--redis-ca").arg(ca);
        }
        for origin in launch.origins.iter().chain([&self.url()]) {
            builder = builder.args(["--public-origin", origin]);
        }
        let (console, number, name) = (console.clone(), self.number, self.name());
        let builder = builder.log(Arc::new(move |line| console.log(number, &name, line.text)));
        self.gateway = Some(builder.spawn()?);
        self.state = InstanceState::Starting;
        self.restarts += u32::from(self.run > 0);
        self.run += 1;
        self.watch(events.clone());
        Ok(())
    }

    pub(crate) fn kill(&mut self) -> Result<()> {
        self.gateway.as_mut().map_or(Ok(()), Gateway::kill).map_err(Into::into)
    }

    pub(crate) fn drain(&mut self) -> Result<()> {
        if let Some(gateway) = &mut self.gateway {
            gateway.terminate()?;
            self.state = InstanceState::Draining;
        }
        Ok(())
    }

    /// Handles a probe result. Returns whether the state has changed.
    pub(crate) fn observe(&mut self, run: u32, result: ProbeResult) -> bool {
        if run != self.run || self.gateway.is_none() {
            return false;
        }
        let before = self.state;
        self.state = match (before, result) {
            (InstanceState::Draining, _) => InstanceState::Draining,
            (_, ProbeResult::Ready) => InstanceState::Ready,
            (InstanceState::Starting, ProbeResult::NotReady(reason)) => {
                self.reason = reason;
                InstanceState::Starting
            }
            (InstanceState::Starting, ProbeResult::Unresponsive) => InstanceState::Starting,
            (_, ProbeResult::NotReady(reason)) => {
                self.reason = reason;
                InstanceState::NotReady
            }
            (_, ProbeResult::Unresponsive) => InstanceState::Unresponsive,
        };
        self.state != before
    }

    /// How the process ended, with its last lines. Returns this once per process.
    pub(crate) fn take_end(&mut self) -> Option<(ProcessEnd, String)> {
        let gateway = self.gateway.as_mut()?;
        let ended = gateway.ended()?;
        let lines = gateway.last_lines();
        self.prober.store(false, Ordering::Relaxed);
        self.gateway = None;
        self.state = match (ended, self.state) {
            (ProcessEnd::Signal(9), _) => InstanceState::Killed,
            (ProcessEnd::Code(0), InstanceState::Draining) => InstanceState::Stopped,
            _ => InstanceState::Crashed,
        };
        Some((ended, lines))
    }

    /// Starts a thread that probes this process and reports changes.
    fn watch(&mut self, events: Sender<ClusterEvent>) {
        let alive = Arc::new(AtomicBool::new(true));
        self.prober = Arc::clone(&alive);
        let (number, run, port) = (self.number, self.run, self.port);
        thread::spawn(move || {
            let mut last = None;
            while alive.load(Ordering::Relaxed) {
                let result = probe(port);
                if last.as_ref() != Some(&result) {
                    if events.send(ClusterEvent::Probed { number, run, result: result.clone() }).is_err() {
                        break;
                    }
                    last = Some(result);
                }
                thread::sleep(PROBE_INTERVAL);
            }
        });
    }
}

fn probe(port: u16) -> ProbeResult {
    match http_get(port, "/readyz", PROBE_TIMEOUT) {
        Ok(answer) if answer.status == 200 => ProbeResult::Ready,
        Ok(answer) => ProbeResult::NotReady(format!("{} {}", answer.status, answer.body.trim())),
        Err(_) => ProbeResult::Unresponsive,
    }
}
