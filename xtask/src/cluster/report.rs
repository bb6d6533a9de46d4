//! What runs, for programs (`cluster.json`) and for people (a table).

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::instance::{Instance, State};
use crate::error::{OnFile, Result};

/// The content of `cluster.json`.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) url: String,
    pub(crate) redis: Redis,
    pub(crate) lb: Option<Balancer>,
    pub(crate) instances: Vec<Row>,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
pub(crate) struct Redis {
    pub(crate) url: String,
    /// Nothing when it was given by URL, or does not run.
    pub(crate) pid: Option<u32>,
    pub(crate) state: &'static str,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
pub(crate) struct Balancer {
    pub(crate) kind: &'static str,
    pub(crate) pid: Option<u32>,
    pub(crate) state: &'static str,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) admin: String,
    pub(crate) pid: Option<u32>,
    pub(crate) state: State,
    pub(crate) restarts: u32,
}

impl From<&Instance> for Row {
    fn from(instance: &Instance) -> Self {
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

impl Report {
    /// A table with one line for each process.
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

/// Columns, each as wide as its widest cell.
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

/// `cluster.json`: written when something changed, whole or not at all, gone when the cluster is.
#[derive(Debug)]
pub(crate) struct ReportFile {
    path: PathBuf,
    written: String,
}

impl ReportFile {
    pub(crate) fn new(folder: &Path) -> Self {
        let path = folder.join("cluster.json");
        // One that a killed cluster left.
        let _ = fs::remove_file(&path);
        Self { path, written: String::new() }
    }

    pub(crate) fn write(&mut self, report: &Report) -> Result<()> {
        // Strings and numbers only: this cannot fail.
        let text = serde_json::to_string_pretty(report).unwrap_or_default();
        if text != self.written {
            let new = self.path.with_extension("json.new");
            fs::write(&new, &text).on("cannot write", &new)?;
            fs::rename(&new, &self.path).on("cannot write", &self.path)?;
            self.written = text;
        }
        Ok(())
    }
}

impl Drop for ReportFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let cells = |cells: [&str; 5]| cells.map(str::to_owned);
        let table = align(&[cells(["a", "bb", "c", "d", "e"]), cells(["aaa", "b", "c", "", ""])]);
        assert_eq!(table, "a    bb  c  d  e\naaa  b   c");
    }
}
