//! Sessions in a Redis Cluster whose slots move and whose masters die.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};
use trunkline_session::{Lifetimes, RedisSessions, SessionError, SessionEvent, SessionEvents, Sessions, Sid};
use trunkline_testbed::{OpenSlot, RedisCluster, key_slot};

use crate::site::site;

/// Time limit for a failover, on a busy machine.
const SOON: Duration = Duration::from_secs(30);
const CHANNEL: &str = "test:ended";

fn sessions(redis: &RedisCluster) -> RedisSessions {
    RedisSessions::in_redis(&redis.url(), "test", Lifetimes::default()).unwrap()
}

fn name_key(sid: &Sid) -> String {
    format!("test:n:{{{}}}", sid.tag())
}

fn slot(sid: &Sid) -> u16 {
    key_slot(&name_key(sid))
}

/// The names of users, and the ids that their sessions could have.
fn users() -> impl Iterator<Item = (String, Sid)> {
    (0..).map(|number| format!("user{number}")).map(|name| {
        let sid = Sid::new(&name.parse().unwrap());
        (name, sid)
    })
}

/// A user whose sessions are at this master.
fn user_at(redis: &RedisCluster, master: usize) -> String {
    users().find(|(_, sid)| redis.master_of(&name_key(sid)).unwrap() == master).unwrap().0
}

async fn next(events: &mut SessionEvents) -> SessionEvent {
    timeout(SOON, events.next()).await.unwrap().unwrap()
}

/// Takes events until this one, of which others may come before: `Missed` stands for events that were lost.
async fn until_ended(events: &mut SessionEvents, sid: Sid) {
    while next(events).await != SessionEvent::Ended(sid) {}
}

