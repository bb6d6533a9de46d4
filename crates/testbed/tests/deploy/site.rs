//! Gateways over one Redis, and programs that run copies of deploy files.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use trunkline_testbed::{Gateway, GatewayCommand, Redis, project_root};

/// The path of the gateway program, built with the profile of the tests.
pub(crate) fn gateway_program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--package", "trunkline-gateway", "--bin", "trunkline", "--message-format=json"]);
        let output = cargo.current_dir(project_root()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let messages = String::from_utf8(output.stdout).unwrap();
        let path = messages.split("\"executable\":\"").skip(1).last().and_then(|rest| rest.split('"').next());
        PathBuf::from(path.unwrap())
    })
}

/// A gateway that trusts a balancer on loopback and has no login limit.
pub(crate) fn gateway(name: &str, redis: &str) -> GatewayCommand {
    let secret = "of-no-worth-".repeat(8);
    let builder = Gateway::builder(gateway_program()).instance(name).redis(redis).env("TRUNKLINE_SECRET", secret);
    builder.args(["--trust-proxy", "127.0.0.1/32", "--login-rate", "0"])
}

/// Gateways over one Redis, all ready.
pub(crate) struct Site {
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) redis: Redis,
}

impl Site {
    pub(crate) fn start(count: usize) -> Self {
        let redis = Redis::builder().start().unwrap();
        let start = |number: usize| gateway(&format!("gw-{number}"), &redis.url()).start().unwrap();
        let site = Self { gateways: (1..=count).map(start).collect(), redis };
        for port in site.ports() {
            wait_for("a gateway is ready", || status(port, "/readyz") == Some(200));
        }
        site
    }

    pub(crate) fn ports(&self) -> Vec<u16> {
        self.gateways.iter().map(|gateway| gateway.port().unwrap()).collect()
    }
}

/// The status code of a request without a cookie.
pub(crate) fn status(port: u16, path: &str) -> Option<u16> {
    trunkline_testbed::http_get(port, path, Duration::from_secs(5)).ok().map(|answer| answer.status)
}

pub(crate) fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// The text of a file in `deploy/`.
pub(crate) fn deploy_file(name: &str) -> String {
    fs::read_to_string(project_root().join("deploy").join(name)).unwrap()
}

/// Replaces a text that must be there.
pub(crate) fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "the file has no `{from}`");
    text.replace(from, to)
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

/// The number of child processes.
pub(crate) fn children(pid: u32) -> usize {
    let output = Command::new("pgrep").args(["-P", &pid.to_string()]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().count()
}
