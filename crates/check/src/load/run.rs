//! The course of a run: log in, join, write, settle, make the reference read, disconnect, judge.

use std::{iter, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use trunkline_client::{Client, ClientSession, GatewayUrl};
use trunkline_domain::UserId;

use super::{
    control::{RunControl, execute_commands},
    load_client::{ClientStatus, LoadClient, RunPhase},
    login::SessionPool,
    observer::{HistoryObserver, logged},
    plan::{ClientPlan, LoadPlan},
    processes::ProcessMonitor,
    recorder::{LiveMetrics, Recorder},
    reference_read::{ReferenceLog, read_rooms, timed_out},
    settings::LoadSettings,
    tokens::TokenSigner,
};
use crate::{
    CheckError,
    history::{ClientNumber, HistoryLine, MeasurementStage},
    judge::Verdict,
};

/// Time between two looks at the status of the clients.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Latest messages that every other client asks for when it joins; the remaining clients ask for none.
const RECENT_MESSAGES: usize = 50;
/// Longest time for all clients to disconnect. A client needs at most two seconds for an orderly close.
const DISCONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Progress of a run.
#[derive(Clone, Copy, Debug)]
pub struct RunProgress {
    /// State of the run.
    pub state: RunState,
    /// Time since the start of the run.
    pub elapsed: Duration,
    /// Clients that have caught up in all their rooms.
    pub caught_up: usize,
    /// All clients.
    pub clients: usize,
    /// Messages without a final answer.
    pub unsettled: usize,
    /// Counts and latencies so far.
    pub metrics: LiveMetrics,
}

/// State of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// The clients log in.
    LoggingIn,
    /// The clients connect and join their rooms.
    #[serde(rename = "gathering")]
    Joining,
    /// The writers send.
    Writing,
    /// The run waits until every message is settled and received.
    Settling,
    /// The clients disconnect.
    #[serde(rename = "leaving")]
    Disconnecting,
}

/// Makes a run and returns its verdict. Calls `report` at every change of state and ten times per second. Executes commands
/// from standard input if the settings say so.
///
/// # Errors
/// - [`CheckError::Usage`] if the settings are invalid, or this machine is too slow for the run.
/// - [`CheckError::Deployment`] if a login or a first connection fails, or the reference read takes too long.
/// - [`CheckError::File`] or [`CheckError::System`] if this machine refuses something.
///
/// A broken invariant is not an error: the verdict says so.
pub async fn run(settings: &LoadSettings, report: impl FnMut(RunProgress)) -> Result<Verdict, CheckError> {
    let control_by_stdin = |control| {
        if settings.control {
            // Ends with the process: a pending read of standard input cannot be cancelled.
            tokio::spawn(execute_commands(control));
        }
    };
    run_with_control(settings, control_by_stdin, report).await
}

/// Makes a run as [`run`] does, and passes its control to `on_start` at the beginning.
///
/// # Errors
/// As [`run`].
pub async fn run_with_control(
    settings: &LoadSettings,
    on_start: impl FnOnce(RunControl),
    mut report: impl FnMut(RunProgress),
) -> Result<Verdict, CheckError> {
    let plan = LoadPlan::new(settings)?;
    let site: GatewayUrl = settings.url.parse().map_err(|error| CheckError::Usage(format!("--url: {error}")))?;
    let (recorder, judge) = Recorder::start(&settings.url, plan.seed, settings.history.as_deref())?;
    let (control, stopped) = RunControl::new(recorder.clone());
    // Held until the end, so that `stopped` stays open.
    on_start(control.clone());
    let result = make_run(settings, &plan, &site, &recorder, stopped, &mut report).await;
    drop(control);
    recorder.finish();
    let verdict = judge.verdict();
    result?;
    verdict
}

/// Moves the clients from phase to phase.
struct RunController<'a, T> {
    recorder: &'a Recorder,
    phase: watch::Sender<RunPhase>,
    statuses: Vec<watch::Receiver<ClientStatus>>,
    tasks: JoinSet<()>,
    report: T,
}

async fn make_run(
    settings: &LoadSettings,
    plan: &LoadPlan,
    site: &GatewayUrl,
    recorder: &Recorder,
    stopped: watch::Receiver<bool>,
    report: impl FnMut(RunProgress),
) -> Result<(), CheckError> {
    let mut controller = RunController {
        recorder,
        phase: watch::channel(RunPhase::Join).0,
        statuses: Vec::new(),
        tasks: JoinSet::new(),
        report,
    };
    let processes = ProcessMonitor::start(recorder, &settings.pids)?;
    for fault in &settings.faults {
        recorder.record(|t| Some(HistoryLine::Fault(fault.mark(t))));
    }
    controller.report(RunState::LoggingIn);
    let names = plan.clients.iter().map(|client| client.name.clone());
    let signer =
        settings.jwt_secret_file.as_ref().map(|path| TokenSigner::read(path, settings.token_ttl)).transpose()?;
    let sessions = SessionPool::new(site, signer, settings.connect_limit);
    sessions.log_in_all(names).await?;
    controller.report(RunState::Joining);
    for (number, client) in (0..).zip(&plan.clients) {
        if let Some((session, user)) = sessions.get(&client.name).await {
            let client = controller.add_client(number, client, (session, user), &sessions, settings);
            let renewal = settings.login_again.then(|| sessions.clone());
            controller.tasks.spawn(client.run(if number.is_multiple_of(2) { RECENT_MESSAGES } else { 0 }, renewal));
        }
    }
    if !controller.wait_until_settled(RunState::Joining, settings.connect_limit).await {
        return Err(timed_out("connect every client and join its rooms", settings.connect_limit));
    }
    controller.write(settings.duration, stopped).await;
    processes.measure(recorder, MeasurementStage::Under);
    controller.settle(settings, plan, &sessions).await?;
    controller.disconnect().await;
    sessions.log_out_all().await;
    processes.finish(recorder).await;
    recorder.record(|t| Some(HistoryLine::End { t }));
    Ok(())
}

