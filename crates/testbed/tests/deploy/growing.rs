//! From one Redis to a Redis Cluster, as docs/OPERATIONS.md describes it.

use std::process::Command;

use trunkline_testbed::{Process, RedisCluster, free_port, key_slot};

use crate::{
    redis::{Installed, PASSWORD, ask, node_ports, redis_cli, text},
    site::wait_for,
};

/// Number of rooms.
const ROOMS: usize = 200;

fn operator(port: u16, command: &str) -> String {
    ask(port, "operator", &command.split(' ').collect::<Vec<_>>())
}

/// `redis-cli --cluster …` as the user `operator`, with the answer `yes` to its question.
fn manage(args: &[&str]) -> String {
    let mut command = Command::new("sh");
    command.args(["-c", "echo yes | \"$0\" --user operator \"$@\""]).arg(redis_cli());
    text(command.env("REDISCLI_AUTH", PASSWORD).args(args))
}

/// A Redis with `redis.conf`, the logs of `ROOMS` rooms of two entries each, and a session that expires.
fn with_rooms(installed: &Installed, port: u16, acl: &str) -> Process {
    let redis = installed.start("redis.conf", port, &["--port", &port.to_string(), "--aclfile", acl]);
    let write = "for n = 1, tonumber(ARGV[1]) do
            redis.call('XADD', 'tl:{room' .. n .. '}:log', '1700000000000-1', 'text', 'first', 'prev', '0-0')
            redis.call('XADD', 'tl:{room' .. n .. '}:log', '1700000000000-2', 'text', 'second')
            redis.call('HSET', 'tl:{room' .. n .. '}:meta', 'gen', 'x', 'epoch', '1700000000000')
        end
        return redis.call('SET', 'tl:s:{ann}', 'x', 'PX', 3600000)";
    assert_eq!(ask(port, "operator", &["EVAL", write, "0", &ROOMS.to_string()]), "OK");
    redis
}

/// Checks that each room's log and the session are at the node that owns their slot.
fn assert_complete(ports: &[u16]) {
    let keys: usize = ports.iter().map(|port| operator(*port, "DBSIZE").parse::<usize>().unwrap()).sum();
    assert_eq!(keys, 2 * ROOMS + 1);
    let follow = |command: &str| {
        let mut cli = Command::new(redis_cli());
        cli.env("REDISCLI_AUTH", PASSWORD).args(["-c", "-p", &ports[0].to_string(), "--user", "operator"]);
        text(cli.args(command.split(' ')))
    };
    for room in [1, 17, ROOMS] {
        let last = follow(&format!("XREVRANGE tl:{{room{room}}}:log + - COUNT 1"));
        assert_eq!(last, "1700000000000-2\ntext\nsecond");
        assert_eq!(follow(&format!("HGET tl:{{room{room}}}:meta epoch")), "1700000000000");
    }
    let left: u64 = follow("PTTL tl:s:{ann}").parse().unwrap();
    assert!((3_000_000..=3_600_000).contains(&left), "{left}");
}

#[test]
fn one_redis_becomes_the_first_node_of_a_cluster_in_place_and_gives_slots_away() {
    let installed = Installed::new();
    let acl = installed.path("users.acl").display().to_string();
    let ports = [node_ports(), node_ports()];
    let mut single = with_rooms(&installed, ports[0].0, &acl);
    let run = operator(ports[0].0, "INFO server");
    single.terminate().unwrap();
    assert!(single.wait(std::time::Duration::from_secs(10)).is_some(), "Redis did not end");

    let node = |(port, bus): (u16, u16)| {
        let (text, bus) = (port.to_string(), bus.to_string());
        let own = ["--port", &text, "--cluster-port", &bus, "--aclfile", &acl];
        installed.start(
            "cluster.conf",
            port,
            &[&own[..], &["--masteruser", "replica", "--masterauth", PASSWORD]].concat(),
        )
    };
    let _first = node(ports[0]);
    let place = |(port, bus): (u16, u16)| format!("127.0.0.1:{port}@{bus}");
    // It owns the slots of its keys already; the others are added.
    let fixed = manage(&["--cluster", "fix", &place(ports[0])]);
    wait_for("the cluster is complete", || operator(ports[0].0, "CLUSTER INFO").contains("cluster_state:ok"));
    assert!(operator(ports[0].0, "CLUSTER INFO").contains("cluster_slots_assigned:16384"), "{fixed}");
    assert_complete(&[ports[0].0]);
    let id = |info: &str| info.lines().find(|line| line.starts_with("run_id:")).map(str::to_owned);
    assert_ne!(id(&run), id(&operator(ports[0].0, "INFO server")), "the gateways must notice another generation");

    let _second = node(ports[1]);
    let added = manage(&["--cluster", "add-node", &place(ports[1]), &place(ports[0])]);
    // A new node refuses keys for about two seconds.
    wait_for("both nodes know each other and accept keys", || {
        ports.iter().all(|(port, _)| {
            let info = operator(*port, "CLUSTER INFO");
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:2")
        })
    });
    let (from, to) = (operator(ports[0].0, "CLUSTER MYID"), operator(ports[1].0, "CLUSTER MYID"));
    let slots = ["--cluster-from", &from, "--cluster-to", &to, "--cluster-slots", "3000", "--cluster-yes"];
    let moved = manage(&[&["--cluster", "reshard", &place(ports[0])][..], &slots].concat());
    assert_complete(&[ports[0].0, ports[1].0]);
    let gone = (1..=ROOMS).filter(|room| key_slot(&format!("{{room{room}}}")) < 3_000).count();
    let there: usize = operator(ports[1].0, "DBSIZE").parse().unwrap();
    assert!(gone > 0 && there >= 2 * gone, "{there} keys of {gone} rooms: {added} {moved}");
}

#[test]
fn keys_of_one_redis_are_copied_into_a_cluster_with_their_expiries() {
    let installed = Installed::new();
    let acl = installed.path("users.acl").display().to_string();
    let source = free_port().unwrap();
    let _single = with_rooms(&installed, source, &acl);
    let cluster = RedisCluster::builder(3)
        .replicas(0)
        .config("user", format!("operator on >{PASSWORD} ~* &* +@all"))
        .start()
        .unwrap();
    let ports: Vec<u16> = (0..3).map(|node| cluster.node(node).port()).collect();
    let place = format!("127.0.0.1:{}", ports[0]);
    let from = format!("127.0.0.1:{source}");
    let login = ["--cluster-from-user", "operator", "--cluster-from-pass", PASSWORD];
    let import = ["--cluster", "import", &place, "--cluster-from", &from, "--cluster-copy", "--cluster-replace"];
    let output = manage(&[&import[..], &login].concat());
    assert!(!output.contains("ERR"), "{output}");
    assert_complete(&ports);
    // The source still has everything: the way back.
    assert_eq!(operator(source, "DBSIZE"), (2 * ROOMS + 1).to_string());
}
