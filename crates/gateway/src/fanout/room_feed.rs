//! One room of the reader: its tail, the read of its log, and the workers that wait for something. Pure.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use trunkline_bus::{Page, Range};
use trunkline_domain::{Position, Room};

use super::{
    deletions::Deletions,
    messages::{DeletionApplied, HubEvent},
    tail::{Append, FramePage, Tail},
};
use crate::{frame::Frame, ids::WorkerId, presence::PresenceCommand, ticks::Timer};

/// Number of entries that are read when a room is opened. Clients that resume within them need no further read.
const OPENING_ENTRIES: usize = 512;
/// Maximum number of entries that one read of a repair returns; a longer gap takes several.
const REPAIR_ENTRIES: usize = 512;
/// Maximum number of frames that wait while the log is read. If more arrive, all are dropped and the log is read again.
const MAX_WAITING_FRAMES: usize = 1024;
/// Time for which a room stays subscribed after its last member left. A larger value saves a read when members return soon
/// and costs the room's deliveries meanwhile.
const UNSUBSCRIBE_DELAY: Duration = Duration::from_secs(30);
/// Maximum time from a room's last message to the comparison of its head with the log's. Each further comparison follows
/// after twice the time, at most [`MAX_COMPARE_INTERVAL`]. So a lost message is found within 10 s, or within as long as the
/// room was quiet before it; a smaller value costs more reads.
const COMPARE_INTERVAL: Duration = Duration::from_secs(10);
/// Maximum time between two comparisons. A larger value saves little: 100,000 quiet rooms cost 1,900 comparisons per second.
const MAX_COMPARE_INTERVAL: Duration = Duration::from_secs(60);
/// Time from a failed read to the next attempt.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// What the reader's task is to do.
#[derive(Debug)]
pub(crate) enum ReaderEffect {
    /// Subscribe to the room.
    Subscribe(Room),
    /// End the subscription.
    Unsubscribe(Room),
    /// Read this range of the room's log.
    Read(Room, Range),
    /// Compare the heads of these rooms' logs with those of their tails.
    CompareHeads(Vec<(Room, Position)>),
    /// Send an event to a worker.
    Send(WorkerId, HubEvent),
    /// Send an event to every worker even if its mailbox is full, after everything that it was sent before.
    Broadcast(HubEvent),
    /// Execute this on the presence store.
    Presence(PresenceCommand),
}

/// A room that this process subscribes to.
#[derive(Debug)]
pub(super) struct RoomFeed {
    phase: FeedPhase,
    tail: Option<Tail>,
    deletions: Deletions,
    /// Live frames that were not sent to the followers yet.
    unsent: Vec<Frame>,
    /// Workers that have the tail and are sent every frame.
    followers: Vec<WorkerId>,
    /// Workers that wait for the tail.
    waiting: Vec<WorkerId>,
    pages: Vec<RequestedPage>,
    /// When the last worker left.
    idle_since: Option<Duration>,
    compare_at: Duration,
    /// Time from that comparison to the next, without jitter.
    compare_interval: Duration,
    /// When the reader examines this room next.
    pub(super) timer: Timer,
}

#[derive(Debug)]
enum FeedPhase {
    /// The bus has not confirmed the subscription.
    Subscribing,
    /// The log is being read. Frames that arrive meanwhile wait. `is_stale` if deliveries may have been lost since the read
    /// began: its answer may lack their entries, so the log is read once more.
    Reading { range: Range, waiting: Vec<Frame>, retry_at: Option<Duration>, is_stale: bool },
    /// Every frame follows the one before.
    Live,
}

/// A page that cursors wait for.
#[derive(Debug)]
struct RequestedPage {
    range: Range,
    workers: Vec<WorkerId>,
    /// The page, held back until the tail reaches as far.
    answer: Option<FramePage>,
    retry_at: Option<Duration>,
}

/// A room while it handles one input: its name, its state, and where its effects go.
pub(super) struct RoomInput<'a> {
    pub(super) name: &'a Room,
    pub(super) feed: &'a mut RoomFeed,
    pub(super) effects: &'a mut VecDeque<ReaderEffect>,
    pub(super) now: Duration,
}

impl RoomFeed {
    /// Creates the feed of a room that is being subscribed.
    pub(super) fn new(now: Duration) -> Self {
        Self {
            phase: FeedPhase::Subscribing,
            tail: None,
            deletions: Deletions::default(),
            unsent: Vec::new(),
            followers: Vec::new(),
            waiting: Vec::new(),
            pages: Vec::new(),
            idle_since: None,
            compare_at: now + COMPARE_INTERVAL,
            compare_interval: COMPARE_INTERVAL,
            timer: Timer::NONE,
        }
    }

