//! `deploy/redis/master.cfg` and `sentinel.conf`: two Redis servers, three Sentinels, and the proxy that leads to the master.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tempfile::TempDir;
use trunkline_testbed::{NoProgress, Process, Redis, Tool, Toolbox, free_port, http_post};

use crate::{
    redis::Installed,
    site::{children, deploy_file, gateway, replaced, signal, status, wait_for},
};

const PASSWORD: &str = "of-no-worth";

struct Group {
    // Dropped in this order.
    proxy: Process,
    _sentinels: Vec<Process>,
    nodes: [Redis; 2],
    port: u16,
    sentinel_port: u16,
    _folder: TempDir,
}

impl Group {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let node = || Redis::builder().config("user", format!("trunkline on >{PASSWORD} ~* &* +@all"));
        let master = node().start().unwrap();
        let replica = node().replica_of(&master).start().unwrap();
        let nodes = [master, replica];
        let sentinel_ports = [(); 3].map(|()| free_port().unwrap());
        let sentinels = sentinel_ports.map(|port| {
            let own = folder.path().join(port.to_string());
            fs::create_dir(&own).unwrap();
            let mut config = replaced(&deploy_file("redis/sentinel.conf"), "port 26379", &format!("port {port}"));
            config = replaced(&config, "10.0.0.11 6379", &format!("127.0.0.1 {}", nodes[0].port()));
            config = replaced(&config, "dir /tmp", "dir .");
            let without_login = config.lines().filter(|line| !line.starts_with("sentinel auth-"));
            let config: String = without_login.map(|line| format!("{line}\n")).collect();
            fs::write(own.join("sentinel.conf"), config).unwrap();
            let mut command = Toolbox::project().get(Tool::Redis, &NoProgress).unwrap().command();
            command.current_dir(&own).arg("sentinel.conf").arg("--sentinel");
            Process::spawn("Sentinel", command, None).unwrap()
        });
        let [port, votes, absent] = [(); 3].map(|()| free_port().unwrap());
        let mut config = deploy_file("redis/master.cfg");
        let node_ports = [nodes[0].port(), nodes[1].port(), absent];
        for ((number, node), sentinel) in (1..).zip(node_ports).zip(sentinel_ports) {
            let host = format!("10.0.0.1{number}");
            config = replaced(&config, &format!("{host}:6379"), &format!("127.0.0.1:{node}"));
            config = replaced(&config, &format!("{host}:26379"), &format!("127.0.0.1:{sentinel}"));
            config = replaced(&config, &format!(r"\n{host}\r"), &format!(r"\n{node}\r"));
        }
        config = replaced(&config, "127.0.0.1:6379", &format!("127.0.0.1:{port}"));
        config = replaced(&config, "6380", &votes.to_string());
        let file = folder.path().join("master.cfg");
        fs::write(&file, config).unwrap();
        let mut command = Toolbox::project().get(Tool::HaProxy, &NoProgress).unwrap().command();
        command.arg("-W").arg("-f").arg(file).env("REDIS_PASSWORD", PASSWORD);
        let proxy = Process::spawn("HAProxy", command, None).unwrap();
        let sentinel_port = sentinel_ports[0];
        let group = Self { proxy, _sentinels: sentinels.into(), nodes, port, sentinel_port, _folder: folder };
        wait_for("the Sentinels know the replica and each other", || {
            let known = |port| {
                let told = ask(port, "SENTINEL MASTER trunkline").unwrap_or_default();
                let is = |name: &str, value: &str| told.contains(&format!("{name}\r\n${}\r\n{value}\r\n", value.len()));
                is("num-slaves", "1") && is("num-other-sentinels", "2")
            };
            sentinel_ports.into_iter().all(known)
        });
        wait_for("the proxy leads to the master only", || (0..8).all(|_| group.leads_to() == Some(0)));
        group
    }

    /// The node that the proxy connects to, if it answers within 300 ms.
    fn leads_to(&self) -> Option<usize> {
        let mut stream = self.connect()?;
        stream.write_all(b"CONFIG GET port\r\n").ok()?;
        let mut answer = [0; 256];
        let length = stream.read(&mut answer).ok()?;
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        self.nodes.iter().position(|node| answer.contains(&format!("\r\n{}\r\n", node.port())))
    }

    /// A connection through the proxy, logged in.
    fn connect(&self) -> Option<TcpStream> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_millis(300))).ok()?;
        stream.write_all(format!("AUTH trunkline {PASSWORD}\r\n").as_bytes()).ok()?;
        (stream.read(&mut [0; 64]).ok()? == "+OK\r\n".len()).then_some(stream)
    }
}

