//! `deploy/redis/users.acl` and `redis.conf`.

use std::{collections::BTreeSet, fs, path::Path, thread, time::Duration};

use trunkline_testbed::{Process, free_port, project_root};

use crate::{
    http::{Socket, get, login},
    redis::{Installed, PASSWORD, ask},
    site::{gateway, status, wait_for},
};

/// Redis with the files of `deploy/redis`.
struct Restricted {
    port: u16,
    _process: Process,
    _installed: Installed,
}

impl Restricted {
    fn start() -> Self {
        let (installed, port) = (Installed::new(), free_port().unwrap());
        let acl = installed.path("users.acl").display().to_string();
        let process = installed.start("redis.conf", port, &["--port", &port.to_string(), "--aclfile", &acl]);
        Self { port, _process: process, _installed: installed }
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

/// The commands that the sources of the gateway name, for those that the run above does not reach.
#[test]
fn every_command_in_the_gateways_sources_is_allowed() {
    let mut named = BTreeSet::new();
    for name in ["bus", "session", "redis", "gateway"] {
        collect(&project_root().join("crates").join(name).join("src"), &mut named);
    }
    for known in ["XADD", "EVALSHA", "XREVRANGE", "PING"] {
        assert!(named.contains(known), "{known} was not found in the sources: {named:?}");
    }
    let redis = Restricted::start();
    let rules = redis.ask("operator", "ACL GETUSER trunkline");
    let connection = redis.ask("operator", "ACL CAT connection");
    let allowed = |command: &str| {
        let command = command.to_lowercase();
        rules
            .split_whitespace()
            .any(|rule| rule.strip_prefix('+').is_some_and(|rule| rule.split('|').next() == Some(&command)))
            || connection.lines().any(|name| name == command)
    };
    // Sent to Sentinels only: sentinel.acl.
    named.remove("SENTINEL");
    let refused: Vec<_> = named.iter().filter(|command| !allowed(command)).collect();
    assert!(refused.is_empty(), "users.acl lacks {refused:?}");
}

/// Adds the commands in Lua scripts and in Rust outside of tests.
fn collect(folder: &Path, named: &mut BTreeSet<String>) {
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let marks: &[&str] = match path.extension().and_then(|extension| extension.to_str()) {
            _ if path.is_dir() => {
                collect(&path, named);
                continue;
            }
            Some("lua") => &["call('", "call(\""],
            Some("rs") => &["cmd(\""],
            _ => continue,
        };
        if path.file_stem().is_some_and(|stem| stem == "tests") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for mark in marks {
            let words = text.split(mark).skip(1).filter_map(|rest| rest.split(['\'', '"']).next());
            named.extend(words.map(|word| word.split(' ').next().unwrap_or_default().to_uppercase()));
        }
    }
}
