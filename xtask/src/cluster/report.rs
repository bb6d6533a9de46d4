//! The state of the cluster as JSON (`cluster.json`) and as a table.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;
use trunkline_testbed::IoContext;

use super::instance::{ClusterInstance, InstanceState};
use crate::error::Result;

/// The content of `cluster.json`.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(crate) struct ClusterReport {
    pub(crate) url: String,
    pub(crate) redis: ReportedRedis,
    pub(crate) lb: Option<ReportedBalancer>,
    pub(crate) instances: Vec<ReportedInstance>,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
pub(crate) struct ReportedRedis {
    pub(crate) url: String,
    /// `None` if Redis was given by URL or has ended.
    pub(crate) pid: Option<u32>,
    pub(crate) state: &'static str,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
pub(crate) struct ReportedBalancer {
    pub(crate) kind: &'static str,
    pub(crate) pid: Option<u32>,
    pub(crate) state: &'static str,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
pub(crate) struct ReportedInstance {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) admin: String,
    pub(crate) pid: Option<u32>,
    pub(crate) state: InstanceState,
    pub(crate) restarts: u32,
}

impl From<&ClusterInstance> for ReportedInstance {
    fn from(instance: &ClusterInstance) -> Self {
        Self {
            name: instance.name(),
            url: instance.url(),
            admin: format!("http://127.0.0.1:{}", instance.admin),
            pid: instance.pid(),
            state: instance.state,
            restarts: instance.restarts,
        }
    }
}

impl ClusterReport {
    /// A table with one line per process.
    pub(crate) fn table(&self) -> String {
        let pid = |pid: Option<u32>| pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let row = |cells: [&str; 5]| cells.map(str::to_owned);
        let mut rows = vec![row(["instance", "state", "pid", "restarts", "url"])];
        for instance in &self.instances {
            let (name, restarts) = (instance.name.clone(), instance.restarts.to_string());
            rows.push([name, instance.state.name().to_owned(), pid(instance.pid), restarts, instance.url.clone()]);
        }
        if let Some(lb) = &self.lb {
            rows.push(row([lb.kind, lb.state, &pid(lb.pid), "", &self.url]));
        }
        rows.push(row(["redis", self.redis.state, &pid(self.redis.pid), "", &self.redis.url]));
        align(&rows)
    }
}

/// Pads the cells of each column to the same width.
fn align(rows: &[[String; 5]]) -> String {
    let mut widths = [0; 5];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    let line = |row: &[String; 5]| {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// `cluster.json`. It is replaced atomically when the state has changed, and removed on drop.
#[derive(Debug)]
pub(crate) struct ClusterFile {
    path: PathBuf,
    written: String,
}

impl ClusterFile {
    pub(crate) fn new(folder: &Path) -> Self {
        let path = folder.join("cluster.json");
        // The file of a cluster that was killed.
        let _ = fs::remove_file(&path);
        Self { path, written: String::new() }
    }

    pub(crate) fn write(&mut self, report: &ClusterReport) -> Result<()> {
        // Serializing strings and numbers cannot fail.
        let text = serde_json::to_string_pretty(report).unwrap_or_default();
        if text != self.written {
            let new = self.path.with_extension("json.new");
            fs::write(&new, &text).on_path("cannot write", &new)?;
            fs::rename(&new, &self.path).on_path("cannot write", &self.path)?;
            self.written = text;
        }
        Ok(())
    }
}

impl Drop for ClusterFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let cells = |cells: [&str; 5]| cells.map(str::to_owned);
        let table = align(&[cells(["a", "bb", "c", "d", "e"]), cells(["aaa", "b", "c", "", ""])]);
        assert_eq!(table, "a    bb  c  d  e\naaa  b   c");
    }
}
