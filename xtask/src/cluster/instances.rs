//! The instances and the servers that they share: executes commands and reports changes.

use std::sync::mpsc::Sender;

use trunkline_testbed::{Console, HaProxy, ProcessEnd, free_port};

use super::{
    ClusterEvent,
    instance::{ClusterInstance, InstanceState, ProbeResult},
    port,
    redis_task::RedisCommand,
    report::{ClusterReport, RedisReport, ReportedBalancer, ReportedInstance},
    roll::{InstanceCondition, RollAction, RollingRestart},
    servers::{ClusterServers, MAX_INSTANCES},
};
use crate::error::{Result, XtaskError};

/// Why a command was not executed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("there is no gw-{0}: the cluster has {1}")]
    NoSuchInstance(usize, usize),
    #[error("{0} is running already")]
    RunsAlready(String),
    #[error("{0} is not running; `start {0}` starts it")]
    DoesNotRun(String),
    #[error("{0} is draining and will be removed: try again when it has ended")]
    Leaving(String),
    #[error("a rolling restart is in progress: try again when it is complete")]
    Rolling,
    #[error("no instance is running")]
    NothingToRoll,
    #[error(transparent)]
    Failed(#[from] XtaskError),
}

impl From<trunkline_testbed::TestbedError> for CommandError {
    fn from(error: trunkline_testbed::TestbedError) -> Self {
        Self::Failed(error.into())
    }
}

pub(crate) struct Cluster {
    // Fields drop in this order: a process that outlives those it depends on logs errors.
    instances: Vec<ClusterInstance>,
    servers: ClusterServers,
    port: u16,
    url: String,
    console: Console,
    events: Sender<ClusterEvent>,
    roll: Option<RollingRestart>,
    pub(crate) redis: RedisReport,
    balancer_runs: bool,
    /// Whether changes are reported. False until all instances are ready for the first time.
    pub(crate) reports_changes: bool,
}