    /// Returns when the room is to be examined next: when its head is to be compared, a read repeated, or its subscription
    /// ended. At most [`MAX_COMPARE_INTERVAL`] ahead.
    pub(super) fn next_examination(&self, now: Duration) -> Duration {
        let compare = match self.phase {
            FeedPhase::Live => self.compare_at,
            _ => now + COMPARE_INTERVAL,
        };
        let read = match self.phase {
            FeedPhase::Reading { retry_at, .. } => retry_at,
            _ => None,
        };
        let pages = self.pages.iter().filter_map(|page| page.retry_at);
        let unsubscribe = self.idle_since.map(|since| since + UNSUBSCRIBE_DELAY);
        read.into_iter().chain(pages).chain(unsubscribe).fold(compare, Duration::min)
    }

    /// The worker has no members in the room any more.
    pub(super) fn remove_worker(&mut self, worker: WorkerId, now: Duration) {
        self.followers.retain(|one| *one != worker);
        self.waiting.retain(|one| *one != worker);
        for page in &mut self.pages {
            page.workers.retain(|one| *one != worker);
        }
        if self.followers.is_empty() && self.waiting.is_empty() {
            self.idle_since = Some(now);
        }
    }

    /// Returns the workers that are sent the room's frames.
    pub(super) fn followers(&self) -> &[WorkerId] {
        &self.followers
    }

    /// Returns whether the room has had no worker for so long that its subscription ends.
    pub(super) fn is_abandoned(&self, now: Duration) -> bool {
        self.idle_since.is_some_and(|since| now >= since + UNSUBSCRIBE_DELAY)
    }

    /// Returns the head of the tail if it is to be compared with the log's. `jitter` shortens the time to the next comparison.
    pub(super) fn poll_comparison(
        &mut self,
        now: Duration,
        jitter: impl FnOnce(Duration) -> Duration,
    ) -> Option<Position> {
        let (FeedPhase::Live, Some(tail)) = (&self.phase, &self.tail) else { return None };
        if now < self.compare_at {
            return None;
        }
        self.compare_interval = (2 * self.compare_interval).min(MAX_COMPARE_INTERVAL);
        self.compare_at = now + jitter(self.compare_interval);
        Some(tail.head())
    }

    /// Removes every copy of the text at `position`.
    fn delete(&mut self, position: Position) {
        if !self.deletions.record(position) {
            return;
        }
        if let Some(tail) = &mut self.tail {
            tail.redact(&self.deletions);
        }
        let waiting =
            if let FeedPhase::Reading { waiting, .. } = &mut self.phase { waiting.as_mut_slice() } else { &mut [] };
        for frame in self.unsent.iter_mut().chain(waiting) {
            self.deletions.redact(frame);
        }
        for page in self.pages.iter_mut().filter_map(|page| page.answer.as_mut()) {
            self.deletions.redact_frames(&mut page.frames);
        }
    }

    /// A frame from the bus: applies the deletion that it contains, and removes its text if it was deleted.
    fn admit(&mut self, frame: &mut Frame) {
        if let Some(deleted) = frame.deletes.as_deref() {
            self.delete(*deleted);
        }
        self.deletions.redact(frame);
    }

    /// Returns whether the comparisons have become rarer than after a message.
    pub(super) fn is_quiet(&self) -> bool {
        self.compare_interval > COMPARE_INTERVAL
    }

    /// The room is not quiet any more.
    fn compare_soon(&mut self, now: Duration) {
        self.compare_interval = COMPARE_INTERVAL;
        self.compare_at = now + COMPARE_INTERVAL;
    }

    /// Returns whether a page shows entries after the tail, so that the tail must have missed them.
    fn is_overtaken(&self) -> bool {
        let (FeedPhase::Live, Some(tail)) = (&self.phase, &self.tail) else { return false };
        self.pages.iter().filter_map(|page| page.answer.as_ref()).any(|page| page.head > tail.head())
    }
}

