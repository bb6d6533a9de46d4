//! The limit of open files: raised at the start, and never reached by sockets.

use std::{
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use trunkline_testbed::{Gateway, free_port, http_get};

use super::{
    BINARY, SECOND,
    client::{log_in, open_socket},
};

/// A script that starts the program with these limits of open files.
fn with_limits(folder: &tempfile::TempDir, soft: u32, hard: u32) -> PathBuf {
    let path = folder.path().join("trunkline");
    let script = format!("#!/bin/sh\nulimit -Sn {soft} && ulimit -Hn {hard} && exec {BINARY} \"$@\"\n");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Returns a gateway and its log lines.
fn start(binary: PathBuf) -> (Gateway, Arc<Mutex<String>>) {
    let lines = Arc::new(Mutex::new(String::new()));
    let sink = lines.clone();
    let gateway = Gateway::builder(binary).admin_listen(free_port().unwrap()).env("RUST_LOG", "info");
    let args = ["--drain-delay", "0s", "--drain-window", "0s", "--workers", "2", "--max-sockets-per-user", "0"];
    let gateway =
        gateway.args(args).log(Arc::new(move |line| sink.lock().unwrap().push_str(&format!("{}\n", line.text))));
    (gateway.start().unwrap(), lines)
}

fn assert_healthy(gateway: &Gateway) {
    let admin = gateway.admin_url().unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
    for port in [gateway.port().unwrap(), admin] {
        assert_eq!(http_get(port, "/healthz", 5 * SECOND).unwrap().status, 200);
        assert_eq!(http_get(port, "/readyz", 5 * SECOND).unwrap().status, 200);
    }
}

#[test]
fn soft_limit_is_raised_to_the_hard_limit() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, lines) = start(with_limits(&folder, 128, 4096));
    let cookie = log_in(gateway.port().unwrap(), "ann").cookie();
    let sockets: Vec<(u16, TcpStream)> = (0..200).map(|_| open_socket(gateway.port().unwrap(), &cookie)).collect();
    assert!(sockets.iter().all(|(status, _)| *status == 101));
    assert_healthy(&gateway);
    let lines = lines.lock().unwrap();
    assert!(lines.contains("raised the limit of open files before=128 limit=4096"), "{lines}");
}

#[test]
fn sockets_above_the_limit_are_refused_and_probes_still_answer() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, lines) = start(with_limits(&folder, 128, 128));
    let port = gateway.port().unwrap();
    let cookie = log_in(port, "ann").cookie();
    let mut open = Vec::new();
    let mut refused = 0;
    for _ in 0..200 {
        match open_socket(port, &cookie) {
            (101, socket) => open.push(socket),
            (status, _) => {
                assert_eq!(status, 503);
                refused += 1;
            }
        }
        if refused == 1 {
            assert_healthy(&gateway);
        }
    }
    assert!(open.len() > 20, "{} of 128 descriptors became sockets", open.len());
    assert_healthy(&gateway);
    assert_eq!(log_in(port, "bob").status(), 200, "a login still works");
    let ready = http_get(port, "/readyz", 5 * SECOND).unwrap().body;
    assert!(ready.contains("\"degraded\":[\"new sockets are refused"), "{ready}");
    let admin = gateway.admin_url().unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
    let metrics = http_get(admin, "/metrics", 5 * SECOND).unwrap().body;
    assert!(metrics.contains(&format!("trunkline_sockets_refused_total {refused}")), "{metrics}");
    let log = lines.lock().unwrap();
    assert_eq!(log.matches("no file descriptors left").count(), 1, "once per minute: {log}");
    drop(log);

    // Sockets that end make room.
    open.truncate(10);
    std::thread::sleep(SECOND);
    assert_eq!(open_socket(port, &cookie).0, 101);
}

#[test]
fn idle_connections_leave_descriptors_for_the_admin_listener() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, _) = start(with_limits(&folder, 128, 128));
    let idle: Vec<TcpStream> =
        (0..200).map(|_| TcpStream::connect(("127.0.0.1", gateway.port().unwrap())).unwrap()).collect();
    std::thread::sleep(SECOND);
    let admin = gateway.admin_url().unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(http_get(admin, path, 5 * SECOND).unwrap().status, 200, "{path}");
    }
    drop(idle);
    assert_healthy(&gateway);
}

#[test]
fn limit_without_room_for_sockets_is_an_error_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let error = Gateway::builder(with_limits(&folder, 48, 48)).start().unwrap_err().to_string();
    assert!(error.contains("may open 48 files") && error.contains("ulimit -n"), "{error}");
}
