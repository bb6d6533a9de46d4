//! The Redis servers of the cluster: one, a master with a replica and Sentinels, or a Redis Cluster.

use std::{path::Path, str::FromStr};

use trunkline_testbed::{
    AppendFsync, LineSink, Progress, Redis, RedisCluster, RedisSentinel, Result, TestbedError, TlsFiles,
};

use super::report::{RedisReport, ReportedServer, ServerState};

/// Number of masters of a Redis Cluster, each with one replica.
const MASTERS: usize = 3;
/// Number of Sentinels.
const SENTINELS: usize = 3;

/// The argument of `--redis`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RedisChoice {
    Cluster,
    Sentinel,
    /// A Redis that runs elsewhere.
    Url(String),
}

impl FromStr for RedisChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "cluster" => Ok(Self::Cluster),
            "sentinel" => Ok(Self::Sentinel),
            url if url.contains("://") => Ok(Self::Url(url.to_owned())),
            _ => Err("neither `cluster` nor `sentinel` nor a URL, for example redis://127.0.0.1:6379".to_owned()),
        }
    }
}

/// How the gateways reach Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RedisMode {
    /// One server, started here or given by a `redis://` URL.
    Single,
    Sentinel,
    Cluster,
    /// Given by another URL, with which this program does not speak.
    Given,
}

/// A server that a command names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerName {
    /// The only Redis.
    Redis,
    /// `redis 2`, counted from 1.
    RedisNumber(usize),
    /// `sentinel 2`, counted from 1.
    Sentinel(usize),
}

impl std::fmt::Display for ServerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Redis => f.write_str("redis"),
            Self::RedisNumber(number) => write!(f, "redis {number}"),
            Self::Sentinel(number) => write!(f, "sentinel {number}"),
        }
    }
}

/// The running servers. All end on drop.
#[derive(Debug)]
pub(crate) enum RedisServers {
    Single(Redis),
    Sentinel(Box<RedisSentinel>),
    Cluster(Box<RedisCluster>),
    /// The URL of a Redis that runs elsewhere.
    Elsewhere(String),
}

impl RedisServers {
    /// Starts one server, or the servers of `choice`. `tls` lets all of them speak TLS only.
    pub(crate) fn start(
        choice: Option<&RedisChoice>,
        tls: Option<&TlsFiles>,
        folder: &Path,
        log: LineSink,
        progress: &dyn Progress,
    ) -> Result<Self> {
        Ok(match choice {
            Some(RedisChoice::Cluster) => {
                let mut builder = RedisCluster::builder(MASTERS).log(log);
                if let Some(files) = tls {
                    builder = builder.tls(files);
                }
                Self::Cluster(Box::new(builder.start_with(progress)?))
            }
            Some(RedisChoice::Sentinel) => {
                let mut builder = RedisSentinel::builder().log(log).without_proxy();
                if let Some(files) = tls {
                    builder = builder.tls(files);
                }
                Self::Sentinel(Box::new(builder.start_with(progress)?))
            }
            Some(RedisChoice::Url(url)) => Self::Elsewhere(url.clone()),
            None => {
                let mut builder = Redis::builder().append_only(AppendFsync::EverySec).folder(folder.join("redis"));
                if let Some(files) = tls {
                    builder = builder.tls(files);
                }
                Self::Single(builder.log(log).start_with(progress)?)
            }
        })
    }

    pub(crate) fn mode(&self) -> RedisMode {
        match self {
            Self::Single(_) => RedisMode::Single,
            Self::Sentinel(_) => RedisMode::Sentinel,
            Self::Cluster(_) => RedisMode::Cluster,
            Self::Elsewhere(_) => RedisMode::Given,
        }
    }