/// The answer to one command, as it comes within one packet.
fn ask(port: u16, command: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    stream.write_all(format!("{command}\r\n").as_bytes()).ok()?;
    let mut answer = vec![0; 8192];
    let length = stream.read(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer[..length]).into_owned())
}

/// Waits until the other side closes a connection: the time at which it did.
fn wait_until_closed(stream: &mut TcpStream, within: Duration) -> Instant {
    stream.set_read_timeout(Some(within)).unwrap();
    assert!(matches!(stream.read(&mut [0; 64]), Ok(0)), "the connection was not closed");
    Instant::now()
}

#[test]
fn a_planned_failover_with_a_slow_master_never_leads_to_two_masters() {
    let group = Group::start();
    let mut held = group.connect().unwrap();
    let (slow, done) = (group.nodes[0].pid().unwrap(), AtomicBool::new(false));
    thread::scope(|scope| {
        // The old master answers each check after up to 900 ms.
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                signal(slow, Signal::STOP);
                thread::sleep(Duration::from_millis(900));
                signal(slow, Signal::CONT);
                thread::sleep(Duration::from_millis(30));
            }
        });
        let old_closed = scope.spawn(move || wait_until_closed(&mut held, Duration::from_secs(60)));
        wait_for("a failover", || {
            ask(group.sentinel_port, "SENTINEL FAILOVER trunkline").is_some_and(|answer| answer.starts_with("+OK"))
        });
        let started = Instant::now();
        wait_for("the proxy leads to the new master", || group.leads_to() == Some(1));
        let new_open = Instant::now();
        done.store(true, Ordering::Relaxed);
        let old_closed = old_closed.join().unwrap();
        println!("old closed after {:.1?}, new after {:.1?}", old_closed - started, new_open - started);
        assert!(old_closed < new_open, "two masters for {:.1?}", old_closed - new_open);
    });
}

#[test]
fn a_master_that_pauses_for_five_seconds_stays_master_and_keeps_its_connections() {
    let mut group = Group::start();
    let mut held = group.connect().unwrap();
    group.nodes[0].pause().unwrap();
    thread::sleep(Duration::from_secs(5));
    group.nodes[0].resume().unwrap();
    thread::sleep(Duration::from_secs(3));
    assert_eq!(group.leads_to(), Some(0));
    held.write_all(b"PING\r\n").unwrap();
    assert_eq!(held.read(&mut [0; 16]).unwrap(), "+PONG\r\n".len());
    assert!(ask(group.nodes[0].port(), "ROLE").unwrap().contains("master"));
}

#[test]
fn a_reload_leaves_no_connection_through_an_old_process() {
    let group = Group::start();
    let mut held = group.connect().unwrap();
    signal(group.proxy.pid(), Signal::USR2);
    wait_until_closed(&mut held, Duration::from_secs(5));
    wait_for("no old worker", || children(group.proxy.pid()) == 1);
    wait_for("the proxy leads to the master", || group.leads_to() == Some(0));
}

