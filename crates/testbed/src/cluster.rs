//! A Redis Cluster on loopback.

mod builder;
mod cli;
mod slots;
mod view;

use std::time::Duration;

pub use self::{
    builder::RedisClusterBuilder,
    slots::OpenSlot,
    view::{ClusterNodeView, SLOTS, key_slot},
};
use crate::{Redis, Result, TestbedError, process::poll};

/// Maximum time of each step, such as a failover.
const STEP_TIMEOUT: Duration = Duration::from_secs(60);

/// Masters with replicas in cluster mode. All end on drop.
///
/// Nodes are numbered from 0 and keep their number: the first `masters` nodes begin as masters with equal parts of the
/// slots, then come the replicas (with three masters, node 3 replicates node 0), then nodes that were added. Failovers
/// change roles, so ask [`Self::master_of`] for the current master.
///
/// ```no_run
/// # fn main() -> Result<(), trunkline_testbed::TestbedError> {
/// use trunkline_testbed::RedisCluster;
///
/// let mut redis = RedisCluster::start(3)?; // and three replicas
/// println!("{}", redis.url()); // redis-cluster://127.0.0.1:20001,127.0.0.1:20003,…
/// let before = redis.master_of("tl:{lobby}:log")?;
/// redis.kill(before)?; // SIGKILL
/// let after = redis.wait_for_another("tl:{lobby}:log", before)?; // its replica, after about 4 s
/// redis.restart(before)?; // comes back as a replica
/// redis.wait_until_stable()?;
/// redis.reshard(500, after, 1)?; // while clients write
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<ClusterNode>,
    builder: RedisClusterBuilder,
}

#[derive(Debug)]
struct ClusterNode {
    redis: Redis,
    id: String,
    bus_port: u16,
    state: NodeState,
}

/// The last action of this process on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NodeState {
    Running,
    Paused,
    Killed,
    /// No longer a member of the cluster.
    Removed,
}

impl ClusterNode {
    fn view(&self) -> Result<Vec<ClusterNodeView>> {
        view::parse(&self.redis.cli(&["CLUSTER", "NODES"])?)
    }

    fn meet(&self, other: &Self) -> Result<()> {
        let (port, bus_port) = (other.redis.port().to_string(), other.bus_port.to_string());
        self.redis.cli(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus_port]).map(drop)
    }
}

impl RedisCluster {
    /// Starts `masters` masters with one replica each; see [`RedisClusterBuilder::start`].
    ///
    /// # Errors
    /// See [`RedisClusterBuilder::start`].
    pub fn start(masters: usize) -> Result<Self> {
        Self::builder(masters).start()
    }

    /// Settings of a new cluster.
    pub fn builder(masters: usize) -> RedisClusterBuilder {
        RedisClusterBuilder::new(masters)
    }

    /// Addresses of all nodes, as `127.0.0.1:PORT`. Removed nodes are left out.
    pub fn seeds(&self) -> Vec<String> {
        self.present().map(|(index, _)| self.place(index)).collect()
    }

    /// The URL for gateways: `redis-cluster://[:password@]host:port,…`, or `rediss-cluster://…` with TLS.
    pub fn url(&self) -> String {
        let scheme = if self.builder.tls.is_some() { "rediss-cluster" } else { "redis-cluster" };
        let login = self.password().map(|password| format!(":{password}@")).unwrap_or_default();
        format!("{scheme}://{login}{}", self.seeds().join(","))
    }

