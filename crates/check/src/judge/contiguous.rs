//! 4: per client and room, shown offsets go up by exactly one inside an epoch.

use trunkline_domain::Position;

use super::{
    Invariant,
    facts::{Facts, View},
    record::{Record, What},
    verdict::{Breaches, Ruling},
};

/// A new epoch begins at 1 or after a told gap, and only after a fault in which Redis may lose something.
#[derive(Debug, Default)]
pub(super) struct Contiguous {
    duplicated: u64,
    reordered: u64,
    skipped: u64,
    breaches: Breaches,
}

/// How a position stands to what was shown before.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Next,
    Duplicate,
    Reordered,
    Skipped,
    /// A new epoch, from its beginning.
    Epoch,
}

impl Contiguous {
    pub(super) fn duplicated(&self) -> u64 {
        self.duplicated
    }

    pub(super) fn reordered(&self) -> u64 {
        self.reordered
    }

    pub(super) fn skipped(&self) -> u64 {
        self.skipped
    }
}

impl Invariant for Contiguous {
    fn see(&mut self, record: &Record, facts: &Facts) {
        match record.what {
            What::Message { room, pos, .. } => {
                let Some(view) = facts.view(record.client, room).filter(|view| view.joined) else { return };
                let step = step(view, pos);
                let what = match step {
                    Step::Next => return,
                    Step::Epoch if facts.redis_failed() => return,
                    Step::Epoch => "begins an epoch, though Redis lost nothing,",
                    Step::Duplicate => {
                        self.duplicated += 1;
                        "came again"
                    }
                    Step::Reordered => {
                        self.reordered += 1;
                        "came late"
                    }
                    Step::Skipped => {
                        self.skipped += 1;
                        "came too early"
                    }
                };
                self.breaches.add(|| {
                    let before = view.last.map_or_else(|| format!("head {}", view.head), |last| last.to_string());
                    format!("{}: {pos} {what} after {before}", facts.place(record.client, room))
                });
            }
            What::Joined { room, resumed: true, head } => {
                let last = facts.view(record.client, room).and_then(|view| view.last);
                if last.is_some_and(|last| head < last) {
                    self.breaches.add(|| {
                        format!("{} resumed at head {head}, behind what it had seen", facts.place(record.client, room))
                    });
                }
            }
            _ => {}
        }
    }

    fn rule(&mut self, _: &Facts) -> Ruling {
        self.breaches.ruling(4, "offsets go up by one; a new epoch begins at 1 or after a told gap, and not by itself")
    }
}

fn step(view: &View, pos: Position) -> Step {
    let Some(last) = view.last else { return first_step(view, pos) };
    if pos == last.next_in_epoch() {
        Step::Next
    } else if pos <= last {
        let shown = view.stretches.last().is_some_and(|stretch| stretch.holds(pos));
        if shown { Step::Duplicate } else { Step::Reordered }
    } else if pos.epoch > last.epoch && pos.offset == 1 {
        Step::Epoch
    } else {
        Step::Skipped
    }
}

/// The first message of a stretch: of the tail that was asked for, or the first after where the stretch began.
fn first_step(view: &View, pos: Position) -> Step {
    let floor = view.floor();
    let empty = floor == Position::ORIGIN;
    if view.has_tail() {
        if pos <= floor { Step::Next } else { Step::Skipped }
    } else if pos == floor.next_in_epoch() || (empty && pos.offset == 1) {
        Step::Next
    } else if pos.epoch > floor.epoch && pos.offset == 1 {
        Step::Epoch
    } else if pos <= floor {
        Step::Reordered
    } else {
        Step::Skipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::facts::Stretch;

    fn view(last: Option<(u64, u64)>, head: (u64, u64), recent: usize) -> View {
        let last = last.map(|(epoch, offset)| Position::new(epoch, offset));
        let runs = last.map(|last| (Position::new(last.epoch, 2), last)).into_iter().collect();
        let head = Position::new(head.0, head.1);
        let tail = recent > 0 && head != Position::ORIGIN;
        let stretches = vec![Stretch { floor: head, tail, runs, closed: false }];
        View { joined: true, recent, head, last, stretches, ..View::default() }
    }

    #[test]
    fn each_step_is_told_apart() {
        let at = |view: &View, epoch, offset| step(view, Position::new(epoch, offset));
        let live = view(Some((7, 5)), (7, 2), 50);
        assert_eq!(at(&live, 7, 6), Step::Next);
        assert_eq!(at(&live, 7, 5), Step::Duplicate);
        assert_eq!(at(&live, 7, 1), Step::Reordered);
        assert_eq!(at(&live, 7, 7), Step::Skipped);
        assert_eq!(at(&live, 8, 1), Step::Epoch);
        assert_eq!(at(&live, 8, 2), Step::Skipped);
        assert_eq!(at(&live, 6, 9), Step::Reordered);
        let tail = view(None, (7, 5), 50);
        assert_eq!((at(&tail, 7, 3), at(&tail, 7, 6)), (Step::Next, Step::Skipped));
        let bare = view(None, (7, 5), 0);
        assert_eq!((at(&bare, 7, 6), at(&bare, 7, 5), at(&bare, 8, 1)), (Step::Next, Step::Reordered, Step::Epoch));
        let empty = view(None, (0, 0), 50);
        assert_eq!((at(&empty, 7, 1), at(&empty, 7, 2)), (Step::Next, Step::Skipped));
    }
}
