//! The texts of a room that were deleted recently. Pure.

use std::{collections::VecDeque, sync::Arc};

use trunkline_bus::mutant::{Mutant, is_on};
use trunkline_domain::Position;

use crate::frame::Frame;

/// The texts of one room whose deletion this process knows. What was read from the log before the deletion, and arrives
/// after it, is redacted by this list.
///
/// Bounded by [`Deletions::MAX`]: a text that was deleted before that many others, all while one read was in flight, would
/// be handed out once more.
#[derive(Clone, Debug, Default)]
pub(super) struct Deletions(VecDeque<Position>);

impl Deletions {
    /// Maximum number of texts. The oldest is dropped.
    const MAX: usize = 256;

    /// Records that the text at `position` was deleted. Returns whether that is new.
    pub(super) fn record(&mut self, position: Position) -> bool {
        if is_on(Mutant::Redact) || self.contains(position) {
            return false;
        }
        if self.0.len() == Self::MAX {
            self.0.pop_front();
        }
        self.0.push_back(position);
        true
    }

    /// Removes the text of a frame if it was deleted. Returns whether it was.
    pub(super) fn redact(&self, frame: &mut Frame) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let redacted = frame.redacted(|position| self.contains(position));
        redacted.map(|redacted| *frame = redacted).is_some()
    }

    /// Removes the deleted texts of shared frames, of which a copy is made if there are any.
    pub(super) fn redact_frames(&self, shared: &mut Arc<[Frame]>) {
        if self.0.is_empty() {
            return;
        }
        let mut frames: Vec<Frame> = shared.to_vec();
        let redacted = frames.iter_mut().filter_map(|frame| self.redact(frame).then_some(frame)).count();
        if redacted > 0 {
            *shared = frames.into();
        }
    }

    fn contains(&self, position: Position) -> bool {
        self.0.contains(&position)
    }
}
