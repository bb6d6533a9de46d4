//! Whether the process receives its own probes through Redis.

use std::sync::Mutex;

use tokio::time::Instant;

use crate::{redis::config::PROBE_INTERVAL, sync::lock};

/// When the last probe of this process was received, and why the subscription does not work if it does not.
#[derive(Debug)]
pub(in super::super) struct SubscriptionHealth(Mutex<State>);

#[derive(Debug)]
struct State {
    last_probe: Option<Instant>,
    /// Why nothing is received, if that is known.
    reason: Option<String>,
}

impl SubscriptionHealth {
    /// No subscription yet.
    pub(in super::super) fn new() -> Self {
        Self(Mutex::new(State { last_probe: None, reason: Some("not subscribed yet".to_owned()) }))
    }

    fn with<T>(&self, access: impl FnOnce(&mut State) -> T) -> T {
        access(&mut lock(&self.0))
    }

    /// Records that a probe was received. `true` if it is the first one after a loss.
    pub(in super::super) fn probe_received(&self) -> bool {
        self.with(|state| {
            state.last_probe = Some(Instant::now());
            state.reason.take().is_some()
        })
    }

    /// Records that the subscription was lost. `true` if the reason is a new one.
    pub(in super::super) fn lost(&self, reason: &str) -> bool {
        self.with(|state| {
            let is_new = state.reason.as_deref() != Some(reason);
            state.reason = Some(reason.to_owned());
            is_new
        })
    }

    /// When the last probe was received.
    pub(in super::super) fn last_probe(&self) -> Option<Instant> {
        self.with(|state| state.last_probe)
    }

    /// `Ok` if a probe was received on the current subscription within the last two probe intervals; otherwise why not.
    pub(in super::super) fn state(&self) -> Result<(), String> {
        self.with(|state| match (&state.reason, state.last_probe) {
            (Some(reason), _) => Err(reason.clone()),
            (None, Some(last)) if last.elapsed() <= 2 * PROBE_INTERVAL => Ok(()),
            _ => Err(format!("no probe was received for {} s", 2 * PROBE_INTERVAL.as_secs())),
        })
    }
}
