//! Whether a process hears itself through Redis.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use super::PROBE_INTERVAL;

/// When the process's own probe was last heard, and what is wrong if it is not.
#[derive(Debug)]
pub(super) struct Pulse(Mutex<State>);

#[derive(Debug)]
struct State {
    last: Option<Instant>,
    /// Why nothing is heard, where that is known.
    reason: Option<String>,
}

impl Pulse {
    /// Nothing heard yet.
    pub(super) fn new() -> Self {
        Self(Mutex::new(State { last: None, reason: Some("not subscribed yet".to_owned()) }))
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A probe was heard. `true` if it is the first after a loss.
    pub(super) fn beat(&self) -> bool {
        self.with(|state| {
            state.last = Some(Instant::now());
            state.reason.take().is_some()
        })
    }

    /// The subscription was lost. `true` if that is news.
    pub(super) fn lost(&self, reason: &str) -> bool {
        self.with(|state| {
            let news = state.reason.as_deref() != Some(reason);
            state.reason = Some(reason.to_owned());
            news
        })
    }

    /// When the last probe was heard.
    pub(super) fn last(&self) -> Option<Instant> {
        self.with(|state| state.last)
    }

    /// Whether a probe was heard within the last two intervals on the subscription of the moment.
    pub(super) fn health(&self) -> Result<(), String> {
        self.with(|state| match (&state.reason, state.last) {
            (Some(reason), _) => Err(reason.clone()),
            (None, Some(last)) if last.elapsed() <= 2 * PROBE_INTERVAL => Ok(()),
            _ => Err(format!("no probe was heard for {} s", 2 * PROBE_INTERVAL.as_secs())),
        })
    }
}
