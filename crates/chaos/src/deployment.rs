//! The deployment that a row breaks: Redis, balancer, gateways, and the network in front, all on loopback.

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
    AppendFsync, Gateway, HaProxy, HttpAnswer, IoContext, LineSink, Process, Redis, RedisBuilder, RedisSentinel,
    free_port, http_get,
};

use super::run::TestedPrograms;
use crate::error::{ChaosError, Result};

/// How long a gateway may take to answer a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// The most gateways of a deployment at any time.
const MAX_GATEWAYS: usize = 8;

/// What stands under the gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RedisSetup {
    /// One Redis whose data outlives its process.
    Durable,
    /// The same with a password that gateways are told (first) or not (second), started later.
    Absent,
    /// A master and its replica, Sentinels that watch them, and a proxy that leads to the master.
    Sentinel,
}

/// One gateway and what is needed to start it again.
pub(crate) struct GatewayInstance {
    pub(crate) number: usize,
    pub(crate) port: u16,
    admin: u16,
    pub(crate) gateway: Gateway,
}

pub(crate) struct Deployment {
    // Dropped in this order: what ends first cannot complain about the others.
    network: Option<(Process, u16)>,
    pub(crate) members: Vec<GatewayInstance>,
    pub(crate) balancer: HaProxy,
    pub(crate) redis: Option<Redis>,
    pub(crate) sentinel: Option<RedisSentinel>,
    /// Where gateways find Redis.
    redis_url: String,
    folder: PathBuf,
    programs: TestedPrograms,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

impl Deployment {
    /// Everything but the gateways.
    pub(crate) fn new(store: RedisSetup, programs: &TestedPrograms, arguments: &[&str], folder: &Path) -> Result<Self> {
        let log = log_file(&folder.join("haproxy.log"))?;
        let balancer = HaProxy::builder().slots(MAX_GATEWAYS).log(log).start()?;
        let (redis, sentinel, redis_url) = match store {
            RedisSetup::Durable => {
                let redis = durable(folder)?.start()?;
                let url = redis.url();
                (Some(redis), None, url)
            }
            RedisSetup::Absent => (None, None, format!("redis://:{ABSENT_PASSWORD}@127.0.0.1:{}", free_port()?)),
            RedisSetup::Sentinel => {
                let sentinel = RedisSentinel::builder().log(log_file(&folder.join("redis.log"))?).start()?;
                let url = sentinel.url();
                (None, Some(sentinel), url)
            }
        };
        secret(&folder.join("secret"))?;
        Ok(Self {
            network: None,
            members: Vec::new(),
            balancer,
            redis,
            sentinel,
            redis_url,
            folder: folder.to_owned(),
            programs: programs.clone(),
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            environment: Vec::new(),
        })
    }

    /// Environment of gateways that are started from now on.
    pub(crate) fn environment(&mut self, name: &'static str, value: impl Into<String>) {
        self.environment.push((name, value.into()));
    }

    /// Where clients connect.
    pub(crate) fn url(&self) -> String {
        let port = self.network.as_ref().map_or(self.balancer.port(), |(_, port)| *port);
        format!("http://127.0.0.1:{port}")
    }

    /// The Redis of a deployment that has one.
    pub(crate) fn redis(&mut self) -> Result<&mut Redis> {
        self.redis.as_mut().ok_or_else(|| ChaosError::Scenario("this deployment has no Redis of its own".to_owned()))
    }

    /// The Redises of a deployment that has several.
    pub(crate) fn sentinel(&mut self) -> Result<&mut RedisSentinel> {
        self.sentinel.as_mut().ok_or_else(|| ChaosError::Scenario("this deployment has no Sentinels".to_owned()))
    }

    /// Starts the Redis that gateways were told of and that was not there.
    pub(crate) fn start_redis(&mut self, password: &str) -> Result<()> {
        let port = self.redis_url.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or_default();
        self.redis = None;
        self.redis = Some(durable(&self.folder)?.port(port).password(password).start()?);
        Ok(())
    }

