//! Runs one command of the suite, shows what it prints, and counts.

use std::{
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use trunkline_testbed::{Ended, LineSink, Process};

use super::tally::{Format, Tally};
use crate::{
    console::Console,
    error::{Error, Result},
    stop::Stop,
};

/// How long a runner may take to end its tests when it is asked to.
const STOP: Duration = Duration::from_secs(15);

pub(crate) struct Runner<'a> {
    pub(crate) console: &'a Console,
    pub(crate) stop: &'a Stop,
}

impl Runner<'_> {
    /// Runs it to its end. A failure that its counts do not show (it did not compile, say) counts as one.
    pub(crate) fn run(&self, mut command: Command, format: Format) -> Result<Tally> {
        if self.console.has_colour() {
            command.env("CARGO_TERM_COLOR", "always");
        }
        let tally = Arc::new(Mutex::new(Tally::default()));
        let sink: LineSink = {
            let (console, tally) = (self.console.clone(), Arc::clone(&tally));
            Arc::new(move |line| {
                console.raw(line.text);
                tally.lock().unwrap_or_else(PoisonError::into_inner).read(format, line.text);
            })
        };
        let name = command.get_program().to_string_lossy().into_owned();
        let mut process = Process::spawn(name, command, Some(sink))?;
        let ended = loop {
            if let Some(ended) = process.ended() {
                break ended;
            }
            if self.stop.is_asked() {
                // It has children of its own, which it ends when asked.
                process.terminate()?;
                process.wait(STOP);
                return Err(Error::Stopped);
            }
            thread::sleep(Duration::from_millis(20));
        };
        process.finish_reading();
        let tally = *tally.lock().unwrap_or_else(PoisonError::into_inner);
        let hidden_failure = ended != Ended::Code(0) && tally.failed == 0;
        Ok(if hidden_failure { tally + Tally::FAILURE } else { tally })
    }
}
