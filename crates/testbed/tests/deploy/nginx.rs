//! `deploy/nginx.conf`.

use std::{fs, thread, time::Duration};

use rustix::process::Signal;
use tempfile::TempDir;
use trunkline_testbed::{NoProgress, Process, Tool, Toolbox, free_port};

use crate::{
    http::{Socket, get, login},
    site::{Site, children, deploy_file, replaced, signal, status, wait_for},
};

pub(crate) struct Nginx {
    process: Process,
    pub(crate) port: u16,
    _folder: TempDir,
}

impl Nginx {
    /// `deploy/nginx.conf` with these instances in place of its three.
    pub(crate) fn start(instances: [u16; 3]) -> Self {
        Self::with(&deploy_file("nginx.conf"), instances)
    }

    fn with(config: &str, instances: [u16; 3]) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port().unwrap());
        let path = folder.path().display();
        // Folders that only root can create otherwise.
        let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let paths: String = kinds.iter().map(|kind| format!("{kind}_temp_path {path}/{kind};\n")).collect();
        let mut config = replaced(config, "http {", &format!("http {{ access_log off;\n{paths}"));
        config = replaced(&config, "listen 8080;", &format!("listen 127.0.0.1:{port};"));
        config = replaced(&config, "worker_processes auto;", "worker_processes 2;");
        for (example, instance) in (8081..).zip(instances) {
            config = replaced(&config, &format!("127.0.0.1:{example}"), &format!("127.0.0.1:{instance}"));
        }
        let file = folder.path().join("nginx.conf");
        fs::write(&file, config).unwrap();
        let mut command = Toolbox::project().get(Tool::Nginx, &NoProgress).unwrap().command();
        command.arg("-e").arg("stderr").arg("-p").arg(folder.path()).arg("-c").arg(file);
        command.arg("-g").arg(format!("daemon off; error_log stderr; pid {path}/pid;"));
        let mut process = Process::spawn("nginx", command, None).unwrap();
        wait_for("nginx serves", || {
            assert!(process.ended().is_none(), "{}", process.last_lines());
            status(port, "/healthz").is_some()
        });
        Self { process, port, _folder: folder }
    }
}

fn with_three() -> (Site, Nginx, String) {
    let site = Site::start(3);
    let nginx = Nginx::start(site.ports().try_into().unwrap());
    let cookie = login(nginx.port, "ann");
    (site, nginx, cookie)
}

fn assert_gateways_503(nginx: &Nginx, cookie: &str) {
    let (status, answer) = get(nginx.port, "/", cookie).unwrap();
    assert!(status == 503 && answer.contains("Trunkline"), "{answer}");
}

#[test]
fn every_page_load_gets_the_gateways_503_while_redis_is_stopped() {
    let (mut site, nginx, cookie) = with_three();
    assert_eq!(get(nginx.port, "/", &cookie).unwrap().0, 200);
    site.redis.kill().unwrap();
    wait_for("the gateways lost Redis", || site.ports().iter().all(|&port| status(port, "/readyz") == Some(503)));
    for _ in 0..12 {
        assert_gateways_503(&nginx, &cookie);
    }
    site.redis.restart_empty().unwrap();
    wait_for("pages are served again", || get(nginx.port, "/", "").unwrap().0 == 200);
}

#[test]
fn page_loads_during_a_pause_of_redis_get_the_gateways_503_and_then_the_page() {
    let (mut site, nginx, cookie) = with_three();
    site.redis.pause().unwrap();
    for _ in 0..2 {
        assert_gateways_503(&nginx, &cookie);
    }
    site.redis.resume().unwrap();
    wait_for("the page is served again", || get(nginx.port, "/", &cookie).unwrap().0 == 200);
}

#[test]
fn other_instances_answer_while_one_is_killed_or_hangs() {
    let (mut site, nginx, cookie) = with_three();
    site.gateways[0].kill().unwrap();
    for _ in 0..12 {
        assert_eq!(get(nginx.port, "/", &cookie).unwrap().0, 200);
    }
    // A POST that could not be sent goes to another instance, too.
    for name in ["bob", "cai", "dan"] {
        login(nginx.port, name);
    }
    site.gateways[1].pause().unwrap();
    // An attempt at the hanging instance takes 10 s; then nginx tries the next one.
    for _ in 0..4 {
        assert_eq!(get(nginx.port, "/", &cookie).unwrap().0, 200);
    }
    site.gateways[1].resume().unwrap();
}

#[test]
fn old_workers_end_although_their_sockets_stay_open() {
    let site = Site::start(1);
    let config = replaced(&deploy_file("nginx.conf"), "worker_shutdown_timeout 4m;", "worker_shutdown_timeout 2s;");
    let nginx = Nginx::with(&config, [site.ports()[0]; 3]);
    let cookie = login(nginx.port, "ann");
    let before = children(nginx.process.pid());
    let mut sockets = Vec::new();
    for _ in 0..10 {
        sockets.push(Socket::open(nginx.port, &cookie));
        signal(nginx.process.pid(), Signal::HUP);
        thread::sleep(Duration::from_millis(200));
    }
    assert!(children(nginx.process.pid()) > before, "old workers serve their sockets for a while");
    wait_for("no old worker", || children(nginx.process.pid()) == before);
}