    /// Puts the network between clients and balancer, one that can be broken.
    pub(crate) fn insert_network(&mut self) -> Result<()> {
        let port = free_port()?;
        let mut command = Command::new(&self.programs.checker);
        command.args(["proxy", "--listen", &format!("127.0.0.1:{port}")]);
        command.args(["--to", &format!("127.0.0.1:{}", self.balancer.port())]);
        let log = log_file(&self.folder.join("network.log"))?;
        self.network = Some((Process::spawn_with_input("the network", command, Some(log))?, port));
        Ok(())
    }

    /// `blackhole`, `heal`, `cut` or `delay TIME`.
    pub(crate) fn command_network(&mut self, order: &str) -> Result<()> {
        let (network, _) =
            self.network.as_mut().ok_or_else(|| ChaosError::Scenario("no network was laid".to_owned()))?;
        Ok(network.tell(order)?)
    }

    /// Starts gateway `number`, again or for the first time, and gives its slot of the balancer to it.
    pub(crate) fn start(&mut self, number: usize) -> Result<()> {
        self.start_with_environment(number, &[])
    }

    /// The same with more environment.
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

    /// Sockets of all gateways that answer.
    pub(crate) fn sockets(&self) -> u32 {
        self.members.iter().map(GatewayInstance::sockets).sum()
    }

    /// A gateway that has ended leaves the balancer, and is forgotten.
    pub(crate) fn remove(&mut self, number: usize) -> Result<()> {
        self.members.retain(|member| member.number != number);
        Ok(self.balancer.clear_slot(number)?)
    }

    /// Whether the balancer sends new requests there.
    pub(crate) fn gets_traffic(&self, number: usize) -> bool {
        self.balancer.slot_is_up(number).unwrap_or(false)
    }
}

impl GatewayInstance {
    /// What it answers on a path of its own.
    pub(crate) fn get(&self, path: &str) -> Option<HttpAnswer> {
        http_get(self.port, path, PROBE_TIMEOUT).ok()
    }

    /// Its open sockets, as its metrics tell; 0 where it does not answer.
    pub(crate) fn sockets(&self) -> u32 {
        let metrics = http_get(self.admin, "/metrics", PROBE_TIMEOUT).map(|answer| answer.body).unwrap_or_default();
        let sockets = metrics.lines().find_map(|line| line.strip_prefix("trunkline_sockets ")?.trim().parse().ok());
        sockets.unwrap_or_default()
    }

    /// Resident bytes, as `/proc` tells; 0 where it has ended.
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.gateway.pid())).unwrap_or_default();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
        kib.map_or(0, |kib: u64| kib * 1024)
    }
}

/// The password of a Redis that is not there yet; must never show in a log.
pub(crate) const ABSENT_PASSWORD: &str = "correct-horse-battery";

/// A Redis as production would run it. Snapshots are off, but a save point is set and far away: without one a failed
/// snapshot refuses no writes.
fn durable(folder: &Path) -> Result<RedisBuilder> {
    let log = log_file(&folder.join("redis.log"))?;
    let redis = Redis::builder().append_only(AppendFsync::EverySec).folder(folder.join("redis"));
    Ok(redis.config("save", "86400 1000000000").config("maxmemory-policy", "noeviction").log(log))
}

/// The secret with which the gateways of a deployment sign their cookies. Of no worth: it lives for one row, on loopback.
fn secret(path: &Path) -> Result<()> {
    let text = format!("{:064x}{:064x}", std::process::id(), fs::metadata("/proc/self").map_or(0, |m| m.len()));
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    Ok(file.and_then(|mut file| file.write_all(text.as_bytes())).on_path("cannot write", path)?)
}

/// Appends: a gateway that is started again goes on in the same file.
fn log_file(path: &Path) -> Result<LineSink> {
    let file = Mutex::new(File::options().append(true).create(true).open(path).on_path("cannot create", path)?);
    Ok(Arc::new(move |line| {
        let _ = writeln!(file.lock().unwrap_or_else(PoisonError::into_inner), "{}", line.text);
    }))
}
