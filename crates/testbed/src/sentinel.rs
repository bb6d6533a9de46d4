//! A master, its replica, the Sentinels that watch them, and the proxy that leads to whoever is master.

use std::{fs, path::Path, process::Command, time::Duration};

use tempfile::TempDir;

use crate::{
    AppendFsync, IoContext, LineSink, NoProgress, Process, Redis, Result, TestbedError, Tool, Toolbox, free_port,
    process::poll, project_root, resp::RedisAddress,
};

/// How long anything may take that should come soon.
const SOON: Duration = Duration::from_secs(60);
/// Whom gateways log in as, as `deploy/redis/master.cfg` does.
const USER: &str = "trunkline";
const PASSWORD: &str = "of-no-worth";
/// As many as `deploy/redis/sentinel.conf` advises.
const SENTINELS: usize = 3;

/// Two Redises of which one is master, three Sentinels, and `deploy/redis/master.cfg` in front. ProcessEnd on drop.
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
    // Dropped in this order: nobody should act on the end of another.
    _door: Process,
    sentinels: Vec<(Process, RedisAddress)>,
    nodes: [Redis; 2],
    port: u16,
    _folder: TempDir,
}

/// Settings of [`RedisSentinel`].
#[derive(Clone, Default)]
pub struct RedisSentinelBuilder {
    log: Option<LineSink>,
}

impl RedisSentinelBuilder {
    /// Where the log lines of all of them go.
    #[must_use]
    pub fn log(mut self, sink: LineSink) -> Self {
        self.log = Some(sink);
        self
    }

