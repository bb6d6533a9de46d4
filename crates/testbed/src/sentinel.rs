//! A Redis master with a replica, the Sentinels that watch them, and a proxy that forwards to the current master.

mod builder;
mod process;

use std::time::Duration;

use tempfile::TempDir;

pub use self::builder::RedisSentinelBuilder;
use self::process::SentinelProcess;
use crate::{Process, Redis, Result, TestbedError, process::poll, resp::RedisAddress};

/// Maximum time of each step, such as a failover.
const STEP_TIMEOUT: Duration = Duration::from_secs(60);
/// The user that gateways log in as, as in `deploy/redis/master.cfg`.
const USER: &str = "trunkline";
const PASSWORD: &str = "not-a-secret";
/// The name of the master in the Sentinels' configuration.
const NAME: &str = "trunkline";
/// Number of Sentinels, as `deploy/redis/sentinel.conf` recommends.
const SENTINELS: usize = 3;

/// Two Redis nodes, three Sentinels, and a HAProxy with `deploy/redis/master.cfg` unless gateways ask the Sentinels
/// themselves. All end on drop.
///
/// ```no_run
/// # fn main() -> Result<(), trunkline_testbed::TestbedError> {
/// let mut redis = trunkline_testbed::RedisSentinel::builder().start()?;
/// let before = redis.master()?;
/// redis.lag()?; // from now on writes reach the master only
/// redis.kill_master()?; // SIGKILL
/// let after = redis.wait_for_another(before)?; // promoted by the Sentinels
/// redis.start_node(before)?; // comes back as its replica
/// # assert_ne!(before, after);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RedisSentinel {
    // Fields drop in this order: the proxy and the Sentinels must not react to the end of the nodes.
    /// With its port.
    proxy: Option<(Process, u16)>,
    sentinels: Vec<SentinelProcess>,
    nodes: [Redis; 2],
    /// Whether the servers and the Sentinels speak TLS only.
    secure: bool,
    _folder: TempDir,
}

impl RedisSentinel {
    /// Settings of new servers.
    pub fn builder() -> RedisSentinelBuilder {
        RedisSentinelBuilder::default()
    }

    /// The URL for gateways: of the proxy, which forwards to the current master, or [`Self::sentinel_url`] without a proxy.
    pub fn url(&self) -> String {
        match &self.proxy {
            Some((_, port)) => format!("redis://{USER}:{PASSWORD}@127.0.0.1:{port}"),
            None => self.sentinel_url(),
        }
    }

    /// The URL for gateways that ask the Sentinels: `redis-sentinel://user:password@host:port,…#trunkline`, or
    /// `rediss-sentinel://…` with TLS. User and password are those of the master.
    pub fn sentinel_url(&self) -> String {
        let scheme = if self.secure { "rediss-sentinel" } else { "redis-sentinel" };
        let places: Vec<_> = self.sentinel_ports().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("{scheme}://{USER}:{PASSWORD}@{}#{NAME}", places.join(","))
    }

    /// Ports of the Sentinels. They stay the same after a restart.
    pub fn sentinel_ports(&self) -> impl Iterator<Item = u16> {
        self.sentinels.iter().map(|sentinel| sentinel.address.port)
    }

