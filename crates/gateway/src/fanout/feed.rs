//! What one process hears of its rooms, made whole. Synchronous: decisions only, `run` below is the shell.
//!
//! Pub/sub is a hint, the log is the truth. A room is subscribed first, read second, and live from then on; whenever
//! something may be missing (a jump in `prev`, a new subscription, a head that differs) it is read again from its head.

mod heard;
mod run;

use std::{sync::Arc, time::Duration};

use indexmap::IndexMap;
use trunkline_bus::{Delivery, Page, Range};
use trunkline_domain::{InstanceId, Position, Room};

use super::{
    Append, Ask, Frame, FramePage, Mail, Tail, WorkerId,
    attendance::{PresenceCommand, PresenceTracker},
    round::Round,
    whisper,
};

use self::heard::{Asked, Heard, Phase};
pub(crate) use self::run::{Letter, run};

/// How much of a room's log is read when it is opened, in messages: resumes within it need no further read.
const OPENING: usize = 512;
/// How much is read at once when a gap is repaired.
const REPAIR: usize = 512;
/// Most frames that wait while the log is read; above it they are dropped, and the log is read once more.
const PENDING: usize = 1024;
/// How long a room stays subscribed after its last local member.
const LINGER: Duration = Duration::from_secs(30);
/// How often a quiet room's head is compared with the log's.
const COMPARE: Duration = Duration::from_secs(10);
/// How long after a failed read the next one begins.
const RETRY: Duration = Duration::from_millis(500);

/// Every room that this process hears.
#[derive(Debug)]
pub(crate) struct Feed {
    rooms: IndexMap<Room, Heard>,
    round: Round,
    /// Who is in them.
    attendance: PresenceTracker,
    /// Rooms with frames that were not yet mailed.
    fresh: Vec<Room>,
    effects: Vec<Effect>,
    now: Duration,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Subscribe.
    Want(Room),
    /// Unsubscribe.
    Unwant(Room),
    /// Read the log; the answer comes to [`Feed::read`].
    Read(Room, Range),
    /// Ask for heads; the answer comes to [`Feed::compared`].
    Compare(Vec<Room>),
    /// Send to a worker.
    Post(WorkerId, Mail),
    /// Something about presence.
    Say(PresenceCommand),
}

impl Feed {
    /// Nothing heard yet. Users of this process are those of `instance`, and a dead one's go within one `lease`.
    pub(crate) fn new(instance: InstanceId, lease: Duration) -> Self {
        let attendance = PresenceTracker::new(instance, lease);
        Self {
            rooms: IndexMap::new(),
            round: Round::default(),
            attendance,
            fresh: Vec::new(),
            effects: Vec::new(),
            now: Duration::ZERO,
        }
    }

    /// Presence, and where to put what it wants.
    pub(crate) fn attendance(&mut self) -> (&mut PresenceTracker, &mut Vec<Effect>) {
        (&mut self.attendance, &mut self.effects)
    }

    /// What is to be done, since the last call.
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// A worker wants something.
    pub(crate) fn ask(&mut self, worker: WorkerId, ask: Ask) {
        match ask {
            Ask::Serve(room) => {
                self.attendance.serve(worker, &room, &mut self.effects);
                self.serve(worker, &room);
            }
            Ask::Unserve(room) => {
                self.attendance.unserve(worker, &room);
                if let Some(heard) = self.rooms.get_mut(&room) {
                    heard.forget(worker, self.now);
                }
            }
            Ask::Page(room, range) => self.page(worker, &room, range),
            Ask::Came(room, user) => self.attendance.joined(worker, &room, user, &mut self.effects),
            Ask::Went(room, user) => self.attendance.left(worker, &room, user, &mut self.effects),
        }
    }

    /// A worker is gone.
    pub(crate) fn detach(&mut self, worker: WorkerId) {
        self.attendance.detach(worker, &mut self.effects);
        for heard in self.rooms.values_mut() {
            heard.forget(worker, self.now);
        }
    }

