//! `deploy/redis/cluster.conf`, `create-cluster.sh` and `tls.conf`: six nodes with the shipped files and users.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use trunkline_testbed::{Process, TlsFiles, free_port, key_slot, project_root};

use crate::{
    redis::{Installed, PASSWORD, ask, node_ports, redis_cli, run_script, text},
    site::wait_for,
};

struct Nodes {
    processes: Vec<Process>,
    ports: Vec<(u16, u16)>,
    _installed: Installed,
}

impl Nodes {
    fn start() -> Self {
        let installed = Installed::new();
        let acl = installed.path("users.acl").display().to_string();
        let ports: Vec<_> = (0..6).map(|_| node_ports()).collect();
        let start = |(port, bus): &(u16, u16)| {
            let (port_text, bus) = (port.to_string(), bus.to_string());
            let login = ["--masteruser", "replica", "--masterauth", PASSWORD];
            let own = ["--port", &port_text, "--cluster-port", &bus, "--aclfile", &acl];
            installed.start("cluster.conf", *port, &[&own[..], &login].concat())
        };
        let processes = ports.iter().map(start).collect();
        Self { processes, ports, _installed: installed }
    }

    fn create(&self) {
        let places: Vec<_> = self.ports.iter().map(|(port, bus)| format!("127.0.0.1:{port}@{bus}")).collect();
        run_script(&project_root().join("deploy/redis/create-cluster.sh"), &places);
        wait_for("all replicas follow their masters", || {
            let up = |port: u16| {
                let role = ask(port, "operator", &["INFO", "replication"]);
                role.contains("role:master") || role.contains("master_link_status:up")
            };
            self.ports
                .iter()
                .all(|(port, _)| up(*port) && ask(*port, "operator", &["CLUSTER", "INFO"]).contains("cluster_state:ok"))
        });
    }

    /// Index of the master of a slot, by the nodes that run.
    fn master_of(&self, slot: u16, at: u16) -> Option<usize> {
        let nodes = ask(at, "operator", &["CLUSTER", "NODES"]);
        let owns = |line: &&str| {
            line.split(' ').skip(8).any(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                matches!((first.parse(), last.parse()), (Ok(first), Ok(last)) if (first..=last).contains(&slot))
            })
        };
        let line = nodes.lines().find(owns)?;
        self.ports.iter().position(|(port, _)| line.contains(&format!(":{port}@")))
    }
}

#[test]
fn cluster_of_the_shipped_files_serves_the_gateways_user_and_healthy_shards_go_on_during_a_failover() {
    let mut nodes = Nodes::start();
    nodes.create();
    // Again, as at the next start of a deployment: nothing happens.
    nodes.create();
    let slot = key_slot("{room}");
    let victim = nodes.master_of(slot, nodes.ports[0].0).unwrap();
    let port = nodes.ports[victim].0;
    for command in [
        &["CLUSTER", "SHARDS"][..],
        &["CLUSTER", "SLOTS"],
        &["SET", "tl:{room}:meta", "1"],
        &["SPUBLISH", "tl:{room}", "x"],
        &["ROLE"],
    ] {
        let answer = ask(port, "trunkline", command);
        assert!(!answer.contains("ERR") && !answer.contains("NOPERM") && !answer.contains("MOVED"), "{answer}");
    }
    // Moves slots as an operator does, with the users of the file.
    let (from, to) = (victim, (0..3).find(|node| *node != victim).unwrap());
    let id = |node: usize| ask(nodes.ports[node].0, "operator", &["CLUSTER", "MYID"]);
    let place = format!("127.0.0.1:{port}");
    let (from_id, to_id) = (id(from), id(to));
    let reshard = [
        "--cluster",
        "reshard",
        &place,
        "--cluster-from",
        &from_id,
        "--cluster-to",
        &to_id,
        "--cluster-slots",
        "100",
        "--cluster-yes",
    ];
    let moved = ask(port, "operator", &reshard);
    assert!(!moved.contains("ERR"), "{moved}");
    assert_eq!(nodes.master_of(slot, port), Some(victim), "choose another room for this test");

    let other = nodes.ports[to].0;
    let key = (0..).map(|number| format!("tl:{{{number}}}"));
    let key = { key }.find(|key| nodes.master_of(key_slot(key), other) == Some(to)).unwrap();
    nodes.processes[victim].kill().unwrap();
    let killed = Instant::now();
    let promoted = loop {
        let answer = ask(other, "trunkline", &["SET", &key, "1"]);
        assert_eq!(answer, "OK", "a healthy shard after {:.1?}", killed.elapsed());
        if nodes.master_of(slot, other).is_some_and(|master| master != victim) {
            break killed.elapsed();
        }
        assert!(killed.elapsed() < Duration::from_secs(30), "no replica was promoted");
        thread::sleep(Duration::from_millis(100));
    };
    println!("promoted after {promoted:.1?}");
    assert!(promoted > Duration::from_secs(6), "a pause of 5 s would have been a failover");
}

#[test]
fn tls_file_makes_a_server_and_its_replica_speak_tls_only() {
    let (installed, tls) = (Installed::new(), TlsFiles::create().unwrap());
    let (certificate, key) = tls.server(trunkline_testbed::ServerCertificate::Valid);
    for (name, file) in [("server.pem", certificate), ("server.key", key), ("ca.pem", tls.ca())] {
        let shipped = installed.path("tls").join(name).display().to_string();
        installed.edit("tls.conf", &shipped, &file.display().to_string());
    }
    let (acl, include) =
        (installed.path("users.acl").display().to_string(), installed.path("tls.conf").display().to_string());
    let start = |port: u16, more: &[&str]| {
        let port_text = port.to_string();
        let own = ["--include", &include, "--port", "0", "--tls-port", &port_text, "--aclfile", &acl];
        let login = ["--masteruser", "replica", "--masterauth", PASSWORD];
        installed.start("redis.conf", port, &[&own[..], &login, more].concat())
    };
    let (master, replica) = (free_port().unwrap(), free_port().unwrap());
    let _master = start(master, &[]);
    let _replica = start(replica, &["--replicaof", "127.0.0.1", &master.to_string()]);
    let ask = |port: u16, ca: &std::path::Path| {
        let mut command = Command::new(redis_cli());
        command.env("REDISCLI_AUTH", PASSWORD).args([
            "-p",
            &port.to_string(),
            "--user",
            "trunkline",
            "--tls",
            "--cacert",
        ]);
        text(command.arg(ca).args(["INFO", "replication"]))
    };
    wait_for("the replica follows", || ask(replica, &tls.ca()).contains("master_link_status:up"));
    assert!(ask(master, &tls.ca()).contains("role:master"));
    assert!(ask(master, &tls.other_ca()).contains("verify failed"));
    let plain = crate::redis::ask(master, "trunkline", &["PING"]);
    assert!(!plain.contains("PONG"), "{plain}");
}
