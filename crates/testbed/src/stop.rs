//! Ctrl-C and SIGTERM as a flag that loops can read.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::{IoContext, Result, TestbedError};

/// Whether SIGINT, SIGTERM or SIGHUP has arrived. Clones share the flag.
#[derive(Debug, Clone, Default)]
pub struct StopSignal(Arc<AtomicBool>);

impl StopSignal {
    /// Catches the signals from now on. `on_signal` runs on a separate thread for each signal.
    ///
    /// # Errors
    /// Returns [`TestbedError::Io`] if the signal handlers cannot be installed.
    pub fn install(on_signal: impl Fn() + Send + 'static) -> Result<Self> {
        let stop = Self::default();
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot listen for signals")?;
        let requested = Arc::clone(&stop.0);
        thread::spawn(move || {
            for _ in signals.forever() {
                requested.store(true, Ordering::SeqCst);
                on_signal();
            }
        });
        Ok(stop)
    }

    /// Whether a signal has arrived.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Ends the caller's work once a signal has arrived.
    ///
    /// # Errors
    /// Returns [`TestbedError::Cancelled`] if a signal has arrived.
    pub fn check(&self) -> Result<()> {
        if self.is_requested() { Err(TestbedError::Cancelled) } else { Ok(()) }
    }
}
