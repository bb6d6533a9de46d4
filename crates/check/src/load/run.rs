//! The course of a run: log in, gather, write, settle, read afresh, leave, judge.

use std::{future::pending, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use trunkline_client::{Client, ClientSession, GatewayUrl};
use trunkline_domain::UserName;

use super::{
    control, fresh,
    gather::Sessions,
    gauge::Gauges,
    member::{Member, Phase, Standing},
    plan::{Plan, Role},
    recorder::{Glance, Recorder},
    settings::Settings,
    tap::Tap,
};
use crate::{
    Error,
    history::{ClientNumber, Line, Stage, TailEntry},
    judge::Verdict,
};

/// Every how many milliseconds the conductor looks around.
const PACE: Duration = Duration::from_millis(100);
/// Latest messages that every other client asks for when it joins; the others ask for none.
const RECENT: usize = 50;

/// How a run stands, for people who wait.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What the run is doing.
    pub state: RunState,
    /// Since when the run goes on.
    pub elapsed: Duration,
    /// Members that are caught up.
    pub there: usize,
    /// All members.
    pub members: usize,
    /// Messages whose fate is open.
    pub unsettled: usize,
    /// The judgement so far.
    pub(crate) glance: Glance,
}

/// What a run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Members log in.
    LoggingIn,
    /// Members connect and join.
    Gathering,
    /// Writers write.
    Writing,
    /// What was written gets settled and shown.
    Settling,
    /// Members leave.
    Leaving,
}

/// Carries a run out and gives the verdict. `tell` is called at every change of state and ten times a second.
///
/// # Errors
/// Where the run could not be made; a run that went wrong is a verdict.
pub async fn run(settings: &Settings, mut tell: impl FnMut(Progress)) -> Result<Verdict, Error> {
    let plan = Plan::new(settings)?;
    let site: GatewayUrl = settings.url.parse().map_err(|error| Error::Usage(format!("--url: {error}")))?;
    let (recorder, judging) = Recorder::start(&settings.url, plan.seed, settings.history.as_deref())?;
    let result = conduct(settings, &plan, &site, &recorder, &mut tell).await;
    recorder.finish();
    let verdict = judging.verdict();
    result?;
    verdict
}

/// Everything that the conductor holds.
struct Conductor<'a, T> {
    recorder: &'a Recorder,
    phases: watch::Sender<Phase>,
    standings: Vec<watch::Receiver<Standing>>,
    members: JoinSet<()>,
    tell: T,
}

async fn conduct(
    settings: &Settings,
    plan: &Plan,
    site: &GatewayUrl,
    recorder: &Recorder,
    tell: impl FnMut(Progress),
) -> Result<(), Error> {
    let mut conductor = Conductor {
        recorder,
        phases: watch::channel(Phase::Gather).0,
        standings: Vec::new(),
        members: JoinSet::new(),
        tell,
    };
    let (stop, stopped) = watch::channel(false);
    if settings.control {
        conductor.members.spawn(control::follow(recorder.clone(), stop));
    }
    let gauges = Gauges::start(recorder, &settings.pids)?;
    conductor.tell(RunState::LoggingIn);
    let names = plan.roles.iter().map(|role| role.name.clone());
    let sessions = Sessions::start(site, names, settings.patience).await?;
    conductor.tell(RunState::Gathering);
    for (number, role) in (0..).zip(&plan.roles) {
        if let Some((session, user)) = sessions.get(&role.name).await {
            let member = conductor.enter(number, role, session, user, settings.text);
            let again = settings.login_again.then(|| sessions.clone());
            conductor.members.spawn(member.run(if number.is_multiple_of(2) { RECENT } else { 0 }, again));
        }
    }
    if !conductor.all_there(RunState::Gathering, settings.patience).await {
        let late = trunkline_client::ClientError::Unreachable(std::io::ErrorKind::TimedOut.into());
        return Err(Error::Deployment { doing: "get every client into its rooms".to_owned(), source: late });
    }
    conductor.write(settings.duration, stopped).await;
    gauges.note(recorder, Stage::Under);
    conductor.settle(settings, plan, site).await?;
    conductor.leave().await;
    sessions.end().await;
    gauges.end(recorder).await;
    recorder.write(|t| Some(Line::End { t }));
    Ok(())
}

