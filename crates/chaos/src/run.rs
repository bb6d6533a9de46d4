//! One run of a scenario: its deployment, its checker, and its observations.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use trunkline_testbed::{IoContext, LineSink, OutputStream, Process, ProcessEnd, StopSignal};

use super::{
    checker::{CheckerProcess, CheckerSettings, ClientLoad, FaultMark, NamePrefixes},
    deployment::Deployment,
    verdict::CheckerVerdict,
};
use crate::error::{ChaosError, Result};

/// Time between two checks of a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Usual percentage of messages that are not texts but edits, deletions, reactions and events.
const AMEND_PERCENT: u32 = 10;
/// The percentage in scenarios that are about amendments.
pub(crate) const MANY_AMENDMENTS: u32 = 40;
/// Maximum time of a step on a busy machine.
pub(crate) const STEP_TIMEOUT: Duration = Duration::from_secs(60);

/// Paths of the programs under test.
#[derive(Debug, Clone)]
pub(crate) struct TestedPrograms {
    pub(crate) gateway: PathBuf,
    pub(crate) checker: PathBuf,
}

/// Length and load of scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScenarioScale {
    /// For every test run.
    Quick,
    /// At least a million deliveries over all scenarios.
    Full,
}

impl ScenarioScale {
    /// The value for this scale.
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

    /// Maximum time from the end of the load until all messages are delivered. Long enough for a client whose gateway
    /// disappeared to connect elsewhere. A scenario that fails waits twice this time.
    fn settle(self) -> Duration {
        self.pick(Duration::from_secs(40), Duration::from_secs(90))
    }

    /// Length of the undisturbed load before and after a fault.
    fn undisturbed(self) -> Duration {
        self.pick(Duration::from_secs(2), Duration::from_secs(8))
    }
}

/// A requirement besides the invariants.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Expectation {
    pub(crate) what: String,
    pub(crate) held: bool,
}

