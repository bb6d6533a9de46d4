//! The machine of a run.

use std::{fs, thread};

use serde::Serialize;

/// Facts from `/proc`. Strings are empty where a file is missing.
#[derive(Debug, Serialize)]
pub(crate) struct MachineInfo {
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) kernel: String,
    pub(crate) memory_mib: u64,
}

impl MachineInfo {
    pub(crate) fn read() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let memory = field(&read("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse::<u64>();
        Self {
            cores: thread::available_parallelism().map_or(1, usize::from),
            processor: field(&read("/proc/cpuinfo"), "model name"),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory_mib: memory.unwrap_or_default() / 1024,
        }
    }
}

/// The value of the first line `name: value`.
fn field(text: &str, name: &str) -> String {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned()).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_is_found_by_its_whole_name() {
        assert_eq!(field("a : 1\nmodel name\t: A CPU @ 2: 1\nmodel name : other", "model name"), "A CPU @ 2: 1");
        assert_eq!(field("a: 1", "b"), "");
    }
}
