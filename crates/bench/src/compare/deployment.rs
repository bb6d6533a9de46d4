//! The servers of one peer and their Redis, on loopback. They end on drop.

use std::{
    fmt::Write as _,
    fs,
    net::TcpStream,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use trunkline_testbed::{IoContext, Process, Redis, RedisCluster, StopSignal, free_port, http_get, http_post};

use super::{
    plan::Peer,
    programs::{PeerPrograms, PreparedPeers, peers_folder},
};
use crate::error::{BenchError, Result};

/// Maximum time for all servers to become ready.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum time for the answer to one readiness probe.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

/// The running servers of one peer.
pub(crate) struct PeerDeployment {
    // Fields drop in this order: a server that outlives its Redis logs errors.
    servers: Vec<(Process, ServerPlace)>,
    redis: DeployedRedis,
}

/// The Redis of a deployment.
enum DeployedRedis {
    None,
    Server(Redis),
    Cluster(Box<RedisCluster>),
}

impl DeployedRedis {
    fn start(peer: Peer, masters: u32) -> Result<Self> {
        Ok(match masters {
            _ if !peer.has_redis() => Self::None,
            0 => Self::Server(Redis::builder().start()?),
            _ => Self::Cluster(Box::new(RedisCluster::start(masters as usize)?)),
        })
    }

    /// Empty without Redis.
    fn url(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::Server(redis) => redis.url(),
            Self::Cluster(cluster) => cluster.url(),
        }
    }
}

/// Ports and folder of one server.
struct ServerPlace {
    /// Port for clients.
    port: u16,
    /// NATS only: port of the cluster routes.
    cluster: u16,
    /// NATS only: port of the monitoring endpoint.
    monitor: u16,
    folder: PathBuf,
}

