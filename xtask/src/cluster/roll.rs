//! A rolling restart, decided step by step: pure, so that its order can be tested.

use std::collections::VecDeque;

/// What an instance is doing, as far as a roll cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Ready, and the balancer sends it traffic.
    Serving,
    /// On its way up or down.
    Changing,
    /// No process.
    Down,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Stop(usize),
    Start(usize),
    /// The new process of this instance ended before it served: the others are left alone.
    Failed(usize),
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Next,
    Stopping(usize),
    Starting(usize),
}

/// A roll under way.
#[derive(Debug)]
pub(crate) struct Roll {
    left: VecDeque<usize>,
    step: Step,
}

impl Roll {
    pub(crate) fn new(instances: impl IntoIterator<Item = usize>) -> Self {
        Self { left: instances.into_iter().collect(), step: Step::Next }
    }

    /// The next thing to do, or nothing while one waits.
    pub(crate) fn advance(&mut self, condition: impl Fn(usize) -> Condition) -> Option<Action> {
        match (self.step, condition) {
            (Step::Next, _) => match self.left.pop_front() {
                Some(number) => {
                    self.step = Step::Stopping(number);
                    Some(Action::Stop(number))
                }
                None => Some(Action::Done),
            },
            (Step::Stopping(number), condition) if condition(number) == Condition::Down => {
                self.step = Step::Starting(number);
                Some(Action::Start(number))
            }
            (Step::Starting(number), condition) => match condition(number) {
                Condition::Serving => {
                    self.step = Step::Next;
                    self.advance(condition)
                }
                Condition::Changing => None,
                Condition::Down => Some(Action::Failed(number)),
            },
            (Step::Stopping(_), _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_after_another_each_serving_before_the_next_goes() {
        use Condition::{Changing, Down, Serving};
        let mut roll = Roll::new([1, 2]);
        assert_eq!(roll.advance(|_| Serving), Some(Action::Stop(1)));
        assert_eq!(roll.advance(|_| Changing), None);
        assert_eq!(roll.advance(|_| Down), Some(Action::Start(1)));
        assert_eq!(roll.advance(|_| Changing), None);
        assert_eq!(roll.advance(|_| Serving), Some(Action::Stop(2)));
        assert_eq!(roll.advance(|_| Down), Some(Action::Start(2)));
        assert_eq!(roll.advance(|_| Serving), Some(Action::Done));
    }

    #[test]
    fn stops_at_the_first_that_does_not_come_back() {
        let mut roll = Roll::new([1, 2]);
        roll.advance(|_| Condition::Serving);
        roll.advance(|_| Condition::Down);
        assert_eq!(roll.advance(|_| Condition::Down), Some(Action::Failed(1)));
    }
}
