//! A row while it is carried out: its site, its checker, and what was seen.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use trunkline_testbed::{Ended, LineSink, Process, Stream};

use super::{
    checker::{Checker, Fault, Load, Run},
    site::Site,
    verdict::Verdict,
};
use crate::{
    error::{Error, Result},
    stop::Stop,
};

/// How often a scene looks whether what it waits for has come.
const LOOK: Duration = Duration::from_millis(50);
/// How long anything that should come soon may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// The programs under test. Copies of our own: builds meanwhile do not change them.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) gateway: PathBuf,
    pub(crate) checker: PathBuf,
}

/// How long rows are and how much is written in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Fits into every test run.
    Quick,
    /// At least a million deliveries over all rows.
    Full,
}

impl Scale {
    /// One or the other.
    pub(crate) fn pick<T>(self, quick: T, full: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Full => full,
        }
    }

    pub(crate) fn load(self) -> Load {
        match self {
            Self::Quick => Load { writers: 9, readers: 24, rooms: 3, rate: 60, text: 64, tabs: 1 },
            Self::Full => Load { writers: 20, readers: 200, rooms: 5, rate: 100, text: 64, tabs: 1 },
        }
    }

    /// How long all that was written may take to be settled and shown. Long enough for a client whose gateway vanished
    /// to find another one; a row that fails takes this time twice.
    fn settle(self) -> Duration {
        self.pick(Duration::from_secs(40), Duration::from_secs(90))
    }

    /// Undisturbed writing before and after a fault.
    fn calm(self) -> Duration {
        self.pick(Duration::from_secs(2), Duration::from_secs(8))
    }
}

/// Something that a row requires beyond the promise.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Expectation {
    pub(crate) what: String,
    pub(crate) held: bool,
}

pub(crate) struct Scene<'a> {
    // The clients go before what they are connected to.
    checker: Option<Checker>,
    pub(crate) site: Site,
    pub(crate) scale: Scale,
    pub(crate) seed: u64,
    pub(crate) folder: &'a Path,
    programs: &'a Programs,
    stop: &'a Stop,
    /// Whether gateways must hold in the end what they held at the start.
    measured: bool,
    /// Whether clients that are logged out log in again.
    pub(crate) login_again: bool,
    pub(crate) seen: Vec<String>,
    pub(crate) told: Vec<String>,
    pub(crate) expectations: Vec<Expectation>,
    pub(crate) verdict: Option<Verdict>,
}

impl<'a> Scene<'a> {
    pub(crate) fn new(
        site: Site,
        scale: Scale,
        seed: u64,
        folder: &'a Path,
        programs: &'a Programs,
        stop: &'a Stop,
    ) -> Self {
        Self {
            checker: None,
            site,
            scale,
            seed,
            folder,
            programs,
            stop,
            measured: scale == Scale::Full,
            login_again: false,
            seen: Vec::new(),
            told: Vec::new(),
            expectations: Vec::new(),
            verdict: None,
        }
    }

    /// Starts gateways 1 to `count`, waits until the balancer serves them all, and lets the clients in.
    pub(crate) fn begin(&mut self, count: usize, load: Load) -> Result<()> {
        self.start_gateways(count)?;
        self.let_in(load)
    }

    /// In a short row, too, gateways must hold in the end what they held at the start: seconds, until idle connections are
    /// closed.
    pub(crate) fn measure(&mut self) {
        self.measured = true;
    }

    pub(crate) fn start_gateways(&mut self, count: usize) -> Result<()> {
        (1..=count).try_for_each(|number| self.site.start(number))?;
        (1..=count).try_for_each(|number| self.serves(number))
    }

    /// Lets the clients in; they write from now on.
    pub(crate) fn let_in(&mut self, load: Load) -> Result<()> {
        let measured = self.site.members.iter().filter(|_| self.measured);
        let pids = measured.map(|member| member.gateway.pid()).collect();
        let (url, settle) = (self.site.url(), self.scale.settle());
        let run = Run { url, pids, load, login_again: self.login_again, settle, seed: self.seed };
        self.checker = Some(Checker::start(&self.programs.checker, run, self.folder, self.stop)?);
        self.calm()
    }

    /// Writing without disturbance.
    pub(crate) fn calm(&mut self) -> Result<()> {
        self.pass(self.scale.calm())
    }

