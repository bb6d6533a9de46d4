//! Tests of what is specific to the Redis store.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use trunkline_session::{InvalidSettings, Lifetimes, RedisSessions, SessionError, SessionEvent, Sessions, Sid};
use trunkline_testbed::{AppendFsync, Redis, free_port};

use crate::{
    contract::handles,
    site::{LIFETIMES, site},
};

/// Time limit for reconnecting, on a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// A store whose sessions do not expire during a test.
fn lasting(url: &str) -> RedisSessions {
    RedisSessions::in_redis(url, "test", Lifetimes::default()).unwrap()
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

fn unavailable<T: std::fmt::Debug>(result: Result<T, SessionError>) -> String {
    match result {
        Err(SessionError::Unavailable(cause)) => cause.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn sessions_survive_a_restart_of_redis() {
    let mut redis = Redis::builder().append_only(AppendFsync::Always).start().unwrap();
    let sessions = lasting(&redis.url());
    let site = site(&sessions).await;
    let login = site.post("/login/ann", "").await;
    let sid: Sid = login.body.split(' ').nth(1).unwrap().parse().unwrap();
    redis.kill().unwrap();
    for path in ["/", "/who", "/session"] {
        let answer = site.get(path, &login.cookie()).await;
        assert_eq!((answer.status, answer.set_cookie), (503, None), "{path}");
    }
    assert_eq!(site.post("/login/bob", "").await.status, 503);
    assert_eq!(site.post("/logout", &login.cookie()).await.status, 503);
    assert_eq!(site.get("/who", "").await.status, 401, "a request without a cookie needs no store");
    unavailable(sessions.touch(&sid).await);
    unavailable(sessions.health().await);
    redis.restart().unwrap();
    // Operations fail at once for 200 ms after a failed connect.
    soon(async || sessions.health().await.ok()).await;
    let page = site.get("/", &login.cookie()).await;
    assert_eq!(page.status, 200);
    assert!(sessions.touch(&sid).await.unwrap().is_some());
    assert_eq!(site.post("/login/bob", "").await.status, 200);
}

#[tokio::test]
async fn a_lost_connection_costs_no_request() {
    let redis = Redis::builder().start().unwrap();
    let sessions = lasting(&redis.url());
    let site = site(&sessions).await;
    let mut cookie = site.log_in("ann").await;
    for _ in 0..3 {
        redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]).unwrap();
        sessions.health().await.unwrap();
        redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]).unwrap();
        let page = site.get("/", &cookie).await;
        assert_eq!(page.status, 200);
        assert_ne!(page.cookie(), cookie);
        cookie = page.cookie();
    }
}

