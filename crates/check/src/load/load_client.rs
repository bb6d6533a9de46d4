//! One client of a run: a task that sends by its schedule and reads the rest of the time.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, interval, sleep_until},
};
use trunkline_client::{Client, ClientEvent, ClientInput, ClientState, OutboxEntry, OutboxEntryState};
use trunkline_domain::{Content, Position, Room};

use super::{
    amendments::ContentChooser,
    login::SessionPool,
    observer::HistoryObserver,
    plan::{ClientPlan, SendSchedule},
    recorder::Recorder,
    settings::LoadSettings,
};
use crate::history::Micros;

/// Largest number of unsettled messages of a writer. Beyond it the writer skips sends, as people stop writing while a
/// deployment is away.
const UNSETTLED_MAX: usize = 500;
/// Number of older messages that a client asks for whenever it has caught up.
const PAGE_MESSAGES: usize = 100;
/// Time between two status reports while the run settles.
const STATUS_INTERVAL: Duration = Duration::from_millis(100);

/// The task of all clients of the run.
#[derive(Clone, Debug)]
pub(crate) enum RunPhase {
    /// Connect, join and catch up.
    Join,
    /// Send by schedule. Holds the time at which the phase began.
    Write(Micros),
    /// Stop sending, and settle what was sent.
    Settle,
    /// Receive all messages up to these heads.
    ReachHeads(Arc<Vec<(Room, Position)>>),
    /// Disconnect.
    Disconnect,
}

/// Status of a client, for the run controller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientStatus {
    /// The client has caught up in all its rooms and, in [`RunPhase::ReachHeads`], has received everything up to the heads.
    pub(crate) caught_up: bool,
    /// Messages without a final answer.
    pub(crate) unsettled: usize,
    /// The session has ended, and the client does not log in again.
    pub(crate) session_ended: bool,
}

pub(crate) struct LoadClient {
    client: Client<HistoryObserver>,
    plan: ClientPlan,
    recorder: Recorder,
    text_bytes: usize,
    contents: ContentChooser,
    /// Whether messages are amended, so that clients read older messages and compare their folds.
    amends: bool,
    /// What the client shows is in the history.
    folds_recorded: bool,
    phase: watch::Receiver<RunPhase>,
    status: watch::Sender<ClientStatus>,
    caught_up: HashSet<Room>,
    /// Sends of the schedule that have passed, including skipped ones.
    sends: u64,
}

impl LoadClient {
    /// Creates a client; the receiver reports its status.
    pub(crate) fn new(
        client: Client<HistoryObserver>,
        plan: ClientPlan,
        recorder: Recorder,
        settings: &LoadSettings,
        phase: watch::Receiver<RunPhase>,
    ) -> (Self, watch::Receiver<ClientStatus>) {
        let (status, statuses) = watch::channel(ClientStatus::default());
        let client = Self {
            client,
            recorder,
            text_bytes: settings.text_bytes,
            contents: ContentChooser::new(plan.seed, settings.amend_percent),
            amends: settings.amend_percent > 0,
            folds_recorded: false,
            plan,
            phase,
            status,
            caught_up: HashSet::new(),
            sends: 0,
        };
        (client, statuses)
    }

    /// Runs until [`RunPhase::Disconnect`]. `recent` is the number of latest messages that the client asks for when it joins.
    /// If its session ends, the client logs in again with `sessions`, if given.
    pub(crate) async fn run(mut self, recent: usize, sessions: Option<SessionPool>) {
        self.join_rooms(recent);
        let mut status_timer = interval(STATUS_INTERVAL);
        loop {
            let phase = self.phase.borrow_and_update().clone();
            let due = match (&phase, self.plan.schedule) {
                (RunPhase::Write(began), Some(schedule)) => Some(self.next_send(*began, schedule)),
                (RunPhase::Disconnect, _) => break,
                _ => None,
            };
            let send_at = due.map(|due| Instant::from_std(self.recorder.instant(due)));
            tokio::select! {
                notice = self.client.next() => {
                    let ended = matches!(notice, ClientEvent::State(ClientState::Ended(_)));
                    self.handle_notice(notice, &phase);
                    if ended {
                        self = self.log_in_again(sessions.as_ref(), recent).await;
                    }
                },
                () = sleep_until(send_at.unwrap_or_else(Instant::now)), if send_at.is_some() => {
                    self.send(due.unwrap_or_default());
                }
                _ = status_timer.tick(), if matches!(phase, RunPhase::Settle | RunPhase::ReachHeads(_)) => {
                    self.report_status(&phase);
                }
                changed = self.phase.changed() => if changed.is_err() {
                    break;
                },
            }
        }
        self.client.close().await;
    }

