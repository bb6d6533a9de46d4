//! The deployment of a scenario: Redis, HAProxy, gateways, and optionally a network proxy, all on loopback.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use trunkline_testbed::{
    AppendFsync, Gateway, HaProxy, HttpAnswer, IoContext, LineSink, Process, Redis, RedisBuilder, RedisCluster,
    RedisSentinel, TlsFiles, free_port, http_get,
};

use super::run::TestedPrograms;
use crate::error::{ChaosError, Result};

/// Maximum time for a gateway's answer to a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum number of gateways at the same time: slots of the balancer.
const MAX_GATEWAYS: usize = 8;
/// Number of masters of a cluster.
const MASTERS: usize = 3;
/// Time without an answer after which a node of a cluster without replicas counts as failed: the default of Redis.
const NODE_TIMEOUT: Duration = Duration::from_secs(15);

/// The Redis servers of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RedisSetup {
    /// One Redis with an append-only file.
    Durable,
    /// As `Durable`, but started by the scenario, with a right or a wrong password.
    Absent,
    /// As `Durable`, over TLS.
    Tls,
    /// A master with a replica, three Sentinels, and a proxy that forwards to the master.
    Sentinel,
    /// As `Sentinel` without the proxy: gateways ask the Sentinels.
    SentinelWithoutProxy,
    /// A Redis Cluster: three masters with one replica each.
    Cluster,
    /// A Redis Cluster of three masters. No other node takes the place of one that is away, and on a busy machine none is
    /// taken for failed.
    ClusterWithoutReplicas,
}

/// A gateway and its ports, which stay the same when it is started again.
pub(crate) struct GatewayInstance {
    pub(crate) number: usize,
    pub(crate) port: u16,
    admin: u16,
    pub(crate) gateway: Gateway,
}

pub(crate) struct Deployment {
    // Fields drop in this order: a process that outlives those it depends on logs errors.
    network: Option<NetworkProxy>,
    pub(crate) members: Vec<GatewayInstance>,
    pub(crate) balancer: HaProxy,
    redis: Option<Redis>,
    sentinel: Option<RedisSentinel>,
    cluster: Option<RedisCluster>,
    certificates: Option<TlsFiles>,
    /// The URL that gateways get.
    redis_url: String,
    folder: PathBuf,
    programs: TestedPrograms,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

impl Deployment {
    /// Starts everything except the gateways.
    pub(crate) fn new(setup: RedisSetup, programs: &TestedPrograms, arguments: &[&str], folder: &Path) -> Result<Self> {
        let mut deployment = Self::without_redis(String::new(), programs, arguments, folder)?;
        let log = || log_file(&folder.join("redis.log"));
        deployment.redis_url = match setup {
            RedisSetup::Durable => deployment.redis.insert(durable(folder)?.start()?).url(),
            RedisSetup::Absent => format!("redis://:{ABSENT_PASSWORD}@127.0.0.1:{}", free_port()?),
            RedisSetup::Tls => {
                let files = deployment.certificates.insert(TlsFiles::create()?);
                deployment.arguments.extend(["--redis-ca".to_owned(), files.ca().display().to_string()]);
                deployment.redis.insert(durable(folder)?.tls(files).start()?).url()
            }
            RedisSetup::Sentinel => deployment.sentinel.insert(RedisSentinel::builder().log(log()?).start()?).url(),
            RedisSetup::SentinelWithoutProxy => {
                deployment.sentinel.insert(RedisSentinel::builder().without_proxy().log(log()?).start()?).url()
            }
            RedisSetup::Cluster => deployment.cluster.insert(RedisCluster::builder(MASTERS).log(log()?).start()?).url(),
            RedisSetup::ClusterWithoutReplicas => {
                let cluster = RedisCluster::builder(MASTERS).replicas(0).node_timeout(NODE_TIMEOUT).log(log()?);
                deployment.cluster.insert(cluster.start()?).url()
            }
        };
        Ok(deployment)
    }

    /// Another deployment on the single Redis of this one, with its own gateways and its own balancer. `database` is the
    /// path of its Redis URL.
    pub(crate) fn beside(&self, database: &str, arguments: &[&str], folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).on_path("cannot create", folder)?;
        Self::without_redis(format!("{}{database}", self.redis_url), &self.programs, arguments, folder)
    }

    fn without_redis(redis_url: String, programs: &TestedPrograms, arguments: &[&str], folder: &Path) -> Result<Self> {
        let log = log_file(&folder.join("haproxy.log"))?;
        let balancer = HaProxy::builder().slots(MAX_GATEWAYS).log(log).start()?;
        secret(&folder.join("secret"))?;
        Ok(Self {
            network: None,
            members: Vec::new(),
            balancer,
            redis: None,
            sentinel: None,
            cluster: None,
            certificates: None,
            redis_url,
            folder: folder.to_owned(),
            programs: programs.clone(),
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            environment: Vec::new(),
        })
    }