pub(crate) struct ScenarioRun<'a> {
    // Fields drop in this order: clients end before the servers that they are connected to.
    checker: Option<CheckerProcess>,
    pub(crate) deployment: Deployment,
    pub(crate) scale: ScenarioScale,
    pub(crate) seed: u64,
    pub(crate) folder: &'a Path,
    programs: &'a TestedPrograms,
    stop: &'a StopSignal,
    /// Whether the checker compares the gateways' memory, descriptors and threads at the end with those at the start.
    checks_resources: bool,
    /// Whether clients whose session ends log in again.
    pub(crate) login_again: bool,
    /// Percentage of messages that are not texts but edits, deletions, reactions and events.
    pub(crate) amend_percent: u32,
    jwt_secret: Option<PathBuf>,
    /// What the names of users and rooms begin with.
    pub(crate) names: NamePrefixes,
    /// Names of the mutants that are active in the checker, separated by commas.
    pub(crate) mutants: String,
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
            amend_percent: AMEND_PERCENT,
            jwt_secret: None,
            names: NamePrefixes::default(),
            mutants: String::new(),
            evidence: Vec::new(),
            notes: Vec::new(),
            expectations: Vec::new(),
            verdict: None,
        }
    }

    /// Starts gateways 1 to `count`, waits until the balancer uses them all, and starts the clients.
    pub(crate) fn start(&mut self, count: usize, load: ClientLoad) -> Result<()> {
        self.start_gateways(count)?;
        self.start_clients(load)
    }

    /// Identifies the users by tokens instead of logins. Call this before gateways start.
    pub(crate) fn use_tokens(&mut self) -> Result<()> {
        self.jwt_secret = Some(self.deployment.accept_tokens()?);
        Ok(())
    }

    /// Compares the gateways' resources in a quick scenario too. This takes several seconds, until idle connections are
    /// closed.
    pub(crate) fn check_resources(&mut self) {
        self.checks_resources = true;
    }

    pub(crate) fn start_gateways(&mut self, count: usize) -> Result<()> {
        (1..=count).try_for_each(|number| self.deployment.start(number))?;
        (1..=count).try_for_each(|number| self.wait_until_served(number))
    }

    /// Starts the clients, which send from now on, and waits for a while.
    pub(crate) fn start_clients(&mut self, load: ClientLoad) -> Result<()> {
        let checks_resources = self.deployment.members.iter().filter(|_| self.checks_resources);
        let pids = checks_resources.map(|member| member.gateway.pid()).collect();
        self.checker =
            Some(self.start_checker((self.names.clone(), load, pids), self.deployment.url(), self.folder)?);
        self.undisturbed()
    }

    /// Starts other clients beside those of [`Self::start_clients`], at any URL. Their history is in the folder `name`, and
    /// [`Self::judge_others`] judges them.
    pub(crate) fn start_others(
        &self,
        name: &str,
        url: String,
        names: NamePrefixes,
        load: ClientLoad,
    ) -> Result<CheckerProcess> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder).on_path("cannot create", &folder)?;
        self.start_checker((names, load, Vec::new()), url, &folder)
    }

    fn start_checker(
        &self,
        (names, load, pids): (NamePrefixes, ClientLoad, Vec<u32>),
        url: String,
        folder: &Path,
    ) -> Result<CheckerProcess> {
        let settings = CheckerSettings {
            url,
            pids,
            names,
            load,
            login_again: self.login_again,
            amend_percent: self.amend_percent,
            jwt_secret: self.jwt_secret.clone(),
            mutants: self.mutants.clone(),
            settle: self.scale.settle(),
            seed: self.seed,
        };
        CheckerProcess::start(&self.programs.checker, settings, folder, self.stop)
    }

    /// Waits for the length of the undisturbed load.
    pub(crate) fn undisturbed(&mut self) -> Result<()> {
        self.run_for(self.scale.undisturbed())
    }

    /// Waits, and returns an error if the checker exits.
    pub(crate) fn run_for(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.check()?;
            thread::sleep(POLL_INTERVAL.min(end.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }

    /// Waits until the condition holds, and returns the time that took. `what` describes the condition.
    ///
    /// # Errors
    /// Returns [`ChaosError::Scenario`] if that takes longer than `limit`.
    pub(crate) fn wait_until(
        &mut self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut(&mut Deployment) -> bool,
    ) -> Result<Duration> {
        let began = Instant::now();
        while !condition(&mut self.deployment) {
            self.check()?;
            if began.elapsed() > limit {
                return Err(ChaosError::Scenario(format!("condition not met within {} s: {what}", limit.as_secs())));
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(began.elapsed())
    }

    /// Waits until the balancer sends new requests to gateway `number`.
    pub(crate) fn wait_until_served(&mut self, number: usize) -> Result<()> {
        self.wait_until(&format!("the balancer uses gw-{number}"), STEP_TIMEOUT, |deployment| {
            deployment.gets_traffic(number)
        })
        .map(drop)
    }

    fn check(&mut self) -> Result<()> {
        if self.stop.is_requested() {
            return Err(ChaosError::Stopped);
        }
        self.checker.as_mut().map_or(Ok(()), CheckerProcess::check_running)
    }

    /// Records the beginning of a fault. Call this before injecting it.
    pub(crate) fn mark_fault(&mut self, fault: &FaultMark) -> Result<()> {
        self.checker()?.mark_fault(fault)
    }

    /// Records the end of all faults.
    pub(crate) fn mark_healed(&mut self) -> Result<()> {
        self.checker()?.mark_healed()
    }

    /// Marks a fault, kills a gateway, and records evidence of its end.
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
        self.checker.as_mut().ok_or_else(|| ChaosError::Scenario("no clients are connected".to_owned()))
    }

    /// Records an observation which shows that the fault occurred.
    pub(crate) fn record_evidence(&mut self, what: impl Into<String>) {
        self.evidence.push(what.into());
    }

    /// Records a measurement that does not decide the result.
    pub(crate) fn note(&mut self, what: impl Into<String>) {
        self.notes.push(what.into());
    }

    /// Records whether a requirement is met.
    pub(crate) fn expect(&mut self, what: impl Into<String>, held: bool) {
        self.expectations.push(Expectation { what: what.into(), held });
    }

    /// Ends the load and returns the checker's verdict.
    pub(crate) fn judge(&mut self) -> Result<CheckerVerdict> {
        let checker = self.checker.take().ok_or_else(|| ChaosError::Scenario("no clients were started".to_owned()))?;
        Ok(self.verdict.insert(checker.judge()?).clone())
    }

    /// Ends the load of other clients, and expects that the promise held for them, too.
    pub(crate) fn judge_others(&mut self, name: &str, others: CheckerProcess) -> Result<CheckerVerdict> {
        let verdict = others.judge()?;
        let broken = verdict.broken();
        self.expect(format!("{name}: the promise held (violated invariants: {broken:?})"), verdict.passed);
        Ok(verdict)
    }

    /// Whether clients are connected that were not judged yet.
    pub(crate) fn has_clients(&self) -> bool {
        self.checker.is_some()
    }

    /// Starts `trunkline-check attack` through the balancer. [`Self::finish_attack`] returns its result.
    pub(crate) fn start_attack(&mut self, arguments: &[&str]) -> Result<AttackProcess> {
        self.start_attack_at(&self.deployment.url(), arguments)
    }

    /// As [`Self::start_attack`], at another URL than the balancer's.
    pub(crate) fn start_attack_at(&mut self, url: &str, arguments: &[&str]) -> Result<AttackProcess> {
        let mut command = Command::new(&self.programs.checker);
        command.arg("attack").args(["--url", url]).args(arguments);
        let result = Arc::new(Mutex::new(None));
        let answer = Arc::clone(&result);
        let sink: LineSink = Arc::new(move |line| {
            if line.stream == OutputStream::Out
                && let Ok(value) = serde_json::from_str(line.text)
            {
                *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
            }
        });
        Ok(AttackProcess { process: Process::spawn("trunkline-check attack", command, Some(sink))?, answer })
    }

    /// Waits until an attack ends and returns its result, the JSON that it printed.
    pub(crate) fn finish_attack(&mut self, mut attack: AttackProcess, limit: Duration) -> Result<Value> {
        self.wait_until("the attack has ended", limit, |_| attack.process.ended().is_some())?;
        attack.process.finish_reading();
        let answer = attack.answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        answer.ok_or_else(|| {
            ChaosError::Scenario(format!("the attack printed no result:{}", attack.process.last_lines()))
        })
    }

    /// Runs `trunkline-check attack` with these arguments until it ends. Returns whether it exited with 0.
    pub(crate) fn run_attack_suite(&mut self, url: &str, arguments: &[&str], limit: Duration) -> Result<bool> {
        let mut attack = self.start_attack_at(url, arguments)?;
        self.wait_until("the attack suite has ended", limit, |_| attack.process.ended().is_some())?;
        Ok(attack.process.ended() == Some(ProcessEnd::Code(0)))
    }
}

/// A running attack.
pub(crate) struct AttackProcess {
    process: Process,
    answer: Arc<Mutex<Option<Value>>>,
}
