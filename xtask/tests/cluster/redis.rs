//! `--redis cluster`, `--redis sentinel` and `--tls`.

use serde_json::Value;

use crate::driver::Driver;

fn servers(report: &Value, role: &str) -> Vec<String> {
    let servers = report["redis"]["servers"].as_array().unwrap().iter().filter(|server| server["role"] == role);
    servers.map(|server| server["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn redis_cluster_survives_commands_that_kill_move_and_promote() {
    let mut cluster = Driver::start(&["2", "--redis", "cluster", "--tls"], &[]).ready();
    let report = cluster.report();
    assert_eq!(report["redis"]["mode"], "cluster");
    assert!(report["redis"]["url"].as_str().unwrap().starts_with("rediss-cluster://127.0.0.1:"));
    assert!(report["redis"]["ca"].as_str().unwrap().ends_with("tls/ca.pem"));
    assert_eq!(servers(&report, "master"), ["redis-1", "redis-2", "redis-3"]);
    assert_eq!(servers(&report, "replica"), ["redis-4", "redis-5", "redis-6"]);
    assert_eq!(report["redis"]["servers"][4]["replicates"], "redis-2");

    cluster.say("reshard 500 1 3");
    cluster.expect("moving 500 slots from redis 1 to redis 3");
    cluster.expect("moved 500 slots");
    cluster.wait_for("redis-3 has the slots", |report| report["redis"]["servers"][2]["slot_count"] == 5_962);
    cluster.say("failover 1");
    cluster.expect("redis 4 was promoted");
    cluster.wait_for("redis-4 is a master", |report| report["redis"]["servers"][3]["role"] == "master");

    cluster.say("kill redis 2");
    cluster.expect("redis 2 has ended");
    cluster.expect("redis 5 is a master now");
    cluster.wait_for("redis-2 is gone", |report| report["redis"]["servers"][1]["pid"].is_null());
    cluster.say("start redis 2");
    cluster.expect("redis 2 is running again");
    cluster.wait_for("redis-2 returns", |report| report["redis"]["servers"][1]["replicates"] == "redis-5");
    cluster.expect_answers(&[
        ("status", "3 of 3 shards up"),
        ("kill redis 9", "numbered from 1 to 6"),
        ("start redis 1", "redis 1 is running already"),
        ("reshard 90000 3 4", "not 90000"),
        ("reshard 5 3 1", "redis 1 is a replica"),
        ("reshard 500 1 3", "redis 1 owns 0 slots"),
        ("help", "failover 2"),
        ("kill redis", "which one?"),
    ]);
    cluster.quit();
}

#[test]
fn sentinels_promote_the_replica_when_asked_and_when_the_master_is_killed() {
    let mut cluster = Driver::start(&["1", "--redis", "sentinel"], &[]).ready();
    let report = cluster.report();
    assert_eq!(report["redis"]["mode"], "sentinel");
    assert!(report["redis"]["url"].as_str().unwrap().starts_with("redis-sentinel://"));
    assert_eq!(servers(&report, "master"), ["redis-1"]);
    assert_eq!(servers(&report, "sentinel").len(), 3);
    cluster.say("kill sentinel 3");
    cluster.expect("sentinel 3 has ended");
    cluster.say("start sentinel 3");
    cluster.expect("sentinel 3 is running again");
    cluster.say("failover");
    cluster.expect("redis 2 was promoted");
    cluster.wait_for("redis-1 is a replica", |report| servers(report, "replica") == ["redis-1"]);
    cluster.say("kill redis 2");
    cluster.expect("redis 2 has ended");
    cluster.expect("redis 1 is a master now");
    cluster.wait_for("all Sentinels name redis-1", |report| {
        let servers = report["redis"]["servers"].as_array().unwrap();
        servers[2..].iter().all(|sentinel| sentinel["names"] == "redis-1")
    });
    cluster.expect_answers(&[
        ("status", "names redis-1"),
        ("reshard 1 1 2", "--redis cluster"),
        ("kill redis 3", "numbered from 1 to 2"),
    ]);
    cluster.quit();
}