async fn soon<T>(mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(done) = attempt().await {
            return done;
        }
        assert!(Instant::now() < deadline, "not within {SOON:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn sessions_of_all_shards_work_with_one_command_connection_per_master() {
    let redis = RedisCluster::builder(3).replicas(0).start().unwrap();
    let sessions = sessions(&redis);
    let mut sids = Vec::new();
    for (name, _) in users().take(30) {
        sids.push(sessions.claim(&name.parse().unwrap(), None).await.unwrap());
    }
    for sid in &sids {
        assert!(sessions.touch(sid).await.unwrap().is_some());
        sessions.end(sid).await.unwrap();
        assert!(sessions.touch(sid).await.unwrap().is_none());
    }
    assert_eq!(sessions.health().await.unwrap(), Vec::<String>::new());
    for node in 0..3 {
        let clients = redis.node(node).cli(&["CLIENT", "LIST", "TYPE", "normal"]).unwrap();
        // redis-cli itself is one.
        assert_eq!(clients.lines().count(), 2, "{clients}");
    }
}

#[tokio::test]
async fn sessions_and_notices_survive_slots_that_move_under_use() {
    let redis = Arc::new(RedisCluster::builder(3).replicas(0).start().unwrap());
    let (here, there) = (sessions(&redis), sessions(&redis));
    let mut events = there.events();
    assert_eq!(next(&mut events).await, SessionEvent::Missed);
    // redis-cli moves the first slots of a master.
    let (moving, staying): (Vec<_>, Vec<_>) = users().take(400).partition(|(_, sid)| slot(sid) < 1500);
    let mut sids = Vec::new();
    for (name, _) in moving.iter().take(6).chain(staying.iter().take(6)) {
        sids.push(here.claim(&name.parse().unwrap(), None).await.unwrap());
    }
    let stop = Arc::new(AtomicBool::new(false));
    let moves = spawn_blocking({
        let (redis, stop) = (redis.clone(), stop.clone());
        move || {
            redis.reshard(1500, 0, 1).unwrap();
            redis.reshard(1500, 1, 0).unwrap();
            stop.store(true, Ordering::Relaxed);
        }
    });
    let (mut looked_up, mut logins) = (0, 0);
    while !stop.load(Ordering::Relaxed) && !moves.is_finished() {
        for sid in &sids {
            assert!(there.touch(sid).await.unwrap().is_some(), "a session that exists");
            looked_up += 1;
        }
        // A login and a logout in a slot that moves.
        let name = moving[10 + logins % 10].0.parse().unwrap();
        let sid = here.claim(&name, None).await.unwrap();
        there.end(&sid).await.unwrap();
        logins += 1;
    }
    moves.await.unwrap();
    println!("{looked_up} look-ups, {logins} logins and logouts");
    for sid in &sids {
        here.end(sid).await.unwrap();
        until_ended(&mut events, *sid).await;
    }
}

#[tokio::test]
async fn killed_master_makes_its_users_sessions_unavailable_and_no_others() {
    let mut redis = RedisCluster::start(3).unwrap();
    let sessions = sessions(&redis);
    let site = site(&sessions).await;
    let channel_at = redis.master_of(CHANNEL).unwrap();
    let victim = (0..3).find(|node| *node != channel_at).unwrap();
    let lost = site.log_in(&user_at(&redis, victim)).await;
    let spared = site.log_in(&user_at(&redis, channel_at)).await;
    let name = user_at(&redis, victim);
    redis.node(victim).cli(&["WAIT", "1", "5000"]).unwrap();
    let port = redis.node(victim).port();
    redis.kill(victim).unwrap();
    let killed = Instant::now();
    let asked = site.get("/who", &lost).await;
    assert_eq!((asked.status, asked.set_cookie), (503, None), "not 401, and the cookie is kept");
    assert_eq!(site.post(&format!("/login/{name}"), "").await.status, 503);
    assert_eq!(site.get("/who", &spared).await.status, 200);
    let degraded = sessions.health().await.unwrap();
    assert!(degraded.len() == 1 && degraded[0].starts_with(&format!("shard 127.0.0.1:{port}: ")), "{degraded:?}");
    let mut refused = 0;
    soon(async || {
        assert_eq!(site.get("/who", &spared).await.status, 200);
        let status = site.get("/who", &lost).await.status;
        assert!(status == 200 || status == 503, "{status}");
        refused += usize::from(status == 503);
        (status == 200).then_some(())
    })
    .await;
    println!("the session was found {:?} after the kill, {refused} requests were refused", killed.elapsed());
    soon(async || sessions.health().await.ok().filter(Vec::is_empty)).await;
}

#[tokio::test]
async fn sessions_end_while_the_shard_of_the_channel_is_away_and_instances_learn_of_it() {
    let mut redis = RedisCluster::start(3).unwrap();
    let (here, there) = (sessions(&redis), sessions(&redis));
    let mut events = [here.events(), there.events()];
    for events in &mut events {
        assert_eq!(next(events).await, SessionEvent::Missed);
    }
    let victim = redis.master_of(CHANNEL).unwrap();
    let other = (0..3).find(|node| *node != victim).unwrap();
    let sid = here.claim(&user_at(&redis, other).parse().unwrap(), None).await.unwrap();
    redis.kill(victim).unwrap();
    let killed = Instant::now();
    here.end(&sid).await.unwrap();
    assert!(there.touch(&sid).await.unwrap().is_none());
    assert_eq!(next(&mut events[0]).await, SessionEvent::Ended(sid), "this instance learns of it at once");
    assert!(killed.elapsed() < Duration::from_secs(3), "{:?}", killed.elapsed());
    // Both subscribe at the replica when it is promoted, and the notice is sent again.
    assert_eq!(next(&mut events[1]).await, SessionEvent::Missed);
    println!("the other instance learned of it after {:?}", killed.elapsed());
    while next(&mut events[0]).await != SessionEvent::Missed {}
    let bob = soon(async || here.claim(&user_at(&redis, other).parse().unwrap(), None).await.ok()).await;
    there.end(&bob).await.unwrap();
    for events in &mut events {
        until_ended(events, bob).await;
    }
}

#[tokio::test]
async fn half_migrated_slot_fails_in_bounded_time_and_never_as_an_ended_session() {
    let redis = RedisCluster::builder(3).replicas(0).start().unwrap();
    let sessions = sessions(&redis);
    let name = user_at(&redis, 0);
    let sid = sessions.claim(&name.parse().unwrap(), None).await.unwrap();
    let open: OpenSlot = redis.open_slot(slot(&sid), 1).unwrap();
    assert!(sessions.touch(&sid).await.unwrap().is_some(), "all keys are at the source");
    redis.move_keys(open, |key| key.contains(":n:")).unwrap();
    let started = Instant::now();
    match sessions.touch(&sid).await {
        Err(SessionError::Unavailable(cause)) => assert!(cause.to_string().contains("not served"), "{cause}"),
        other => panic!("{other:?}"),
    }
    assert!((1..4).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    redis.move_keys(open, |_| true).unwrap();
    assert!(sessions.touch(&sid).await.unwrap().is_some(), "all keys are at the target");
    redis.finish_move(open).unwrap();
    assert!(sessions.touch(&sid).await.unwrap().is_some());
    sessions.end(&sid).await.unwrap();
    assert!(sessions.touch(&sid).await.unwrap().is_none());
}

#[tokio::test]
async fn external_users_wait_for_a_slot_that_moves_and_fail_if_it_stays_open() {
    let redis = Arc::new(RedisCluster::builder(3).replicas(0).start().unwrap());
    let sessions = sessions(&redis);
    let user = "id.example|42".parse().unwrap();
    let sid = sessions.start(&user, None).await.unwrap();
    let to = (redis.master_of(&name_key(&sid)).unwrap() + 1) % 3;
    let open = redis.open_slot(slot(&sid), to).unwrap();
    let (touched, started) = tokio::join!(sessions.touch(&sid), sessions.start(&user, None));
    for result in [touched.map(drop), started.map(drop)] {
        match result {
            Err(SessionError::Unavailable(cause)) => assert!(cause.to_string().contains("TryAgain"), "{cause}"),
            other => panic!("{other:?}"),
        }
    }
    let finish = async {
        sleep(Duration::from_millis(300)).await;
        let redis = redis.clone();
        spawn_blocking(move || redis.finish_move(open).unwrap()).await.unwrap();
    };
    let (touched, started, ()) = tokio::join!(sessions.touch(&sid), sessions.start(&user, None), finish);
    assert!(touched.unwrap().is_some());
    assert_ne!(started.unwrap(), sid);
}

#[tokio::test]
async fn notices_arrive_after_the_slot_of_their_channel_has_moved() {
    let redis = RedisCluster::builder(3).replicas(0).start().unwrap();
    let (here, there) = (sessions(&redis), sessions(&redis));
    let mut events = there.events();
    assert_eq!(next(&mut events).await, SessionEvent::Missed);
    let from = redis.master_of(CHANNEL).unwrap();
    for to in [(from + 1) % 3, from] {
        let sid = here.claim(&"ann".parse().unwrap(), None).await.unwrap();
        let open = redis.open_slot(key_slot(CHANNEL), to).unwrap();
        redis.finish_move(open).unwrap();
        let moved = Instant::now();
        assert_eq!(next(&mut events).await, SessionEvent::Missed);
        println!("subscribed at the new owner after {:?}", moved.elapsed());
        assert!(moved.elapsed() < Duration::from_secs(5), "{:?}", moved.elapsed());
        here.end(&sid).await.unwrap();
        assert_eq!(next(&mut events).await, SessionEvent::Ended(sid));
    }
    let channels = redis.node(from).cli(&["PUBSUB", "SHARDCHANNELS"]).unwrap();
    assert_eq!(channels.trim(), CHANNEL);
}

#[tokio::test]
async fn paused_shard_delays_its_users_only() {
    let mut redis = RedisCluster::builder(3).replicas(0).start().unwrap();
    let sessions = sessions(&redis);
    let channel_at = redis.master_of(CHANNEL).unwrap();
    let victim = (0..3).find(|node| *node != channel_at).unwrap();
    let lost = sessions.claim(&user_at(&redis, victim).parse().unwrap(), None).await.unwrap();
    let spared = sessions.claim(&user_at(&redis, channel_at).parse().unwrap(), None).await.unwrap();
    redis.pause(victim).unwrap();
    let started = Instant::now();
    assert!(matches!(sessions.touch(&lost).await, Err(SessionError::Unavailable(_))));
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    let started = Instant::now();
    assert!(sessions.touch(&spared).await.unwrap().is_some());
    assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
    assert_eq!(sessions.health().await.unwrap().len(), 1);
    redis.resume(victim).unwrap();
    soon(async || sessions.touch(&lost).await.ok().flatten()).await;
}

#[tokio::test]
async fn cluster_that_cannot_be_used_is_named() {
    let redis = trunkline_testbed::Redis::builder().start().unwrap();
    let url = redis.url().replace("redis://", "redis-cluster://");
    let sessions = RedisSessions::in_redis(&url, "test", Lifetimes::default()).unwrap();
    match sessions.health().await {
        Err(SessionError::Unavailable(cause)) => assert!(cause.to_string().contains("use redis://"), "{cause}"),
        other => panic!("{other:?}"),
    }
}
