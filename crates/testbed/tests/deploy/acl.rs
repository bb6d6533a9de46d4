//! `deploy/redis/users.acl` and `redis.conf`.

use std::{thread, time::Duration};

use trunkline_testbed::{Process, free_port};

use crate::{
    http::{Socket, get, login},
    redis::{Installed, PASSWORD, ask},
    site::{gateway, status, wait_for},
};

/// Redis with the files of `deploy/redis`.
struct Restricted {
    port: u16,
    process: Process,
    installed: Installed,
}

fn start(installed: &Installed, port: u16) -> Process {
    let acl = installed.path("users.acl").display().to_string();
    installed.start("redis.conf", port, &["--port", &port.to_string(), "--aclfile", &acl])
}

impl Restricted {
    fn start() -> Self {
        let (installed, port) = (Installed::new(), free_port().unwrap());
        Self { port, process: start(&installed, port), installed }
    }

    fn ask(&self, user: &str, command: &str) -> String {
        ask(self.port, user, &command.split(' ').collect::<Vec<_>>())
    }
}

#[test]
fn redis_refuses_no_command_of_the_gateway() {
    let redis = Restricted::start();
    let url = format!("redis://trunkline:{PASSWORD}@127.0.0.1:{}", redis.port);
    let gateways = ["gw-1", "gw-2"].map(|name| gateway(name, &url).start().unwrap());
    let ports = gateways.each_ref().map(|gateway| gateway.port().unwrap());
    for port in ports {
        wait_for("the gateway is ready", || status(port, "/readyz") == Some(200));
    }
    let cookies = [login(ports[0], "ann"), login(ports[1], "bob")];
    let mut sockets = [0, 1].map(|at| Socket::open(ports[at], &cookies[at]));
    for socket in &mut sockets {
        socket.send(r#"{"type":"join","room":"lobby","recent":50}"#);
        socket.wait_for(r#""joined""#);
    }
    let [ann, bob] = &mut sockets;
    ann.send(r#"{"type":"typing","room":"lobby"}"#);
    bob.wait_for(r#""typing""#);
    ann.send(r#"{"type":"send","room":"lobby","id":"1","text":"hi"}"#);
    bob.wait_for(r#""text":"hi""#);
    bob.send(r#"{"type":"history","room":"lobby","limit":10}"#);
    bob.wait_for(r#""history""#);
    // Heartbeats, instance reports, counts of rooms, and a page load with a key rotation.
    thread::sleep(Duration::from_secs(6));
    assert_eq!(get(ports[0], "/", &cookies[0]).unwrap().0, 200);
    assert_eq!(get(ports[1], "/rooms", &cookies[1]).unwrap().0, 200);
    ann.send(r#"{"type":"leave","room":"lobby"}"#);
    ann.wait_for(r#""left""#);
    thread::sleep(Duration::from_secs(1));
    assert_eq!(redis.ask("operator", "ACL LOG"), "");
}

#[test]
fn the_gateways_user_has_what_clients_and_newer_servers_need_and_no_more() {
    let redis = Restricted::start();
    // An unknown command or subcommand is one of newer servers.
    let needed = [
        "CLIENT SETNAME x",
        "CLIENT SETINFO lib-name x",
        "CLIENT ID",
        "HELLO 3",
        "RESET",
        "ROLE",
        "CLUSTER SHARDS",
        "CLUSTER SLOTS",
        "ASKING",
        "SPUBLISH tl:{room} x",
    ];
    for command in needed {
        let answer = redis.ask("trunkline", command);
        assert!(!answer.contains("NOPERM"), "{command}: {answer}");
    }
    // redis-cli would go on listening.
    for command in ["SUBSCRIBE tl:ended", "UNSUBSCRIBE tl:ended", "SSUBSCRIBE tl:{room}", "SUNSUBSCRIBE tl:{room}"] {
        assert_eq!(redis.ask("operator", &format!("ACL DRYRUN trunkline {command}")), "OK", "{command}");
    }
    let refused = [
        "KEYS *",
        "FLUSHALL",
        "CONFIG GET *",
        "ACL LIST",
        "SHUTDOWN",
        "CLIENT LIST",
        "CLIENT KILL ID 1",
        "CLIENT PAUSE 1000",
        "CLUSTER RESET",
        "REPLICAOF NO ONE",
        "GET other",
        "CLUSTER FAILOVER",
        "CLUSTER SETSLOT 1 STABLE",
        "MIGRATE 127.0.0.1 1 x 0 1",
        "SSUBSCRIBE other",
        "PUBLISH other x",
    ];
    for command in refused {
        let answer = redis.ask("trunkline", command);
        assert!(answer.contains("NOPERM"), "{command}: {answer}");
    }
}

/// Redis 7.0.15 replays the transactions of its append-only file, and so everything that a script wrote, with the
/// permissions of the user `default` (redis#14541, valkey#3983). A user `default` that may do nothing loses it all.
#[test]
fn what_scripts_wrote_survives_a_restart_and_the_default_user_cannot_log_in() {
    let mut redis = Restricted::start();
    let write = "redis.call('SET', 'tl:a', '1') return redis.call('SET', 'tl:b', '1')";
    assert_eq!(ask(redis.port, "operator", &["EVAL", write, "0"]), "OK");
    redis.process.terminate().unwrap();
    assert!(redis.process.wait(Duration::from_secs(10)).is_some(), "Redis did not end");
    redis.process = start(&redis.installed, redis.port);
    wait_for("the data is loaded", || redis.ask("operator", "PING") == "PONG");
    assert_eq!(redis.ask("operator", "DBSIZE"), "2");
    for password in ["", PASSWORD] {
        let refused = redis.ask("operator", &format!("AUTH default {password}"));
        assert!(refused.contains("WRONGPASS") || refused.contains("ERR"), "{refused}");
    }
}
