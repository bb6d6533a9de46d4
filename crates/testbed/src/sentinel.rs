//! A Redis master with a replica, the Sentinels that watch them, and a proxy that forwards to the current master.

use std::{fs, path::Path, process::Command, time::Duration};

use tempfile::TempDir;

use crate::{
    AppendFsync, IoContext, LineSink, NoProgress, Process, Redis, Result, TestbedError, Tool, Toolbox, free_port,
    process::poll, project_root, resp::RedisAddress,
};

/// Maximum time of each step, such as a failover.
const STEP_TIMEOUT: Duration = Duration::from_secs(60);
/// The user that gateways log in as, as in `deploy/redis/master.cfg`.
const USER: &str = "trunkline";
const PASSWORD: &str = "not-a-secret";
/// Number of Sentinels, as `deploy/redis/sentinel.conf` recommends.
const SENTINELS: usize = 3;

/// Two Redis nodes, three Sentinels, and a HAProxy with `deploy/redis/master.cfg`. All end on drop.
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
    _proxy: Process,
    sentinels: Vec<(Process, RedisAddress)>,
    nodes: [Redis; 2],
    port: u16,
    _folder: TempDir,
}

/// Settings of a new [`RedisSentinel`].
#[derive(Clone, Default)]
pub struct RedisSentinelBuilder {
    log: Option<LineSink>,
}

impl RedisSentinelBuilder {
    /// Sends the log lines of all processes to `sink`.
    #[must_use]
    pub fn log(mut self, sink: LineSink) -> Self {
        self.log = Some(sink);
        self
    }

    /// Starts all processes. Returns when the replica is connected, the Sentinels know each other, and the proxy forwards
    /// to the master.
    ///
    /// # Errors
    /// Returns [`TestbedError::NotFound`] if a program is missing, and [`TestbedError::Start`] or [`TestbedError::Reply`] if
    /// a step takes longer than 60 s.
    pub fn start(self) -> Result<RedisSentinel> {
        let folder =
            tempfile::Builder::new().prefix("testbed-sentinel-").tempdir().context("cannot create a folder")?;
        let node = || {
            let node = Redis::builder().append_only(AppendFsync::EverySec);
            let node = node.config("user", format!("{USER} on >{PASSWORD} ~* &* +@all"));
            match &self.log {
                Some(log) => node.log(log.clone()),
                None => node,
            }
        };
        let master = node().start()?;
        let replica = node().replica_of(&master).start()?;
        let sentinels =
            (0..SENTINELS).map(|number| self.sentinel(&folder.path().join(format!("sentinel-{number}")), &master));
        let sentinels = sentinels.collect::<Result<Vec<_>>>()?;
        let port = free_port()?;
        let proxy = self.proxy(&folder.path().join("master.cfg"), port, [master.port(), replica.port()], &sentinels)?;
        let group = RedisSentinel { _proxy: proxy, sentinels, nodes: [master, replica], port, _folder: folder };
        group.wait_until_stable()?;
        Ok(group)
    }

    /// One Sentinel, with shorter timeouts than in `deploy/redis/sentinel.conf`.
    fn sentinel(&self, folder: &Path, master: &Redis) -> Result<(Process, RedisAddress)> {
        fs::create_dir_all(folder).on_path("cannot create", folder)?;
        let (port, path) = (free_port()?, folder.join("sentinel.conf"));
        let config = format!(
            "port {port}\nbind 127.0.0.1\ndir .\nsentinel monitor trunkline 127.0.0.1 {} 2\n\
             sentinel down-after-milliseconds trunkline 1000\nsentinel failover-timeout trunkline 3000\n\
             sentinel parallel-syncs trunkline 1\n",
            master.port()
        );
        fs::write(&path, config).on_path("cannot write", &path)?;
        let mut command = Toolbox::project().get(Tool::Redis, &NoProgress)?.command();
        command.current_dir(folder).arg("sentinel.conf").arg("--sentinel");
        let mut process = Process::spawn(format!("Sentinel on port {port}"), command, self.log.clone())?;
        let address = RedisAddress::local(port, None);
        let answers = poll(STEP_TIMEOUT, || match process.ended() {
            Some(ended) => Err(process.start_error(ended.to_string())),
            None => Ok(address.call(&["PING"]).ok()),
        })?;
        match answers {
            Some(_) => Ok((process, address)),
            None => Err(process.start_error("does not answer")),
        }
    }

    /// The proxy of `deploy/redis/master.cfg` with the addresses replaced. The local addresses differ by port, so the checks
    /// compare ports in the replies of the Sentinels. The third Redis of the file does not exist.
    fn proxy(&self, path: &Path, port: u16, nodes: [u16; 2], sentinels: &[(Process, RedisAddress)]) -> Result<Process> {
        let original = project_root().join("deploy/redis/master.cfg");
        let mut text = fs::read_to_string(&original).on_path("cannot read", &original)?;
        let ports = [nodes[0], nodes[1], free_port()?];
        for (number, (node, (_, sentinel))) in (1..).zip(ports.into_iter().zip(sentinels)) {
            let host = format!("10.0.0.1{number}");
            text = text
                .replace(&format!("{host}:6379"), &format!("127.0.0.1:{node}"))
                .replace(&format!("{host}:26379"), &format!("127.0.0.1:{}", sentinel.port))
                .replace(&format!(r"\n{host}\r"), &format!(r"\n{node}\r"));
        }
        let votes = free_port()?.to_string();
        text = text.replace("127.0.0.1:6379", &format!("127.0.0.1:{port}")).replace("6380", &votes);
        fs::write(path, text).on_path("cannot write", path)?;
        let mut command: Command = Toolbox::project().get(Tool::HaProxy, &NoProgress)?.command();
        command.arg("-db").arg("-f").arg(path).env("REDIS_PASSWORD", PASSWORD);
        Process::spawn(format!("HAProxy on port {port}"), command, self.log.clone())
    }
}

impl RedisSentinel {
    /// Settings of new servers.
    pub fn builder() -> RedisSentinelBuilder {
        RedisSentinelBuilder::default()
    }

    /// The URL of the proxy, which forwards to the current master.
    pub fn url(&self) -> String {
        format!("redis://{USER}:{PASSWORD}@127.0.0.1:{}", self.port)
    }

    /// The node to which the proxy forwards new connections, or `None` if it forwards to no node.
    pub fn forwards_to(&self) -> Option<usize> {
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
            _ => Err(TestbedError::Reply("there is no single master at the moment".to_owned())),
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
        // The Sentinels refuse a failover for a while after the previous one.
        let agreed = poll(STEP_TIMEOUT, || Ok(self.sentinels[0].1.call(&["SENTINEL", "FAILOVER", "trunkline"]).ok()))?;
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
            let known = self.sentinels.iter().all(|(_, address)| {
                let reply = address.call(&["SENTINEL", "MASTER", "trunkline"]).map(|reply| reply.to_string());
                let reply = reply.unwrap_or_default();
                let fields: Vec<&str> = reply.lines().collect();
                let is = |name: &str, value: &str| fields.windows(2).any(|pair| pair == [name, value]);
                let port = self.nodes[master].port().to_string();
                is("port", &port) && is("flags", "master") && is("num-slaves", "1") && is("num-other-sentinels", "2")
            });
            // Before its first checks, the proxy treats all nodes as masters and alternates between them.
            let forwarded = (0..6).all(|_| self.forwards_to() == Some(master));
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