impl RoomInput<'_> {
    /// The worker has its first member in the room, or lost events: sends it the tail, now or once it was read.
    pub(super) fn follow(&mut self, worker: WorkerId) {
        self.feed.idle_since = None;
        if matches!(self.feed.phase, FeedPhase::Live) && self.feed.tail.is_some() {
            self.send_unsent();
            self.send_tail(worker);
        } else if !self.feed.waiting.contains(&worker) {
            self.feed.waiting.push(worker);
        }
    }

    /// A cursor of the worker needs a page. It is answered from the tail if possible; equal requests share one read.
    pub(super) fn request_page(&mut self, worker: WorkerId, range: Range) {
        if let (FeedPhase::Live, Some(tail)) = (&self.feed.phase, &self.feed.tail)
            && let Some(frames) = tail.page(range)
        {
            let page = FramePage { range, follows: true, frames: frames.into(), head: tail.head() };
            self.send_unsent();
            self.effects.push_back(ReaderEffect::Send(worker, HubEvent::Page(self.name.clone(), page)));
            return;
        }
        match self.feed.pages.iter_mut().find(|page| page.range == range) {
            Some(page) if page.workers.contains(&worker) => {}
            Some(page) => page.workers.push(worker),
            None => {
                self.feed.pages.push(RequestedPage { range, workers: vec![worker], answer: None, retry_at: None });
                self.effects.push_back(ReaderEffect::Read(self.name.clone(), range));
            }
        }
    }

    /// The text at `position` was deleted: every copy of it is removed, here and in the workers, which then drop `applied`.
    /// A worker that does not follow the room any more may have an older tail in its mailbox.
    pub(super) fn delete(&mut self, position: Position, applied: DeletionApplied) {
        self.feed.delete(position);
        self.effects.push_back(ReaderEffect::Broadcast(HubEvent::Deleted(self.name.clone(), position, applied)));
    }

    /// An entry was received. Returns whether the room has its first unsent frame.
    pub(super) fn receive(&mut self, mut frame: Frame) -> bool {
        let feed = &mut *self.feed;
        feed.admit(&mut frame);
        feed.compare_soon(self.now);
        match (&mut feed.phase, &mut feed.tail) {
            (FeedPhase::Subscribing, _) => {}
            (FeedPhase::Reading { waiting, .. }, _) => {
                // Dropping is safe: every entry that is received is in the log, and the gap will be found.
                if waiting.len() >= MAX_WAITING_FRAMES {
                    waiting.clear();
                }
                waiting.push(frame);
            }
            (FeedPhase::Live, Some(tail)) => match tail.append(frame.clone()) {
                Append::Duplicate => {}
                Append::Appended => {
                    feed.unsent.push(frame);
                    return feed.unsent.len() == 1;
                }
                Append::Gap => {
                    tracing::debug!(room = %self.name, head = %tail.head(), "gap; reading the log");
                    self.start_reading();
                    if let FeedPhase::Reading { waiting, .. } = &mut self.feed.phase {
                        waiting.push(frame);
                    }
                }
            },
            (FeedPhase::Live, None) => self.start_reading(),
        }
        false
    }

    /// Reads the log after the head, or its end if no head is known. If a read is in flight, the next one follows its answer.
    pub(super) fn start_reading(&mut self) {
        if let FeedPhase::Reading { retry_at: None, is_stale, .. } = &mut self.feed.phase {
            *is_stale = true;
            return;
        }
        let range = match &self.feed.tail {
            Some(tail) => Range::After(tail.head(), REPAIR_ENTRIES),
            None => Range::Latest(OPENING_ENTRIES),
        };
        self.send_unsent();
        self.feed.phase = FeedPhase::Reading { range, waiting: Vec::new(), retry_at: None, is_stale: false };
        self.effects.push_back(ReaderEffect::Read(self.name.clone(), range));
    }

    /// A read of the log finished.
    pub(super) fn read_finished(&mut self, range: Range, page: Page) {
        let mut frames: Vec<Frame> = page.entries.into_iter().map(|entry| Frame::encode(self.name, entry)).collect();
        frames.iter_mut().for_each(|frame| self.feed.admit(frame));
        let frames: Arc<[Frame]> = frames.into();
        let more = page.more;
        let page = FramePage { range, follows: page.follows, frames, head: page.head };
        if let Some(requested) = self.feed.pages.iter_mut().find(|requested| requested.range == range) {
            requested.answer = Some(page.clone());
        }
        if matches!(&self.feed.phase, FeedPhase::Reading { range: reading, .. } if *reading == range) {
            self.absorb(&page, more);
        } else if self.feed.is_overtaken() {
            self.start_reading();
        }
        self.answer_pages();
    }

    /// A read of the log failed: it is repeated later.
    pub(super) fn read_failed(&mut self, range: Range) {
        let retry = Some(self.now + RETRY_DELAY);
        if let FeedPhase::Reading { range: reading, retry_at, is_stale, .. } = &mut self.feed.phase
            && *reading == range
        {
            (*retry_at, *is_stale) = (retry, false);
        }
        for page in self.feed.pages.iter_mut().filter(|page| page.range == range) {
            page.retry_at = retry;
        }
    }

    /// Repeats failed reads whose time has come.
    pub(super) fn retry_reads(&mut self) {
        if let FeedPhase::Reading { range, retry_at, .. } = &mut self.feed.phase
            && retry_at.take_if(|at| self.now >= *at).is_some()
        {
            self.effects.push_back(ReaderEffect::Read(self.name.clone(), *range));
        }
        for page in &mut self.feed.pages {
            if page.retry_at.take_if(|at| self.now >= *at).is_some() {
                self.effects.push_back(ReaderEffect::Read(self.name.clone(), page.range));
            }
        }
    }

    /// The log ends elsewhere than the tail did: unless the tail ends there by now, the log is read.
    pub(super) fn compare(&mut self, log_head: Position) {
        let differs = self.feed.tail.as_ref().is_some_and(|tail| tail.head() != log_head);
        if differs && matches!(self.feed.phase, FeedPhase::Live) {
            tracing::debug!(room = %self.name, %log_head, "head differs; reading the log");
            self.feed.compare_soon(self.now);
            self.start_reading();
        }
    }

    /// Appends the page that was read, then the frames that arrived meanwhile. `more` says that the log continues.
    fn absorb(&mut self, page: &FramePage, more: bool) {
        let feed = &mut *self.feed;
        let phase = std::mem::replace(&mut feed.phase, FeedPhase::Live);
        let FeedPhase::Reading { waiting, is_stale, .. } = phase else { return };
        let must_continue = match (&mut feed.tail, page.range) {
            (_, Range::Latest(_)) => {
                feed.tail = Some(Tail::of(page.frames.to_vec(), page.head, !more));
                feed.waiting.append(&mut feed.followers);
                is_stale
            }
            (Some(tail), _) if page.follows => {
                for frame in page.frames.iter() {
                    if tail.append(frame.clone()) == Append::Appended {
                        feed.unsent.push(frame.clone());
                    }
                }
                more || is_stale
            }
            _ => {
                tracing::warn!(room = %self.name, "the log does not continue what was sent; clients start over");
                feed.tail = None;
                return self.start_reading();
            }
        };
        if must_continue {
            self.start_reading();
            if let FeedPhase::Reading { waiting: frames, .. } = &mut self.feed.phase {
                *frames = waiting;
            }
            return;
        }
        let Some(tail) = &mut feed.tail else { return };
        for frame in waiting {
            match tail.append(frame.clone()) {
                Append::Duplicate => {}
                Append::Appended => feed.unsent.push(frame),
                Append::Gap => return self.start_reading(),
            }
        }
        self.send_unsent();
        for worker in std::mem::take(&mut self.feed.waiting) {
            self.send_tail(worker);
        }
    }

    /// Sends the tail to a worker, which is sent every frame from then on.
    fn send_tail(&mut self, worker: WorkerId) {
        if let Some(tail) = &self.feed.tail {
            self.effects.push_back(ReaderEffect::Send(worker, HubEvent::Tail(self.name.clone(), tail.clone())));
            if !self.feed.followers.contains(&worker) {
                self.feed.followers.push(worker);
            }
        }
    }

    /// Sends the live frames that were received since the last call.
    pub(super) fn send_unsent(&mut self) {
        if self.feed.unsent.is_empty() {
            return;
        }
        let frames: Arc<[Frame]> = std::mem::take(&mut self.feed.unsent).into();
        for &worker in &self.feed.followers {
            let event = HubEvent::Frames(self.name.clone(), frames.clone());
            self.effects.push_back(ReaderEffect::Send(worker, event));
        }
    }

    /// Sends the pages that were read, once the tail has no gap: cursors must not get ahead of it.
    fn answer_pages(&mut self) {
        if !matches!(self.feed.phase, FeedPhase::Live) {
            return;
        }
        for requested in self.feed.pages.extract_if(.., |page| page.answer.is_some()) {
            let Some(page) = requested.answer else { continue };
            for worker in requested.workers {
                let event = HubEvent::Page(self.name.clone(), page.clone());
                self.effects.push_back(ReaderEffect::Send(worker, event));
            }
        }
    }
}
