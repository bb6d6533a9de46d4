//! Servers that speak TLS only.

use std::process::{Command, Output};

use trunkline_testbed::{NoProgress, Redis, RedisCluster, ServerCertificate, TlsFiles, Tool, Toolbox, key_slot};

/// `redis-cli` against a port, with OpenSSL as an independent judge of the certificates.
fn redis_cli(port: u16, args: &[&str]) -> Output {
    let server = Toolbox::project().get(Tool::Redis, &NoProgress).unwrap();
    let mut command = Command::new(server.path().with_file_name("redis-cli"));
    command.args(["-h", "localhost", "-p", &port.to_string()]).args(args).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), output.stderr.as_slice()].concat()).into_owned()
}

#[test]
fn redis_speaks_tls_only_and_is_still_controlled() {
    let tls = TlsFiles::create().unwrap();
    let mut redis = Redis::builder().tls(&tls).password("a secret").start().unwrap();
    assert_eq!(redis.url(), format!("rediss://:a secret@127.0.0.1:{}", redis.port()));
    assert_eq!(redis.cli(&["PING"]).unwrap(), "PONG");
    let ca = tls.ca().display().to_string();
    let login = ["-a", "a secret", "--no-auth-warning"];
    let ping = |more: &[&str]| text(&redis_cli(redis.port(), &[&login, more, &["PING"]].concat()));
    assert_eq!(ping(&["--tls", "--cacert", &ca]), "PONG\n");
    assert_ne!(ping(&[]), "PONG\n");
    assert!(ping(&["--tls", "--cacert", &tls.other_ca().display().to_string()]).contains("verify failed"));
    redis.present(&tls, ServerCertificate::WrongCa).unwrap();
    assert!(ping(&["--tls", "--cacert", &ca]).contains("verify failed"));
    redis.present(&tls, ServerCertificate::Expired).unwrap();
    assert!(ping(&["--tls", "--cacert", &ca]).contains("verify failed"));
    redis.restart().unwrap();
    let output = text(&redis_cli(redis.port(), &[&login[..], &["--tls", "--cacert", &ca, "PING"]].concat()));
    assert_eq!(output, "PONG\n");
}

#[test]
fn redis_with_mutual_tls_refuses_clients_without_a_certificate() {
    let tls = TlsFiles::create().unwrap();
    let redis = Redis::builder().mutual_tls(&tls).start().unwrap();
    let (ca, (certificate, key)) = (tls.ca().display().to_string(), tls.client());
    let with_ca = ["--tls", "--cacert", &ca];
    assert_ne!(text(&redis_cli(redis.port(), &[&with_ca[..], &["PING"]].concat())), "PONG\n");
    let own = ["--cert", &certificate.display().to_string(), "--key", &key.display().to_string()];
    assert_eq!(text(&redis_cli(redis.port(), &[&with_ca[..], &own, &["PING"]].concat())), "PONG\n");
}

#[test]
fn cluster_over_tls_fails_over_and_moves_slots() {
    let tls = TlsFiles::create().unwrap();
    let mut redis = RedisCluster::builder(2).mutual_tls(&tls).password("a secret").start().unwrap();
    assert!(redis.url().starts_with("rediss-cluster://"));
    let key = "{lobby}";
    let from = redis.master_of(key).unwrap();
    redis.node(from).cli(&["SET", key, "v"]).unwrap();
    let open = redis.open_slot(key_slot(key), 1 - from).unwrap();
    redis.finish_move(open).unwrap();
    assert_eq!(redis.node(1 - from).cli(&["GET", key]).unwrap(), "v");
    redis.reshard(10, 0, 1).unwrap();
    // A majority of the two masters cannot promote a replica of a killed one: a planned failover.
    assert_eq!(redis.fail_over(1).unwrap(), 3);
    redis.restart(0).unwrap();
    redis.wait_until_stable().unwrap();
    let shards = redis.node(0).cli(&["CLUSTER", "SHARDS"]).unwrap();
    assert!(shards.contains("tls-port") && !shards.lines().any(|line| line == "port"), "{shards}");
}
