//! The contract of [`Sessions`], tested over HTTP against each store. Each test gets two handles, like two instances.

use std::time::Duration;

use actix_session::storage::SessionKey;
use futures_util::future::join_all;
use tokio::time::{sleep, timeout};
use trunkline_session::{
    Lifetimes, LoginAttempt, MemorySessions, RedisSessions, SessionError, SessionEvent, Sessions, Sid,
};
use trunkline_testbed::Redis;

use crate::site::{Answer, LIFETIMES, site};

/// Runs each test against each store.
macro_rules! contract {
    ($($test:ident,)*) => {
        mod memory {$(
            #[tokio::test(start_paused = true)]
            async fn $test() {
                let sessions = trunkline_session::MemorySessions::in_memory(crate::site::LIFETIMES);
                super::$test([sessions.clone(), sessions]).await;
            }
        )*}

        mod redis {$(
            #[tokio::test]
            async fn $test() {
                let redis = trunkline_testbed::Redis::start().unwrap();
                super::$test(crate::contract::handles(&redis)).await;
            }
        )*}

        mod cluster {$(
            #[tokio::test]
            async fn $test() {
                let redis = trunkline_testbed::RedisCluster::builder(3).replicas(0).start().unwrap();
                super::$test(crate::contract::handles_at(&redis.url())).await;
            }
        )*}
    };
}
pub(crate) use contract;

contract! {
    only_one_session_can_hold_a_name,
    logout_invalidates_all_keys_and_frees_the_name,
    idle_session_expires_and_frees_its_name,
    requests_postpone_idle_expiry,
    touch_extends_a_session_up_to_the_absolute_limit,
    every_page_load_returns_a_new_key,
    superseded_key_expires_one_grace_period_after_the_new_key_is_presented,
    ten_tabs_restored_at_once_get_the_same_new_key,
    slow_request_with_an_older_key_gets_the_newest_key,
    session_survives_a_lost_response,
    session_survives_many_quick_page_loads,
    login_invalidates_earlier_keys,
    login_under_another_name_ends_the_old_session,
    failed_login_under_a_taken_name_keeps_the_old_session,
    user_can_log_in_under_another_spelling_of_the_own_name,
    repeated_login_attempt_replaces_only_its_own_session,
    logout_during_a_request_is_not_undone_by_the_request,
    all_instances_are_notified_of_ended_sessions,
    state_survives_key_rotation_and_ends_with_the_session,
    only_login_creates_a_session,
    unknown_keys_are_refused,
}

/// Two instances over one Redis.
pub(crate) fn handles(redis: &Redis) -> [RedisSessions; 2] {
    handles_at(&redis.url())
}

pub(crate) fn handles_at(url: &str) -> [RedisSessions; 2] {
    let prefix = format!("test-{:016x}", rand::random::<u64>());
    [(), ()].map(|()| RedisSessions::in_redis(url, &prefix, LIFETIMES).unwrap())
}

pub(crate) fn sid(answer: &Answer) -> Sid {
    answer.body.split(' ').nth(1).unwrap().parse().unwrap()
}

async fn only_one_session_can_hold_a_name<S: Sessions>([here, there]: [S; 2]) {
    let (here, there) = (site(&here).await, site(&there).await);
    let ann = here.log_in("coco").await;
    // The second is mixed case, the third Cyrillic.
    for name in ["coco", "CoCo", "%D1%81%D0%BE%D1%81%D0%BE"] {
        assert_eq!(there.post(&format!("/login/{name}"), "").await.status, 409, "{name}");
    }
    there.log_in("bob").await;
    assert_eq!(there.get("/who", &ann).await.status, 200);
}

async fn logout_invalidates_all_keys_and_frees_the_name<S: Sessions>([here, there]: [S; 2]) {
    let (here, there) = (site(&here).await, site(&there).await);
    let old = here.log_in("ann").await;
    let new = here.get("/", &old).await.cookie();
    let answer = there.post("/logout", &new).await;
    assert_eq!(answer.status, 204);
    assert!(answer.set_cookie.unwrap().contains("Max-Age=0"));
    for cookie in [&old, &new] {
        assert_eq!(here.get("/who", cookie).await.status, 401);
        assert_eq!(there.get("/", cookie).await.status, 401);
    }
    here.log_in("Ann").await;
}

async fn idle_session_expires_and_frees_its_name<S: Sessions>([here, there]: [S; 2]) {
    let (here_site, there_site) = (site(&here).await, site(&there).await);
    let answer = here_site.post("/login/ann", "").await;
    sleep(LIFETIMES.idle + Duration::from_millis(100)).await;
    assert_eq!(there_site.get("/who", &answer.cookie()).await.status, 401);
    assert_eq!(there.touch(&sid(&answer)).await.unwrap(), None);
    there_site.log_in("ann").await;
}

