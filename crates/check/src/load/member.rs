//! One client of a run: a future that writes when its time comes and reads for the rest.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, interval, sleep_until},
};
use trunkline_client::{Client, ClientEvent, ClientInput, ClientState, OutboxEntry, OutboxEntryState};
use trunkline_domain::{MessageId, Position, Room};

use super::{
    gather::Sessions,
    plan::{Pen, Role},
    recorder::Recorder,
    tap::{Tap, Text},
};
use crate::history::Micros;

/// Most messages of a writer that wait for their answers. Beyond, it leaves messages out rather than piling them up: while
/// a deployment is away, its users stop writing, too.
const UNSETTLED_MOST: usize = 500;

/// What all members do at present.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// Connect, join, catch up.
    Gather,
    /// Write: the time at which the writing began.
    Write(Micros),
    /// Write no more; get everything settled.
    Settle,
    /// Show everything up to these heads.
    Reach(Arc<Vec<(Room, Position)>>),
    /// Go.
    Leave,
}

/// Where a member stands, for the conductor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Caught up in all rooms; in [`Phase::Reach`], at their heads.
    pub(crate) there: bool,
    /// Messages whose fate is open.
    pub(crate) unsettled: usize,
    /// Messages left out because too many were unsettled.
    pub(crate) left_out: u64,
    /// The session ended; it will not come back.
    pub(crate) ended: bool,
}

pub(crate) struct Member {
    client: Client<Tap>,
    role: Role,
    recorder: Recorder,
    text_bytes: usize,
    phases: watch::Receiver<Phase>,
    standing: watch::Sender<Standing>,
    caught_up: HashSet<Room>,
    written: u64,
}

impl Member {
    pub(crate) fn new(
        client: Client<Tap>,
        role: Role,
        recorder: Recorder,
        text_bytes: usize,
        phases: watch::Receiver<Phase>,
    ) -> (Self, watch::Receiver<Standing>) {
        let (standing, standings) = watch::channel(Standing::default());
        (
            Self { client, role, recorder, text_bytes, phases, standing, caught_up: HashSet::new(), written: 0 },
            standings,
        )
    }

    /// Takes part until [`Phase::Leave`]; `recent` messages are asked for in each room. Logged out, it logs in again if
    /// there is where.
    pub(crate) async fn run(mut self, recent: usize, again: Option<Sessions>) {
        self.join(recent);
        let mut looks = interval(Duration::from_millis(100));
        loop {
            let phase = self.phases.borrow_and_update().clone();
            let due = match (&phase, self.role.pen) {
                (Phase::Write(began), Some(pen)) => Some(self.due(*began, pen)),
                (Phase::Leave, _) => break,
                _ => None,
            };
            let writing = due.map(|due| Instant::from_std(self.recorder.instant(due)));
            tokio::select! {
                notice = self.client.next() => {
                    let ended = matches!(notice, ClientEvent::State(ClientState::Ended(_)));
                    self.note(notice, &phase);
                    if ended
                        && let Some(again) = &again
                        && let Some((session, user)) = again.renew(&self.role.name, self.client.session()).await
                    {
                        // As a page that is loaded anew: what is unsent was kept.
                        let unsent: Vec<OutboxEntry> = self.client.outbox().cloned().collect();
                        let tap = self.client.close().await;
                        self.client = Client::with_observer(session, user, tap);
                        self.client.restore(unsent);
                        self.join(recent);
                        self.standing.send_modify(|standing| standing.ended = false);
                    }
                },
                () = sleep_until(writing.unwrap_or_else(Instant::now)), if writing.is_some() => {
                    self.write(due.unwrap_or_default());
                }
                _ = looks.tick(), if matches!(phase, Phase::Settle | Phase::Reach(_)) => self.report(&phase),
                changed = self.phases.changed() => if changed.is_err() {
                    break;
                },
            }
        }
        self.client.close().await;
    }

    fn join(&mut self, recent: usize) {
        for room in self.role.rooms.clone() {
            self.client.join(room, recent);
        }
    }

    /// When the next message is due.
    fn due(&self, began: Micros, pen: Pen) -> Micros {
        began + pen.first + self.written * pen.every
    }

    fn write(&mut self, due: Micros) {
        let number = self.written;
        self.written += 1;
        if self.client.outbox().len() >= UNSETTLED_MOST {
            self.standing.send_modify(|standing| standing.left_out += 1);
            return;
        }
        // Unlike `new_id` this tells in a history whose message it is and which.
        let id: Result<MessageId, _> = format!("{}-{number}", self.role.name).parse();
        if let Ok(id) = id
            && let Some(text) = Text::compose(due, &id, self.text_bytes)
        {
            self.client.send(self.role.rooms[0].clone(), id, text);
        }
    }

    fn note(&mut self, notice: ClientEvent, phase: &Phase) {
        match notice {
            ClientEvent::Joined { room, .. } => {
                self.caught_up.remove(&room);
            }
            ClientEvent::CaughtUp { room, .. } => {
                self.caught_up.insert(room);
            }
            ClientEvent::State(ClientState::Connected { .. }) => self.caught_up.clear(),
            ClientEvent::State(ClientState::Ended(_)) => {
                self.caught_up.clear();
                self.standing.send_modify(|standing| standing.ended = true);
            }
            ClientEvent::State(ClientState::TooManySockets) => {
                // The oldest socket of the user was closed: a run wants it back.
                self.client.handle(ClientInput::Connect);
            }
            ClientEvent::State(ClientState::Waiting { .. }) => self.caught_up.clear(),
            // Refused for good, or too old to be repeated safely: nobody is there to be asked.
            ClientEvent::Outbox(OutboxEntry {
                room,
                id,
                state: OutboxEntryState::Failed | OutboxEntryState::Uncertain,
                ..
            }) => {
                self.client.discard(room, id);
            }
            _ => return,
        }
        self.report(phase);
    }

    fn report(&mut self, phase: &Phase) {
        let caught_up = self.caught_up.len() == self.role.rooms.len();
        let there = caught_up
            && match phase {
                Phase::Reach(heads) => self.has_reached(heads),
                _ => true,
            };
        let unsettled = self.client.outbox().len();
        self.standing.send_if_modified(|standing| {
            let changed = (standing.there, standing.unsettled) != (there, unsettled);
            (standing.there, standing.unsettled) = (there, unsettled);
            changed
        });
    }

    fn has_reached(&mut self, heads: &[(Room, Position)]) -> bool {
        let seen = self.client.observer();
        let mut own = heads.iter().filter(|(room, _)| self.role.rooms.contains(room));
        own.all(|(room, head)| *head == Position::ORIGIN || seen.last(room.as_str()) >= Some(*head))
    }
}
