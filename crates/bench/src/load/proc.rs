//! What the kernel says of processes: CPU time and memory (proc_pid_stat(5), `Documentation/scheduler/sched-stats.rst`,
//! `Documentation/filesystems/proc.rst`).

use std::{fs, io, time::Duration};

use crate::Error;

/// CPU time that these processes have used, user and system together, of all threads that live.
///
/// Of `schedstat`, which counts nanoseconds; `stat` would count ticks of ten milliseconds. The price: a thread that ends
/// takes its time with it, so a server should not start threads while it is measured.
pub(super) fn cpu(pids: &[u32]) -> Result<Duration, Error> {
    let of = |pid: &u32| -> io::Result<u64> {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread may have ended since.
            match fs::read_to_string(task?.path().join("schedstat")) {
                Ok(text) => sum += run_time(&text).ok_or(io::ErrorKind::InvalidData)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(sum)
    };
    let each = pids.iter().map(|pid| of(pid).map_err(|source| Error::Process { pid: *pid, source }));
    each.sum::<Result<u64, _>>().map(Duration::from_nanos)
}

/// Memory of these processes in KiB, pages that several share divided between them. The kernel's is not in it.
pub(super) fn pss_kib(pids: &[u32]) -> Result<u64, Error> {
    let of = |pid: &u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
        let kib = text.and_then(|text| pss(&text).ok_or(io::ErrorKind::InvalidData.into()));
        kib.map_err(|source| Error::Process { pid: *pid, source })
    };
    pids.iter().map(of).sum()
}

/// The first of `schedstat`'s numbers: nanoseconds on a CPU.
fn run_time(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

fn pss(smaps_rollup: &str) -> Option<u64> {
    let line = smaps_rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        assert_eq!(run_time("573696 512112 2\n"), Some(573_696));
        assert_eq!(run_time(""), None);
        let rollup = "55c2-7ffc ---p 00000000 00:00 0      [rollup]\nRss:       1616 kB\nPss:        260 kB\nPss_Dirty:  116 kB\n";
        assert_eq!(pss(rollup), Some(260));
        assert_eq!(pss("Rss: 1 kB\nPss_Dirty: 116 kB\n"), None);
    }

    #[test]
    fn this_process_uses_time_and_memory() {
        let own = [std::process::id()];
        let before = cpu(&own).unwrap();
        let begin = std::time::Instant::now();
        while begin.elapsed() < Duration::from_millis(20) {
            std::hint::black_box(0);
        }
        assert!(cpu(&own).unwrap() - before > Duration::from_millis(1));
        assert!(pss_kib(&own).unwrap() > 100);
        assert!(matches!(cpu(&[u32::MAX]), Err(Error::Process { pid: u32::MAX, .. })));
    }
}