async fn requests_postpone_idle_expiry<S: Sessions>([here, there]: [S; 2]) {
    let (here, there) = (site(&here).await, site(&there).await);
    let cookie = here.log_in("ann").await;
    for _ in 0..3 {
        sleep(LIFETIMES.idle / 2).await;
        assert_eq!(there.get("/who", &cookie).await.status, 200);
        assert_eq!(here.post("/login/ann", "").await.status, 409);
    }
}

async fn touch_extends_a_session_up_to_the_absolute_limit<S: Sessions>([here, there]: [S; 2]) {
    let (here_site, there_site) = (site(&here).await, site(&there).await);
    let answer = here_site.post("/login/ann", "").await;
    let (sid, cookie) = (sid(&answer), answer.cookie());
    let mut left = there.touch(&sid).await.unwrap().unwrap();
    assert!(left <= LIFETIMES.max);
    while left > LIFETIMES.idle / 2 {
        sleep(LIFETIMES.idle / 2).await;
        let next = there.touch(&sid).await.unwrap().expect("the session was used within the idle time");
        assert!(next <= left - LIFETIMES.idle / 2, "the absolute limit does not move");
        left = next;
        assert_eq!(there_site.post("/login/ann", "").await.status, 409);
    }
    assert_eq!(here_site.get("/who", &cookie).await.status, 200);
    sleep(left + Duration::from_millis(100)).await;
    assert_eq!(there.touch(&sid).await.unwrap(), None);
    assert_eq!(here_site.get("/who", &cookie).await.status, 401);
    here_site.log_in("ann").await;
}

async fn every_page_load_returns_a_new_key<S: Sessions>([here, there]: [S; 2]) {
    let (here, there) = (site(&here).await, site(&there).await);
    let login = here.post("/login/ann", "").await;
    let mut cookies = vec![login.cookie()];
    for _ in 0..3 {
        let page = there.get("/", cookies.last().unwrap()).await;
        assert_eq!((page.status, sid(&page)), (200, sid(&login)));
        assert!(!cookies.contains(&page.cookie()));
        cookies.push(page.cookie());
        let probe = here.get("/session", cookies.last().unwrap()).await;
        assert_eq!((probe.status, probe.cookie()), (200, page.cookie()), "the probe sends the same cookie again");
        assert!(here.get("/who", cookies.last().unwrap()).await.set_cookie.is_none());
    }
}

async fn superseded_key_expires_one_grace_period_after_the_new_key_is_presented<S: Sessions>([here, there]: [S; 2]) {
    let (here, there) = (site(&here).await, site(&there).await);
    let old = here.log_in("ann").await;
    let new = there.get("/", &old).await.cookie();
    sleep(LIFETIMES.grace + Duration::from_millis(100)).await;
    assert_eq!(here.get("/who", &old).await.status, 200, "the new key has not been presented");
    assert_eq!(here.get("/who", &new).await.status, 200);
    assert_eq!(there.get("/who", &old).await.status, 200, "within the grace period");
    sleep(LIFETIMES.grace + Duration::from_millis(100)).await;
    assert_eq!(there.get("/who", &old).await.status, 401);
    assert_eq!(there.get("/", &old).await.status, 401);
    assert_eq!(there.get("/who", &new).await.status, 200);
}

async fn ten_tabs_restored_at_once_get_the_same_new_key<S: Sessions>([here, there]: [S; 2]) {
    let (here, there) = (site(&here).await, site(&there).await);
    let old = here.log_in("ann").await;
    let (odd, even) =
        tokio::join!(join_all((0..5).map(|_| here.get("/", &old))), join_all((0..5).map(|_| there.get("/", &old))),);
    let tabs: Vec<Answer> = odd.into_iter().chain(even).collect();
    let new = tabs[0].cookie();
    assert_ne!(new, old);
    for tab in tabs {
        assert_eq!((tab.status, tab.cookie()), (200, new.clone()));
    }
    assert_eq!(there.get("/who", &new).await.status, 200);
}

async fn slow_request_with_an_older_key_gets_the_newest_key<S: Sessions>([here, there]: [S; 2]) {
    let (here, there) = (site(&here).await, site(&there).await);
    let first = here.log_in("ann").await;
    let second = here.get("/", &first).await.cookie();
    let third = there.get("/", &second).await.cookie();
    // This request was sent before the second key arrived, and is handled after the third was made.
    let slow = here.get("/", &first).await;
    assert_eq!((slow.status, slow.cookie()), (200, third));
}

