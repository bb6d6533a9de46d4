//! Redis Cluster: failover, moving slots, nodes that join and leave.

use std::time::Instant;

use trunkline_testbed::{RedisCluster, TestbedError, key_slot};

const KEY: &str = "tl:{lobby}:log";

#[test]
fn cluster_starts_with_a_master_and_a_replica_per_shard_and_ends_on_drop() {
    let begin = Instant::now();
    let redis = RedisCluster::start(3).unwrap();
    println!("started after {:.1?}", begin.elapsed());
    assert_eq!((redis.node_count(), redis.seeds().len()), (6, 6));
    assert!(redis.url().starts_with(&format!("redis-cluster://127.0.0.1:{},127.0.0.1:", redis.node(0).port())));
    let view = redis.view().unwrap();
    assert_eq!(view.iter().map(|(_, node)| node.slot_count()).collect::<Vec<_>>(), [5_461, 5_461, 5_462, 0, 0, 0]);
    assert_eq!((0..3).map(|master| redis.replicas_of(master).unwrap()).collect::<Vec<_>>(), [[3], [4], [5]]);
    for key in [KEY, "foo", "{a}b"] {
        let slot = redis.node(0).cli(&["CLUSTER", "KEYSLOT", key]).unwrap();
        assert_eq!(slot, key_slot(key).to_string());
        redis.node(redis.master_of(key).unwrap()).cli(&["SET", key, "v"]).unwrap();
    }
    let other = (redis.master_of(KEY).unwrap() + 1) % 3;
    let moved = redis.node(other).cli(&["GET", KEY]).unwrap_err();
    assert!(moved.to_string().starts_with("MOVED "), "{moved}");
    let pid = redis.node(0).pid().unwrap();
    drop(redis);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn replica_is_promoted_when_its_master_is_killed_and_the_old_master_returns_as_a_replica() {
    let mut redis = RedisCluster::builder(3).password("a secret").start().unwrap();
    let before = redis.master_of(KEY).unwrap();
    redis.node(before).cli(&["SET", KEY, "v"]).unwrap();
    assert_eq!(redis.node(before).cli(&["WAIT", "1", "5000"]).unwrap(), "1");
    let killed = Instant::now();
    redis.kill(before).unwrap();
    let after = redis.wait_for_another(KEY, before).unwrap();
    println!("promoted after {:.1?}", killed.elapsed());
    assert_eq!(after, before + 3);
    assert_eq!(redis.node(after).cli(&["GET", KEY]).unwrap(), "v");
    redis.restart(before).unwrap();
    redis.wait_until_stable().unwrap();
    assert_eq!(redis.replicas_of(after).unwrap(), [before]);
    // Back without loss, as an operator does.
    assert_eq!(redis.fail_over(after).unwrap(), before);
    redis.wait_until_stable().unwrap();
    assert_eq!(redis.node(before).cli(&["GET", KEY]).unwrap(), "v");
}

#[test]
fn slots_move_with_their_keys_and_back() {
    let redis = RedisCluster::builder(2).replicas(0).start().unwrap();
    let slot = key_slot(KEY);
    let from = redis.master_of(KEY).unwrap();
    let to = 1 - from;
    for number in 0..10 {
        redis.node(from).cli(&["SET", &format!("{{lobby}}{number}"), "v"]).unwrap();
    }
    let open = redis.open_slot(slot, to).unwrap();
    let mut number = 0;
    let every_second = |_: &str| {
        number += 1;
        number % 2 == 0
    };
    assert_eq!(redis.move_keys(open, every_second).unwrap(), 5);
    assert_eq!(redis.keys_left(open).unwrap().len(), 5);
    let asked = (0..10).filter_map(|number| redis.node(from).cli(&["GET", &format!("{{lobby}}{number}")]).err());
    let asked: Vec<_> = asked.map(|e| e.to_string()).collect();
    assert!(asked.len() == 5 && asked.iter().all(|error| error.starts_with("ASK ")), "{asked:?}");
    redis.finish_move(open).unwrap();
    assert_eq!(redis.master_of(KEY).unwrap(), to);
    assert_eq!(redis.node(to).cli(&["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()]).unwrap(), "10");

    redis.reshard(500, 0, 1).unwrap();
    let slots = |node: usize| redis.view().unwrap()[node].1.slot_count();
    let (first, second) = (slots(0), slots(1));
    assert_eq!((first + second, first.abs_diff(second) >= 998), (16_384, true));
    redis.reshard(500, 1, 0).unwrap();
    assert_eq!(slots(0), first + 500);
    let refused = redis.reshard(16_000, 0, 1).unwrap_err().to_string();
    assert!(refused.contains("not 16000"), "{refused}");
}

#[test]
fn nodes_join_and_leave() {
    let mut redis = RedisCluster::builder(2).start().unwrap();
    let added = redis.add_node(None).unwrap();
    assert_eq!((added, redis.view().unwrap()[added].1.slot_count()), (4, 0));
    redis.reshard(100, 0, added).unwrap();
    let replica = redis.add_node(Some(added)).unwrap();
    assert_eq!(redis.replicas_of(added).unwrap(), [replica]);
    let before = redis.view().unwrap();
    let before = (before[0].1.slot_count(), before[1].1.slot_count());
    redis.remove_node(added).unwrap();
    let after = redis.view().unwrap();
    assert_eq!((after[0].1.slot_count(), after[1].1.slot_count()), (before.0 + 50, before.1 + 50));
    assert!(after.iter().all(|(index, _)| *index != added) && redis.seeds().len() == 5);
}

#[test]
fn paused_node_fails_over_and_a_cluster_without_masters_is_refused() {
    let mut redis = RedisCluster::start(3).unwrap();
    let before = redis.master_of(KEY).unwrap();
    redis.pause(before).unwrap();
    let after = redis.wait_for_another(KEY, before).unwrap();
    redis.resume(before).unwrap();
    redis.wait_until_stable().unwrap();
    assert_eq!(redis.master_of(KEY).unwrap(), after);
    assert!(matches!(RedisCluster::start(0), Err(TestbedError::Reply(_))));
}
