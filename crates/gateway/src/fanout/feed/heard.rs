//! One room: its tail, what is being read of its log, and who waits for what.

use std::{sync::Arc, time::Duration};

use trunkline_bus::Range;
use trunkline_domain::{Position, Room};

use super::{Append, COMPARE, Effect, Frame, FramePage, Mail, OPENING, REPAIR, Tail, WorkerId};

/// A room that this process hears.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) phase: Phase,
    pub(super) tail: Option<Tail>,
    /// Live frames that were not yet mailed.
    pub(super) fresh: Vec<Frame>,
    /// Workers that follow the room and have its tail.
    pub(super) served: Vec<WorkerId>,
    /// Workers that wait for the tail.
    pub(super) waiting: Vec<WorkerId>,
    pub(super) pages: Vec<Asked>,
    /// When the last member went.
    pub(super) idle: Option<Duration>,
    pub(super) compare: Duration,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// The bus has not said that it listens.
    Subscribing,
    /// The log is being read; what is heard meanwhile waits.
    Reading { range: Range, pending: Vec<Frame>, retry: Option<Duration> },
    /// Every frame follows the last.
    Live,
}

/// A page that cursors wait for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) range: Range,
    pub(super) workers: Vec<WorkerId>,
    /// What was read; held back until the tail reaches as far.
    pub(super) answer: Option<FramePage>,
    pub(super) retry: Option<Duration>,
}

impl Heard {
    pub(super) fn new(now: Duration) -> Self {
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

    pub(super) fn forget(&mut self, worker: WorkerId, now: Duration) {
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
    pub(super) fn start_reading(&mut self, room: &Room, effects: &mut Vec<Effect>) {
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
    pub(super) fn absorb(
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
    pub(super) fn join_in(&mut self, room: &Room, worker: WorkerId, effects: &mut Vec<Effect>) {
        if let Some(tail) = &self.tail {
            effects.push(Effect::Post(worker, Mail::Tail(room.clone(), tail.clone())));
            if !self.served.contains(&worker) {
                self.served.push(worker);
            }
        }
    }

    pub(super) fn flush(&mut self, room: &Room, effects: &mut Vec<Effect>) {
        if self.fresh.is_empty() {
            return;
        }
        let frames: Arc<[Frame]> = std::mem::take(&mut self.fresh).into();
        for &worker in &self.served {
            effects.push(Effect::Post(worker, Mail::Frames(room.clone(), frames.clone())));
        }
    }

    /// Whether a page shows more of the log than the tail: something was missed.
    pub(super) fn is_overtaken(&self) -> bool {
        let (Phase::Live, Some(tail)) = (&self.phase, &self.tail) else { return false };
        self.pages.iter().filter_map(|asked| asked.answer.as_ref()).any(|page| page.head > tail.head())
    }

    /// Sends the pages that were read, once the tail is whole: cursors do not get ahead of it.
    pub(super) fn answer_pages(&mut self, room: &Room, effects: &mut Vec<Effect>) {
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