async fn session_survives_a_lost_response<S: Sessions>([here, there]: [S; 2]) {
    let (here, there) = (site(&here).await, site(&there).await);
    let old = here.log_in("ann").await;
    let lost = here.get("/", &old).await.cookie();
    sleep(LIFETIMES.grace + Duration::from_millis(200)).await;
    let page = there.get("/", &old).await;
    assert_eq!((page.status, page.cookie()), (200, lost));
}

async fn session_survives_many_quick_page_loads<S: Sessions>([here, there]: [S; 2]) {
    let (here, there) = (site(&here).await, site(&there).await);
    let first = here.log_in("ann").await;
    let mut cookie = first.clone();
    for _ in 0..20 {
        let page = there.get("/", &cookie).await;
        assert_eq!(page.status, 200);
        cookie = page.cookie();
    }
    assert_eq!(here.get("/who", &cookie).await.status, 200);
    sleep(LIFETIMES.grace + Duration::from_millis(200)).await;
    assert_eq!(here.get("/who", &first).await.status, 401);
    assert_ne!(here.get("/", &cookie).await.cookie(), cookie, "key rotation resumes");
}

async fn login_invalidates_earlier_keys<S: Sessions>([here, there]: [S; 2]) {
    let (here, there) = (site(&here).await, site(&there).await);
    let first = here.post("/login/ann", "").await;
    let planted = there.get("/", &first.cookie()).await.cookie();
    let again = here.post("/login/ann", &planted).await;
    assert_eq!((again.status, sid(&again)), (200, sid(&first)));
    for void in [first.cookie(), planted] {
        assert_eq!(there.get("/who", &void).await.status, 401);
    }
    assert_eq!(there.get("/who", &again.cookie()).await.status, 200);
}

async fn login_under_another_name_ends_the_old_session<S: Sessions>([here, there]: [S; 2]) {
    let (here_site, there_site) = (site(&here).await, site(&there).await);
    let ann = here_site.post("/login/ann", "").await;
    let bob = there_site.post("/login/bob", &ann.cookie()).await;
    assert_eq!(bob.status, 200);
    assert_eq!(here.touch(&sid(&ann)).await.unwrap(), None);
    assert_eq!(here_site.get("/who", &ann.cookie()).await.status, 401);
    assert!(here_site.get("/who", &bob.cookie()).await.body.starts_with("bob "));
    here_site.log_in("ann").await;
}

async fn failed_login_under_a_taken_name_keeps_the_old_session<S: Sessions>([here, there]: [S; 2]) {
    let (here, there) = (site(&here).await, site(&there).await);
    here.log_in("bob").await;
    let ann = here.log_in("ann").await;
    assert_eq!(there.post("/login/bob", &ann).await.status, 409);
    assert_eq!(there.get("/who", &ann).await.status, 200);
}

async fn user_can_log_in_under_another_spelling_of_the_own_name<S: Sessions>([here, there]: [S; 2]) {
    let (here, there) = (site(&here).await, site(&there).await);
    let lower = here.log_in("ann").await;
    let upper = there.post("/login/Ann", &lower).await;
    assert_eq!(upper.status, 200);
    assert_eq!(here.get("/who", &lower).await.status, 401);
    assert!(here.get("/who", &upper.cookie()).await.body.starts_with("Ann "));
}

async fn repeated_login_attempt_replaces_only_its_own_session<S: Sessions>([here, there]: [S; 2]) {
    let [ann, bob, cai] = ["ann", "bob", "cai"].map(|name| name.parse().unwrap());
    let attempt = Some(LoginAttempt::random());
    let first = here.claim(&ann, attempt).await.unwrap();
    let second = there.claim(&ann, attempt).await.unwrap();
    assert_eq!(here.touch(&first).await.unwrap(), None, "replaced by the second one");
    let third = here.claim(&ann, attempt).await.unwrap();
    assert!(first != second && second != third && third != first, "an ended session is not revived");

    // Other attempts cannot claim the name, and this attempt cannot claim names of other sessions.
    for other in [None, Some(LoginAttempt::random())] {
        assert!(matches!(there.claim(&ann, other).await, Err(SessionError::Taken)));
        let held = here.claim(&bob, other).await.unwrap();
        assert!(matches!(there.claim(&bob, attempt).await, Err(SessionError::Taken)));
        assert!(there.touch(&held).await.unwrap().is_some());
        here.end(&held).await.unwrap();
    }
    there.claim(&cai, attempt).await.unwrap();
    assert!(there.touch(&third).await.unwrap().is_some(), "the same attempt under another name leaves it alone");
}

