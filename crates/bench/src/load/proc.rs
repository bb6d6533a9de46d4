//! CPU time and memory of processes from `/proc` (proc_pid_stat(5), `Documentation/scheduler/sched-stats.rst`,
//! `Documentation/filesystems/proc.rst`).

use std::{fs, io, time::Duration};

use crate::BenchError;

/// The unit of times in `stat`: always 100 per second on Linux.
const TICK: Duration = Duration::from_millis(10);
/// User and system time are each rounded down to ticks, at the beginning and at the end.
const ROUNDING: Duration = Duration::from_millis(20);

/// CPU time, user plus system, that processes have used so far.
#[derive(Debug)]
pub(super) struct ProcessCpu(Vec<UsedCpu>);

#[derive(Clone, Copy, Debug, Default)]
struct UsedCpu {
    /// CPU time of running threads, with a resolution of 1 ns.
    living: Duration,
    /// CPU time of running and ended threads, in whole ticks.
    all: Duration,
}

impl ProcessCpu {
    pub(super) fn read(pids: &[u32]) -> Result<Self, BenchError> {
        let each =
            pids.iter().map(|pid| UsedCpu::read(*pid).map_err(|source| BenchError::Process { pid: *pid, source }));
        each.collect::<Result<_, _>>().map(Self)
    }

    /// CPU time of each process between two readings.
    pub(super) fn since_each(&self, earlier: &Self) -> impl Iterator<Item = Duration> {
        self.0.iter().zip(&earlier.0).map(|(now, then)| now.since(*then))
    }
}

impl UsedCpu {
    fn read(pid: u32) -> io::Result<Self> {
        let mut living = 0;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            // The thread may have ended.
            match fs::read_to_string(task?.path().join("schedstat")) {
                Ok(text) => living += run_time(&text).ok_or(io::ErrorKind::InvalidData)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let ticks = ticks(&fs::read_to_string(format!("/proc/{pid}/stat"))?).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { living: Duration::from_nanos(living), all: TICK * ticks })
    }

    /// `schedstat` does not contain threads that have ended. If the ticks exceed it by more than rounding, they are used.
    fn since(self, earlier: Self) -> Duration {
        let living = self.living.saturating_sub(earlier.living);
        let all = self.all.saturating_sub(earlier.all);
        if all > living + ROUNDING { all } else { living }
    }
}

/// Proportional set size (PSS) of these processes in KiB: shared pages are divided by the number of processes that share
/// them. Memory of the kernel is not included.
pub(super) fn pss_kib(pids: &[u32]) -> Result<u64, BenchError> {
    let of = |pid: &u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
        let kib = text.and_then(|text| pss(&text).ok_or(io::ErrorKind::InvalidData.into()));
        kib.map_err(|source| BenchError::Process { pid: *pid, source })
    };
    pids.iter().map(of).sum()
}

/// The first number of `schedstat`: CPU time in ns.
fn run_time(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

/// User and system time of `stat`, in ticks. The name in its second field may contain spaces and parentheses.
fn ticks(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(')')?;
    let times: Vec<u32> = fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse().ok()).collect();
    (times.len() == 2).then(|| times.iter().sum())
}

fn pss(smaps_rollup: &str) -> Option<u64> {
    let line = smaps_rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_parsed() {
        assert_eq!(run_time("573696 512112 2\n"), Some(573_696));
        assert_eq!(run_time(""), None);
        let stat = "12 (nginx: (1) 7) S 10 11 11 0 -1 4194560 1057 0 2 0 314 15 1 2 20 0 1 0 20461 121 5 184";
        assert_eq!(ticks(stat), Some(329));
        assert_eq!(ticks("12 (a b) S 1"), None);
        let rollup = "55c2-7ffc ---p 00000000 00:00 0      [rollup]\nRss:       1616 kB\nPss:        260 kB\nPss_Dirty:  116 kB\n";
        assert_eq!(pss(rollup), Some(260));
        assert_eq!(pss("Rss: 1 kB\nPss_Dirty: 116 kB\n"), None);
    }

    #[test]
    fn cpu_time_and_memory_of_this_process_are_read() {
        let own = [std::process::id()];
        let before = ProcessCpu::read(&own).unwrap();
        let begin = std::time::Instant::now();
        while begin.elapsed() < Duration::from_millis(50) {
            std::hint::black_box(0);
        }
        // Other processes may use the CPU at the same time.
        let spent: Duration = ProcessCpu::read(&own).unwrap().since_each(&before).sum();
        assert!(spent > Duration::from_millis(1));
        assert!(pss_kib(&own).unwrap() > 100);
        assert!(matches!(ProcessCpu::read(&[u32::MAX]), Err(BenchError::Process { pid: u32::MAX, .. })));
    }

    #[test]
    fn cpu_time_of_ended_threads_is_included() {
        let used = |living, all| UsedCpu { living: Duration::from_millis(living), all: Duration::from_millis(all) };
        let since = |now: UsedCpu, then| now.since(then).as_millis();
        // Differences within the rounding are ignored.
        assert_eq!(since(used(1_234, 1_230), used(234, 220)), 1_000);
        assert_eq!(since(used(1_234, 1_230), used(234, 250)), 1_000);
        // A thread with 300 ms has ended between the readings, or before.
        assert_eq!(since(used(934, 1_230), used(234, 230)), 1_000);
        assert_eq!(since(used(1_234, 1_530), used(234, 530)), 1_000);
        // A thread has ended that had used more than the remaining threads used since.
        assert_eq!(since(used(100, 5_100), used(4_000, 4_900)), 200);
    }
}