impl Cluster {
    pub(crate) fn new(
        servers: ClusterServers,
        redis: RedisReport,
        port: u16,
        console: Console,
        events: Sender<ClusterEvent>,
    ) -> Self {
        Self {
            servers,
            port,
            url: format!("http://127.0.0.1:{port}"),
            console,
            events,
            instances: Vec::new(),
            roll: None,
            redis,
            balancer_runs: true,
            reports_changes: false,
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn kill(&mut self, number: usize) -> Result<(), CommandError> {
        Ok(self.running(number)?.kill()?)
    }

    pub(crate) fn stop(&mut self, number: usize) -> Result<(), CommandError> {
        self.running(number)?.drain()?;
        self.report_change(number, "is draining");
        Ok(())
    }

    pub(crate) fn start(&mut self, number: usize) -> Result<(), CommandError> {
        let (launch, console, events) = (&self.servers.launch, &self.console, &self.events);
        let instance = find(&mut self.instances, number)?;
        if instance.leaving {
            return Err(CommandError::Leaving(instance.name()));
        }
        if instance.is_running() {
            return Err(CommandError::RunsAlready(instance.name()));
        }
        port::must_be_free(instance.port)?;
        Ok(instance.start(launch, console, events)?)
    }

    /// Passes a command on to the Redis servers. The answer arrives as an event.
    pub(crate) fn command_redis(&mut self, command: RedisCommand) -> Result<(), CommandError> {
        self.servers.redis.send(command);
        Ok(())
    }

    pub(crate) fn roll(&mut self) -> Result<(), CommandError> {
        if self.roll.is_some() {
            return Err(CommandError::Rolling);
        }
        let staying = self.instances.iter().filter(|instance| instance.is_running() && !instance.leaving);
        let numbers: Vec<_> = staying.map(|instance| instance.number).collect();
        if numbers.is_empty() {
            return Err(CommandError::NothingToRoll);
        }
        self.roll = Some(RollingRestart::new(numbers));
        Ok(())
    }

    /// Starts new instances at once. Surplus instances, those with the highest numbers, drain and are then removed.
    pub(crate) fn scale(&mut self, count: usize) -> Result<(), CommandError> {
        if !(1..=MAX_INSTANCES).contains(&count) {
            return Err(XtaskError::InstanceCount { asked: count, max: MAX_INSTANCES }.into());
        }
        if self.roll.is_some() {
            return Err(CommandError::Rolling);
        }
        if let Some(leaving) = self.instances.iter().find(|instance| instance.leaving && instance.number <= count) {
            return Err(CommandError::Leaving(leaving.name()));
        }
        self.grow(count)?;
        let surplus: Vec<_> = (count + 1..=self.instances.len()).collect();
        for number in surplus {
            let instance = find(&mut self.instances, number)?;
            instance.leaving = true;
            instance.drain()?;
            self.report_change(number, "is draining and will be removed");
        }
        self.remove_ended();
        Ok(())
    }

    /// Starts new instances until there are `count`.
    pub(crate) fn grow(&mut self, count: usize) -> Result<()> {
        for number in self.instances.len() + 1..=count {
            let port = match self.servers.balancer {
                Some(_) => free_port()?,
                None => self.direct_port(number)?,
            };
            let mut instance = ClusterInstance::new(number, port, free_port()?);
            instance.start(&self.servers.launch, &self.console, &self.events)?;
            self.instances.push(instance);
        }
        Ok(())
    }

    pub(crate) fn observe(&mut self, number: usize, run: u32, health: ProbeResult) {
        let Ok(instance) = find(&mut self.instances, number) else { return };
        if !instance.observe(run, health) {
            return;
        }
        let (state, port, reason) = (instance.state, instance.port, instance.reason.clone());
        if state == InstanceState::Ready
            && let Some(balancer) = &self.servers.balancer
            && let Err(e) = balancer.fill_slot(number, port)
        {
            self.console.say(&format!("cannot add gw-{number} to the balancer: {e}"));
        }
        match state {
            InstanceState::NotReady => self.report_change(number, &format!("is not ready: {reason}")),
            state => self.report_change(number, &format!("is {}", state.name())),
        }
    }

    /// Checks all processes. Returns the first instance that has ended since the last call.
    pub(crate) fn tick(&mut self) -> Option<(String, ProcessEnd, String)> {
        let mut first = None;
        let ends: Vec<_> = self.instances.iter_mut().filter_map(|one| Some((one.number, one.take_end()?))).collect();
        for (number, (ended, lines)) in ends {
            let state = find(&mut self.instances, number).map_or("gone", |instance| instance.state.name());
            let detail = if matches!(ended, ProcessEnd::Signal(9)) { String::new() } else { format!(" ({ended})") };
            self.report_change(number, &format!("{state}{detail}"));
            first = first.or(Some((format!("gw-{number}"), ended, lines)));
        }
        self.remove_ended();
        self.advance_roll();
        if let Some(balancer) = &mut self.servers.balancer
            && self.balancer_runs
            && !balancer.is_running()
        {
            self.balancer_runs = false;
            self.console.say("haproxy has ended (see haproxy.log); the instances are still reachable directly");
        }
        first
    }

    /// Whether every instance is ready and gets requests from the balancer.
    pub(crate) fn all_serving(&self) -> bool {
        let balancer = self.servers.balancer.as_ref();
        self.instances.iter().all(|instance| condition(instance, balancer) == InstanceCondition::Serving)
    }

    /// The error for the first instance that is not ready.
    pub(crate) fn not_ready_error(&self, seconds: u64) -> XtaskError {
        match self.instances.iter().find(|instance| instance.state != InstanceState::Ready) {
            None => {
                XtaskError::NotReady { name: "the balancer".to_owned(), seconds, reason: "see haproxy.log".to_owned() }
            }
            Some(instance) => {
                let unresponsive = || "it does not answer on /readyz".to_owned();
                let answer =
                    Some(instance.reason.clone()).filter(|reason| !reason.is_empty()).unwrap_or_else(unresponsive);
                let reason = format!("{answer}. Its last lines:{}", instance.last_lines());
                XtaskError::NotReady { name: instance.name(), seconds, reason }
            }
        }
    }

    pub(crate) fn report(&self) -> ClusterReport {
        let state = |runs| if runs { "running" } else { "ended" };
        ClusterReport {
            url: self.url.clone(),
            redis: self.redis.clone(),
            lb: self.servers.balancer.as_ref().map(|balancer| ReportedBalancer {
                kind: "haproxy",
                pid: balancer.pid().filter(|_| self.balancer_runs),
                state: state(self.balancer_runs),
            }),
            instances: self.instances.iter().map(ReportedInstance::from).collect(),
        }
    }

    fn running(&mut self, number: usize) -> Result<&mut ClusterInstance, CommandError> {
        let instance = find(&mut self.instances, number)?;
        if instance.is_running() { Ok(instance) } else { Err(CommandError::DoesNotRun(instance.name())) }
    }

    /// The port of an instance without a balancer: consecutive, so that users can guess it.
    fn direct_port(&self, number: usize) -> Result<u16> {
        let port = u16::try_from(number - 1).ok().and_then(|step| self.port.checked_add(step));
        let port = port.ok_or(XtaskError::InstanceCount { asked: number, max: MAX_INSTANCES })?;
        port::must_be_free(port)?;
        Ok(port)
    }

    fn remove_ended(&mut self) {
        while let Some(last) = self.instances.last()
            && last.leaving
            && !last.is_running()
        {
            let number = last.number;
            if let Some(balancer) = &self.servers.balancer
                && let Err(e) = balancer.clear_slot(number)
            {
                self.console.say(&format!("cannot remove gw-{number} from the balancer: {e}"));
            }
            self.instances.pop();
        }
    }

    fn advance_roll(&mut self) {
        let Some(roll) = &mut self.roll else { return };
        let (instances, balancer) = (&self.instances, self.servers.balancer.as_ref());
        let of = |number| {
            let instance = instances.iter().find(|instance| instance.number == number);
            instance.map_or(InstanceCondition::Down, |instance| condition(instance, balancer))
        };
        let done = match roll.advance(of) {
            None => Ok(()),
            Some(RollAction::Stop(number)) => self.stop(number),
            Some(RollAction::Start(number)) => self.start(number),
            Some(RollAction::Failed(number)) => {
                self.roll = None;
                self.console.say(&format!("rolling restart stopped: gw-{number} did not become ready"));
                Ok(())
            }
            Some(RollAction::Done) => {
                self.roll = None;
                self.console.say("rolling restart complete");
                Ok(())
            }
        };
        match done {
            // An instance that was killed before its turn needs no stop.
            Ok(()) | Err(CommandError::DoesNotRun(_)) => {}
            Err(e) => {
                self.roll = None;
                self.console.say(&format!("rolling restart stopped: {e}"));
            }
        }
    }

    fn report_change(&self, number: usize, what: &str) {
        if self.reports_changes {
            self.console.say(&format!("gw-{number} {what}"));
        }
    }
}

fn find(instances: &mut [ClusterInstance], number: usize) -> Result<&mut ClusterInstance, CommandError> {
    let count = instances.len();
    let found = instances.iter_mut().find(|instance| instance.number == number);
    found.ok_or(CommandError::NoSuchInstance(number, count))
}

fn condition(instance: &ClusterInstance, balancer: Option<&HaProxy>) -> InstanceCondition {
    if !instance.is_running() {
        return InstanceCondition::Down;
    }
    // If the balancer does not answer, there is nothing to wait for.
    let gets_traffic = || balancer.is_none_or(|balancer| balancer.slot_is_up(instance.number).unwrap_or(true));
    if instance.state == InstanceState::Ready && gets_traffic() {
        InstanceCondition::Serving
    } else {
        InstanceCondition::Changing
    }
}