async fn logout_during_a_request_is_not_undone_by_the_request<S: Sessions>([here, there]: [S; 2]) {
    let (here_site, there_site) = (site(&here).await, site(&there).await);
    let login = here_site.post("/login/ann", "").await;
    let answer = here_site.get("/ended-meanwhile", &login.cookie()).await;
    assert_eq!((answer.status, answer.set_cookie), (401, None));
    assert_eq!(there.touch(&sid(&login)).await.unwrap(), None, "the session is not recreated");
    there_site.log_in("ann").await;
}

async fn all_instances_are_notified_of_ended_sessions<S: Sessions>([here, there]: [S; 2]) {
    let mut events = [here.events(), there.events()];
    // A store that subscribes to a server reports `Missed` first, and every event after that.
    for events in &mut events {
        let first = timeout(Duration::from_secs(5), events.next()).await;
        assert!(matches!(first, Ok(Some(SessionEvent::Missed)) | Err(_)), "{first:?}");
    }
    let site = site(&here).await;
    let login = site.post("/login/ann", "").await;
    site.post("/logout", &login.cookie()).await;
    here.end(&sid(&login)).await.unwrap();
    let next = site.post("/login/ann", "").await;
    there.end(&sid(&next)).await.unwrap();
    for events in &mut events {
        for login in [&login, &next] {
            let event = timeout(Duration::from_secs(5), events.next()).await.unwrap();
            assert_eq!(event, Some(SessionEvent::Ended(sid(login))), "each event arrives once");
        }
    }
}

async fn state_survives_key_rotation_and_ends_with_the_session<S: Sessions>([here, there]: [S; 2]) {
    let (here, there) = (site(&here).await, site(&there).await);
    let login = here.log_in("ann").await;
    let one = here.get("/count", &login).await;
    assert_eq!((one.body.as_str(), one.cookie()), ("1", login.clone()), "the key changes only on request");
    let page = there.get("/", &login).await.cookie();
    assert_eq!(here.get("/count", &page).await.body, "2");
    let bob = here.post("/login/bob", &page).await.cookie();
    assert_eq!(here.get("/count", &bob).await.body, "1");
}

async fn only_login_creates_a_session<S: Sessions>([here, _]: [S; 2]) {
    let site = site(&here).await;
    for path in ["/", "/session", "/who"] {
        let answer = site.get(path, "").await;
        assert_eq!((answer.status, answer.set_cookie), (401, None), "{path}");
    }
    assert_eq!(site.get("/count", "").await.status, 401, "a state without a session is not saved");
    assert_eq!(site.post("/logout", "").await.status, 204);
}

async fn unknown_keys_are_refused<S: Sessions>([here, _]: [S; 2]) {
    let site = site(&here).await;
    let login = site.post("/login/ann", "").await;
    let sid = sid(&login);
    let guesses =
        [String::new(), ".".into(), sid.to_string(), format!("{sid}."), format!("{sid}.{:032x}", 1), "é".repeat(40)];
    for guess in guesses {
        let key = SessionKey::try_from(guess.clone()).unwrap();
        assert_eq!(here.load(&key).await.unwrap(), None, "{guess}");
        assert!(
            here.update(key, [("n".into(), "1".into())].into(), &actix_web::cookie::time::Duration::ZERO)
                .await
                .is_err()
        );
    }
    // Without a valid signature.
    assert_eq!(site.get("/who", &format!("jsessionid={sid}.{:032x}", 1)).await.status, 401);
    assert_eq!(site.get("/who", &login.cookie()).await.status, 200);
}

/// Uses the default lifetimes, which need the paused clock.
#[tokio::test(start_paused = true)]
async fn name_is_free_again_soon_after_a_login_response_is_lost() {
    let sessions = MemorySessions::in_memory(Lifetimes::default());
    let site = site(&sessions).await;
    let lost = site.log_in("ann").await;
    sleep(Lifetimes::FIRST_USE_TIMEOUT - Duration::from_secs(1)).await;
    assert_eq!(site.get("/who", &lost).await.status, 200, "the response was not lost after all");
    sleep(Lifetimes::default().idle - Duration::from_secs(1)).await;
    assert_eq!(site.get("/who", &lost).await.status, 200, "from then on the idle time applies");
    site.log_in("bob").await;
    sleep(Lifetimes::FIRST_USE_TIMEOUT).await;
    site.log_in("bob").await;
    // A claim whose session never gets a key.
    sessions.claim(&"cai".parse().unwrap(), None).await.unwrap();
    sleep(Lifetimes::CLAIM_TIMEOUT).await;
    site.log_in("cai").await;
}
