//! Servers of one peer, on loopback, with a Redis of their own; gone on drop.

use std::{
    fmt::Write as _,
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use trunkline_testbed::{Process, Redis, free_port, http_get, http_post};

use super::{
    plan::Peer,
    stock::{Programs, Stock, peers_folder},
};
use crate::{
    error::{Error, OnFile, Result},
    stop::Stop,
};

/// How long servers may take to start.
const START: Duration = Duration::from_secs(30);
const PROBE: Duration = Duration::from_millis(500);

/// Servers that run.
pub(crate) struct Deployment {
    // Dropped in this order: servers without their Redis would only complain.
    servers: Vec<(Process, Place)>,
    redis: Option<Redis>,
}

/// Where one instance lives.
struct Place {
    /// Where clients connect.
    port: u16,
    /// Where instances of NATS meet, and where it is asked how it is.
    cluster: u16,
    monitor: u16,
    folder: PathBuf,
}

impl Deployment {
    /// Starts `instances` servers and returns when all of them take connections.
    pub(crate) fn start(peer: Peer, instances: u32, stock: &Stock, stop: &Stop) -> Result<Self> {
        let folder = stock.folder.join("run");
        // Left by the peer before: what it needs is made anew.
        let _ = fs::remove_dir_all(&folder);
        let places: Vec<Place> = (1..=instances).map(|number| Place::new(&folder, number)).collect::<Result<_>>()?;
        let redis = if peer.has_redis() { Some(Redis::builder().start()?) } else { None };
        let url = redis.as_ref().map(Redis::url).unwrap_or_default();
        let routes = places.iter().map(|place| format!("\"nats://127.0.0.1:{}\"", place.cluster));
        let routes = routes.collect::<Vec<_>>().join(", ");
        let mut servers = Vec::with_capacity(places.len());
        for (place, number) in places.into_iter().zip(1..) {
            let command = command(peer, &stock.programs, &place, number, &url, &routes)?;
            servers.push((Process::spawn(format!("{peer} {number}"), command, None)?, place));
        }
        let mut deployment = Self { servers, redis };
        let deadline = Instant::now() + START;
        for (process, place) in &mut deployment.servers {
            while !place.is_ready(peer, instances) {
                if stop.is_asked() {
                    return Err(Error::Stopped);
                }
                let ended = process.ended();
                if ended.is_some() || Instant::now() > deadline {
                    let state = ended.map_or("is not ready".to_owned(), |ended| format!("ended: {ended}"));
                    return Err(Error::Row(format!("{} {state}{}", process.name(), process.last_lines())));
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(deployment)
    }

    /// Where clients connect.
    pub(crate) fn ports(&self) -> impl Iterator<Item = u16> {
        self.servers.iter().map(|(_, place)| place.port)
    }

    /// The processes of each server, its workers with it.
    pub(crate) fn pids(&self) -> impl Iterator<Item = Vec<u32>> {
        self.servers.iter().map(|(process, _)| group(process.pid()))
    }

    pub(crate) fn redis_pid(&self) -> Option<u32> {
        self.redis.as_ref().and_then(Redis::pid)
    }

    /// SIGKILL to one server, counted from 0.
    pub(crate) fn kill(&mut self, server: usize) -> Result<()> {
        self.servers.get_mut(server).map_or(Ok(()), |(process, _)| Ok(process.kill()?))
    }
}

impl Place {
    fn new(folder: &Path, number: u32) -> Result<Self> {
        let folder = folder.join(number.to_string());
        fs::create_dir_all(&folder).on("cannot create", &folder)?;
        Ok(Self { port: free_port()?, cluster: free_port()?, monitor: free_port()?, folder })
    }

    fn is_ready(&self, peer: Peer, instances: u32) -> bool {
        match peer {
            Peer::Floor | Peer::FloorBatched => TcpStream::connect(("127.0.0.1", self.port)).is_ok(),
            // Each worker is ready once it has reached Redis; the kernel spreads the questions over them.
            Peer::Nchan => (0..16)
                .all(|_| http_post(self.port, "/pub/ready", "ready", PROBE).is_ok_and(|answer| answer.status < 300)),
            // Ready is who has met the others.
            Peer::Nats => http_get(self.monitor, "/routez", PROBE)
                .is_ok_and(|answer| instances == 1 || !answer.body.contains("\"num_routes\": 0")),
            _ => http_get(self.port, "/readyz", PROBE).is_ok_and(|answer| answer.status == 200),
        }
    }

    /// Writes a peer's configuration with its blanks filled, and gives its path.
    fn configuration(&self, template: &str, blanks: &[(&str, &str)]) -> Result<PathBuf> {
        let path = peers_folder().join(template);
        let text = fs::read_to_string(&path).on("cannot read", &path)?;
        let text = blanks.iter().fold(text, |text, (name, value)| text.replace(&format!("@{name}@"), value));
        let path = self.folder.join(path.file_name().unwrap_or_default());
        fs::write(&path, text).on("cannot write", &path)?;
        Ok(path)
    }
}

/// What starts instance `number`.
fn command(peer: Peer, programs: &Programs, place: &Place, number: u32, redis: &str, routes: &str) -> Result<Command> {
    let absent = || Error::Row(format!("{peer} could not be had"));
    let port = place.port.to_string();
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
            command.arg("server.js").current_dir(programs.socketio.as_ref().ok_or_else(absent)?);
            command.env("ADAPTER", if peer == Peer::SocketioStreams { "streams" } else { "redis" });
            command.env("NODE_ENV", "production");
            command
        }
        Peer::TrunklineMounted => Command::new(&programs.mounted),
        Peer::Socketioxide => Command::new(programs.socketioxide.as_ref().ok_or_else(absent)?),
        Peer::Nchan => {
            let (nginx, module) = programs.nchan.as_ref().ok_or_else(absent)?;
            let module = module.display().to_string();
            let blanks = [("MODULE", module.as_str()), ("REDIS_URL", redis), ("PORT", &port)];
            let configuration = place.configuration("nchan/nginx.conf", &blanks)?;
            let mut command = nginx.command();
            // The prefix must end with a slash.
            command.arg("-p").arg(place.folder.join("")).arg("-c").arg(configuration);
            command
        }
        Peer::Nats => {
            let (nats, monitor) = (free_port()?.to_string(), place.monitor.to_string());
            let cluster = place.cluster.to_string();
            let blanks = [
                ("PORT", &*port),
                ("NATS_PORT", &nats),
                ("MONITOR_PORT", &monitor),
                ("CLUSTER_PORT", &cluster),
                ("ROUTES", routes),
            ];
            let configuration = place.configuration("nats/nats.conf", &blanks)?;
            let mut command = Command::new(programs.nats.as_ref().ok_or_else(absent)?);
            command.arg("-c").arg(configuration);
            command
        }
        Peer::Trunkline => {
            // All instances sign cookies with one secret. Of no worth: it lives for one measurement, on loopback.
            let mut secret = String::new();
            _ = (0..64).try_for_each(|digit| write!(secret, "{digit:02x}"));
            let path = place.folder.join("secret");
            fs::write(&path, secret).on("cannot write", &path)?;
            let mut command = Command::new(&programs.gateway);
            command.args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--redis", redis]);
            command.args(["--instance", &format!("gw-{number}")]).arg("--secret-file").arg(path);
            // All load comes from one address and few users.
            for limit in ["--login-rate", "--send-rate", "--join-rate", "--max-sockets-per-user"] {
                command.args([limit, "0"]);
            }
            command
        }
    };
    command.env("PORT", &port).env("REDIS_URL", redis);
    Ok(command)
}

/// The living processes of a group, as `/proc` tells.
fn group(leader: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        group_of(&stat) == Some(leader)
    })
    .collect()
}

/// The process group in a line of `/proc/PID/stat`: the third field after the name, which may hold anything.
fn group_of(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_stands_behind_the_name() {
        assert_eq!(group_of("12 (nginx: (1) 7) S 10 11 11 0 -1"), Some(11));
        assert_eq!(group_of("nonsense"), None);
    }
}