#[tokio::test]
async fn operations_fail_in_bounded_time_while_redis_hangs() {
    let mut redis = Redis::builder().start().unwrap();
    let sessions = lasting(&redis.url());
    let site = site(&sessions).await;
    let cookie = site.log_in("ann").await;
    redis.pause().unwrap();
    let asked = Instant::now();
    let (page, login) = tokio::join!(site.get("/", &cookie), site.post("/login/bob", ""));
    assert_eq!((page.status, login.status), (503, 503));
    assert!(asked.elapsed() < Duration::from_secs(6), "{:?}", asked.elapsed());
    redis.resume().unwrap();
    soon(async || (site.get("/", &cookie).await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn store_works_once_redis_starts() {
    let port = free_port().unwrap();
    let sessions = lasting(&format!("redis://127.0.0.1:{port}"));
    let mut events = sessions.events();
    unavailable(sessions.claim(&"ann".parse().unwrap(), None).await);
    unavailable(sessions.health().await);
    let _redis = Redis::builder().port(port).start().unwrap();
    let sid = soon(async || sessions.claim(&"ann".parse().unwrap(), None).await.ok()).await;
    assert_eq!(timeout(SOON, events.next()).await.unwrap(), Some(SessionEvent::Missed));
    sessions.end(&sid).await.unwrap();
    assert_eq!(timeout(SOON, events.next()).await.unwrap(), Some(SessionEvent::Ended(sid)));
}

#[tokio::test]
async fn interrupted_subscription_reports_missed_events() {
    let redis = Redis::builder().start().unwrap();
    let [here, there] = handles(&redis);
    let mut events = here.events();
    assert_eq!(timeout(SOON, events.next()).await.unwrap(), Some(SessionEvent::Missed));
    redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]).unwrap();
    let ann = there.claim(&"ann".parse().unwrap(), None).await.unwrap();
    there.end(&ann).await.unwrap();
    assert_eq!(timeout(SOON, events.next()).await.unwrap(), Some(SessionEvent::Missed));
    let bob = there.claim(&"bob".parse().unwrap(), None).await.unwrap();
    there.end(&bob).await.unwrap();
    let mut event = timeout(SOON, events.next()).await.unwrap();
    // The subscription may have been back before the first session ended.
    if event == Some(SessionEvent::Ended(ann)) {
        event = timeout(SOON, events.next()).await.unwrap();
    }
    assert_eq!(event, Some(SessionEvent::Ended(bob)));
}

#[tokio::test]
async fn sessions_ended_in_another_database_cause_no_event() {
    let redis = Redis::builder().start().unwrap();
    let in_database = |number: u8| lasting(&format!("{}/{number}", redis.url()));
    let (zero, one, one_again) = (in_database(0), in_database(1), in_database(1));
    let mut events = [zero.events(), one.events(), one_again.events()];
    for events in &mut events {
        assert_eq!(timeout(SOON, events.next()).await.unwrap(), Some(SessionEvent::Missed));
    }
    // Both deployments have a user of the same name.
    let ann = "ann".parse().unwrap();
    let (in_zero, in_one) = (zero.claim(&ann, None).await.unwrap(), one.claim(&ann, None).await.unwrap());
    zero.end(&in_zero).await.unwrap();
    one.end(&in_one).await.unwrap();
    for (events, ended) in events.iter_mut().zip([in_zero, in_one, in_one]) {
        assert_eq!(timeout(SOON, events.next()).await.unwrap(), Some(SessionEvent::Ended(ended)));
        let more = timeout(Duration::from_millis(300), events.next()).await;
        assert!(more.is_err(), "event of another database: {more:?}");
    }
    let channels = redis.cli(&["PUBSUB", "CHANNELS"]).unwrap();
    let mut channels: Vec<_> = channels.lines().collect();
    channels.sort_unstable();
    assert_eq!(channels, ["test:ended", "test:ended:1"]);
}

#[tokio::test]
async fn stores_with_different_prefixes_share_nothing() {
    let redis = Redis::builder().start().unwrap();
    let with_prefix = |prefix| RedisSessions::in_redis(&redis.url(), prefix, Lifetimes::default()).unwrap();
    let (one, two) = (with_prefix("one"), with_prefix("two"));
    let mut events = two.events();
    assert_eq!(timeout(SOON, events.next()).await.unwrap(), Some(SessionEvent::Missed));
    let ann = "ann".parse().unwrap();
    let (in_one, in_two) = (one.claim(&ann, None).await.unwrap(), two.claim(&ann, None).await.unwrap());
    assert_eq!(two.touch(&in_one).await.unwrap(), None);
    one.end(&in_one).await.unwrap();
    two.end(&in_two).await.unwrap();
    assert_eq!(timeout(SOON, events.next()).await.unwrap(), Some(SessionEvent::Ended(in_two)));
}

#[tokio::test]
async fn listener_ends_with_the_store() {
    let redis = Redis::builder().start().unwrap();
    let [here, _] = handles(&redis);
    let mut events = here.events();
    assert_eq!(timeout(SOON, events.next()).await.unwrap(), Some(SessionEvent::Missed));
    assert!(redis.cli(&["PUBSUB", "CHANNELS"]).unwrap().contains(":ended"));
    drop(here);
    assert_eq!(timeout(SOON, events.next()).await.unwrap(), None);
    soon(async || (!redis.cli(&["PUBSUB", "CHANNELS"]).unwrap().contains(":ended")).then_some(())).await;
}

#[tokio::test]
async fn existing_sessions_work_while_redis_is_out_of_memory() {
    let redis = Redis::builder().start().unwrap();
    let sessions = lasting(&redis.url());
    let site = site(&sessions).await;
    let login = site.post("/login/ann", "").await;
    let cookie = login.cookie();
    redis.cli(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    let page = site.get("/", &cookie).await;
    assert_eq!((page.status, page.cookie()), (200, cookie.clone()), "served with the old key");
    assert_eq!(site.get("/session", &cookie).await.status, 200);
    assert_eq!(site.get("/count", &cookie).await.status, 503, "a change of the state cannot be stored");
    assert_eq!(site.post("/login/bob", "").await.status, 503);
    assert_eq!(site.post("/logout", &cookie).await.status, 204, "logout deletes, which needs no memory");
    redis.cli(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    site.log_in("bob").await;
}

#[tokio::test]
async fn touch_fails_on_a_replica() {
    let master = Redis::builder().start().unwrap();
    let redis = Redis::builder().start().unwrap();
    let sessions = lasting(&redis.url());
    let sid = sessions.claim(&"ann".parse().unwrap(), None).await.unwrap();
    assert!(sessions.touch(&sid).await.unwrap().is_some());
    redis.cli(&["CONFIG", "SET", "replica-serve-stale-data", "yes"]).unwrap();
    redis.cli(&["REPLICAOF", "127.0.0.1", &free_port().unwrap().to_string()]).unwrap();
    assert!(unavailable(sessions.touch(&sid).await).contains("replica"));
    redis.cli(&["REPLICAOF", "NO", "ONE"]).unwrap();
    assert!(sessions.touch(&sid).await.unwrap().is_some());
    drop(master);
}

#[tokio::test]
async fn redis_contains_no_cookie_secret() {
    let redis = Redis::builder().start().unwrap();
    let sessions = lasting(&redis.url());
    let site = site(&sessions).await;
    let first = site.log_in("ann").await;
    let second = site.get("/", &first).await.cookie();
    let mut held = String::new();
    for key in redis.cli(&["KEYS", "*"]).unwrap().lines() {
        let value = if key.contains(":s:") { redis.cli(&["HGETALL", key]) } else { redis.cli(&["GET", key]) }.unwrap();
        held.push_str(&format!("{key} {value}\n"));
    }
    assert!(held.contains("digest"), "{held}");
    for cookie in [first, second] {
        // jsessionid=<signature, 44 characters, percent-encoded><sid>.<secret>
        let secret = cookie.rsplit('.').next().unwrap();
        assert_eq!(secret.len(), 32);
        assert!(!held.contains(secret), "{held}");
    }
}

#[tokio::test]
async fn session_and_name_have_the_same_slot_and_expiry() {
    let redis = Redis::builder().start().unwrap();
    let sessions = lasting(&redis.url());
    let site = site(&sessions).await;
    let cookie = site.log_in("ann").await;
    site.get("/", &cookie).await;
    let keys = redis.cli(&["KEYS", "test:*"]).unwrap();
    let keys: Vec<&str> = keys.lines().collect();
    assert_eq!(keys.len(), 2, "{keys:?}");
    let each = |command: &[&str]| -> Vec<String> {
        keys.iter().map(|key| redis.cli(&[command, &[key]].concat()).unwrap()).collect()
    };
    let tags: Vec<_> = keys.iter().map(|key| key.split(['{', '}']).nth(1).unwrap()).collect();
    assert_eq!(tags[0], tags[1]);
    let expiries = each(&["PEXPIRETIME"]);
    assert_eq!(expiries[0], expiries[1]);
}

#[tokio::test]
async fn errors_and_debug_output_contain_no_password() {
    let redis = Redis::builder().password("hunter2").start().unwrap();
    let url = redis.url().replace("hunter2", "hunter3");
    let sessions = lasting(&url);
    let cause = unavailable(sessions.health().await);
    assert!(!cause.contains("hunter"), "{cause}");
    assert!(!format!("{sessions:?}").contains("hunter"));
    lasting(&redis.url()).health().await.unwrap();
    for bad in ["", "127.0.0.1", "http://:hunter2@localhost", "redis://:hunter2@local host/", "redis://:hunter2@h/x"] {
        match RedisSessions::in_redis(bad, "test", LIFETIMES) {
            Err(error @ InvalidSettings::Redis(_)) => assert!(!error.to_string().contains("hunter"), "{error}"),
            other => panic!("{bad}: {other:?}"),
        }
    }
    for prefix in ["", "a{b}", "ä", "a b"] {
        let refused = RedisSessions::in_redis(&redis.url(), prefix, LIFETIMES);
        assert!(matches!(refused, Err(InvalidSettings::Prefix)), "{prefix}");
    }
}

#[test]
fn events_arrive_after_the_first_runtime_has_ended() {
    let redis = Redis::builder().start().unwrap();
    let [here, there] = handles(&redis);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let mut events = first.block_on(async { here.events() });
    assert_eq!(first.block_on(events.next()), Some(SessionEvent::Missed));
    drop(first);
    runtime().block_on(async {
        let mut others = here.events();
        for events in [&mut events, &mut others] {
            assert_eq!(timeout(SOON, events.next()).await.unwrap(), Some(SessionEvent::Missed));
        }
        let sid = there.claim(&"ann".parse().unwrap(), None).await.unwrap();
        there.end(&sid).await.unwrap();
        for events in [&mut events, &mut others] {
            assert_eq!(timeout(SOON, events.next()).await.unwrap(), Some(SessionEvent::Ended(sid)));
        }
        assert!(here.touch(&sid).await.unwrap().is_none());
    });
}
