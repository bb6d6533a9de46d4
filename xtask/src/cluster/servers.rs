//! What has to be there before the first instance starts.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use trunkline_testbed::{
    AppendFsync, Console, ConsoleProgress, HaProxy, IoContext, LineSink, Redis, WorkspaceProgram, project_root,
};

use super::{BalancerChoice, ClusterArguments, instance::LaunchSettings, port};
use crate::error::{Result, XtaskError};

/// As many instances as `deploy/haproxy.cfg` is given slots for.
pub(crate) const MAX_INSTANCES: usize = 64;

/// Everything but the instances.
pub(crate) struct ClusterServers {
    /// Held as long as the cluster lives: two would share one folder.
    pub(crate) _lock: File,
    pub(crate) folder: PathBuf,
    pub(crate) redis: Redis,
    pub(crate) balancer: Option<HaProxy>,
    pub(crate) launch: LaunchSettings,
}

impl ClusterServers {
    pub(crate) fn prepare(options: &ClusterArguments, console: &Console, steps: &ConsoleProgress<'_>) -> Result<Self> {
        if !(1..=MAX_INSTANCES).contains(&options.instances) {
            return Err(XtaskError::InstanceCount { asked: options.instances, max: MAX_INSTANCES });
        }
        let folder = options.folder.clone().unwrap_or_else(|| project_root().join("target/cluster"));
        fs::create_dir_all(&folder).on_path("cannot create", &folder)?;
        let lock = lock(&folder)?;
        // Before the long work, so that one hears of it at once.
        port::must_be_free(options.port)?;
        let binary = match &options.gateway {
            Some(binary) => binary.clone(),
            None => WorkspaceProgram::GATEWAY.build(options.release, console, steps)?,
        };
        let redis = start_redis(options, &folder, steps)?;
        let balancer = match options.lb {
            BalancerChoice::None => None,
            BalancerChoice::Haproxy => {
                let log = log_file(&folder.join("haproxy.log"))?;
                let builder = HaProxy::builder().port(options.port).slots(MAX_INSTANCES).log(log);
                Some(builder.start_with(steps).map_err(|e| match e {
                    trunkline_testbed::TestbedError::PortTaken(port) => port::taken(port),
                    other => other.into(),
                })?)
            }
        };
        let launch = LaunchSettings {
            binary,
            redis: redis.url(),
            secret_file: secret(&folder)?,
            origins: ["127.0.0.1", "localhost"].map(|host| format!("http://{host}:{}", options.port)).into(),
        };
        Ok(Self { _lock: lock, folder, redis, balancer, launch })
    }
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

fn start_redis(options: &ClusterArguments, folder: &Path, steps: &ConsoleProgress<'_>) -> Result<Redis> {
    let Some(url) = &options.redis else {
        let builder = Redis::builder().append_only(AppendFsync::EverySec);
        let builder = builder.folder(folder.join("redis")).log(log_file(&folder.join("redis.log"))?);
        return Ok(builder.start_with(steps)?);
    };
    let redis = Redis::given(url)?;
    match redis.cli(&["PING"]) {
        Ok(_) => Ok(redis),
        Err(e) => Err(XtaskError::RedisUnreachable { url: url.clone(), reason: e.to_string() }),
    }
}

/// The secret that all instances sign their cookies with; it stays the same for the next cluster.
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

/// Lines of the servers, which few will want to read, into a file.
fn log_file(path: &Path) -> Result<LineSink> {
    let file = Mutex::new(File::create(path).on_path("cannot create", path)?);
    Ok(Arc::new(move |line| {
        let _ = writeln!(file.lock().unwrap_or_else(PoisonError::into_inner), "{}", line.text);
    }))
}
