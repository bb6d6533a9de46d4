//! Starts everything that the instances need: the gateway's program, Redis and the balancer.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc::Sender},
    thread,
};

use trunkline_testbed::{
    Console, ConsoleProgress, HaProxy, IoContext, LineSink, Redis, TestbedError, TlsFiles, WorkspaceProgram,
    project_root,
};

use super::{
    BalancerChoice, ClusterArguments, ClusterEvent,
    instance::LaunchSettings,
    port,
    redis::{RedisChoice, RedisMode, RedisServers},
    redis_task::RedisTask,
    report::RedisReport,
};
use crate::error::{Result, XtaskError};

/// Maximum number of instances: the number of slots of the balancer.
pub(crate) const MAX_INSTANCES: usize = 64;

/// Everything except the instances.
pub(crate) struct ClusterServers {
    /// Held while the cluster runs, because two clusters cannot share the folder.
    pub(crate) _lock: File,
    pub(crate) folder: PathBuf,
    pub(crate) redis: RedisTask,
    pub(crate) redis_mode: RedisMode,
    pub(crate) balancer: Option<HaProxy>,
    pub(crate) launch: LaunchSettings,
}

impl ClusterServers {
    pub(crate) fn start(
        arguments: &ClusterArguments,
        console: &Console,
        progress: &ConsoleProgress<'_>,
        events: Sender<ClusterEvent>,
    ) -> Result<(Self, RedisReport)> {
        if !(1..=MAX_INSTANCES).contains(&arguments.instances) {
            return Err(XtaskError::InstanceCount { asked: arguments.instances, max: MAX_INSTANCES });
        }
        let folder = arguments.folder.clone().unwrap_or_else(|| project_root().join("target/cluster"));
        fs::create_dir_all(&folder).on_path("cannot create", &folder)?;
        let lock = lock(&folder)?;
        // Checked before the build, so that the error appears at once.
        port::must_be_free(arguments.port)?;
        let given_redis = match &arguments.redis {
            Some(RedisChoice::Url(_)) if arguments.tls => return Err(XtaskError::TlsOfGivenRedis),
            Some(RedisChoice::Url(url)) => Some(given_redis(url)?),
            _ => None,
        };
        let tls = if arguments.tls { Some(TlsFiles::create_in(&folder.join("tls"))?) } else { None };
        // Building takes the CPU, downloading Redis and HAProxy takes the network.
        let (binary, servers) = thread::scope(|scope| {
            let build = scope.spawn(|| match &arguments.gateway {
                Some(binary) => Ok(binary.clone()),
                None => WorkspaceProgram::GATEWAY.build(arguments.release, console, progress),
            });
            let servers = start_servers(arguments, given_redis, tls.as_ref(), &folder, progress);
            (build.join().unwrap_or(Err(TestbedError::Cancelled)), servers)
        });
        let (redis, balancer) = servers?;
        let launch = LaunchSettings {
            binary: binary?,
            redis: redis.url(),
            redis_ca: tls.as_ref().map(TlsFiles::ca),
            secret_file: secret(&folder)?,
            origins: ["127.0.0.1", "localhost"].map(|host| format!("http://{host}:{}", arguments.port)).into(),
        };
        let redis_mode = redis.mode();
        let (redis, report) = RedisTask::start(redis, tls, events);
        Ok((Self { _lock: lock, folder, redis, redis_mode, balancer, launch }, report))
    }
}

fn start_servers(
    arguments: &ClusterArguments,
    given_redis: Option<RedisServers>,
    tls: Option<&TlsFiles>,
    folder: &Path,
    progress: &ConsoleProgress<'_>,
) -> Result<(RedisServers, Option<HaProxy>)> {
    let redis = match given_redis {
        Some(redis) => redis,
        None => {
            let log = log_file(&folder.join("redis.log"))?;
            RedisServers::start(arguments.redis.as_ref(), tls, folder, log, progress)?
        }
    };
    let balancer = match arguments.lb {
        BalancerChoice::None => None,
        BalancerChoice::Haproxy => {
            let log = log_file(&folder.join("haproxy.log"))?;
            let builder = HaProxy::builder().port(arguments.port).slots(MAX_INSTANCES).log(log);
            Some(builder.start_with(progress).map_err(|e| match e {
                TestbedError::PortTaken(port) => port::taken(port),
                other => other.into(),
            })?)
        }
    };
    Ok((redis, balancer))
}

fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let file = File::create(&path).on_path("cannot create", &path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(XtaskError::ClusterRuns(folder.join("cluster.json"))),
        Err(fs::TryLockError::Error(e)) => Ok(Err(e).on_path("cannot lock", &path)?),
    }
}

/// A Redis that runs elsewhere. One that this program can speak with must answer.
fn given_redis(url: &str) -> Result<RedisServers> {
    if !url.starts_with("redis://") {
        return Ok(RedisServers::Elsewhere(url.to_owned()));
    }
    let redis = Redis::given(url)?;
    match redis.cli(&["PING"]) {
        Ok(_) => Ok(RedisServers::Single(redis)),
        Err(e) => Err(XtaskError::RedisUnreachable { url: url.to_owned(), reason: e.to_string() }),
    }
}

/// The secret that all instances sign cookies with. It is kept for the next cluster.
fn secret(folder: &Path) -> Result<PathBuf> {
    const RANDOM: &str = "/dev/urandom";
    let path = folder.join("secret");
    if !path.exists() {
        let mut random = [0; 64];
        File::open(RANDOM)
            .and_then(|mut file| file.read_exact(&mut random))
            .on_path("cannot read", Path::new(RANDOM))?;
        let text = random.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes())).on_path("cannot write", &path)?;
    }
    Ok(path)
}

/// Writes the output lines of a server to a file.
fn log_file(path: &Path) -> Result<LineSink> {
    let file = Mutex::new(File::create(path).on_path("cannot create", path)?);
    Ok(Arc::new(move |line| {
        let _ = writeln!(file.lock().unwrap_or_else(PoisonError::into_inner), "{}", line.text);
    }))
}