    /// The bus delivered something. Frames go out with the next [`flush`](Self::flush).
    pub(crate) fn heard(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Subscribed(room) => {
                if let Some(heard) = self.rooms.get_mut(&room) {
                    heard.start_reading(&room, &mut self.effects);
                    self.attendance.subscribed(&room, &mut self.effects);
                }
            }
            Delivery::Presence(room, turn) => self.attendance.heard(&room, turn, &mut self.effects),
            Delivery::Entry(room, entry) => {
                let Some(heard) = self.rooms.get_mut(&room) else { return };
                heard.compare = self.now + COMPARE;
                let frame = Frame::of(&room, entry);
                match (&mut heard.phase, &mut heard.tail) {
                    (Phase::Subscribing, _) => {}
                    (Phase::Reading { pending, .. }, _) => {
                        // Dropping all is safe: every entry that is heard is in the log, and a gap is read again.
                        if pending.len() >= PENDING {
                            pending.clear();
                        }
                        pending.push(frame);
                    }
                    (Phase::Live, Some(tail)) => match tail.append(frame.clone()) {
                        Append::Duplicate => {}
                        Append::Appended => {
                            if heard.fresh.is_empty() {
                                self.fresh.push(room);
                            }
                            heard.fresh.push(frame);
                        }
                        Append::Gap => {
                            tracing::debug!(%room, head = %tail.head(), "gap: reading the log");
                            heard.start_reading(&room, &mut self.effects);
                            if let Phase::Reading { pending, .. } = &mut heard.phase {
                                pending.push(frame);
                            }
                        }
                    },
                    (Phase::Live, None) => heard.start_reading(&room, &mut self.effects),
                }
            }
            Delivery::Ephemeral(room, bytes) => {
                let (Some(heard), Some(frame)) = (self.rooms.get(&room), whisper::decode(&room, &bytes)) else {
                    return;
                };
                for &worker in &heard.served {
                    self.effects.push(Effect::Post(worker, Mail::Whisper(room.clone(), frame.clone())));
                }
            }
        }
    }

    /// Mails the live frames that were heard, those of a room together.
    pub(crate) fn flush(&mut self) {
        for room in std::mem::take(&mut self.fresh) {
            if let Some(heard) = self.rooms.get_mut(&room) {
                heard.flush(&room, &mut self.effects);
            }
        }
    }

    /// A read of the log came back; `None` when it failed.
    pub(crate) fn read(&mut self, room: &Room, range: Range, page: Option<Page>) {
        let Some(heard) = self.rooms.get_mut(room) else { return };
        let retry_at = self.now + RETRY;
        let Some(page) = page else {
            if let Phase::Reading { range: read, retry, .. } = &mut heard.phase
                && *read == range
            {
                *retry = Some(retry_at);
            }
            for asked in heard.pages.iter_mut().filter(|asked| asked.range == range) {
                asked.retry = Some(retry_at);
            }
            return;
        };
        let frames: Arc<[Frame]> = page.entries.into_iter().map(|entry| Frame::of(room, entry)).collect();
        if let Some(asked) = heard.pages.iter_mut().find(|asked| asked.range == range) {
            asked.answer = Some(FramePage { range, follows: page.follows, frames: frames.clone(), head: page.head });
        }
        if matches!(&heard.phase, Phase::Reading { range: read, .. } if *read == range) {
            heard.absorb(room, range, &frames, page.follows, page.more, page.head, &mut self.effects);
        } else if heard.is_overtaken() {
            heard.start_reading(room, &mut self.effects);
        }
        heard.answer_pages(room, &mut self.effects);
    }

    /// The log's heads came back: a room that differs is read.
    pub(crate) fn compared(&mut self, heads: impl IntoIterator<Item = (Room, Position)>) {
        for (room, head) in heads {
            let Some(heard) = self.rooms.get_mut(&room) else { continue };
            let differs = heard.tail.as_ref().is_some_and(|tail| tail.head() != head);
            if differs && matches!(heard.phase, Phase::Live) {
                tracing::debug!(%room, log = %head, "head differs: reading the log");
                heard.start_reading(&room, &mut self.effects);
            }
        }
    }

    /// PresenceDiff the clock: failed reads are tried again, quiet rooms compared, deserted ones given up; each room in its turn
    /// of a [`Round`].
    pub(crate) fn tick(&mut self, now: Duration) {
        self.now = now;
        let (mut compare, mut deserted) = (Vec::new(), Vec::new());
        let effects = &mut self.effects;
        for index in self.round.next(self.rooms.len()) {
            let Some((room, heard)) = self.rooms.get_index_mut(index) else { break };
            if heard.idle.is_some_and(|since| now >= since + LINGER) {
                deserted.push(room.clone());
                continue;
            }
            if let Phase::Reading { range, retry, .. } = &mut heard.phase
                && retry.take_if(|at| now >= *at).is_some()
            {
                effects.push(Effect::Read(room.clone(), *range));
            }
            for asked in &mut heard.pages {
                if asked.retry.take_if(|at| now >= *at).is_some() {
                    effects.push(Effect::Read(room.clone(), asked.range));
                }
            }
            if matches!(heard.phase, Phase::Live) && now >= heard.compare {
                heard.compare = now + COMPARE.mul_f64(rand::random_range(0.8..1.0));
                compare.push(room.clone());
            }
        }
        for room in deserted {
            self.rooms.swap_remove(&room);
            self.attendance.forget(&room);
            effects.push(Effect::Unwant(room));
        }
        if !compare.is_empty() {
            effects.push(Effect::Compare(compare));
        }
        self.attendance.tick(now, effects);
    }

    fn serve(&mut self, worker: WorkerId, room: &Room) {
        let heard = self.rooms.entry(room.clone()).or_insert_with(|| {
            self.effects.push(Effect::Want(room.clone()));
            Heard::new(self.now)
        });
        heard.idle = None;
        if let (Phase::Live, Some(_)) = (&heard.phase, &heard.tail) {
            heard.flush(room, &mut self.effects);
            heard.join_in(room, worker, &mut self.effects);
        } else if !heard.waiting.contains(&worker) {
            heard.waiting.push(worker);
        }
    }

    fn page(&mut self, worker: WorkerId, room: &Room, range: Range) {
        let Some(heard) = self.rooms.get_mut(room) else { return };
        if let (Phase::Live, Some(tail)) = (&heard.phase, &heard.tail)
            && let Some(frames) = tail.page(range)
        {
            let page = FramePage { range, follows: true, frames: frames.into(), head: tail.head() };
            heard.flush(room, &mut self.effects);
            self.effects.push(Effect::Post(worker, Mail::Page(room.clone(), page)));
            return;
        }
        match heard.pages.iter_mut().find(|asked| asked.range == range) {
            Some(asked) if asked.workers.contains(&worker) => {}
            Some(asked) => asked.workers.push(worker),
            None => {
                heard.pages.push(Asked { range, workers: vec![worker], answer: None, retry: None });
                self.effects.push(Effect::Read(room.clone(), range));
            }
        }
    }
}