    /// The gateways' `--redis`.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Single(redis) => redis.url(),
            Self::Sentinel(group) => group.url(),
            Self::Cluster(cluster) => cluster.url(),
            Self::Elsewhere(url) => url.clone(),
        }
    }

    /// Sends SIGKILL.
    pub(crate) fn kill(&mut self, name: ServerName) -> Result<()> {
        match (self, name) {
            (Self::Single(redis), _) => redis.kill(),
            (Self::Sentinel(group), ServerName::RedisNumber(number)) => group.kill_node(index(number, 2, "redis")?),
            (Self::Sentinel(group), ServerName::Sentinel(number)) => {
                group.kill_sentinel(index(number, SENTINELS, "sentinel")?)
            }
            (Self::Cluster(cluster), ServerName::RedisNumber(number)) => {
                cluster.kill(index(number, cluster.node_count(), "redis")?)
            }
            (Self::Elsewhere(_), _) => Err(TestbedError::NotOurs("killed")),
            (_, name) => Err(no_such(name)),
        }
    }

    /// Whether the process runs.
    pub(crate) fn is_running(&mut self, name: ServerName) -> Result<bool> {
        Ok(match (self, name) {
            (Self::Single(redis), _) => redis.is_running(),
            (Self::Sentinel(group), ServerName::RedisNumber(number)) => group.node_runs(index(number, 2, "redis")?),
            (Self::Sentinel(group), ServerName::Sentinel(number)) => {
                group.sentinel_pid(index(number, SENTINELS, "sentinel")?).is_some()
            }
            (Self::Cluster(cluster), ServerName::RedisNumber(number)) => {
                cluster.is_running(index(number, cluster.node_count(), "redis")?)
            }
            (Self::Elsewhere(_), _) => true,
            (_, name) => return Err(no_such(name)),
        })
    }

    /// Starts a process that has ended, on the same port and with its data.
    pub(crate) fn restart(&mut self, name: ServerName) -> Result<()> {
        match (self, name) {
            (Self::Single(redis), _) => redis.restart(),
            (Self::Sentinel(group), ServerName::RedisNumber(number)) => group.start_node(index(number, 2, "redis")?),
            (Self::Sentinel(group), ServerName::Sentinel(number)) => {
                group.start_sentinel(index(number, SENTINELS, "sentinel")?)
            }
            (Self::Cluster(cluster), ServerName::RedisNumber(number)) => {
                cluster.restart(index(number, cluster.node_count(), "redis")?)
            }
            (Self::Elsewhere(_), _) => Err(TestbedError::NotOurs("started")),
            (_, name) => Err(no_such(name)),
        }
    }

    /// Moves slots between two masters of a Redis Cluster, numbered from 1.
    pub(crate) fn reshard(&self, count: usize, from: usize, to: usize) -> Result<()> {
        let Self::Cluster(cluster) = self else {
            return Err(TestbedError::Reply("only a Redis Cluster has slots".to_owned()));
        };
        let nodes = cluster.node_count();
        let (source, target) = (index(from, nodes, "redis")?, index(to, nodes, "redis")?);
        let view = cluster.view()?;
        let owned = view.iter().find(|(node, _)| *node == source).map_or(0, |(_, node)| node.slot_count());
        if owned < count {
            return Err(TestbedError::Reply(format!("redis {from} owns {owned} slots, not {count}")));
        }
        if !view.iter().any(|(node, known)| *node == target && known.is_master()) {
            return Err(TestbedError::Reply(format!("redis {to} is a replica: only masters own slots")));
        }
        cluster.reshard(count, source, target)
    }

    /// Promotes a replica as an operator does before maintenance, and returns the number of the new master. In a Redis
    /// Cluster: the replica of the master `number`, by default of the first master.
    pub(crate) fn fail_over(&self, number: Option<usize>) -> Result<usize> {
        match self {
            Self::Sentinel(group) => group.fail_over().map(|node| node + 1),
            Self::Cluster(cluster) => {
                let master = match number {
                    Some(number) => index(number, cluster.node_count(), "redis")?,
                    None => cluster.master_of_slot(0)?,
                };
                cluster.fail_over(master).map(|node| node + 1)
            }
            _ => Err(TestbedError::Reply("there is no replica".to_owned())),
        }
    }

    /// The current state. Takes up to 5 s if a server does not answer.
    pub(crate) fn report(&mut self, tls: Option<&TlsFiles>) -> RedisReport {
        let (url, mode) = (self.url(), self.mode());
        let mut servers = match self {
            Self::Single(redis) => {
                let running = redis.is_running();
                let address = format!("127.0.0.1:{}", redis.port());
                let pid = redis.pid();
                vec![ReportedServer { pid, ..ReportedServer::new("redis", address, running) }]
            }
            Self::Elsewhere(_) => Vec::new(),
            Self::Sentinel(group) => sentinel_servers(group),
            Self::Cluster(cluster) => cluster_servers(cluster),
        };
        for server in &mut servers {
            server.pid = server.pid.filter(|_| server.state != ServerState::Ended);
        }
        RedisReport { mode, url, ca: tls.map(TlsFiles::ca), servers }
    }
}