    /// Starts everything, and returns when the replica follows, the Sentinels know each other, and the proxy serves.
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
        let door = self.door(&folder.path().join("master.cfg"), port, [master.port(), replica.port()], &sentinels)?;
        let group = RedisSentinel { _door: door, sentinels, nodes: [master, replica], port, _folder: folder };
        group.await_calm()?;
        Ok(group)
    }

    /// One Sentinel, with the times of `deploy/redis/sentinel.conf` shortened: tests are in a hurry.
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
        let answers = poll(SOON, || match process.ended() {
            Some(ended) => Err(process.start_error(ended.to_string())),
            None => Ok(address.call(&["PING"]).ok()),
        })?;
        match answers {
            Some(_) => Ok((process, address)),
            None => Err(process.start_error("does not answer")),
        }
    }

    /// The proxy of `deploy/redis/master.cfg`, with our addresses in place of the example's: they differ by their ports, so
    /// these are what it looks for in the answers of Sentinels. The third Redis is not there.
    fn door(&self, path: &Path, port: u16, nodes: [u16; 2], sentinels: &[(Process, RedisAddress)]) -> Result<Process> {
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
    /// Settings for new ones.
    pub fn builder() -> RedisSentinelBuilder {
        RedisSentinelBuilder::default()
    }

    /// Where the master is, whoever that is.
    pub fn url(&self) -> String {
        format!("redis://{USER}:{PASSWORD}@127.0.0.1:{}", self.port)
    }

    /// The node that the proxy leads new connections to; `None` where it leads to nobody.
    pub fn leads_to(&self) -> Option<usize> {
        let answer = RedisAddress::parse(&self.url())?.call(&["CONFIG", "GET", "port"]).ok()?.to_string();
        let port: u16 = answer.lines().last()?.parse().ok()?;
        self.nodes.iter().position(|node| node.port() == port)
    }

    /// Which node is master: 0 or 1.
    ///
    /// # Errors
    /// Where none is, or both are, for the moment.
    pub fn master(&self) -> Result<usize> {
        match [0, 1].map(|node| self.is_master(node)) {
            [true, false] => Ok(0),
            [false, true] => Ok(1),
            _ => Err(TestbedError::Reply("there is not just one master at the moment".to_owned())),
        }
    }

    /// One of the two.
    pub fn node(&self, node: usize) -> &Redis {
        &self.nodes[node % 2]
    }

    /// What a node says of itself: the value of a line in `INFO`.
    pub fn info(&self, node: usize, section: &str, name: &str) -> Option<String> {
        let info = self.node(node).cli(&["INFO", section]).ok()?;
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(|value| value.trim().to_owned())
    }

    /// From now on nothing that is written reaches the replica, as if its link were cut. A failover or
    /// [`catch_up`](Self::catch_up) ends it.
    pub fn lag(&self) -> Result<()> {
        let (master, replica) = self.roles()?;
        // It can log in no more, and its connection of now is cut.
        replica.cli(&["CONFIG", "SET", "masteruser", "nobody", "masterauth", "wrong"])?;
        master.cli(&["CLIENT", "KILL", "TYPE", "replica"])?;
        let cut =
            poll(SOON, || Ok(master.cli(&["INFO", "replication"])?.contains("connected_slaves:0").then_some(())))?;
        cut.ok_or_else(|| TestbedError::Reply("the replica still follows".to_owned()))
    }

    /// Lets every node follow again.
    pub fn catch_up(&self) -> Result<()> {
        for node in &self.nodes {
            // One that is down starts without it.
            let _ = node.cli(&["CONFIG", "SET", "masteruser", "", "masterauth", ""]);
        }
        Ok(())
    }

    /// SIGKILL to the master; its number.
    pub fn kill_master(&mut self) -> Result<usize> {
        let master = self.master()?;
        self.nodes[master].kill()?;
        Ok(master)
    }

    /// Starts a killed node again; the Sentinels make it a replica if another one is master by now.
    pub fn start_node(&mut self, node: usize) -> Result<()> {
        self.nodes[node % 2].restart()
    }

    /// Asks the Sentinels for a failover, as an operator does for maintenance, and waits for it. The old master lives on
    /// as a replica. The new master's number.
    pub fn fail_over(&self) -> Result<usize> {
        let before = self.master()?;
        // Refused for a while after the last one.
        let agreed = poll(SOON, || Ok(self.sentinels[0].1.call(&["SENTINEL", "FAILOVER", "trunkline"]).ok()))?;
        agreed.ok_or_else(|| TestbedError::Reply("the Sentinels do not agree to a failover".to_owned()))?;
        self.wait_for_another(before)
    }

    /// Waits until the node that was not master is; its number.
    pub fn wait_for_another(&self, before: usize) -> Result<usize> {
        let another = (before + 1) % 2;
        let promoted = poll(SOON, || Ok(self.is_master(another).then_some(another)))?;
        promoted.ok_or_else(|| TestbedError::Reply("no other node was promoted".to_owned()))
    }

    /// Waits until there is one master, which the other follows, and which the Sentinels and the proxy know.
    pub fn await_calm(&self) -> Result<()> {
        let calm = poll(SOON, || {
            let Ok(master) = self.master() else { return Ok(None) };
            let follows = self.info((master + 1) % 2, "replication", "master_link_status").as_deref() == Some("up");
            let known = self.sentinels.iter().all(|(_, address)| {
                let told = address.call(&["SENTINEL", "MASTER", "trunkline"]).map(|reply| reply.to_string());
                let told = told.unwrap_or_default();
                let fields: Vec<&str> = told.lines().collect();
                let is = |name: &str, value: &str| fields.windows(2).any(|pair| pair == [name, value]);
                let port = self.nodes[master].port().to_string();
                is("port", &port) && is("flags", "master") && is("num-slaves", "1") && is("num-other-sentinels", "2")
            });
            // Until it has checked them, the proxy takes all for masters, in turn.
            let door = (0..6).all(|_| self.leads_to() == Some(master));
            Ok((follows && known && door).then_some(()))
        })?;
        calm.ok_or_else(|| TestbedError::Reply("master, replica and Sentinels did not come to rest".to_owned()))
    }

    fn is_master(&self, node: usize) -> bool {
        self.info(node, "replication", "role").as_deref() == Some("master")
    }

    fn roles(&self) -> Result<(&Redis, &Redis)> {
        let master = self.master()?;
        Ok((&self.nodes[master], &self.nodes[(master + 1) % 2]))
    }
}