    /// Number of nodes that were started so far. Indices are smaller than this.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// One node, for `cli`, `port`, `pid`.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn node(&self, index: usize) -> &Redis {
        &self.nodes[index].redis
    }

    /// Whether the process of a node runs, paused or not.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn is_running(&mut self, index: usize) -> bool {
        self.nodes[index].redis.is_running()
    }

    /// The id of a node: 40 hexadecimal digits. It stays the same after a restart.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn id(&self, index: usize) -> &str {
        &self.nodes[index].id
    }

    /// All nodes as the first running node describes them, with their indices. The order is that of the indices.
    ///
    /// # Errors
    /// Returns [`TestbedError::Reply`] if no node answers.
    pub fn view(&self) -> Result<Vec<(usize, ClusterNodeView)>> {
        let views = self.answering().filter_map(|(_, node)| node.view().ok());
        let view = { views }.next().ok_or_else(|| TestbedError::Reply("no node of the cluster answers".to_owned()))?;
        let index = |id: &str| self.nodes.iter().position(|node| node.id == id);
        let mut view: Vec<_> = view.into_iter().filter_map(|node| Some((index(&node.id)?, node))).collect();
        view.sort_by_key(|(index, _)| *index);
        Ok(view)
    }

    /// Index of the master of a key. Hash tags in braces count.
    ///
    /// # Errors
    /// See [`Self::master_of_slot`].
    pub fn master_of(&self, key: &str) -> Result<usize> {
        self.master_of_slot(key_slot(key))
    }

    /// Index of the master that owns a slot, whether it answers or not.
    ///
    /// # Errors
    /// Returns [`TestbedError::Reply`] if no node answers, or if the slot has no owner.
    pub fn master_of_slot(&self, slot: u16) -> Result<usize> {
        let owner = self.view()?.into_iter().find(|(_, node)| node.owns(slot)).map(|(index, _)| index);
        owner.ok_or_else(|| TestbedError::Reply(format!("slot {slot} has no owner")))
    }

    /// Indices of the replicas of a master, without those that failed.
    ///
    /// # Errors
    /// Returns [`TestbedError::Reply`] if no node answers.
    pub fn replicas_of(&self, master: usize) -> Result<Vec<usize>> {
        let follows = |node: &ClusterNodeView| !node.failed && node.replicates.as_deref() == Some(self.id(master));
        Ok(self.view()?.into_iter().filter(|(_, node)| follows(node)).map(|(index, _)| index).collect())
    }

    /// Sends SIGKILL to a node.
    ///
    /// # Errors
    /// See [`Redis::kill`].
    pub fn kill(&mut self, index: usize) -> Result<()> {
        self.nodes[index].redis.kill()?;
        self.nodes[index].state = NodeState::Killed;
        Ok(())
    }

    /// Starts a node again with its data and its id. It becomes a replica if its slots have another master now.
    ///
    /// # Errors
    /// See [`Redis::restart`].
    pub fn restart(&mut self, index: usize) -> Result<()> {
        self.nodes[index].redis.restart()?;
        self.nodes[index].state = NodeState::Running;
        Ok(())
    }

    /// Sends SIGSTOP: connections stay open and receive no answer.
    ///
    /// # Errors
    /// See [`Redis::kill`].
    pub fn pause(&mut self, index: usize) -> Result<()> {
        self.nodes[index].redis.pause()?;
        self.nodes[index].state = NodeState::Paused;
        Ok(())
    }

    /// Sends SIGCONT.
    ///
    /// # Errors
    /// See [`Redis::kill`].
    pub fn resume(&mut self, index: usize) -> Result<()> {
        self.nodes[index].redis.resume()?;
        self.nodes[index].state = NodeState::Running;
        Ok(())
    }

    /// Promotes a replica of the master without loss, as an operator does before maintenance (`CLUSTER FAILOVER`), and
    /// returns its index when all nodes know.
    ///
    /// # Errors
    /// Returns [`TestbedError::Reply`] if the master has no replica, or if none is promoted within 60 s.
    pub fn fail_over(&self, master: usize) -> Result<usize> {
        let replica = self.replicas_of(master)?.first().copied();
        let replica = replica.ok_or_else(|| TestbedError::Reply(format!("node {master} has no replica")))?;
        let promoted = poll(STEP_TIMEOUT, || {
            let view = self.view()?;
            if view.iter().any(|(index, node)| *index == replica && node.is_master()) {
                return Ok(Some(replica));
            }
            // Repeated, because a replica gives up if its master does not answer in time. An error: it is a master already.
            let _ = self.node(replica).cli(&["CLUSTER", "FAILOVER"]);
            std::thread::sleep(Duration::from_millis(300));
            Ok(None)
        })?;
        promoted.ok_or_else(|| TestbedError::Reply(format!("node {replica} was not promoted")))?;
        self.wait_until_agreed()?;
        Ok(replica)
    }

    /// Waits until the key has a master other than `before` that takes writes, and returns its index.
    ///
    /// # Errors
    /// Returns [`TestbedError::Reply`] after 60 s.
    pub fn wait_for_another(&self, key: &str, before: usize) -> Result<usize> {
        let promoted = poll(STEP_TIMEOUT, || Ok(self.master_of(key).ok().filter(|master| *master != before)))?;
        promoted.ok_or_else(|| TestbedError::Reply("no other node was promoted".to_owned()))
    }

    /// Waits until all running nodes agree about roles and slots, each slot has a master that answers, and each replica
    /// that runs follows its master.
    ///
    /// # Errors
    /// Returns [`TestbedError::Reply`] after 60 s.
    pub fn wait_until_stable(&self) -> Result<()> {
        self.wait_until_agreed()?;
        let stable = poll(STEP_TIMEOUT, || {
            let healthy = |node: &ClusterNode| {
                let info = node.redis.cli(&["CLUSTER", "INFO"]).unwrap_or_default();
                let role = node.redis.cli(&["INFO", "replication"]).unwrap_or_default();
                info.contains("cluster_state:ok")
                    && info.contains("cluster_slots_pfail:0")
                    && info.contains("cluster_slots_fail:0")
                    && (role.contains("role:master") || role.contains("master_link_status:up"))
            };
            let roles = |node: &ClusterNode| {
                let mut view = node.view().ok()?;
                view.sort_by(|a, b| a.id.cmp(&b.id));
                Some(view.into_iter().map(|node| (node.id, node.replicates, node.failed)).collect::<Vec<_>>())
            };
            let mut views = self.answering().map(|(_, node)| roles(node));
            let first = views.next().flatten();
            let agreed = first.is_some() && views.all(|view| view == first);
            Ok((agreed && self.answering().all(|(_, node)| healthy(node))).then_some(()))
        })?;
        stable.ok_or_else(|| TestbedError::Reply("the cluster did not become stable".to_owned()))
    }

    /// Starts one more node: a master without slots, or with `replica_of` a replica of that master. Returns its index when
    /// all nodes know it. [`Self::reshard`] gives slots to a master.
    ///
    /// # Errors
    /// See [`RedisClusterBuilder::start`].
    pub fn add_node(&mut self, replica_of: Option<usize>) -> Result<usize> {
        let node = self.builder.start_node()?;
        for (_, other) in self.answering() {
            other.meet(&node)?;
        }
        self.nodes.push(node);
        let index = self.nodes.len() - 1;
        self.wait_until_all_know_each_other()?;
        if let Some(master) = replica_of {
            self.replicate(index, master)?;
        }
        self.wait_until_stable()?;
        Ok(index)
    }

    /// Moves the slots of a node to the other masters, removes it from the cluster (`redis-cli --cluster del-node`) and ends
    /// it. Its replicas follow other masters then.
    ///
    /// # Errors
    /// See [`Self::reshard`]; also [`TestbedError::Reply`] if it is the last master.
    pub fn remove_node(&mut self, index: usize) -> Result<()> {
        let view = self.view()?;
        let slots = view.iter().find(|(node, _)| *node == index).map_or(0, |(_, node)| node.slot_count());
        let others = view.iter().filter(|(node, view)| *node != index && view.slot_count() > 0);
        let others: Vec<usize> = others.map(|(node, _)| *node).collect();
        if slots > 0 && others.is_empty() {
            return Err(TestbedError::Reply("the last master with slots cannot be removed".to_owned()));
        }
        for (number, to) in others.iter().enumerate() {
            let part = slots * (number + 1) / others.len() - slots * number / others.len();
            if part > 0 {
                self.reshard(part, index, *to)?;
            }
        }
        // Asked at another node: the removed one resets itself.
        let at = self.answering().map(|(node, _)| node).find(|node| *node != index).map(|node| self.place(node));
        let at = at.ok_or_else(|| TestbedError::Reply("no other node answers".to_owned()))?;
        cli::run(self, ["--cluster", "del-node", &at, self.id(index)])?;
        self.nodes[index].redis.kill()?;
        self.nodes[index].state = NodeState::Removed;
        self.wait_until_stable()
    }

    /// `127.0.0.1:PORT` of a node.
    fn place(&self, index: usize) -> String {
        format!("127.0.0.1:{}", self.node(index).port())
    }

    fn password(&self) -> Option<&str> {
        self.nodes.first().and_then(|node| node.redis.password())
    }

    /// Members of the cluster, running or not.
    fn present(&self) -> impl Iterator<Item = (usize, &ClusterNode)> {
        self.nodes.iter().enumerate().filter(|(_, node)| node.state != NodeState::Removed)
    }

    /// Nodes that run, as far as this process knows. Paused nodes would block each caller for 5 s.
    fn answering(&self) -> impl Iterator<Item = (usize, &ClusterNode)> {
        self.nodes.iter().enumerate().filter(|(_, node)| node.state == NodeState::Running)
    }
}