impl<T: FnMut(RunProgress)> RunController<'_, T> {
    fn add_client(
        &mut self,
        number: ClientNumber,
        plan: &ClientPlan,
        (session, user): (ClientSession, UserId),
        sessions: &SessionPool,
        settings: &LoadSettings,
    ) -> LoadClient {
        let name = sessions.display_name(&user);
        self.recorder.record(|_| Some(HistoryLine::Client { c: number, user: user.as_str().into(), name }));
        let observer = HistoryObserver::new(self.recorder.clone(), number, settings.amend_percent > 0);
        let client = Client::with_observer(session, user, observer);
        let (client, status) =
            LoadClient::new(client, plan.clone(), self.recorder.clone(), settings, self.phase.subscribe());
        self.statuses.push(status);
        client
    }

    fn report(&mut self, state: RunState) {
        let statuses = || self.statuses.iter().map(|status| *status.borrow());
        let progress = RunProgress {
            state,
            elapsed: Duration::from_micros(self.recorder.now()),
            caught_up: statuses().filter(|status| status.caught_up).count(),
            clients: self.statuses.len(),
            unsettled: statuses().map(|status| status.unsettled).sum(),
            metrics: self.recorder.metrics(),
        };
        (self.report)(progress);
    }

    /// Waits until every client whose session goes on has caught up and settled its messages. Returns false after `limit`.
    async fn wait_until_settled(&mut self, state: RunState, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        loop {
            self.report(state);
            let is_settled = |status: &watch::Receiver<ClientStatus>| {
                let ClientStatus { caught_up, unsettled, session_ended } = *status.borrow();
                session_ended || (caught_up && unsettled == 0)
            };
            if self.statuses.iter().all(is_settled) {
                return true;
            }
            if Instant::now() > end {
                return false;
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    async fn write(&mut self, duration: Duration, mut stopped: watch::Receiver<bool>) {
        self.phase.send_replace(RunPhase::Write(self.recorder.now()));
        let end = Instant::now() + duration;
        loop {
            self.report(RunState::Writing);
            tokio::select! {
                () = sleep(POLL_INTERVAL) => {}
                () = sleep_until(end) => break,
                _ = stopped.wait_for(|stop| *stop) => break,
            }
        }
    }

    /// Waits until everything sent is settled and received, compares presence, and makes the reference read.
    async fn settle(
        &mut self,
        settings: &LoadSettings,
        plan: &LoadPlan,
        sessions: &SessionPool,
    ) -> Result<(), CheckError> {
        self.phase.send_replace(RunPhase::Settle);
        // Each client must report its status once in this phase before the status counts.
        sleep(POLL_INTERVAL * 3).await;
        let mut settled = self.wait_until_settled(RunState::Settling, settings.settle_limit).await;
        self.check_presence(settings.lease).await;
        let (user, rooms) = (&plan.reference_user, &plan.rooms);
        let (messages, limit) = (settings.reference_messages, settings.connect_limit);
        let logs = read_rooms(sessions, self.recorder, user, rooms, messages, limit).await?;
        let heads = logs.iter().map(|log| (log.room.clone(), log.head)).collect();
        self.phase.send_replace(RunPhase::ReachHeads(Arc::new(heads)));
        sleep(POLL_INTERVAL * 3).await;
        settled &= self.wait_until_settled(RunState::Settling, settings.settle_limit).await;
        if settled {
            self.recorder.record(|t| Some(HistoryLine::Settled { t }));
        }
        for ReferenceLog { room, pages, recent, shown, .. } in logs {
            let room = || room.as_str().into();
            for (recent, (asked, page)) in iter::once((true, &recent)).chain(pages.iter().map(|page| (false, page))) {
                let (asked, messages) = (*asked, page.iter().map(logged).collect());
                self.recorder.record(|t| Some(HistoryLine::ReferencePage { t, room: room(), asked, recent, messages }));
            }
            if let Some(shown) = shown {
                self.recorder.record(|t| Some(HistoryLine::Folded { t, c: None, room: room(), shown }));
            }
        }
        Ok(())
    }

    /// Compares presence with the open sockets until both are equal, at most for one lease.
    async fn check_presence(&mut self, lease: Duration) {
        let end = Instant::now() + lease;
        loop {
            self.report(RunState::Settling);
            let last = Instant::now() >= end;
            self.recorder.record(|t| Some(HistoryLine::PresenceCheck { t, last }));
            sleep(POLL_INTERVAL * 2).await;
            if last || self.recorder.metrics().is_presence_right {
                return;
            }
        }
    }

    async fn disconnect(&mut self) {
        self.report(RunState::Disconnecting);
        self.recorder.record(|t| Some(HistoryLine::Disconnecting { t }));
        self.phase.send_replace(RunPhase::Disconnect);
        let end = Instant::now() + DISCONNECT_LIMIT;
        while self.phase.receiver_count() > 0 && Instant::now() < end {
            sleep(POLL_INTERVAL).await;
        }
        self.tasks.shutdown().await;
    }
}