    /// The node that a Sentinel names as the master, or `None` if the Sentinel does not answer.
    pub fn named_by(&self, sentinel: usize) -> Option<usize> {
        let reply = self.sentinels[sentinel].address.call(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]).ok()?;
        let port: u16 = reply.to_string().lines().last()?.parse().ok()?;
        self.nodes.iter().position(|node| node.port() == port)
    }

    /// The node to which the proxy forwards new connections, or `None` if it forwards to no node or if there is no proxy.
    pub fn forwards_to(&self) -> Option<usize> {
        self.proxy.as_ref()?;
        let answer = RedisAddress::parse(&self.url())?.call(&["CONFIG", "GET", "port"]).ok()?.to_string();
        let port: u16 = answer.lines().last()?.parse().ok()?;
        self.nodes.iter().position(|node| node.port() == port)
    }

    /// Index of the master: 0 or 1.
    ///
    /// # Errors
    /// Returns [`TestbedError::Reply`] while neither node or both nodes are masters. Try again later.
    pub fn master(&self) -> Result<usize> {
        match [0, 1].map(|node| self.is_master(node)) {
            [true, false] => Ok(0),
            [false, true] => Ok(1),
            _ => Err(TestbedError::Reply(
                "there is no single master at the moment; try again in some seconds".to_owned(),
            )),
        }
    }

    /// One of the two nodes.
    pub fn node(&self, node: usize) -> &Redis {
        &self.nodes[node % 2]
    }

    /// The value of a field of `INFO` on a node, or `None` if the node does not answer.
    pub fn info(&self, node: usize, section: &str, name: &str) -> Option<String> {
        let info = self.node(node).cli(&["INFO", section]).ok()?;
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(|value| value.trim().to_owned())
    }

    /// Sends SIGKILL to a Sentinel.
    ///
    /// # Errors
    /// Returns [`TestbedError::Io`] if the signal cannot be sent.
    pub fn kill_sentinel(&mut self, sentinel: usize) -> Result<()> {
        self.sentinels[sentinel].kill()
    }

    /// Starts a Sentinel again, with what it knew.
    ///
    /// # Errors
    /// Returns [`TestbedError::Start`] if it exits or does not answer within 60 s.
    pub fn start_sentinel(&mut self, sentinel: usize) -> Result<()> {
        self.sentinels[sentinel].restart()
    }

    /// Sends SIGSTOP to a Sentinel: it accepts connections and does not answer.
    ///
    /// # Errors
    /// See [`Self::kill_sentinel`].
    pub fn pause_sentinel(&mut self, sentinel: usize) -> Result<()> {
        self.sentinels[sentinel].pause()
    }

    /// Sends SIGCONT to a Sentinel. After a pause of more than 2 s it takes no part in failovers for 30 s ("TILT").
    ///
    /// # Errors
    /// See [`Self::kill_sentinel`].
    pub fn resume_sentinel(&mut self, sentinel: usize) -> Result<()> {
        self.sentinels[sentinel].resume()
    }

    /// Process id of a Sentinel, or `None` if it has ended.
    pub fn sentinel_pid(&mut self, sentinel: usize) -> Option<u32> {
        let sentinel = &mut self.sentinels[sentinel];
        if sentinel.is_running() { Some(sentinel.pid()) } else { None }
    }

    /// Whether the process of a node runs.
    pub fn node_runs(&mut self, node: usize) -> bool {
        self.nodes[node % 2].is_running()
    }

    /// Sends SIGKILL to a node.
    ///
    /// # Errors
    /// See [`Redis::kill`].
    pub fn kill_node(&mut self, node: usize) -> Result<()> {
        self.nodes[node % 2].kill()
    }

    /// Sends SIGSTOP to a node.
    ///
    /// # Errors
    /// See [`Redis::pause`].
    pub fn pause_node(&mut self, node: usize) -> Result<()> {
        self.nodes[node % 2].pause()
    }

    /// Sends SIGCONT to a node.
    ///
    /// # Errors
    /// See [`Redis::resume`].
    pub fn resume_node(&mut self, node: usize) -> Result<()> {
        self.nodes[node % 2].resume()
    }

    /// Stops the replication, as if the network between the nodes were cut. A failover or [`Self::catch_up`] ends this.
    ///
    /// # Errors
    /// Returns [`TestbedError::Reply`] if there is no single master, or if the replica stays connected for 60 s.
    pub fn lag(&self) -> Result<()> {
        let (master, replica) = self.roles()?;
        // The replica cannot log in again, and its current connection is closed.
        replica.cli(&["CONFIG", "SET", "masteruser", "nobody", "masterauth", "wrong"])?;
        master.cli(&["CLIENT", "KILL", "TYPE", "replica"])?;
        let cut = poll(STEP_TIMEOUT, || {
            Ok(master.cli(&["INFO", "replication"])?.contains("connected_slaves:0").then_some(()))
        })?;
        cut.ok_or_else(|| TestbedError::Reply("the replica is still connected".to_owned()))
    }

    /// Allows replication again.
    ///
    /// # Errors
    /// None at present.
    pub fn catch_up(&self) -> Result<()> {
        for node in &self.nodes {
            // A node that is down starts without the setting.
            let _ = node.cli(&["CONFIG", "SET", "masteruser", "", "masterauth", ""]);
        }
        Ok(())
    }

    /// Sends SIGKILL to the master and returns its index.
    ///
    /// # Errors
    /// See [`Self::master`].
    pub fn kill_master(&mut self) -> Result<usize> {
        let master = self.master()?;
        self.nodes[master].kill()?;
        Ok(master)
    }

    /// Starts a killed node again. The Sentinels make it a replica if the other node is the master now.
    ///
    /// # Errors
    /// See [`Redis::restart`].
    pub fn start_node(&mut self, node: usize) -> Result<()> {
        self.nodes[node % 2].restart()
    }

    /// Requests a failover from the Sentinels, as an operator does before maintenance, and waits for it. The old master
    /// continues as a replica. Returns the index of the new master.
    ///
    /// # Errors
    /// Returns [`TestbedError::Reply`] if the Sentinels refuse for 60 s, or if no node is promoted within 60 s.
    pub fn fail_over(&self) -> Result<usize> {
        let before = self.master()?;
        // The Sentinels refuse a failover for a while after the previous one. One that was killed refuses the connection.
        let ask = |sentinel: &SentinelProcess| sentinel.address.call(&["SENTINEL", "FAILOVER", NAME]).ok();
        let agreed = poll(STEP_TIMEOUT, || Ok(self.sentinels.iter().find_map(ask)))?;
        agreed.ok_or_else(|| TestbedError::Reply("the Sentinels refuse a failover".to_owned()))?;
        self.wait_for_another(before)
    }

    /// Waits until the node other than `before` is a master, and returns its index.
    ///
    /// # Errors
    /// Returns [`TestbedError::Reply`] after 60 s.
    pub fn wait_for_another(&self, before: usize) -> Result<usize> {
        let another = (before + 1) % 2;
        let promoted = poll(STEP_TIMEOUT, || Ok(self.is_master(another).then_some(another)))?;
        promoted.ok_or_else(|| TestbedError::Reply("no other node was promoted".to_owned()))
    }

    /// Waits until there is one master, the other node replicates it, and the Sentinels and the proxy know both.
    ///
    /// # Errors
    /// Returns [`TestbedError::Reply`] after 60 s.
    pub fn wait_until_stable(&self) -> Result<()> {
        let stable = poll(STEP_TIMEOUT, || {
            let Ok(master) = self.master() else { return Ok(None) };
            let follows = self.info((master + 1) % 2, "replication", "master_link_status").as_deref() == Some("up");
            let known = self.sentinels.iter().all(|sentinel| sentinel.knows(self.nodes[master].port()));
            // Before its first checks, the proxy treats all nodes as masters and alternates between them.
            let forwarded = self.proxy.is_none() || (0..6).all(|_| self.forwards_to() == Some(master));
            Ok((follows && known && forwarded).then_some(()))
        })?;
        stable.ok_or_else(|| TestbedError::Reply("master, replica and Sentinels did not become stable".to_owned()))
    }

    fn is_master(&self, node: usize) -> bool {
        self.info(node, "replication", "role").as_deref() == Some("master")
    }

    fn roles(&self) -> Result<(&Redis, &Redis)> {
        let master = self.master()?;
        Ok((&self.nodes[master], &self.nodes[(master + 1) % 2]))
    }
}
