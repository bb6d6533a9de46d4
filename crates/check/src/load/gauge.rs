//! What processes on this machine hold, as `/proc` tells (proc(5)).

use std::{fs, time::Duration};

use tokio::time::{Instant, sleep};

use super::recorder::Recorder;
use crate::{
    Error,
    history::{Line, Stage},
};

/// How long connections that were closed may take to be gone from a process.
const EBB: Duration = Duration::from_secs(10);

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

/// Writes down what the processes hold. One that is gone (chaos kills some) is passed over, unless it must be there.
pub(crate) fn note(recorder: &Recorder, pids: &[u32], stage: Stage) -> Result<(), Error> {
    for &pid in pids {
        match measure(pid) {
            Ok(Gauge { rss, fds, threads }) => {
                recorder.write(|t| Some(Line::Gauge { t, pid, stage, rss, fds, threads }));
            }
            Err(source) if stage == Stage::Before => {
                return Err(Error::Network { doing: format!("measure process {pid}"), source });
            }
            Err(_) => {}
        }
    }
    Ok(())
}

/// Waits until no process holds fewer file descriptors than a second ago, ten seconds at most, and writes it down.
pub(crate) async fn note_ebb(recorder: &Recorder, pids: &[u32]) -> Result<(), Error> {
    let fds = || pids.iter().map(|pid| measure(*pid).map_or(0, |gauge| gauge.fds)).sum::<u64>();
    let end = Instant::now() + EBB;
    let mut before = fds();
    while !pids.is_empty() && Instant::now() < end {
        sleep(Duration::from_secs(1)).await;
        let now = fds();
        if now >= before {
            break;
        }
        before = now;
    }
    note(recorder, pids, Stage::After)
}
