//! Runs one command of the test suite, prints its output, and counts tests.

use std::{
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use trunkline_testbed::{Console, LineSink, Process, ProcessEnd, StopSignal};

use super::counts::{OutputFormat, TestCounts};
use crate::error::{Result, XtaskError};

/// Maximum time for the command to end its own children after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

pub(crate) struct CommandRunner<'a> {
    pub(crate) console: &'a Console,
    pub(crate) stop: &'a StopSignal,
}

impl CommandRunner<'_> {
    /// Runs the command until it exits. If it fails and its output reports no failed test (a compile error, for
    /// example), the result counts one failure.
    pub(crate) fn run(&self, mut command: Command, format: OutputFormat) -> Result<TestCounts> {
        if self.console.has_colour() {
            command.env("CARGO_TERM_COLOR", "always");
        }
        let counts = Arc::new(Mutex::new(TestCounts::default()));
        let sink: LineSink = {
            let (console, counts) = (self.console.clone(), Arc::clone(&counts));
            Arc::new(move |line| {
                console.raw(line.text);
                counts.lock().unwrap_or_else(PoisonError::into_inner).read(format, line.text);
            })
        };
        let name = command.get_program().to_string_lossy().into_owned();
        let mut process = Process::spawn(name, command, Some(sink))?;
        let end = loop {
            if let Some(end) = process.ended() {
                break end;
            }
            if self.stop.is_requested() {
                process.terminate()?;
                process.wait(STOP_TIMEOUT);
                return Err(XtaskError::Stopped);
            }
            thread::sleep(Duration::from_millis(20));
        };
        process.finish_reading();
        let counts = *counts.lock().unwrap_or_else(PoisonError::into_inner);
        let hidden_failure = end != ProcessEnd::Code(0) && counts.failed == 0;
        Ok(if hidden_failure { counts + TestCounts::FAILURE } else { counts })
    }
}
