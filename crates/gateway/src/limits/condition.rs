//! A condition that many requests can meet at once: logged once per minute, and shown by `/readyz` while it lasts.

use std::{
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::rate::{Rate, RateState};

/// Time between two log lines, and time for which a condition counts as present after its last occurrence.
const MINUTE: Duration = Duration::from_secs(60);

/// For example: no descriptors are left.
pub(crate) struct RecentCondition {
    started: Instant,
    state: Mutex<ConditionState>,
}

#[derive(Default)]
struct ConditionState {
    last: Option<Duration>,
    log: RateState,
}

impl RecentCondition {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), state: Mutex::default() }
    }

    /// Records an occurrence. Returns whether it should be logged.
    pub(crate) fn occurred(&self) -> bool {
        let now = self.started.elapsed();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.last = Some(now);
        Rate::new(NonZeroU32::MIN, MINUTE, 1).admit(&mut state.log, now).is_ok()
    }

    /// Returns whether the condition occurred within the last minute.
    pub(crate) fn is_present(&self) -> bool {
        let last = self.state.lock().unwrap_or_else(PoisonError::into_inner).last;
        last.is_some_and(|last| self.started.elapsed() < last + MINUTE)
    }
}
