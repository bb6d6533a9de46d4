//! A row while it is carried out: its deployment, its checker, and what was seen.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use trunkline_testbed::{LineSink, OutputStream, Process, ProcessEnd, StopSignal};

use super::{
    checker::{CheckerProcess, CheckerSettings, ClientLoad, FaultMark},
    deployment::Deployment,
    verdict::CheckerVerdict,
};
use crate::error::{ChaosError, Result};

/// How often a run looks whether what it waits for has come.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How long anything that should come soon may take on a busy machine.
pub(crate) const STEP_TIMEOUT: Duration = Duration::from_secs(60);

/// The programs under test. Copies of our own: builds meanwhile do not change them.
#[derive(Debug, Clone)]
pub(crate) struct TestedPrograms {
    pub(crate) gateway: PathBuf,
    pub(crate) checker: PathBuf,
}

/// How long rows are and how much is written in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScenarioScale {
    /// Fits into every test run.
    Quick,
    /// At least a million deliveries over all rows.
    Full,
}

impl ScenarioScale {
    /// One or the other.
    pub(crate) fn pick<T>(self, quick: T, full: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Full => full,
        }
    }

    pub(crate) fn load(self) -> ClientLoad {
        match self {
            Self::Quick => ClientLoad { writers: 9, readers: 24, rooms: 3, rate: 60, text: 64, tabs: 1 },
            Self::Full => ClientLoad { writers: 20, readers: 200, rooms: 5, rate: 100, text: 64, tabs: 1 },
        }
    }

    /// How long all that was written may take to be settled and shown. Long enough for a client whose gateway vanished
    /// to find another one; a row that fails takes this time twice.
    fn settle(self) -> Duration {
        self.pick(Duration::from_secs(40), Duration::from_secs(90))
    }

    /// Undisturbed writing before and after a fault.
    fn undisturbed(self) -> Duration {
        self.pick(Duration::from_secs(2), Duration::from_secs(8))
    }
}

/// Something that a row requires beyond the promise.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Expectation {
    pub(crate) what: String,
    pub(crate) held: bool,
}

pub(crate) struct ScenarioRun<'a> {
    // The clients go before what they are connected to.
    checker: Option<CheckerProcess>,
    pub(crate) deployment: Deployment,
    pub(crate) scale: ScenarioScale,
    pub(crate) seed: u64,
    pub(crate) folder: &'a Path,
    programs: &'a TestedPrograms,
    stop: &'a StopSignal,
    /// Whether gateways must hold in the end what they held at the start.
    checks_resources: bool,
    /// Whether clients that are logged out log in again.
    pub(crate) login_again: bool,
    pub(crate) evidence: Vec<String>,
    pub(crate) notes: Vec<String>,
    pub(crate) expectations: Vec<Expectation>,
    pub(crate) verdict: Option<CheckerVerdict>,
}

impl<'a> ScenarioRun<'a> {
    pub(crate) fn new(
        deployment: Deployment,
        scale: ScenarioScale,
        seed: u64,
        folder: &'a Path,
        programs: &'a TestedPrograms,
        stop: &'a StopSignal,
    ) -> Self {
        Self {
            checker: None,
            deployment,
            scale,
            seed,
            folder,
            programs,
            stop,
            checks_resources: scale == ScenarioScale::Full,
            login_again: false,
            evidence: Vec::new(),
            notes: Vec::new(),
            expectations: Vec::new(),
            verdict: None,
        }
    }

    /// Starts gateways 1 to `count`, waits until the balancer wait_until_served them all, and lets the clients in.
    pub(crate) fn start(&mut self, count: usize, load: ClientLoad) -> Result<()> {
        self.start_gateways(count)?;
        self.start_clients(load)
    }

    /// In a short row, too, gateways must hold in the end what they held at the start: seconds, until idle connections are
    /// closed.
    pub(crate) fn check_resources(&mut self) {
        self.checks_resources = true;
    }

    pub(crate) fn start_gateways(&mut self, count: usize) -> Result<()> {
        (1..=count).try_for_each(|number| self.deployment.start(number))?;
        (1..=count).try_for_each(|number| self.wait_until_served(number))
    }

    /// Lets the clients in; they write from now on.
    pub(crate) fn start_clients(&mut self, load: ClientLoad) -> Result<()> {
        let checks_resources = self.deployment.members.iter().filter(|_| self.checks_resources);
        let pids = checks_resources.map(|member| member.gateway.pid()).collect();
        let (url, settle) = (self.deployment.url(), self.scale.settle());
        let run = CheckerSettings { url, pids, load, login_again: self.login_again, settle, seed: self.seed };
        self.checker = Some(CheckerProcess::start(&self.programs.checker, run, self.folder, self.stop)?);
        self.undisturbed()
    }

    /// Writing without disturbance.
    pub(crate) fn undisturbed(&mut self) -> Result<()> {
        self.run_for(self.scale.undisturbed())
    }

