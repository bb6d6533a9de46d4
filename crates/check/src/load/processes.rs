//! Resources of gateway processes on this machine, read from `/proc` (proc(5)).

use std::{fs, io, time::Duration};

use tokio::time::{Instant, sleep};

use super::recorder::Recorder;
use crate::{
    CheckError,
    history::{HistoryLine, MeasurementStage},
    judge::FD_GROWTH_MAX,
};

/// Longest time to wait until idle and closed connections have disappeared from a process.
const FD_RELEASE_LIMIT: Duration = Duration::from_secs(30);
/// Time between two looks at the file descriptors.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Resources of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProcessUsage {
    /// Resident memory in bytes.
    pub(crate) rss: u64,
    /// Open file descriptors.
    pub(crate) fds: u64,
    pub(crate) threads: u64,
}

impl ProcessUsage {
    /// Reads the resources of a process.
    pub(crate) fn read(pid: u32) -> io::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name));
            value.and_then(|value| value.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        let fds = fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
        Ok(Self { rss: field("VmRSS:") * 1024, fds, threads: field("Threads:") })
    }

    /// Reads the resources of a process that must exist.
    ///
    /// # Errors
    /// [`CheckError::System`] if there is no such process or it belongs to another user.
    pub(crate) fn read_existing(pid: u32) -> Result<Self, CheckError> {
        Self::read(pid).map_err(|source| CheckError::System { action: format!("measure process {pid}"), source })
    }
}

/// The processes that a run measures.
#[derive(Debug)]
pub(crate) struct ProcessMonitor {
    pids: Vec<u32>,
    /// File descriptors of each process before the run.
    baseline_fds: Vec<u64>,
}

impl ProcessMonitor {
    /// Measures the processes before the run.
    ///
    /// # Errors
    /// [`CheckError::System`] if one of them cannot be measured.
    pub(crate) fn start(recorder: &Recorder, pids: &[u32]) -> Result<Self, CheckError> {
        let fds = pids.iter().map(|&pid| ProcessUsage::read_existing(pid).map(|usage| usage.fds));
        let monitor = Self { pids: pids.to_vec(), baseline_fds: fds.collect::<Result<_, _>>()? };
        monitor.measure(recorder, MeasurementStage::Before);
        Ok(monitor)
    }

    /// Records the resources of all processes. Skips processes that have ended, because faults may kill some.
    pub(crate) fn measure(&self, recorder: &Recorder, stage: MeasurementStage) {
        for &pid in &self.pids {
            if let Ok(ProcessUsage { rss, fds, threads }) = ProcessUsage::read(pid) {
                recorder.record(|t| Some(HistoryLine::ProcessUsage { t, pid, stage, rss, fds, threads }));
            }
        }
    }

    /// Waits until every process holds at most as many file descriptors as invariant 10 allows, for at most
    /// [`FD_RELEASE_LIMIT`], and records the resources.
    pub(crate) async fn finish(&self, recorder: &Recorder) {
        let end = Instant::now() + FD_RELEASE_LIMIT;
        let is_above_limit = || {
            let now = self.pids.iter().map(|pid| ProcessUsage::read(*pid).map_or(0, |usage| usage.fds));
            now.zip(&self.baseline_fds).any(|(now, baseline)| now > baseline + FD_GROWTH_MAX)
        };
        while is_above_limit() && Instant::now() < end {
            sleep(POLL_INTERVAL).await;
        }
        self.measure(recorder, MeasurementStage::After);
    }
}