    /// Lets time pass, as long as the checker lives.
    pub(crate) fn pass(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.look()?;
            thread::sleep(LOOK.min(end.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }

    /// Waits until it is so; an error if that takes longer than `limit`.
    pub(crate) fn wait(
        &mut self,
        what: &str,
        limit: Duration,
        mut is_so: impl FnMut(&mut Site) -> bool,
    ) -> Result<Duration> {
        let began = Instant::now();
        while !is_so(&mut self.site) {
            self.look()?;
            if began.elapsed() > limit {
                return Err(Error::Row(format!("not within {} s: {what}", limit.as_secs())));
            }
            thread::sleep(LOOK);
        }
        Ok(began.elapsed())
    }

    /// Waits until the balancer sends requests to gateway `number`.
    pub(crate) fn serves(&mut self, number: usize) -> Result<()> {
        self.wait(&format!("the balancer serves gw-{number}"), SOON, |site| site.is_served(number)).map(drop)
    }

    fn look(&mut self) -> Result<()> {
        if self.stop.is_asked() {
            return Err(Error::Stopped);
        }
        self.checker.as_mut().map_or(Ok(()), Checker::must_live)
    }

    /// Marks a fault; call it just before the fault.
    pub(crate) fn fault(&mut self, fault: &Fault) -> Result<()> {
        self.checker()?.fault(fault)
    }

    /// Marks that the faults are over.
    pub(crate) fn healed(&mut self) -> Result<()> {
        self.checker()?.healed()
    }

    /// Kills a gateway under a mark, and notes that it is gone.
    pub(crate) fn kill(&mut self, number: usize) -> Result<()> {
        self.fault(&Fault::new(format!("gw-{number} killed")))?;
        let gateway = &mut self.site.member(number)?.gateway;
        gateway.kill()?;
        if gateway.ended() == Some(Ended::Signal(9)) {
            self.saw(format!("gw-{number} was killed"));
        }
        Ok(())
    }

    fn checker(&mut self) -> Result<&mut Checker> {
        self.checker.as_mut().ok_or_else(|| Error::Row("no clients are there".to_owned()))
    }

    /// Notes where the fault was seen to fire, from the side that made it.
    pub(crate) fn saw(&mut self, what: impl Into<String>) {
        self.seen.push(what.into());
    }

    /// Notes a figure that people want to see, and that decides nothing.
    pub(crate) fn tell(&mut self, what: impl Into<String>) {
        self.told.push(what.into());
    }

    /// Notes whether something that the row requires is so.
    pub(crate) fn expect(&mut self, what: impl Into<String>, held: bool) {
        self.expectations.push(Expectation { what: what.into(), held });
    }

    /// Ends the writing, and has the clients' history judged.
    pub(crate) fn judge(&mut self) -> Result<Verdict> {
        let checker = self.checker.take().ok_or_else(|| Error::Row("no clients were let in".to_owned()))?;
        Ok(self.verdict.insert(checker.judge()?).clone())
    }

    /// Whether clients are there and not judged yet.
    pub(crate) fn is_judged(&self) -> bool {
        self.checker.is_none()
    }

    /// Starts `trunkline-check attack` beside the load; its answer comes by [`Assault::answer`].
    pub(crate) fn attack(&mut self, arguments: &[&str]) -> Result<Assault> {
        self.attack_at(&self.site.url(), arguments)
    }

    /// The same at another address than the balancer's.
    pub(crate) fn attack_at(&mut self, url: &str, arguments: &[&str]) -> Result<Assault> {
        let mut command = Command::new(&self.programs.checker);
        command.arg("attack").args(["--url", url]).args(arguments);
        let told = Arc::new(Mutex::new(None));
        let answer = Arc::clone(&told);
        let sink: LineSink = Arc::new(move |line| {
            if line.stream == Stream::Out
                && let Ok(value) = serde_json::from_str(line.text)
            {
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
            }
        });
        Ok(Assault { process: Process::spawn("trunkline-check attack", command, Some(sink))?, answer })
    }

    /// Waits for the end of an attack, and gives what came of it.
    pub(crate) fn outcome(&mut self, mut assault: Assault, limit: Duration) -> Result<Value> {
        self.wait("the attack is over", limit, |_| assault.process.ended().is_some())?;
        assault.process.finish_reading();
        let answer = assault.answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        answer.ok_or_else(|| Error::Row(format!("the attack told nothing:{}", assault.process.last_lines())))
    }
}

/// An attack under way.
pub(crate) struct Assault {
    process: Process,
    answer: Arc<Mutex<Option<Value>>>,
}