impl PeerDeployment {
    /// Starts `instances` servers, and a cluster if there are `masters`, and returns when all servers are ready.
    pub(crate) fn start(
        peer: Peer,
        instances: u32,
        masters: u32,
        prepared: &PreparedPeers,
        stop: &StopSignal,
    ) -> Result<Self> {
        let folder = prepared.folder.join("run");
        // Files of the previous peer.
        let _ = fs::remove_dir_all(&folder);
        let places: Vec<ServerPlace> =
            (1..=instances).map(|number| ServerPlace::new(&folder, number)).collect::<Result<_>>()?;
        let redis = DeployedRedis::start(peer, masters)?;
        let url = redis.url();
        let routes = places.iter().map(|place| format!("\"nats://127.0.0.1:{}\"", place.cluster));
        let routes = routes.collect::<Vec<_>>().join(", ");
        let mut servers = Vec::with_capacity(places.len());
        let threads = threads_per_server(thread::available_parallelism().map_or(1, NonZeroUsize::get), places.len());
        for (place, number) in places.into_iter().zip(1..) {
            let command = command(peer, &prepared.programs, &place, (number, threads), &url, &routes)?;
            servers.push((Process::spawn(format!("{peer} {number}"), command, None)?, place));
        }
        let mut deployment = Self { servers, redis };
        let deadline = Instant::now() + START_TIMEOUT;
        for (process, place) in &mut deployment.servers {
            while !place.is_ready(peer, instances) {
                if stop.is_requested() {
                    return Err(BenchError::Stopped);
                }
                let ended = process.ended();
                if ended.is_some() || Instant::now() > deadline {
                    let state = ended.map_or("is not ready".to_owned(), |ended| format!("ended: {ended}"));
                    return Err(BenchError::Measurement(format!("{} {state}{}", process.name(), process.last_lines())));
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(deployment)
    }

    /// The clients' ports of all servers.
    pub(crate) fn ports(&self) -> impl Iterator<Item = u16> {
        self.servers.iter().map(|(_, place)| place.port)
    }

    /// The process ids of each server, including its worker processes.
    pub(crate) fn pids(&self) -> impl Iterator<Item = Vec<u32>> {
        self.servers.iter().map(|(process, _)| group(process.pid()))
    }

    /// The process ids of the Redis server, or of the masters that have slots.
    pub(crate) fn redis_pids(&self) -> Result<Vec<u32>> {
        Ok(match &self.redis {
            DeployedRedis::None => Vec::new(),
            DeployedRedis::Server(redis) => redis.pid().into_iter().collect(),
            DeployedRedis::Cluster(cluster) => {
                masters(cluster)?.filter_map(|index| cluster.node(index).pid()).collect()
            }
        })
    }

    /// The cluster, if the deployment has one.
    pub(crate) fn cluster(&mut self) -> Option<&mut RedisCluster> {
        match &mut self.redis {
            DeployedRedis::Cluster(cluster) => Some(cluster),
            DeployedRedis::None | DeployedRedis::Server(_) => None,
        }
    }

    /// Sends SIGKILL to one server, counted from 0.
    pub(crate) fn kill(&mut self, server: usize) -> Result<()> {
        self.servers.get_mut(server).map_or(Ok(()), |(process, _)| Ok(process.kill()?))
    }
}

impl ServerPlace {
    fn new(folder: &Path, number: u32) -> Result<Self> {
        let folder = folder.join(number.to_string());
        fs::create_dir_all(&folder).on_path("cannot create", &folder)?;
        Ok(Self { port: free_port()?, cluster: free_port()?, monitor: free_port()?, folder })
    }

    fn is_ready(&self, peer: Peer, instances: u32) -> bool {
        match peer {
            Peer::Floor | Peer::FloorBatched => TcpStream::connect(("127.0.0.1", self.port)).is_ok(),
            // Each worker is ready after it has connected to Redis. The kernel distributes the requests over the workers.
            Peer::Nchan => (0..16).all(|_| {
                http_post(self.port, "/pub/ready", "ready", PROBE_TIMEOUT).is_ok_and(|answer| answer.status < 300)
            }),
            // A server is ready when it has routes to the others.
            Peer::Nats => http_get(self.monitor, "/routez", PROBE_TIMEOUT)
                .is_ok_and(|answer| instances == 1 || !answer.body.contains("\"num_routes\": 0")),
            Peer::Sockudo | Peer::SockudoRecovery => {
                http_get(self.port, "/ready", PROBE_TIMEOUT).is_ok_and(|answer| answer.status == 200)
            }
            _ => http_get(self.port, "/readyz", PROBE_TIMEOUT).is_ok_and(|answer| answer.status == 200),
        }
    }

    /// Writes a peer's configuration with all placeholders replaced, and returns its path.
    fn configuration(&self, template: &str, placeholders: &[(&str, &str)]) -> Result<PathBuf> {
        let path = peers_folder().join(template);
        let text = fs::read_to_string(&path).on_path("cannot read", &path)?;
        let text = placeholders.iter().fold(text, |text, (name, value)| text.replace(&format!("@{name}@"), value));
        let path = self.folder.join(path.file_name().unwrap_or_default());
        fs::write(&path, text).on_path("cannot write", &path)?;
        Ok(path)
    }
}

/// Threads, or worker processes, that each of `servers` servers may use: its share of the cores, as where each has a machine
/// or a container of its own. With all cores for each, they would run more threads than the machine has cores.
fn threads_per_server(cores: usize, servers: usize) -> usize {
    (cores / servers.max(1)).max(1)
}

/// The command that starts server `number` with so many threads.
fn command(
    peer: Peer,
    programs: &PeerPrograms,
    place: &ServerPlace,
    (number, threads): (u32, usize),
    redis: &str,
    routes: &str,
) -> Result<Command> {
    let unavailable = || BenchError::Measurement(format!("{peer} is not available"));
    let (port, threads) = (place.port.to_string(), threads.to_string());
    let mut command = match peer {
        Peer::Floor | Peer::FloorBatched => {
            let mut command = Command::new(&programs.bench);
            command.args(["floor", "--listen", &format!("127.0.0.1:{port}")]);
            if peer == Peer::FloorBatched {
                command.arg("--batched");
            }
            command
        }
        Peer::SocketioRedis | Peer::SocketioStreams => {
            let mut command = Command::new("node");
            command.arg("server.js").current_dir(programs.socketio.as_ref().ok_or_else(unavailable)?);
            command.env("ADAPTER", if peer == Peer::SocketioStreams { "streams" } else { "redis" });
            command.env("NODE_ENV", "production");
            command
        }
        Peer::TrunklineMounted => Command::new(&programs.mounted),
        Peer::Socketioxide => Command::new(programs.socketioxide.as_ref().ok_or_else(unavailable)?),
        Peer::Nchan => {
            let (nginx, module) = programs.nchan.as_ref().ok_or_else(unavailable)?;
            let module = module.display().to_string();
            let placeholders =
                [("MODULE", module.as_str()), ("REDIS_URL", redis), ("PORT", &port), ("WORKERS", &threads)];
            let configuration = place.configuration("nchan/nginx.conf", &placeholders)?;
            let mut command = nginx.command();
            // nginx requires a prefix that ends with a slash.
            command.arg("-p").arg(place.folder.join("")).arg("-c").arg(configuration);
            command
        }
        Peer::Nats => {
            let (nats, monitor) = (free_port()?.to_string(), place.monitor.to_string());
            let cluster = place.cluster.to_string();
            let placeholders = [
                ("PORT", &*port),
                ("NATS_PORT", &nats),
                ("MONITOR_PORT", &monitor),
                ("CLUSTER_PORT", &cluster),
                ("ROUTES", routes),
            ];
            let configuration = place.configuration("nats/nats.conf", &placeholders)?;
            let mut command = Command::new(programs.nats.as_ref().ok_or_else(unavailable)?);
            command.arg("-c").arg(configuration);
            command
        }
        Peer::Sockudo | Peer::SockudoRecovery => {
            let recovery = (peer == Peer::SockudoRecovery).to_string();
            let placeholders = [("PORT", &*port), ("RECOVERY", &recovery)];
            let configuration = place.configuration("sockudo/config.toml", &placeholders)?;
            let mut command = Command::new(programs.sockudo.as_ref().ok_or_else(unavailable)?);
            // It would read a configuration from the working directory, too.
            command.arg("--config").arg(configuration).current_dir(&place.folder).env("RUST_LOG", "warn");
            command
        }
        Peer::Trunkline => {
            // All instances sign cookies with the same secret. It is used for one measurement on loopback only.
            let mut secret = String::new();
            _ = (0..64).try_for_each(|digit| write!(secret, "{digit:02x}"));
            let path = place.folder.join("secret");
            fs::write(&path, secret).on_path("cannot write", &path)?;
            let mut command = Command::new(&programs.gateway);
            command.args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--redis", redis]);
            command.args(["--instance", &format!("gw-{number}"), "--workers", &threads]).arg("--secret-file").arg(path);
            // The whole load comes from one address and from few users.
            for limit in ["--login-rate", "--send-rate", "--join-rate", "--max-sockets-per-user"] {
                command.args([limit, "0"]);
            }
            command
        }
    };
    command.env("PORT", &port).env("REDIS_URL", redis);
    // Servers in Rust on tokio's default runtime, and nats-server. Node has one thread for JavaScript.
    command.env("TOKIO_WORKER_THREADS", &threads).env("GOMAXPROCS", &threads);
    Ok(command)
}

/// The nodes of a cluster that have slots.
pub(crate) fn masters(cluster: &RedisCluster) -> Result<impl Iterator<Item = usize> + use<>> {
    Ok(cluster.view()?.into_iter().filter(|(_, node)| node.slot_count() > 0).map(|(index, _)| index))
}

/// The running processes of a process group, from `/proc`.
fn group(leader: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        group_of(&stat) == Some(leader)
    })
    .collect()
}

/// The process group in a line of `/proc/PID/stat`: the third field after the name. The name may contain spaces and
/// parentheses.
fn group_of(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_share_the_cores() {
        assert_eq!([1, 2, 3, 5].map(|servers| threads_per_server(4, servers)), [4, 2, 1, 1]);
    }

    #[test]
    fn process_group_is_read_after_a_name_with_parentheses() {
        assert_eq!(group_of("12 (nginx: (1) 7) S 10 11 11 0 -1"), Some(11));
        assert_eq!(group_of("nonsense"), None);
    }
}
