//! The decisions of a rolling restart. Pure.

use std::collections::VecDeque;

/// The condition of an instance, as far as a rolling restart needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InstanceCondition {
    /// Ready, and the balancer sends it requests.
    Serving,
    /// Starting or ending.
    Changing,
    /// No process.
    Down,
}

/// The next action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RollAction {
    Stop(usize),
    Start(usize),
    /// The new process of this instance ended before it was ready. The restart stops, and other instances stay as they are.
    Failed(usize),
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RollStage {
    Next,
    Stopping(usize),
    Starting(usize),
}

/// A rolling restart in progress.
#[derive(Debug)]
pub(crate) struct RollingRestart {
    left: VecDeque<usize>,
    step: RollStage,
}

impl RollingRestart {
    pub(crate) fn new(instances: impl IntoIterator<Item = usize>) -> Self {
        Self { left: instances.into_iter().collect(), step: RollStage::Next }
    }

    /// The next action, or `None` while an instance is changing.
    pub(crate) fn advance(&mut self, condition: impl Fn(usize) -> InstanceCondition) -> Option<RollAction> {
        match (self.step, condition) {
            (RollStage::Next, _) => match self.left.pop_front() {
                Some(number) => {
                    self.step = RollStage::Stopping(number);
                    Some(RollAction::Stop(number))
                }
                None => Some(RollAction::Done),
            },
            (RollStage::Stopping(number), condition) if condition(number) == InstanceCondition::Down => {
                self.step = RollStage::Starting(number);
                Some(RollAction::Start(number))
            }
            (RollStage::Starting(number), condition) => match condition(number) {
                InstanceCondition::Serving => {
                    self.step = RollStage::Next;
                    self.advance(condition)
                }
                InstanceCondition::Changing => None,
                InstanceCondition::Down => Some(RollAction::Failed(number)),
            },
            (RollStage::Stopping(_), _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_restart_one_after_another_when_the_previous_one_serves() {
        use InstanceCondition::{Changing, Down, Serving};
        let mut roll = RollingRestart::new([1, 2]);
        assert_eq!(roll.advance(|_| Serving), Some(RollAction::Stop(1)));
        assert_eq!(roll.advance(|_| Changing), None);
        assert_eq!(roll.advance(|_| Down), Some(RollAction::Start(1)));
        assert_eq!(roll.advance(|_| Changing), None);
        assert_eq!(roll.advance(|_| Serving), Some(RollAction::Stop(2)));
        assert_eq!(roll.advance(|_| Down), Some(RollAction::Start(2)));
        assert_eq!(roll.advance(|_| Serving), Some(RollAction::Done));
    }

    #[test]
    fn restart_stops_at_the_first_instance_that_fails() {
        let mut roll = RollingRestart::new([1, 2]);
        roll.advance(|_| InstanceCondition::Serving);
        roll.advance(|_| InstanceCondition::Down);
        assert_eq!(roll.advance(|_| InstanceCondition::Down), Some(RollAction::Failed(1)));
    }
}
