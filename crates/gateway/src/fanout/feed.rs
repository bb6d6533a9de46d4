//! What one process hears of its rooms, made whole. Synchronous: decisions only, `run` below is the shell.
//!
//! Pub/sub is a hint, the log is the truth. A room is subscribed first, read second, and live from then on; whenever
//! something may be missing (a jump in `prev`, a new subscription, a head that differs) it is read again from its head.

mod run;

use std::{collections::HashMap, sync::Arc, time::Duration};

use trunkline_bus::{Delivery, Page, Range};
use trunkline_domain::{Holder, Position, Room};

use super::{
    Append, Ask, Frame, FramePage, Mail, Tail, WorkerId,
    attendance::{Attendance, Word},
    whisper,
};

pub(crate) use run::{Letter, run};

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
    rooms: HashMap<Room, Heard>,
    /// Who is in them.
    attendance: Attendance,
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
    Say(Word),
}

#[derive(Debug)]
struct Heard {
    phase: Phase,
    tail: Option<Tail>,
    /// Live frames that were not yet mailed.
    fresh: Vec<Frame>,
    /// Workers that follow the room and have its tail.
    served: Vec<WorkerId>,
    /// Workers that wait for the tail.
    waiting: Vec<WorkerId>,
    pages: Vec<Asked>,
    /// When the last member went.
    idle: Option<Duration>,
    compare: Duration,
}

#[derive(Debug)]
enum Phase {
    /// The bus has not said that it listens.
    Subscribing,
    /// The log is being read; what is heard meanwhile waits.
    Reading { range: Range, pending: Vec<Frame>, retry: Option<Duration> },
    /// Every frame follows the last.
    Live,
}

/// A page that cursors wait for.
#[derive(Debug)]
struct Asked {
    range: Range,
    workers: Vec<WorkerId>,
    /// What was read; held back until the tail reaches as far.
    answer: Option<FramePage>,
    retry: Option<Duration>,
}

impl Feed {
    /// Nothing heard yet. Users of this process are those of `holder`, and a dead one's go within one `lease`.
    pub(crate) fn new(holder: Holder, lease: Duration) -> Self {
        let attendance = Attendance::new(holder, lease);
        Self { rooms: HashMap::new(), attendance, fresh: Vec::new(), effects: Vec::new(), now: Duration::ZERO }
    }

    /// Presence, and where to put what it wants.
    pub(crate) fn attendance(&mut self) -> (&mut Attendance, &mut Vec<Effect>) {
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
            Ask::Came(room, user) => self.attendance.came(worker, &room, user, &mut self.effects),
            Ask::Went(room, user) => self.attendance.went(worker, &room, user, &mut self.effects),
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
            Delivery::Whisper(room, bytes) => {
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

    /// Moves the clock: failed reads are tried again, quiet rooms compared, deserted ones given up.
    pub(crate) fn tick(&mut self, now: Duration) {
        self.now = now;
        let mut compare = Vec::new();
        let effects = &mut self.effects;
        self.rooms.retain(|room, heard| {
            if heard.idle.is_some_and(|since| now >= since + LINGER) {
                effects.push(Effect::Unwant(room.clone()));
                self.attendance.forget(room);
                return false;
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
            true
        });
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

impl Heard {
    fn new(now: Duration) -> Self {
        Self {
            phase: Phase::Subscribing,
            tail: None,
            fresh: Vec::new(),
            served: Vec::new(),
            waiting: Vec::new(),
            pages: Vec::new(),
            idle: None,
            compare: now + COMPARE,
        }
    }

    fn forget(&mut self, worker: WorkerId, now: Duration) {
        self.served.retain(|one| *one != worker);
        self.waiting.retain(|one| *one != worker);
        for asked in &mut self.pages {
            asked.workers.retain(|one| *one != worker);
        }
        if self.served.is_empty() && self.waiting.is_empty() {
            self.idle = Some(now);
        }
    }

    /// Reads on from the head, or from the end of the log where nothing is known.
    fn start_reading(&mut self, room: &Room, effects: &mut Vec<Effect>) {
        let range = match &self.tail {
            Some(tail) => Range::After(tail.head(), REPAIR),
            None => Range::Latest(OPENING),
        };
        self.flush(room, effects);
        self.phase = Phase::Reading { range, pending: Vec::new(), retry: None };
        effects.push(Effect::Read(room.clone(), range));
    }

    /// Takes what was read, then what was heard meanwhile.
    #[expect(clippy::too_many_arguments, reason = "a page, taken apart once its entries are frames")]
    fn absorb(
        &mut self,
        room: &Room,
        range: Range,
        frames: &[Frame],
        follows: bool,
        more: bool,
        head: Position,
        effects: &mut Vec<Effect>,
    ) {
        let Phase::Reading { pending, .. } = std::mem::replace(&mut self.phase, Phase::Live) else { return };
        match (&mut self.tail, range) {
            (_, Range::Latest(_)) => {
                self.tail = Some(Tail::of(frames.to_vec(), head, !more));
                self.waiting.append(&mut self.served);
            }
            (Some(tail), _) if follows => {
                for frame in frames {
                    if tail.append(frame.clone()) == Append::Appended {
                        self.fresh.push(frame.clone());
                    }
                }
                if more {
                    self.start_reading(room, effects);
                    if let Phase::Reading { pending: waiting, .. } = &mut self.phase {
                        *waiting = pending;
                    }
                    return;
                }
            }
            _ => {
                tracing::warn!(%room, "the log does not continue what was shown: starting over");
                self.tail = None;
                return self.start_reading(room, effects);
            }
        }
        let Some(tail) = &mut self.tail else { return };
        for frame in pending {
            match tail.append(frame.clone()) {
                Append::Duplicate => {}
                Append::Appended => self.fresh.push(frame),
                Append::Gap => return self.start_reading(room, effects),
            }
        }
        self.flush(room, effects);
        for worker in std::mem::take(&mut self.waiting) {
            self.join_in(room, worker, effects);
        }
    }

    /// Sends the tail to a worker, which is served from then on.
    fn join_in(&mut self, room: &Room, worker: WorkerId, effects: &mut Vec<Effect>) {
        if let Some(tail) = &self.tail {
            effects.push(Effect::Post(worker, Mail::Tail(room.clone(), tail.clone())));
            if !self.served.contains(&worker) {
                self.served.push(worker);
            }
        }
    }

    fn flush(&mut self, room: &Room, effects: &mut Vec<Effect>) {
        if self.fresh.is_empty() {
            return;
        }
        let frames: Arc<[Frame]> = std::mem::take(&mut self.fresh).into();
        for &worker in &self.served {
            effects.push(Effect::Post(worker, Mail::Frames(room.clone(), frames.clone())));
        }
    }

    /// Whether a page shows more of the log than the tail: something was missed.
    fn is_overtaken(&self) -> bool {
        let (Phase::Live, Some(tail)) = (&self.phase, &self.tail) else { return false };
        self.pages.iter().filter_map(|asked| asked.answer.as_ref()).any(|page| page.head > tail.head())
    }

    /// Sends the pages that were read, once the tail is whole: cursors do not get ahead of it.
    fn answer_pages(&mut self, room: &Room, effects: &mut Vec<Effect>) {
        if !matches!(self.phase, Phase::Live) {
            return;
        }
        for asked in self.pages.extract_if(.., |asked| asked.answer.is_some()) {
            let Some(page) = asked.answer else { continue };
            for worker in asked.workers {
                effects.push(Effect::Post(worker, Mail::Page(room.clone(), page.clone())));
            }
        }
    }
}
