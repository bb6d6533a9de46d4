//! The program `trunkline`: settings, environment, address line, drain and exit codes.

mod client;
mod cookies;
mod descriptors;
mod log;
mod oidc;
mod redis;
mod tokens;

use std::{
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use trunkline_testbed::{Gateway, GatewayCommand, ProcessEnd, Redis, free_port, http_get};

const SECOND: Duration = Duration::from_secs(1);
const BINARY: &str = env!("CARGO_BIN_EXE_trunkline");
const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn gateway() -> GatewayCommand {
    Gateway::builder(BINARY).env("RUST_LOG", "info").arg("--drain-delay").arg("0s")
}

/// Runs the program until it exits, for at most 20 s. Returns the exit code and the output.
fn run(args: &[&str], env: &[(&str, &str)]) -> (Option<i32>, String) {
    let command = |timeout: Duration| -> Output {
        let mut command = Command::new(BINARY);
        command.args(args).env_clear().envs(env.iter().copied()).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let deadline = Instant::now() + timeout;
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                child.kill().unwrap();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        child.wait_with_output().unwrap()
    };
    let output = command(20 * SECOND);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text)
}

#[test]
fn prints_its_address_serves_and_drains_on_sigterm() {
    let admin = free_port().unwrap();
    let mut gateway = gateway().admin_listen(admin).spawn().unwrap();
    let url = gateway.wait_listening().unwrap().to_owned();
    let port = gateway.port().unwrap();
    assert_eq!(url, format!("http://127.0.0.1:{port}"));
    for port in [port, admin] {
        assert_eq!(http_get(port, "/healthz", 5 * SECOND).unwrap().status, 200);
        assert_eq!(http_get(port, "/readyz", 5 * SECOND).unwrap().status, 200);
    }
    assert_eq!(http_get(admin, "/metrics", 5 * SECOND).unwrap().status, 200);
    assert_eq!(http_get(port, "/metrics", 5 * SECOND).unwrap().status, 404, "for operators only");
    assert_eq!(http_get(admin, "/", 5 * SECOND).unwrap().status, 200, "the status page");
    let ready = http_get(port, "/readyz", 5 * SECOND).unwrap().body;
    assert!(ready.contains(&format!(":{port}\"")), "named by host and port: {ready}");

    gateway.terminate().unwrap();
    assert_eq!(gateway.wait(10 * SECOND), Some(ProcessEnd::Code(0)));
    let lines = gateway.last_lines();
    assert!(lines.contains("random key") && lines.contains("drained"), "{lines}");
}

#[test]
fn address_in_use_exits_with_one_and_names_the_address() {
    let mut first = gateway().spawn().unwrap();
    first.wait_listening().unwrap();
    let address = format!("127.0.0.1:{}", first.port().unwrap());
    let (code, text) = run(&["--listen", &address], &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&address) && text.contains("in use"), "{text}");
}

#[test]
fn invalid_settings_exit_with_two() {
    for (args, env, says) in [
        (&["--nonsense"][..], &[][..], "--nonsense"),
        (&["serve", "--session-idle", "soon"], &[], "a duration such as"),
        (&[], &[("TRUNKLINE_LISTEN", "nowhere")], "an address and a port"),
        (&["--redis", "redis://127.0.0.1:1"], &[], "openssl rand -hex 64"),
        (&["--redis", "redis://127.0.0.1:1"], &[("TRUNKLINE_SECRET", "hunter2")], "64 bytes"),
        (&["--redis", "redis://u:hunter2@ /"], &[("TRUNKLINE_SECRET", SECRET)], "--redis: a host is missing"),
        (
            &["--listen", "127.0.0.1:0", "--redis", "rediss://u:hunter2@h", "--redis-ca", "/nowhere/ca.pem"],
            &[("TRUNKLINE_SECRET", SECRET)],
            "--redis-ca /nowhere/ca.pem: No such file",
        ),
        (
            &["--listen", "127.0.0.1:0", "--redis", "redis://h", "--redis-ca", "ca.pem"],
            &[("TRUNKLINE_SECRET", SECRET)],
            "--redis-ca: the CA file is for TLS",
        ),
        (
            &["--listen", "127.0.0.1:0", "--redis", "rediss://h", "--redis-cert", "cert.pem"],
            &[("TRUNKLINE_SECRET", SECRET)],
            "--redis-cert, --redis-key: ",
        ),
        (&[], &[("TRUNKLINE_REDIS", "hunter2")], "redis://"),
    ] {
        let (code, text) = run(args, env);
        assert_eq!(code, Some(2), "{args:?}: {text}");
        assert!(text.contains(says) && !text.contains("hunter2"), "{args:?}: {text}");
    }
}

