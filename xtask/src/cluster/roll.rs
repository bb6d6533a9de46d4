//! A rolling restart, decided step by step: pure, so that its order can be tested.

use std::collections::VecDeque;

/// What an instance is doing, as far as a roll cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InstanceCondition {
    /// Ready, and the balancer sends it traffic.
    Serving,
    /// On its way up or down.
    Changing,
    /// No process.
    Down,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RollAction {
    Stop(usize),
    Start(usize),
    /// The new process of this instance ended before it served: the others are left alone.
    Failed(usize),
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RollStage {
    Next,
    Stopping(usize),
    Starting(usize),
}

/// A roll under way.
#[derive(Debug)]
pub(crate) struct RollingRestart {
    left: VecDeque<usize>,
    step: RollStage,
}

impl RollingRestart {
    pub(crate) fn new(instances: impl IntoIterator<Item = usize>) -> Self {
        Self { left: instances.into_iter().collect(), step: RollStage::Next }
    }

    /// The next thing to do, or nothing while one waits.
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
    fn one_after_another_each_serving_before_the_next_goes() {
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
    fn stops_at_the_first_that_does_not_come_back() {
        let mut roll = RollingRestart::new([1, 2]);
        roll.advance(|_| InstanceCondition::Serving);
        roll.advance(|_| InstanceCondition::Down);
        assert_eq!(roll.advance(|_| InstanceCondition::Down), Some(RollAction::Failed(1)));
    }
}
