//! `deploy/redis/users.acl` and `redis.conf`.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use tempfile::TempDir;
use trunkline_testbed::{NoProgress, Process, Tool, Toolbox, free_port, project_root};

use crate::{
    http::{Socket, TIMEOUT, get, login},
    site::{deploy_file, gateway, status, wait_for},
};

/// Redis with the files of `deploy/redis`, and one more user who may do everything.
struct Restricted {
    port: u16,
    _process: Process,
    _folder: TempDir,
}

impl Restricted {
    fn start() -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port().unwrap());
        let mut users = deploy_file("redis/users.acl");
        for user in ["TRUNKLINE", "REPLICA", "SENTINEL"] {
            users = users.replace(&format!("@{user}_PASSWORD@"), "of-no-worth");
        }
        users += "user tester on >of-no-worth ~* &* +@all\n";
        let file = folder.path().join("users.acl");
        fs::write(&file, users).unwrap();
        let mut command = Toolbox::project().get(Tool::Redis, &NoProgress).unwrap().command();
        command.arg(project_root().join("deploy/redis/redis.conf")).arg("--port").arg(port.to_string());
        command.arg("--aclfile").arg(file).arg("--dir").arg(folder.path());
        let mut process = Process::spawn("Redis", command, None).unwrap();
        wait_for("Redis listens", || {
            assert!(process.ended().is_none(), "{}", process.last_lines());
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Self { port, _process: process, _folder: folder }
    }

    /// The first part of the answer to one command.
    fn ask(&self, user: &str, command: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        write!(stream, "AUTH {user} of-no-worth\r\n").unwrap();
        let mut answer = [0; 512];
        assert_eq!(stream.read(&mut answer).unwrap(), "+OK\r\n".len());
        write!(stream, "{command}\r\n").unwrap();
        let length = stream.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }
}

#[test]
fn redis_refuses_no_command_of_the_gateway() {
    let redis = Restricted::start();
    let url = format!("redis://trunkline:of-no-worth@127.0.0.1:{}", redis.port);
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
    assert_eq!(redis.ask("tester", "ACL LOG"), "*0\r\n");
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
        "SSUBSCRIBE tl:{room}",
        "SUNSUBSCRIBE tl:{room}",
    ];
    for command in needed {
        let answer = redis.ask("trunkline", command);
        assert!(!answer.contains("NOPERM"), "{command}: {answer}");
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
        "SSUBSCRIBE other",
        "PUBLISH other x",
    ];
    for command in refused {
        let answer = redis.ask("trunkline", command);
        assert!(answer.contains("NOPERM"), "{command}: {answer}");
    }
}
