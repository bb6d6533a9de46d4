//! A master, its replica and their Sentinels.

use trunkline_testbed::RedisSentinel;

#[test]
fn another_node_is_promoted_when_the_master_is_killed_and_what_it_alone_had_is_gone() {
    let mut redis = RedisSentinel::builder().start().unwrap();
    let master = redis.master().unwrap();
    redis.node(master).cli(&["SET", "early", "1"]).unwrap();
    assert_eq!(redis.node(master).cli(&["WAIT", "1", "5000"]).unwrap(), "1");
    redis.lag().unwrap();
    redis.node(master).cli(&["SET", "late", "1"]).unwrap();
    assert_eq!(redis.kill_master().unwrap(), master);
    let other = redis.wait_for_another(master).unwrap();
    assert_eq!(redis.node(other).cli(&["GET", "early"]).unwrap(), "1");
    assert_eq!(redis.node(other).cli(&["GET", "late"]).unwrap(), "");
    redis.catch_up().unwrap();
    redis.start_node(master).unwrap();
    redis.await_calm().unwrap();
    assert_eq!(redis.master().unwrap(), other, "the old master follows");
    assert_eq!(redis.node(master).cli(&["GET", "late"]).unwrap(), "");
}
