//! What processes on this machine hold, as `/proc` tells (proc(5)).

use std::{fs, time::Duration};

use tokio::time::{Instant, sleep};

use super::recorder::Recorder;
use crate::{
    Error,
    history::{Line, Stage},
    judge::MORE_FDS,
};

/// How long connections that are idle or were closed may take to be gone from a process.
const EBB: Duration = Duration::from_secs(30);

/// Resident bytes, open file descriptors and threads of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gauge {
    rss: u64,
    fds: u64,
    threads: u64,
}

fn measure(pid: u32) -> std::io::Result<Gauge> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name));
        value.and_then(|value| value.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    let fds = fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
    Ok(Gauge { rss: field("VmRSS:") * 1024, fds, threads: field("Threads:") })
}

/// The processes that a run measures.
#[derive(Debug)]
pub(crate) struct Gauges {
    pids: Vec<u32>,
    /// File descriptors of each before the run.
    before: Vec<u64>,
}

impl Gauges {
    /// Measures the processes before the run; each of them must be there.
    pub(crate) fn start(recorder: &Recorder, pids: &[u32]) -> Result<Self, Error> {
        let missing = |pid| move |source| Error::Network { doing: format!("measure process {pid}"), source };
        let before = pids.iter().map(|&pid| measure(pid).map(|gauge| gauge.fds).map_err(missing(pid)));
        let gauges = Self { pids: pids.to_vec(), before: before.collect::<Result<_, _>>()? };
        gauges.note(recorder, Stage::Before);
        Ok(gauges)
    }

    /// Writes down what the processes hold. Those that are gone are passed over: chaos kills some.
    pub(crate) fn note(&self, recorder: &Recorder, stage: Stage) {
        for &pid in &self.pids {
            if let Ok(Gauge { rss, fds, threads }) = measure(pid) {
                recorder.write(|t| Some(Line::Gauge { t, pid, stage, rss, fds, threads }));
            }
        }
    }

    /// Waits until no process holds more file descriptors than the judge allows, at most as long as idle connections of a
    /// balancer may last, and writes down what they hold then.
    pub(crate) async fn end(&self, recorder: &Recorder) {
        let end = Instant::now() + EBB;
        let full = || {
            let now = self.pids.iter().map(|pid| measure(*pid).map_or(0, |gauge| gauge.fds));
            now.zip(&self.before).any(|(now, before)| now > before + MORE_FDS)
        };
        while full() && Instant::now() < end {
            sleep(Duration::from_millis(500)).await;
        }
        self.note(recorder, Stage::After);
    }
}
