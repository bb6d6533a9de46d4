//! A `trunkline-bench load` that runs while other things are measured.

use std::{
    process::Command,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use trunkline_testbed::{LineSink, OutputStream, Process, ProcessEnd, StopSignal};

use super::{figures::LoadResult, measure::parsed};
use crate::error::{BenchError, Result};

/// What the load prints on standard error once all its sockets are open.
const OPEN: &str = "trunkline-bench: measuring";

/// A load, ended on drop.
pub(super) struct RunningLoad {
    process: Process,
    output: Arc<Mutex<String>>,
    open: Arc<AtomicBool>,
}

impl RunningLoad {
    pub(super) fn start(command: Command) -> Result<Self> {
        let (output, open) = (Arc::new(Mutex::new(String::new())), Arc::new(AtomicBool::new(false)));
        let (text, all_open) = (Arc::clone(&output), Arc::clone(&open));
        let sink: LineSink = Arc::new(move |line| match line.stream {
            OutputStream::Out => text.lock().unwrap_or_else(PoisonError::into_inner).push_str(line.text),
            OutputStream::Err => {
                all_open.fetch_or(line.text.starts_with(OPEN), Ordering::Relaxed);
            }
        });
        let process = Process::spawn_with_input("trunkline-bench load", command, Some(sink))?;
        Ok(Self { process, output, open })
    }

    /// Waits until all sockets are open.
    pub(super) fn wait_open(&mut self, deadline: Instant, stop: &StopSignal) -> Result<()> {
        while !self.open.load(Ordering::Relaxed) {
            if let Some(ended) = self.process.ended() {
                self.process.finish_reading();
                return Err(self.failed(&format!("ended ({ended})")));
            }
            self.wait(deadline, stop)?;
        }
        Ok(())
    }

    /// Lets a load with `--hold` continue.
    pub(super) fn release(&mut self) -> Result<()> {
        Ok(self.process.write_line("")?)
    }

    /// Waits for the end of the load, and returns its measurements.
    pub(super) fn finish(mut self, deadline: Instant, stop: &StopSignal) -> Result<LoadResult> {
        let ended = loop {
            match self.process.ended() {
                Some(ended) => break ended,
                None => self.wait(deadline, stop)?,
            }
        };
        self.process.finish_reading();
        if ended != ProcessEnd::Code(0) {
            return Err(self.failed(&format!("ended ({ended})")));
        }
        parsed(&self.output.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn wait(&self, deadline: Instant, stop: &StopSignal) -> Result<()> {
        if stop.is_requested() {
            return Err(BenchError::Stopped);
        }
        if Instant::now() > deadline {
            return Err(self.failed("takes too long"));
        }
        thread::sleep(Duration::from_millis(20));
        Ok(())
    }

    fn failed(&self, why: &str) -> BenchError {
        BenchError::Measurement(format!("{} {why}{}", self.process.name(), self.process.last_lines()))
    }
}
