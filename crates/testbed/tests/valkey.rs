//! A Redis Cluster of Valkey servers.

use trunkline_testbed::{NoProgress, RedisCluster, Tool, Toolbox};

const KEY: &str = "tl:{lobby}:log";

#[test]
fn cluster_of_valkey_fails_over_and_moves_slots() {
    let program = Toolbox::project().get(Tool::Valkey, &NoProgress).unwrap();
    let mut redis = RedisCluster::builder(3).program(program).start().unwrap();
    assert!(redis.node(0).cli(&["INFO", "server"]).unwrap().contains("valkey_version"));
    redis.reshard(100, 0, 1).unwrap();
    let before = redis.master_of(KEY).unwrap();
    redis.kill(before).unwrap();
    redis.wait_for_another(KEY, before).unwrap();
    redis.restart(before).unwrap();
    redis.wait_until_stable().unwrap();
}
