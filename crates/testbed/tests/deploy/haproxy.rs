//! `deploy/haproxy.cfg`.

use std::{fs, thread, time::Duration};

use rustix::process::Signal;
use trunkline_testbed::{HaProxy, NoProgress, Process, SlotState, Tool, Toolbox, free_port};

use crate::{
    http::{Socket, get, login},
    site::{Site, children, deploy_file, replaced, signal, status, wait_for},
};

/// HAProxy with a master process, as services run it, in front of one gateway.
fn with_master_process(config: &str, folder: &tempfile::TempDir, gateway: u16) -> (Process, u16) {
    let (file, port) = (folder.path().join("haproxy.cfg"), free_port().unwrap());
    fs::write(&file, config).unwrap();
    let mut command = Toolbox::project().get(Tool::HaProxy, &NoProgress).unwrap().command();
    command.arg("-W").arg("-f").arg(file);
    command.env("TRUNKLINE_LB_BIND", format!("127.0.0.1:{port}"));
    command.env("TRUNKLINE_LB_GATEWAYS", format!("127.0.0.1:{gateway}")).env("TRUNKLINE_LB_SLOTS", "1");
    command.env("TRUNKLINE_LB_SOCKET", folder.path().join("admin.sock"));
    let process = Process::spawn("HAProxy", command, None).unwrap();
    wait_for("HAProxy serves", || status(port, "/healthz") == Some(200));
    (process, port)
}

/// Reloads ten times, each time with one more open socket.
fn reload_ten_times(process: &Process, port: u16, signal_number: Signal) -> Vec<Socket> {
    let cookie = login(port, "ann");
    let open = |_| {
        let socket = Socket::open(port, &cookie);
        signal(process.pid(), signal_number);
        thread::sleep(Duration::from_millis(700));
        wait_for("the balancer serves after a reload", || status(port, "/healthz") == Some(200));
        socket
    };
    (0..10).map(open).collect()
}

#[test]
fn every_page_load_gets_the_gateways_503_while_redis_is_stopped() {
    let (mut site, balancer) = (Site::start(3), HaProxy::start().unwrap());
    for (slot, port) in (1..).zip(site.ports()) {
        balancer.fill_slot(slot, port).unwrap();
        wait_for("the slot is up", || balancer.slot_is_up(slot).unwrap());
    }
    let cookie = login(balancer.port(), "ann");
    site.redis.kill().unwrap();
    wait_for("no instance is ready", || (1..=3).all(|slot| balancer.slot(slot).unwrap() == SlotState::OutOfService));
    for _ in 0..9 {
        let (status, answer) = get(balancer.port(), "/", &cookie).unwrap();
        assert!(status == 503 && answer.contains("Trunkline"), "{answer}");
    }
}

#[test]
fn ten_reloads_leave_at_most_three_old_workers() {
    let (site, folder) = (Site::start(1), tempfile::tempdir().unwrap());
    let (process, port) = with_master_process(&deploy_file("haproxy.cfg"), &folder, site.ports()[0]);
    let _sockets = reload_ten_times(&process, port, Signal::USR2);
    wait_for("at most three old workers", || children(process.pid()) <= 4);
}

#[test]
fn an_old_worker_ends_although_its_sockets_stay_open() {
    let (site, folder) = (Site::start(1), tempfile::tempdir().unwrap());
    let config = replaced(&deploy_file("haproxy.cfg"), "hard-stop-after 4m", "hard-stop-after 2s");
    let (process, port) = with_master_process(&config, &folder, site.ports()[0]);
    let _sockets = reload_ten_times(&process, port, Signal::USR2);
    wait_for("no old worker", || children(process.pid()) == 1);
}