fn sentinel_servers(group: &mut RedisSentinel) -> Vec<ReportedServer> {
    let mut servers = Vec::new();
    for node in 0..2 {
        let running = group.node_runs(node);
        let address = format!("127.0.0.1:{}", group.node(node).port());
        let role = group.info(node, "replication", "role");
        let role = role.map_or("", |role| if role == "master" { "master" } else { "replica" });
        let mut server = ReportedServer::new(format!("redis-{}", node + 1), address, running);
        (server.role, server.pid) = (role, group.node(node).pid());
        servers.push(server);
    }
    let ports: Vec<u16> = group.sentinel_ports().collect();
    for (number, port) in ports.into_iter().enumerate() {
        let pid = group.sentinel_pid(number);
        let mut server =
            ReportedServer::new(format!("sentinel-{}", number + 1), format!("127.0.0.1:{port}"), pid.is_some());
        (server.role, server.pid) = ("sentinel", pid);
        server.names = group.named_by(number).map(|node| format!("redis-{}", node + 1));
        servers.push(server);
    }
    servers
}

fn cluster_servers(cluster: &mut RedisCluster) -> Vec<ReportedServer> {
    let view = cluster.view().unwrap_or_default();
    let name = |index: usize| format!("redis-{}", index + 1);
    let mut servers = Vec::new();
    for node in 0..cluster.node_count() {
        let address = format!("127.0.0.1:{}", cluster.node(node).port());
        let mut server = ReportedServer::new(name(node), address, cluster.is_running(node));
        server.pid = cluster.node(node).pid();
        if let Some((_, known)) = view.iter().find(|(index, _)| *index == node) {
            if known.failed && server.state == ServerState::Running {
                server.state = ServerState::Failed;
            }
            server.role = if known.is_master() { "master" } else { "replica" };
            let ranges = known.slots.iter().map(|slots| match (slots.start(), slots.end()) {
                (first, last) if first == last => first.to_string(),
                (first, last) => format!("{first}-{last}"),
            });
            server.slots = known.is_master().then(|| ranges.collect::<Vec<_>>().join(" "));
            server.slot_count = known.is_master().then(|| known.slot_count());
            let master =
                known.replicates.as_ref().and_then(|id| (0..cluster.node_count()).find(|at| cluster.id(*at) == id));
            server.replicates = master.map(name);
        }
        servers.push(server);
    }
    servers
}

/// The index of a server that users count from 1.
fn index(number: usize, count: usize, kind: &str) -> Result<usize> {
    match number.checked_sub(1).filter(|index| *index < count) {
        Some(index) => Ok(index),
        None => Err(TestbedError::Reply(format!("there is no {kind} {number}: they are numbered from 1 to {count}"))),
    }
}

fn no_such(name: ServerName) -> TestbedError {
    TestbedError::Reply(format!("there is no {name}; `status` shows all servers"))
}