/// Both ACL files at once: a master and a replica with `users.acl`, three Sentinels with `sentinel.acl`.
#[test]
fn sentinels_with_the_shipped_users_fail_over_and_let_gateways_ask_and_no_more() {
    let ports = [(); 2].map(|()| free_port().unwrap());
    let sentinel_ports = [(); 3].map(|()| free_port().unwrap());
    let installed = Installed::new();
    let acl = installed.path("users.acl").display().to_string();
    let _nodes = [0, 1].map(|number: usize| {
        let (port, master) = (ports[number].to_string(), ports[0].to_string());
        let login = ["--aclfile", &acl, "--masteruser", "replica", "--masterauth", PASSWORD, "--port", &port];
        let follow = ["--repl-diskless-sync-delay", "0", "--replicaof", "127.0.0.1", &master];
        installed.start("redis.conf", ports[number], &[&login[..], &follow[..if number == 0 { 2 } else { 5 }]].concat())
    });
    let _sentinels = sentinel_ports.map(|port| {
        let own = Installed::new();
        own.edit("sentinel.conf", "port 26379", &format!("port {port}"));
        own.edit("sentinel.conf", "10.0.0.11 6379", &format!("127.0.0.1 {}", ports[0]));
        own.edit("sentinel.conf", "@SENTINEL_PASSWORD@", PASSWORD);
        for line in ["aclfile", "sentinel sentinel-user", "sentinel sentinel-pass"] {
            own.edit("sentinel.conf", &format!("# {line}"), line);
        }
        own.edit("sentinel.conf", "@PEER_PASSWORD@", PASSWORD);
        let process = own.start("sentinel.conf", port, &["--sentinel"]);
        (own, process)
    });
    let ask =
        |user: &str, command: &str| crate::redis::ask(sentinel_ports[0], user, &command.split(' ').collect::<Vec<_>>());
    wait_for("the Sentinels know the replica and each other", || {
        sentinel_ports.iter().all(|port| {
            let told = crate::redis::ask(*port, "trunkline", &["SENTINEL", "MASTER", "trunkline"]);
            told.contains("num-slaves\n1") && told.contains("num-other-sentinels\n2")
        })
    });
    let address = ask("trunkline", "SENTINEL GET-MASTER-ADDR-BY-NAME trunkline");
    assert_eq!(address, format!("127.0.0.1\n{}", ports[0]));
    let password_file = installed.path("sentinel-password");
    fs::write(&password_file, PASSWORD).unwrap();
    let places: Vec<_> = sentinel_ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let url = format!("redis-sentinel://trunkline:{PASSWORD}@{}#trunkline", places.join(","));
    let gateway = gateway("gw-1", &url).args(["--redis-sentinel-user", "trunkline"]);
    let gateway = gateway.arg("--redis-sentinel-password-file").arg(&password_file).start().unwrap();
    let ready = || status(gateway.port().unwrap(), "/readyz") == Some(200);
    wait_for("the gateway is ready", ready);
    let refused = |port: &u16| crate::redis::ask(*port, "operator", &["ACL", "LOG"]);
    for port in ports.iter().chain(&sentinel_ports) {
        assert_eq!(refused(port), "");
    }
    for command in
        ["SENTINEL REPLICAS trunkline", "SENTINEL SENTINELS trunkline", "ROLE", "HELLO 3", "CLIENT SETNAME x"]
    {
        assert!(!ask("trunkline", command).contains("NOPERM"), "{command}");
    }
    for command in [
        "SENTINEL FAILOVER trunkline",
        "SENTINEL SET trunkline quorum 1",
        "SENTINEL MONITOR other 127.0.0.1 1 1",
        "SHUTDOWN",
        "PUBLISH __sentinel__:hello x",
        "SUBSCRIBE __sentinel__:hello",
    ] {
        assert!(ask("trunkline", command).contains("NOPERM"), "{command}");
    }
    // The Sentinels elect a leader among themselves, as the user `peer`.
    wait_for("a failover", || ask("operator", "SENTINEL FAILOVER trunkline") == "OK");
    wait_for("all Sentinels name the replica", || {
        let command = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "trunkline"];
        let promoted = format!("127.0.0.1\n{}", ports[1]);
        sentinel_ports.iter().all(|port| crate::redis::ask(*port, "trunkline", &command) == promoted)
    });
    let login = || http_post(gateway.port().unwrap(), "/login", r#"{"name":"ann"}"#, Duration::from_secs(5));
    wait_for("the gateway writes to the new master", || ready() && login().is_ok_and(|answer| answer.status == 200));
    assert_eq!(refused(&ports[1]), "");
    assert_ne!(crate::redis::ask(ports[1], "operator", &["DBSIZE"]), "0");
}