    /// Logs in with `sessions` after the end of the session. As after a page load, unsettled messages are kept and sent
    /// again: until they are settled, the client is not settled either. Without `sessions`, or if the user logs in no more,
    /// reports that the session has ended.
    async fn log_in_again(mut self, sessions: Option<&SessionPool>, recent: usize) -> Self {
        let renewed = match sessions {
            Some(sessions) => sessions.renew(&self.plan.name, self.client.session()).await,
            None => None,
        };
        let Some((session, user)) = renewed else {
            self.status.send_modify(|status| status.session_ended = true);
            return self;
        };
        let unsettled: Vec<OutboxEntry> = self.client.outbox().cloned().collect();
        let observer = self.client.close().await;
        self.client = Client::with_observer(session, user, observer);
        self.client.restore(unsettled);
        self.join_rooms(recent);
        self
    }

    fn join_rooms(&mut self, recent: usize) {
        for room in self.plan.rooms.clone() {
            self.client.join(room, recent);
        }
    }

    /// Returns the time at which the next message is due.
    fn next_send(&self, began: Micros, schedule: SendSchedule) -> Micros {
        began + schedule.first + self.sends * schedule.period
    }

    fn send(&mut self, due: Micros) {
        let number = self.sends;
        self.sends += 1;
        if self.client.outbox().len() >= UNSETTLED_MAX {
            return;
        }
        let room = self.plan.rooms[0].clone();
        let others = self.client.observer().recent_texts(&room);
        let composed = self.contents.compose(&self.plan.name, number, due, self.text_bytes, &others);
        if let Some((id, content)) = composed {
            self.client.submit(room, id, content);
        }
    }

    fn handle_notice(&mut self, notice: ClientEvent, phase: &RunPhase) {
        match notice {
            ClientEvent::Joined { room, gap, .. } => {
                if gap {
                    self.contents.forget_all();
                }
                self.caught_up.remove(&room);
            }
            ClientEvent::CaughtUp { room, .. } => {
                if self.amends
                    && let Some(oldest) = self.client.observer().oldest(&room)
                {
                    self.client.history(room.clone(), Some(oldest), PAGE_MESSAGES);
                }
                self.caught_up.insert(room);
            }
            ClientEvent::Outbox(OutboxEntry {
                content: Content::Text { .. },
                state: OutboxEntryState::Sent { pos },
                ..
            }) => self.contents.acknowledged(pos),
            ClientEvent::State(ClientState::Connected { .. } | ClientState::Waiting { .. } | ClientState::Ended(_)) => {
                self.caught_up.clear();
            }
            ClientEvent::State(ClientState::TooManySockets) => {
                // The gateway evicted the oldest socket of the user. A run needs all its sockets.
                self.client.handle(ClientInput::Connect);
            }
            // Refused for good, or too old to be repeated safely. The client keeps it until the application discards it.
            ClientEvent::Outbox(OutboxEntry {
                room,
                id,
                content,
                state: OutboxEntryState::Failed | OutboxEntryState::Uncertain,
                ..
            }) => {
                if let Some(of) = content.amends() {
                    self.contents.forget(of);
                }
                self.client.discard(room, id);
            }
            _ => return,
        }
        self.report_status(phase);
    }

    fn report_status(&mut self, phase: &RunPhase) {
        let joined = self.caught_up.len() == self.plan.rooms.len();
        let caught_up = joined
            && match phase {
                RunPhase::ReachHeads(heads) => self.has_reached(heads),
                _ => true,
            };
        if caught_up && self.amends && matches!(phase, RunPhase::ReachHeads(_)) && !self.folds_recorded {
            self.folds_recorded = true;
            self.client.observer().record_folds();
        }
        let unsettled = self.client.outbox().len();
        self.status.send_if_modified(|status| {
            let changed = (status.caught_up, status.unsettled) != (caught_up, unsettled);
            (status.caught_up, status.unsettled) = (caught_up, unsettled);
            changed
        });
    }

    fn has_reached(&mut self, heads: &[(Room, Position)]) -> bool {
        let observer = self.client.observer();
        let mut own = heads.iter().filter(|(room, _)| self.plan.rooms.contains(room));
        own.all(|(room, head)| *head == Position::ORIGIN || observer.last_position(room) >= Some(*head))
    }
}