    /// Adds an environment variable for gateways that are started later.
    pub(crate) fn environment(&mut self, name: &'static str, value: impl Into<String>) {
        self.environment.push((name, value.into()));
    }

    /// Writes a secret, and lets gateways that are started later accept tokens that are signed with it. Returns its path.
    pub(crate) fn accept_tokens(&mut self) -> Result<PathBuf> {
        let path = self.folder.join("jwt-secret");
        secret(&path)?;
        self.arguments.extend(["--jwt-key-file".to_owned(), path.display().to_string()]);
        Ok(path)
    }

    /// URL for clients.
    pub(crate) fn url(&self) -> String {
        let port = self.network.as_ref().map_or(self.balancer.port(), |network| network.port);
        format!("http://127.0.0.1:{port}")
    }

    /// The single Redis, in setups that have one.
    pub(crate) fn redis(&mut self) -> Result<&mut Redis> {
        self.redis.as_mut().ok_or_else(|| ChaosError::Scenario("this deployment has no single Redis".to_owned()))
    }

    /// The Redis nodes and Sentinels, in setups that have them.
    pub(crate) fn sentinel(&mut self) -> Result<&mut RedisSentinel> {
        self.sentinel.as_mut().ok_or_else(|| ChaosError::Scenario("this deployment has no Sentinels".to_owned()))
    }

    /// The Redis Cluster, in setups that have one.
    pub(crate) fn cluster(&mut self) -> Result<&mut RedisCluster> {
        self.cluster.as_mut().ok_or_else(|| ChaosError::Scenario("this deployment has no cluster".to_owned()))
    }

    /// The certificates of Redis, in setups with TLS.
    pub(crate) fn certificates(&self) -> Result<TlsFiles> {
        self.certificates.clone().ok_or_else(|| ChaosError::Scenario("this deployment has no certificates".to_owned()))
    }

    /// Starts the Redis that was absent, or replaces it by one with another password.
    pub(crate) fn start_redis(&mut self, password: &str) -> Result<()> {
        let port = self.redis_url.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or_default();
        self.redis = None;
        self.redis = Some(durable(&self.folder)?.port(port).password(password).start()?);
        Ok(())
    }

    /// Inserts a TCP proxy between clients and balancer that can drop or delay bytes.
    pub(crate) fn insert_network(&mut self) -> Result<()> {
        self.network = Some(self.network_proxy("network", self.balancer.port())?);
        Ok(())
    }

    /// Sends a command to the network proxy; see [`NetworkProxy::command`].
    pub(crate) fn command_network(&mut self, order: &str) -> Result<()> {
        let network = self.network.as_mut();
        network.ok_or_else(|| ChaosError::Scenario("no network proxy was inserted".to_owned()))?.command(order)
    }

    /// Starts a TCP proxy that forwards to a local port.
    pub(crate) fn network_proxy(&self, name: &str, to: u16) -> Result<NetworkProxy> {
        let port = free_port()?;
        let mut command = Command::new(&self.programs.checker);
        command.args(["proxy", "--listen", &format!("127.0.0.1:{port}"), "--to", &format!("127.0.0.1:{to}")]);
        let log = log_file(&self.folder.join(format!("{name}.log")))?;
        Ok(NetworkProxy { process: Process::spawn_with_input(name, command, Some(log))?, port })
    }

    /// Starts gateway `number` and assigns its balancer slot. A gateway that ran before keeps its ports.
    pub(crate) fn start(&mut self, number: usize) -> Result<()> {
        self.start_with_environment(number, &[])
    }

    /// As [`Self::start`], with additional environment variables.
    pub(crate) fn start_with_environment(&mut self, number: usize, environment: &[(&str, &str)]) -> Result<()> {
        let place = self.members.iter().position(|member| member.number == number);
        let (port, admin) = match place {
            Some(place) => (self.members[place].port, self.members[place].admin),
            None => (free_port()?, free_port()?),
        };
        let own = [format!("http://127.0.0.1:{port}"), self.url()];
        let mut builder = Gateway::builder(&self.programs.gateway)
            .listen(port)
            .admin_listen(admin)
            .redis(&self.redis_url)
            .instance(format!("gw-{number}"))
            .arg("--secret-file")
            .arg(self.folder.join("secret"))
            .args(["--trust-proxy", "127.0.0.1/32", "--login-rate", "0", "--max-sockets-per-user", "0"])
            .args(&self.arguments)
            .log(log_file(&self.folder.join(format!("gw-{number}.log")))?);
        for origin in &own {
            builder = builder.args(["--public-origin", origin]);
        }
        let given = self.environment.iter().map(|(name, value)| (*name, value.as_str()));
        for (name, value) in given.chain(environment.iter().copied()) {
            builder = builder.env(name, value);
        }
        let gateway = builder.start()?;
        match place {
            Some(place) => self.members[place].gateway = gateway,
            None => self.members.push(GatewayInstance { number, port, admin, gateway }),
        }
        self.balancer.fill_slot(number, port)?;
        Ok(())
    }

