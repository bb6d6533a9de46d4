//! Redis servers with copies of the files in `deploy/redis`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;
use trunkline_testbed::{NoProgress, Process, ProcessEnd, Tool, Toolbox, free_port};

use crate::site::{deploy_file, replaced, wait_for};

/// The password of all users.
pub(crate) const PASSWORD: &str = "of-no-worth";

/// A folder with the files as an operator would install them: `/etc/redis` is this folder.
pub(crate) struct Installed(TempDir);

impl Installed {
    pub(crate) fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for name in ["redis.conf", "cluster.conf", "tls.conf", "sentinel.conf"] {
            let text = deploy_file(&format!("redis/{name}"));
            fs::write(folder.path(name), text.replace("/etc/redis", &folder.0.path().display().to_string())).unwrap();
        }
        for name in ["users.acl", "sentinel.acl"] {
            let mut text = deploy_file(&format!("redis/{name}"));
            for user in ["TRUNKLINE", "REPLICA", "SENTINEL", "OPERATOR", "PEER"] {
                text = text.replace(&format!("@{user}_PASSWORD@"), PASSWORD);
            }
            assert!(!text.contains("_PASSWORD@"), "a placeholder is left in {name}");
            fs::write(folder.path(name), text).unwrap();
        }
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Changes a file. `from` must be there.
    pub(crate) fn edit(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        fs::write(self.path(name), replaced(&text, from, to)).unwrap();
    }

    /// Starts `redis-server` with one of the files, its own data folder, and more arguments. Returns when it has started.
    pub(crate) fn start(&self, file: &str, port: u16, more: &[&str]) -> Process {
        let data = self.path(&port.to_string());
        fs::create_dir_all(&data).unwrap();
        let mut command = Toolbox::project().get(Tool::Redis, &NoProgress).unwrap().command();
        command.current_dir(&data).arg(self.path(file)).args(["--bind", "127.0.0.1", "--dir"]).arg(&data).args(more);
        let mut process = Process::spawn(format!("Redis on port {port}"), command, None).unwrap();
        wait_for("Redis listens", || {
            assert!(process.ended().is_none(), "{}", process.last_lines());
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        process
    }
}

/// `redis-cli` of the same installation.
pub(crate) fn redis_cli() -> PathBuf {
    let server = Toolbox::project().get(Tool::Redis, &NoProgress).unwrap();
    server.path().with_file_name("redis-cli")
}

/// The output of one command of `redis-cli`, as this user.
pub(crate) fn ask(port: u16, user: &str, command: &[&str]) -> String {
    let port = port.to_string();
    text(Command::new(redis_cli()).env("REDISCLI_AUTH", PASSWORD).args(["-p", &port, "--user", user]).args(command))
}

/// Standard output and standard error of a program.
pub(crate) fn text(command: &mut Command) -> String {
    let Output { stdout, stderr, .. } = command.output().unwrap();
    String::from_utf8_lossy(&[stdout, stderr].concat()).trim_end().replace('\r', "")
}

/// Runs a script of `deploy/redis` to its end.
pub(crate) fn run_script(script: &Path, args: &[String]) {
    let mut command = Command::new(script);
    command
        .args(args)
        .env("REDISCLI_AUTH", PASSWORD)
        .env("REDIS_CLI", format!("{} --user operator", redis_cli().display()));
    let mut process = Process::spawn("the script", command, None).unwrap();
    let ended = process.wait(std::time::Duration::from_secs(60));
    process.finish_reading();
    assert_eq!(ended, Some(ProcessEnd::Code(0)), "{}", process.last_lines());
}

/// Two free ports of a cluster node: for clients and for the bus.
pub(crate) fn node_ports() -> (u16, u16) {
    (free_port().unwrap(), free_port().unwrap())
}