#[test]
fn help_shows_variables_but_no_secrets() {
    let (code, text) = run(&["--help"], &[("TRUNKLINE_REDIS", "redis://u:hunter2@h"), ("TRUNKLINE_SECRET", SECRET)]);
    assert_eq!(code, Some(0));
    assert!(text.contains("TRUNKLINE_PUBLIC_ORIGIN") && text.contains("[default: 127.0.0.1:8080]"), "{text}");
    assert!(!text.contains("hunter2") && !text.contains(SECRET));
}

#[test]
fn environment_is_read_and_log_lines_have_the_instance_name() {
    let mut gateway = Gateway::builder(BINARY)
        .env("TRUNKLINE_INSTANCE", "gw-\"7\"")
        .env("TRUNKLINE_LOG", "json")
        .env("TRUNKLINE_DRAIN_DELAY", "10ms")
        .env("TRUNKLINE_TRUST_PROXY", "10.0.0.0/8,127.0.0.1")
        .spawn()
        .unwrap();
    gateway.wait_listening().unwrap();
    let ready = http_get(gateway.port().unwrap(), "/readyz", 5 * SECOND).unwrap().body;
    let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
    assert_eq!(ready["instance"], "gw-\"7\"");
    gateway.terminate().unwrap();
    assert_eq!(gateway.wait(10 * SECOND), Some(ProcessEnd::Code(0)));
    let lines = gateway.last_lines();
    let log: Vec<serde_json::Value> = lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(log.len() >= 2, "{lines}");
    assert!(log.iter().all(|line| line["instance"] == "gw-\"7\"" && line["level"].is_string()), "{lines}");
}

#[test]
fn starts_without_redis_alive_but_not_ready() {
    let port = free_port().unwrap();
    let mut gateway =
        gateway().redis(format!("redis://:hunter2@127.0.0.1:{port}")).env("TRUNKLINE_SECRET", SECRET).spawn().unwrap();
    gateway.wait_listening().unwrap();
    let at = gateway.port().unwrap();
    assert_eq!(http_get(at, "/healthz", 5 * SECOND).unwrap().status, 200);
    let ready = http_get(at, "/readyz", 10 * SECOND).unwrap();
    assert_eq!(ready.status, 503, "{ready:?}");
    gateway.terminate().unwrap();
    assert_eq!(gateway.wait(10 * SECOND), Some(ProcessEnd::Code(0)));
    assert!(!gateway.last_lines().contains("hunter2"), "{}", gateway.last_lines());
}

/// Waits until `/readyz` answers 200, for at most 10 s.
fn wait_ready(gateway: &mut Gateway) {
    let deadline = Instant::now() + 10 * SECOND;
    loop {
        let ready = http_get(gateway.port().unwrap(), "/readyz", 5 * SECOND).unwrap();
        if ready.status == 200 {
            break;
        }
        assert!(Instant::now() < deadline, "{ready:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn becomes_ready_with_redis() {
    let redis = Redis::start().unwrap();
    let mut gateway = gateway().redis(redis.url()).env("TRUNKLINE_SECRET", SECRET).spawn().unwrap();
    gateway.wait_listening().unwrap();
    wait_ready(&mut gateway);
}