    /// Gateway `number`.
    pub(crate) fn member(&mut self, number: usize) -> Result<&mut GatewayInstance> {
        let found = self.members.iter_mut().find(|member| member.number == number);
        found.ok_or_else(|| ChaosError::Scenario(format!("there is no gw-{number}")))
    }

    /// Number of open sockets, over all gateways that answer.
    pub(crate) fn sockets(&self) -> u32 {
        self.members.iter().map(GatewayInstance::sockets).sum()
    }

    /// Removes a gateway that has ended from the deployment and the balancer.
    pub(crate) fn remove(&mut self, number: usize) -> Result<()> {
        self.members.retain(|member| member.number != number);
        Ok(self.balancer.clear_slot(number)?)
    }

    /// Whether the balancer sends new requests to gateway `number`.
    pub(crate) fn gets_traffic(&self, number: usize) -> bool {
        self.balancer.slot_is_up(number).unwrap_or(false)
    }
}

/// A running `trunkline-check proxy`.
pub(crate) struct NetworkProxy {
    process: Process,
    pub(crate) port: u16,
}

impl NetworkProxy {
    /// Sends a command: `blackhole`, `heal`, `cut`, `stall` or `delay TIME`.
    pub(crate) fn command(&mut self, order: &str) -> Result<()> {
        Ok(self.process.write_line(order)?)
    }
}

impl GatewayInstance {
    /// The gateway's answer on a path, or `None` if it does not answer.
    pub(crate) fn get(&self, path: &str) -> Option<HttpAnswer> {
        http_get(self.port, path, PROBE_TIMEOUT).ok()
    }

    /// Whether it is ready, and nothing is degraded.
    pub(crate) fn is_healthy(&self) -> bool {
        self.get("/readyz").is_some_and(|answer| answer.status == 200 && answer.body.contains("\"degraded\":[]"))
    }

    /// Number of open sockets from its metrics. 0 if it does not answer.
    pub(crate) fn sockets(&self) -> u32 {
        let metrics = http_get(self.admin, "/metrics", PROBE_TIMEOUT).map(|answer| answer.body).unwrap_or_default();
        let sockets = metrics.lines().find_map(|line| line.strip_prefix("trunkline_sockets ")?.trim().parse().ok());
        sockets.unwrap_or_default()
    }

    /// Resident memory in bytes from `/proc`. 0 if the process has ended.
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.gateway.pid())).unwrap_or_default();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
        kib.map_or(0, |kib: u64| kib * 1024)
    }
}

/// Password of the absent Redis. No log may contain it.
pub(crate) const ABSENT_PASSWORD: &str = "correct-horse-battery";

/// A Redis with production settings. Snapshots are off, but a save point far in the future is set, because without a save
/// point Redis accepts writes after a failed snapshot.
fn durable(folder: &Path) -> Result<RedisBuilder> {
    let log = log_file(&folder.join("redis.log"))?;
    let redis = Redis::builder().append_only(AppendFsync::EverySec).folder(folder.join("redis"));
    Ok(redis.config("save", "86400 1000000000").config("maxmemory-policy", "noeviction").log(log))
}

/// Writes a secret of all gateways. It is used for one scenario on loopback only.
fn secret(path: &Path) -> Result<()> {
    let text = format!("{:064x}{:064x}", std::process::id(), fs::metadata("/proc/self").map_or(0, |m| m.len()));
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    Ok(file.and_then(|mut file| file.write_all(text.as_bytes())).on_path("cannot write", path)?)
}

/// Appends output lines to the file, so that a gateway that is started again continues the same log.
fn log_file(path: &Path) -> Result<LineSink> {
    let file = Mutex::new(File::options().append(true).create(true).open(path).on_path("cannot create", path)?);
    Ok(Arc::new(move |line| {
        let _ = writeln!(file.lock().unwrap_or_else(PoisonError::into_inner), "{}", line.text);
    }))
}
