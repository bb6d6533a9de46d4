//! Ctrl-C and SIGTERM, turned into something that can be asked and waited for.

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

use crate::error::{Error, Result};

/// Whether somebody asked this command to end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// From now on signals are caught; `told` is called at each, on a thread of its own.
    pub(crate) fn on_signals(told: impl Fn() + Send + 'static) -> Result<Self> {
        let stop = Self::default();
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(Error::Signals)?;
        let asked = Arc::clone(&stop.0);
        thread::spawn(move || {
            for _ in signals.forever() {
                asked.store(true, Ordering::SeqCst);
                told();
            }
        });
        Ok(stop)
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
