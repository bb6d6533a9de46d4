//! Settings and creation of a Redis Cluster.

use std::time::Duration;

use super::{ClusterNode, NodeState, RedisCluster, STEP_TIMEOUT, view};
use crate::{
    AppendFsync, LineSink, NoProgress, Program, Progress, Redis, RedisBuilder, Result, TestbedError, TlsFiles, Tool,
    Toolbox, ports, process::poll,
};

/// Settings of a new [`RedisCluster`]; see [`RedisCluster::builder`].
#[derive(Clone)]
pub struct RedisClusterBuilder {
    pub(super) masters: usize,
    pub(super) program: Option<Program>,
    pub(super) tls: Option<TlsFiles>,
    replicas: usize,
    node_timeout: Duration,
    node: RedisBuilder,
}

impl RedisClusterBuilder {
    pub(super) fn new(masters: usize) -> Self {
        // A master that returns without its data before its replica is promoted would empty the replica.
        let node = Redis::builder().append_only(AppendFsync::EverySec);
        Self { masters, program: None, tls: None, replicas: 1, node_timeout: Duration::from_secs(2), node }
    }

    /// Number of replicas per master. Default: 1.
    #[must_use]
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// Time without an answer after which a node counts as failed (`cluster-node-timeout`). Default: 2 s, with which a
    /// replica is promoted about 4 s after its master was killed.
    #[must_use]
    pub fn node_timeout(mut self, timeout: Duration) -> Self {
        self.node_timeout = timeout;
        self
    }

    /// Requires this password from clients and between the nodes.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.node = self.node.password(password);
        self
    }

    /// Adds a configuration directive to each node; it replaces a directive of the testbed with this name.
    #[must_use]
    pub fn config(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.node = self.node.config(name, value);
        self
    }

    /// Speaks TLS only, to clients and between the nodes. Clients need no certificate.
    #[must_use]
    pub fn tls(mut self, files: &TlsFiles) -> Self {
        self.node = self.node.tls(files).config("tls-cluster", "yes");
        self.tls = Some(files.clone());
        self
    }

    /// As [`Self::tls`], and refuses clients without a certificate of the CA.
    #[must_use]
    pub fn mutual_tls(mut self, files: &TlsFiles) -> Self {
        self = self.tls(files);
        self.node = self.node.mutual_tls(files);
        self
    }

    /// Sends the log lines of all nodes to `sink`.
    #[must_use]
    pub fn log(mut self, sink: LineSink) -> Self {
        self.node = self.node.log(sink);
        self
    }

    /// Runs this program, for example another version or Valkey. Default: the program from [`Toolbox::project`].
    #[must_use]
    pub fn program(mut self, program: Program) -> Self {
        self.program = Some(program);
        self
    }

    /// Starts all nodes and joins them. Returns when every slot has a master, each replica follows its master, and all
    /// nodes agree about both: after about 2 s for three masters with one replica each.
    ///
    /// # Errors
    /// Returns [`TestbedError::NotFound`] if `redis-server` is missing (a cluster does not run in Docker),
    /// [`TestbedError::Start`] if a node exits, and [`TestbedError::Reply`] if there are no masters, or if a step takes
    /// longer than 60 s.
    pub fn start(self) -> Result<RedisCluster> {
        self.start_with(&NoProgress)
    }

    /// As [`Self::start`], with reports to `progress`.
    ///
    /// # Errors
    /// See [`Self::start`]; also [`TestbedError::Cancelled`] if `progress` asks to stop.
    pub fn start_with(mut self, progress: &dyn Progress) -> Result<RedisCluster> {
        if self.masters == 0 || self.masters > usize::from(view::SLOTS) {
            return Err(TestbedError::Reply(format!("a cluster cannot have {} masters", self.masters)));
        }
        if self.program.is_none() {
            self.program = Some(Toolbox::project().get(Tool::Redis, progress)?);
        }
        progress.step("starting a Redis Cluster");
        let (masters, replicas) = (self.masters, self.replicas);
        let mut cluster = RedisCluster { nodes: Vec::with_capacity(masters * (1 + replicas)), builder: self };
        for _ in 0..masters * (1 + replicas) {
            if progress.cancelled() {
                return Err(TestbedError::Cancelled);
            }
            let node = cluster.builder.start_node()?;
            cluster.nodes.push(node);
        }
        for (number, node) in cluster.nodes[..masters].iter().enumerate() {
            let slots = view::equal_part(number, masters);
            node.redis.cli(&["CLUSTER", "ADDSLOTSRANGE", &slots.start().to_string(), &slots.end().to_string()])?;
            // Different epochs from the start: equal ones are resolved by elections between the nodes, which take seconds.
            node.redis.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()])?;
        }
        for (number, node) in cluster.nodes.iter().enumerate() {
            // Each pair is introduced. Gossip alone takes about a second longer.
            cluster.nodes[number + 1..].iter().try_for_each(|other| node.meet(other))?;
        }
        cluster.wait_until_all_know_each_other()?;
        for number in masters..cluster.nodes.len() {
            cluster.replicate(number, number % masters)?;
        }
        cluster.wait_until_stable()?;
        Ok(cluster)
    }

    /// Starts one node that knows no other nodes.
    pub(super) fn start_node(&self) -> Result<ClusterNode> {
        let timeout = self.node_timeout.as_millis().to_string();
        // The default of the bus port is the client port + 10,000, which is a port of outgoing connections.
        ports::start_on(None, |bus_port| {
            let mut node = Redis::builder()
                .config("cluster-enabled", "yes")
                .config("cluster-port", bus_port.to_string())
                .config("cluster-node-timeout", &timeout)
                // Otherwise healthy shards answer CLUSTERDOWN for a second during another's failover.
                .config("cluster-require-full-coverage", "no")
                .and(&self.node);
            if let Some(program) = &self.program {
                node = node.program(program.clone());
            }
            let redis = node.start()?;
            let id = redis.cli(&["CLUSTER", "MYID"])?;
            Ok(ClusterNode { redis, id, bus_port, state: NodeState::Running })
        })
    }
}

impl std::fmt::Debug for RedisClusterBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("RedisClusterBuilder");
        shown.field("masters", &self.masters).field("replicas", &self.replicas).finish_non_exhaustive()
    }
}

impl RedisCluster {
    /// Waits until each node knows the others by their final ids.
    pub(super) fn wait_until_all_know_each_other(&self) -> Result<()> {
        let all: Vec<&str> = self.present().map(|(_, node)| node.id.as_str()).collect();
        let known = poll(STEP_TIMEOUT, || {
            let knows_all = |node: &ClusterNode| {
                node.view().is_ok_and(|view| all.iter().all(|id| view.iter().any(|known| known.id == *id)))
            };
            Ok(self.answering().all(|(_, node)| knows_all(node)).then_some(()))
        })?;
        known.ok_or_else(|| TestbedError::Reply("the nodes of the cluster do not know each other".to_owned()))
    }

    /// Makes a node without slots a replica.
    pub(super) fn replicate(&self, replica: usize, master: usize) -> Result<()> {
        self.node(replica).cli(&["CLUSTER", "REPLICATE", self.id(master)]).map(drop)
    }
}