    /// Lets time pass, as long as the checker lives.
    pub(crate) fn run_for(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.look()?;
            thread::sleep(POLL_INTERVAL.min(end.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }

    /// Waits until it is so; an error if that takes longer than `limit`.
    pub(crate) fn wait_until(
        &mut self,
        what: &str,
        limit: Duration,
        mut is_so: impl FnMut(&mut Deployment) -> bool,
    ) -> Result<Duration> {
        let began = Instant::now();
        while !is_so(&mut self.deployment) {
            self.look()?;
            if began.elapsed() > limit {
                return Err(ChaosError::Scenario(format!("not within {} s: {what}", limit.as_secs())));
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(began.elapsed())
    }

    /// Waits until the balancer sends requests to gateway `number`.
    pub(crate) fn wait_until_served(&mut self, number: usize) -> Result<()> {
        self.wait_until(&format!("the balancer wait_until_served gw-{number}"), STEP_TIMEOUT, |deployment| {
            deployment.gets_traffic(number)
        })
        .map(drop)
    }

    fn look(&mut self) -> Result<()> {
        if self.stop.is_requested() {
            return Err(ChaosError::Stopped);
        }
        self.checker.as_mut().map_or(Ok(()), CheckerProcess::must_live)
    }

    /// Marks a fault; call it just before the fault.
    pub(crate) fn mark_fault(&mut self, fault: &FaultMark) -> Result<()> {
        self.checker()?.mark_fault(fault)
    }

    /// Marks that the faults are over.
    pub(crate) fn mark_healed(&mut self) -> Result<()> {
        self.checker()?.mark_healed()
    }

    /// Kills a gateway under a mark, and notes that it is gone.
    pub(crate) fn kill_gateway(&mut self, number: usize) -> Result<()> {
        self.mark_fault(&FaultMark::new(format!("gw-{number} killed")))?;
        let gateway = &mut self.deployment.member(number)?.gateway;
        gateway.kill()?;
        if gateway.ended() == Some(ProcessEnd::Signal(9)) {
            self.record_evidence(format!("gw-{number} was killed"));
        }
        Ok(())
    }

    fn checker(&mut self) -> Result<&mut CheckerProcess> {
        self.checker.as_mut().ok_or_else(|| ChaosError::Scenario("no clients are there".to_owned()))
    }

    /// Notes where the fault was seen to fire, from the side that made it.
    pub(crate) fn record_evidence(&mut self, what: impl Into<String>) {
        self.evidence.push(what.into());
    }

    /// Notes a figure that people want to see, and that decides nothing.
    pub(crate) fn note(&mut self, what: impl Into<String>) {
        self.notes.push(what.into());
    }

    /// Notes whether something that the row requires is so.
    pub(crate) fn expect(&mut self, what: impl Into<String>, held: bool) {
        self.expectations.push(Expectation { what: what.into(), held });
    }

    /// Ends the writing, and has the clients' history judged.
    pub(crate) fn judge(&mut self) -> Result<CheckerVerdict> {
        let checker = self.checker.take().ok_or_else(|| ChaosError::Scenario("no clients were let in".to_owned()))?;
        Ok(self.verdict.insert(checker.judge()?).clone())
    }

    /// Whether clients are connected and not judged yet.
    pub(crate) fn has_clients(&self) -> bool {
        self.checker.is_some()
    }

    /// Starts `trunkline-check attack` beside the load; its answer comes by [`AttackProcess::answer`].
    pub(crate) fn start_attack(&mut self, arguments: &[&str]) -> Result<AttackProcess> {
        self.start_attack_at(&self.deployment.url(), arguments)
    }

    /// The same at another address than the balancer's.
    pub(crate) fn start_attack_at(&mut self, url: &str, arguments: &[&str]) -> Result<AttackProcess> {
        let mut command = Command::new(&self.programs.checker);
        command.arg("attack").args(["--url", url]).args(arguments);
        let told = Arc::new(Mutex::new(None));
        let answer = Arc::clone(&told);
        let sink: LineSink = Arc::new(move |line| {
            if line.stream == OutputStream::Out
                && let Ok(value) = serde_json::from_str(line.text)
            {
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
            }
        });
        Ok(AttackProcess { process: Process::spawn("trunkline-check attack", command, Some(sink))?, answer })
    }

    /// Waits for the end of an attack, and gives what came of it.
    pub(crate) fn finish_attack(&mut self, mut assault: AttackProcess, limit: Duration) -> Result<Value> {
        self.wait_until("the attack is over", limit, |_| assault.process.ended().is_some())?;
        assault.process.finish_reading();
        let answer = assault.answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        answer.ok_or_else(|| ChaosError::Scenario(format!("the attack told nothing:{}", assault.process.last_lines())))
    }
}

/// An attack under way.
pub(crate) struct AttackProcess {
    process: Process,
    answer: Arc<Mutex<Option<Value>>>,
}
