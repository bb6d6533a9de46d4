//! The state of the cluster as JSON (`cluster.json`) and as a table.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;
use trunkline_testbed::IoContext;

use super::{
    instance::{ClusterInstance, InstanceState},
    redis::RedisMode,
};
use crate::error::Result;

/// The content of `cluster.json`.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(crate) struct ClusterReport {
    pub(crate) url: String,
    pub(crate) redis: RedisReport,
    pub(crate) lb: Option<ReportedBalancer>,
    pub(crate) instances: Vec<ReportedInstance>,
}

/// Redis as the gateways see it, and its servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RedisReport {
    pub(crate) mode: RedisMode,
    /// The gateways' `--redis`.
    pub(crate) url: String,
    /// The gateways' `--redis-ca`.
    pub(crate) ca: Option<PathBuf>,
    /// Empty if Redis runs elsewhere.
    pub(crate) servers: Vec<ReportedServer>,
}

impl RedisReport {
    /// Process id of the only server. `None` if there are several, if it has ended, or if it was given by URL.
    fn pid(&self) -> Option<u32> {
        if let [server] = &self.servers[..] { server.pid } else { None }
    }

    /// Whether any server runs. True if Redis runs elsewhere.
    fn state(&self) -> &'static str {
        let ended = !self.servers.is_empty() && self.servers.iter().all(|server| server.state == ServerState::Ended);
        if ended { "ended" } else { "running" }
    }

    /// What there is besides the servers.
    fn summary(&self) -> String {
        let up = |server: &&ReportedServer| server.state == ServerState::Running;
        let count = |part: &[&ReportedServer]| (part.iter().copied().filter(up).count(), part.len());
        let servers = self.servers.iter();
        match self.mode {
            RedisMode::Cluster => {
                let shards = servers.filter(|server| server.slot_count > Some(0)).collect::<Vec<_>>();
                let (up, all) = count(&shards);
                format!("{up} of {all} shards up")
            }
            RedisMode::Sentinel => {
                let (up, all) = count(&servers.filter(|server| server.role == "sentinel").collect::<Vec<_>>());
                format!("{up} of {all} Sentinels")
            }
            RedisMode::Single | RedisMode::Given => self.state().to_owned(),
        }
    }

    /// Name, state, process id and details: one line for the only server, or else a line for the whole and one per server.
    pub(crate) fn rows(&self) -> Vec<(String, String, Option<u32>, String)> {
        let mut rows = vec![("redis".to_owned(), self.summary(), self.pid(), self.url.clone())];
        if self.servers.len() > 1 {
            rows.extend(
                self.servers
                    .iter()
                    .map(|server| (server.name.clone(), server.shown_state(), server.pid, server.details())),
            );
        }
        rows
    }
}

impl Serialize for RedisReport {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut fields = serializer.serialize_struct("redis", 6)?;
        fields.serialize_field("mode", &self.mode)?;
        fields.serialize_field("url", &self.url)?;
        fields.serialize_field("ca", &self.ca)?;
        fields.serialize_field("pid", &self.pid())?;
        fields.serialize_field("state", self.state())?;
        fields.serialize_field("servers", &self.servers)?;
        fields.end()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ServerState {
    Running,
    /// The process runs, and the other nodes agree that it does not answer.
    Failed,
    Ended,
}

/// A Redis server or a Sentinel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ReportedServer {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) pid: Option<u32>,
    pub(crate) state: ServerState,
    /// `master`, `replica`, `sentinel`, or empty if it is unknown or the only server.
    pub(crate) role: &'static str,
    /// The name of the master that it replicates.
    pub(crate) replicates: Option<String>,
    /// The slots of a master, as in "0-5460 5500".
    pub(crate) slots: Option<String>,
    pub(crate) slot_count: Option<usize>,
    /// The master that a Sentinel names.
    pub(crate) names: Option<String>,
}

impl ReportedServer {
    pub(crate) fn new(name: impl Into<String>, address: String, running: bool) -> Self {
        let state = if running { ServerState::Running } else { ServerState::Ended };
        let (pid, replicates, slots, slot_count, names) = (None, None, None, None, None);
        Self { name: name.into(), address, pid, state, role: "", replicates, slots, slot_count, names }
    }

    /// The role while it runs.
    fn shown_state(&self) -> String {
        match self.state {
            ServerState::Ended => "ended".to_owned(),
            ServerState::Failed => "failed".to_owned(),
            ServerState::Running if self.role.is_empty() => "running".to_owned(),
            ServerState::Running => self.role.to_owned(),
        }
    }

    /// Address, and what depends on the role.
    fn details(&self) -> String {
        let of = self.replicates.iter().map(|master| format!("of {master}"));
        let names = self.names.iter().map(|master| format!("names {master}"));
        let slots = self.slots.iter().zip(self.slot_count).map(|(slots, count)| match count {
            0 => "no slots".to_owned(),
            count => format!("{count} slots: {slots}"),
        });
        [self.address.clone()].into_iter().chain(of).chain(names).chain(slots).collect::<Vec<_>>().join("  ")
    }
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
        let redis = self.redis.rows().into_iter();
        rows.extend(redis.map(|(name, state, id, details)| [name, state, pid(id), String::new(), details]));
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
    fn the_only_redis_has_one_line_and_several_have_a_line_each() {
        let url = || "redis://127.0.0.1:1".to_owned();
        let mut only = ReportedServer::new("redis", "127.0.0.1:1".to_owned(), true);
        only.pid = Some(7);
        let mut report = RedisReport { mode: RedisMode::Single, url: url(), ca: None, servers: vec![only] };
        assert_eq!(report.rows(), [("redis".to_owned(), "running".to_owned(), Some(7), url())]);
        let mut master = ReportedServer::new("redis-1", "127.0.0.1:1".to_owned(), true);
        (master.role, master.slots, master.slot_count) = ("master", Some("0-9 12".to_owned()), Some(11));
        let mut replica = ReportedServer::new("redis-2", "127.0.0.1:2".to_owned(), false);
        (replica.role, replica.replicates) = ("replica", Some("redis-1".to_owned()));
        (report.mode, report.servers) = (RedisMode::Cluster, vec![master, replica]);
        let rows: Vec<_> = report.rows().into_iter().map(|(_, state, _, details)| (state, details)).collect();
        let expected = [
            ("1 of 1 shards up", "redis://127.0.0.1:1"),
            ("master", "127.0.0.1:1  11 slots: 0-9 12"),
            ("ended", "127.0.0.1:2  of redis-1"),
        ];
        assert_eq!(rows, expected.map(|(state, details)| (state.to_owned(), details.to_owned())));
    }

    #[test]
    fn columns_are_aligned() {
        let cells = |cells: [&str; 5]| cells.map(str::to_owned);
        let table = align(&[cells(["a", "bb", "c", "d", "e"]), cells(["aaa", "b", "c", "", ""])]);
        assert_eq!(table, "a    bb  c  d  e\naaa  b   c");
    }
}