impl<T: FnMut(Progress)> Conductor<'_, T> {
    fn enter(
        &mut self,
        number: ClientNumber,
        role: &Role,
        session: ClientSession,
        user: UserName,
        text: usize,
    ) -> Member {
        self.recorder.write(|_| Some(Line::Client { c: number, user: user.as_str().into() }));
        let tap = Tap::new(self.recorder.clone(), number);
        let client = Client::with_observer(session, user, tap);
        let (member, standings) =
            Member::new(client, role.clone(), self.recorder.clone(), text, self.phases.subscribe());
        self.standings.push(standings);
        member
    }

    fn tell(&mut self, state: RunState) {
        let standings = || self.standings.iter().map(|standing| *standing.borrow());
        let progress = Progress {
            state,
            elapsed: Duration::from_micros(self.recorder.now()),
            there: standings().filter(|standing| standing.there).count(),
            members: self.standings.len(),
            unsettled: standings().map(|standing| standing.unsettled).sum(),
            glance: self.recorder.glance(),
        };
        (self.tell)(progress);
    }

    /// Waits until all members have caught up and settled; false if that takes too long.
    async fn all_there(&mut self, state: RunState, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        loop {
            self.tell(state);
            let standing = |standing: &watch::Receiver<Standing>| {
                let Standing { there, unsettled, ended, .. } = *standing.borrow();
                ended || (there && unsettled == 0)
            };
            if self.standings.iter().all(standing) {
                return true;
            }
            if Instant::now() > end {
                return false;
            }
            sleep(PACE).await;
        }
    }

    async fn write(&mut self, duration: Duration, mut stopped: watch::Receiver<bool>) {
        self.phases.send_replace(Phase::Write(self.recorder.now()));
        let end = Instant::now() + duration;
        loop {
            self.tell(RunState::Writing);
            tokio::select! {
                () = sleep(PACE) => {}
                () = sleep_until(end) => break,
                () = ordered(&mut stopped) => break,
            }
        }
    }

    /// Gets everything written settled and shown, and reads it afresh.
    async fn settle(&mut self, settings: &Settings, plan: &Plan, site: &GatewayUrl) -> Result<(), Error> {
        self.phases.send_replace(Phase::Settle);
        // Each member must look once in this phase before its standing counts.
        sleep(PACE * 3).await;
        let mut quiet = self.all_there(RunState::Settling, settings.settle).await;
        self.attend(settings.lease).await;
        let rooms = fresh::read(site, &plan.fresh, &plan.rooms, settings.tail, settings.patience).await?;
        let heads = rooms.iter().map(|fresh| (fresh.room.clone(), fresh.head)).collect();
        self.phases.send_replace(Phase::Reach(Arc::new(heads)));
        sleep(PACE * 3).await;
        quiet &= self.all_there(RunState::Settling, settings.settle).await;
        if quiet {
            self.recorder.write(|t| Some(Line::Quiet { t }));
        }
        for room in &rooms {
            for page in &room.pages {
                let messages = page.iter().map(|message| TailEntry {
                    pos: message.pos,
                    id: message.id.as_str().into(),
                    user: message.user.as_str().into(),
                });
                let messages = messages.collect();
                self.recorder.write(|t| Some(Line::Tail { t, room: room.room.as_str().into(), messages }));
            }
        }
        Ok(())
    }

    /// Waits until every client is told rightly who is there, at most as long as a lease.
    async fn attend(&mut self, lease: Duration) {
        let end = Instant::now() + lease;
        loop {
            self.tell(RunState::Settling);
            let last = Instant::now() >= end;
            self.recorder.write(|t| Some(Line::Still { t, last }));
            sleep(PACE * 2).await;
            if last || self.recorder.glance().present {
                return;
            }
        }
    }

    async fn leave(&mut self) {
        self.tell(RunState::Leaving);
        self.recorder.write(|t| Some(Line::Over { t }));
        self.phases.send_replace(Phase::Leave);
        // Each takes two seconds at most to close in order; the one that reads orders never ends by itself.
        let end = Instant::now() + Duration::from_secs(10);
        while self.phases.receiver_count() > 0 && Instant::now() < end {
            sleep(PACE).await;
        }
        self.members.shutdown().await;
    }
}

/// Until the order to stop comes.
async fn ordered(stopped: &mut watch::Receiver<bool>) {
    if stopped.wait_for(|stop| *stop).await.is_err() {
        // Nobody can give the order.
        pending::<()>().await;
    }
}
