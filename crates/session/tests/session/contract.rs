//! The promises of [`Sessions`], tried over HTTP on each store, with two handles as two instances have them.

use std::time::Duration;

use actix_session::storage::SessionKey;
use futures_util::future::join_all;
use tokio::time::{sleep, timeout};
use trunkline_session::{Attempt, Ending, Lifetimes, MemorySessions, RedisSessions, SessionError, Sessions, Sid};
use trunkline_testbed::Redis;

use crate::site::{Answer, LIFETIMES, site};

/// Each promise as a test of each store.
macro_rules! contract {
    ($($promise:ident,)*) => {
        mod memory {$(
            #[tokio::test(start_paused = true)]
            async fn $promise() {
                let sessions = super::MemorySessions::in_memory(super::LIFETIMES);
                super::$promise([sessions.clone(), sessions]).await;
            }
        )*}

        mod redis {$(
            #[tokio::test]
            async fn $promise() {
                let redis = super::Redis::start().unwrap();
                super::$promise(super::handles(&redis)).await;
            }
        )*}
    };
}

contract! {
    a_name_is_held_by_one_session,
    logout_ends_all_keys_and_frees_the_name,
    a_session_idles_out_and_frees_its_name,
    requests_are_use,
    use_extends_a_session_up_to_its_limit,
    every_page_load_brings_a_new_key,
    an_old_key_is_void_a_grace_after_the_new_one_was_presented,
    ten_tabs_stay_logged_in_with_one_new_key,
    a_reload_does_not_hurt_a_slower_tab,
    an_answer_that_got_lost_logs_nobody_out,
    many_quick_page_loads_stay_logged_in,
    login_voids_the_key_that_was_there_before,
    login_as_somebody_else_ends_the_old_session,
    login_under_a_taken_name_leaves_the_old_session,
    login_under_another_spelling_of_ones_name,
    a_repeated_attempt_ends_its_own_session_and_no_other,
    a_logout_in_the_middle_of_a_request_stands,
    endings_are_heard_by_other_instances,
    state_survives_rotation_but_not_the_session,
    nothing_but_login_makes_a_session,
    foreign_keys_open_nothing,
}

/// Two instances over one Redis.
pub(crate) fn handles(redis: &Redis) -> [RedisSessions; 2] {
    let prefix = format!("test-{:016x}", rand::random::<u64>());
    [(), ()].map(|()| RedisSessions::in_redis(&redis.url(), &prefix, LIFETIMES).unwrap())
}

fn sid(answer: &Answer) -> Sid {
    answer.body.split(' ').nth(1).unwrap().parse().unwrap()
}

async fn a_name_is_held_by_one_session<S: Sessions>([here, there]: [S; 2]) {
    let (here, there) = (site(&here).await, site(&there).await);
    let ann = here.log_in("coco").await;
    // In upper case, and in Cyrillic letters.
    for name in ["coco", "CoCo", "%D1%81%D0%BE%D1%81%D0%BE"] {
        assert_eq!(there.post(&format!("/login/{name}"), "").await.status, 409, "{name}");
    }
    there.log_in("bob").await;
    assert_eq!(there.get("/who", &ann).await.status, 200);
}

async fn logout_ends_all_keys_and_frees_the_name<S: Sessions>([here, there]: [S; 2]) {
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

async fn a_session_idles_out_and_frees_its_name<S: Sessions>([here, there]: [S; 2]) {
    let (here_site, there_site) = (site(&here).await, site(&there).await);
    let answer = here_site.post("/login/ann", "").await;
    sleep(LIFETIMES.idle + Duration::from_millis(100)).await;
    assert_eq!(there_site.get("/who", &answer.cookie()).await.status, 401);
    assert_eq!(there.touch(&sid(&answer)).await.unwrap(), None);
    there_site.log_in("ann").await;
}

async fn requests_are_use<S: Sessions>([here, there]: [S; 2]) {
    let (here, there) = (site(&here).await, site(&there).await);
    let cookie = here.log_in("ann").await;
    for _ in 0..3 {
        sleep(LIFETIMES.idle / 2).await;
        assert_eq!(there.get("/who", &cookie).await.status, 200);
        assert_eq!(here.post("/login/ann", "").await.status, 409);
    }
}

async fn use_extends_a_session_up_to_its_limit<S: Sessions>([here, there]: [S; 2]) {
    let (here_site, there_site) = (site(&here).await, site(&there).await);
    let answer = here_site.post("/login/ann", "").await;
    let (sid, cookie) = (sid(&answer), answer.cookie());
    let mut left = there.touch(&sid).await.unwrap().unwrap();
    assert!(left <= LIFETIMES.max);
    while left > LIFETIMES.idle / 2 {
        sleep(LIFETIMES.idle / 2).await;
        let next = there.touch(&sid).await.unwrap().expect("used in time");
        assert!(next <= left - LIFETIMES.idle / 2, "the limit stays");
        left = next;
        assert_eq!(there_site.post("/login/ann", "").await.status, 409);
    }
    assert_eq!(here_site.get("/who", &cookie).await.status, 200);
    sleep(left + Duration::from_millis(100)).await;
    assert_eq!(there.touch(&sid).await.unwrap(), None);
    assert_eq!(here_site.get("/who", &cookie).await.status, 401);
    here_site.log_in("ann").await;
}

async fn every_page_load_brings_a_new_key<S: Sessions>([here, there]: [S; 2]) {
    let (here, there) = (site(&here).await, site(&there).await);
    let login = here.post("/login/ann", "").await;
    let mut cookies = vec![login.cookie()];
    for _ in 0..3 {
        let page = there.get("/", cookies.last().unwrap()).await;
        assert_eq!((page.status, sid(&page)), (200, sid(&login)));
        assert!(!cookies.contains(&page.cookie()));
        cookies.push(page.cookie());
        let probe = here.get("/session", cookies.last().unwrap()).await;
        assert_eq!((probe.status, probe.cookie()), (200, page.cookie()), "the probe sets it again, unchanged");
        assert!(here.get("/who", cookies.last().unwrap()).await.set_cookie.is_none());
    }
}

async fn an_old_key_is_void_a_grace_after_the_new_one_was_presented<S: Sessions>([here, there]: [S; 2]) {
    let (here, there) = (site(&here).await, site(&there).await);
    let old = here.log_in("ann").await;
    let new = there.get("/", &old).await.cookie();
    sleep(LIFETIMES.grace + Duration::from_millis(100)).await;
    assert_eq!(here.get("/who", &old).await.status, 200, "nobody has presented the new one");
    assert_eq!(here.get("/who", &new).await.status, 200);
    assert_eq!(there.get("/who", &old).await.status, 200, "in its grace");
    sleep(LIFETIMES.grace + Duration::from_millis(100)).await;
    assert_eq!(there.get("/who", &old).await.status, 401);
    assert_eq!(there.get("/", &old).await.status, 401);
    assert_eq!(there.get("/who", &new).await.status, 200);
}

async fn ten_tabs_stay_logged_in_with_one_new_key<S: Sessions>([here, there]: [S; 2]) {
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

async fn a_reload_does_not_hurt_a_slower_tab<S: Sessions>([here, there]: [S; 2]) {
    let (here, there) = (site(&here).await, site(&there).await);
    let first = here.log_in("ann").await;
    let second = here.get("/", &first).await.cookie();
    let third = there.get("/", &second).await.cookie();
    // Sent before the second key arrived; comes after the third was made.
    let slow = here.get("/", &first).await;
    assert_eq!((slow.status, slow.cookie()), (200, third));
}

async fn an_answer_that_got_lost_logs_nobody_out<S: Sessions>([here, there]: [S; 2]) {
    let (here, there) = (site(&here).await, site(&there).await);
    let old = here.log_in("ann").await;
    let lost = here.get("/", &old).await.cookie();
    sleep(LIFETIMES.grace + Duration::from_millis(200)).await;
    let page = there.get("/", &old).await;
    assert_eq!((page.status, page.cookie()), (200, lost));
}

async fn many_quick_page_loads_stay_logged_in<S: Sessions>([here, there]: [S; 2]) {
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
    assert_ne!(here.get("/", &cookie).await.cookie(), cookie, "keys rotate again");
}

async fn login_voids_the_key_that_was_there_before<S: Sessions>([here, there]: [S; 2]) {
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

async fn login_as_somebody_else_ends_the_old_session<S: Sessions>([here, there]: [S; 2]) {
    let (here_site, there_site) = (site(&here).await, site(&there).await);
    let ann = here_site.post("/login/ann", "").await;
    let bob = there_site.post("/login/bob", &ann.cookie()).await;
    assert_eq!(bob.status, 200);
    assert_eq!(here.touch(&sid(&ann)).await.unwrap(), None);
    assert_eq!(here_site.get("/who", &ann.cookie()).await.status, 401);
    assert!(here_site.get("/who", &bob.cookie()).await.body.starts_with("bob "));
    here_site.log_in("ann").await;
}

async fn login_under_a_taken_name_leaves_the_old_session<S: Sessions>([here, there]: [S; 2]) {
    let (here, there) = (site(&here).await, site(&there).await);
    here.log_in("bob").await;
    let ann = here.log_in("ann").await;
    assert_eq!(there.post("/login/bob", &ann).await.status, 409);
    assert_eq!(there.get("/who", &ann).await.status, 200);
}

async fn login_under_another_spelling_of_ones_name<S: Sessions>([here, there]: [S; 2]) {
    let (here, there) = (site(&here).await, site(&there).await);
    let lower = here.log_in("ann").await;
    let upper = there.post("/login/Ann", &lower).await;
    assert_eq!(upper.status, 200);
    assert_eq!(here.get("/who", &lower).await.status, 401);
    assert!(here.get("/who", &upper.cookie()).await.body.starts_with("Ann "));
}

async fn a_repeated_attempt_ends_its_own_session_and_no_other<S: Sessions>([here, there]: [S; 2]) {
    let [ann, bob, cai] = ["ann", "bob", "cai"].map(|name| name.parse().unwrap());
    let attempt = Some(Attempt::random());
    let first = here.claim(&ann, attempt).await.unwrap();
    let second = there.claim(&ann, attempt).await.unwrap();
    assert_eq!(here.touch(&first).await.unwrap(), None, "its key came to nobody");
    let third = here.claim(&ann, attempt).await.unwrap();
    assert!(first != second && second != third && third != first, "what ended stays ended");

    // Nobody else gets the name, and the attempt gets nobody else's.
    for other in [None, Some(Attempt::random())] {
        assert!(matches!(there.claim(&ann, other).await, Err(SessionError::Taken)));
        let held = here.claim(&bob, other).await.unwrap();
        assert!(matches!(there.claim(&bob, attempt).await, Err(SessionError::Taken)));
        assert!(there.touch(&held).await.unwrap().is_some());
        here.end(&held).await.unwrap();
    }
    there.claim(&cai, attempt).await.unwrap();
    assert!(there.touch(&third).await.unwrap().is_some(), "nor its own under another name");
}

async fn a_logout_in_the_middle_of_a_request_stands<S: Sessions>([here, there]: [S; 2]) {
    let (here_site, there_site) = (site(&here).await, site(&there).await);
    let login = here_site.post("/login/ann", "").await;
    let answer = here_site.get("/ended-meanwhile", &login.cookie()).await;
    assert_eq!((answer.status, answer.set_cookie), (401, None));
    assert_eq!(there.touch(&sid(&login)).await.unwrap(), None, "not brought back");
    there_site.log_in("ann").await;
}

async fn endings_are_heard_by_other_instances<S: Sessions>([here, there]: [S; 2]) {
    let mut endings = [here.endings(), there.endings()];
    // A store that connects says so first: from then on it hears everything.
    for endings in &mut endings {
        let first = timeout(Duration::from_secs(5), endings.next()).await;
        assert!(matches!(first, Ok(Some(Ending::Missed)) | Err(_)), "{first:?}");
    }
    let site = site(&here).await;
    let login = site.post("/login/ann", "").await;
    site.post("/logout", &login.cookie()).await;
    here.end(&sid(&login)).await.unwrap();
    let next = site.post("/login/ann", "").await;
    there.end(&sid(&next)).await.unwrap();
    for endings in &mut endings {
        for login in [&login, &next] {
            let heard = timeout(Duration::from_secs(5), endings.next()).await.unwrap();
            assert_eq!(heard, Some(Ending::Of(sid(login))), "each once");
        }
    }
}

async fn state_survives_rotation_but_not_the_session<S: Sessions>([here, there]: [S; 2]) {
    let (here, there) = (site(&here).await, site(&there).await);
    let login = here.log_in("ann").await;
    let one = here.get("/count", &login).await;
    assert_eq!((one.body.as_str(), one.cookie()), ("1", login.clone()), "no new key unless asked for");
    let page = there.get("/", &login).await.cookie();
    assert_eq!(here.get("/count", &page).await.body, "2");
    let bob = here.post("/login/bob", &page).await.cookie();
    assert_eq!(here.get("/count", &bob).await.body, "1");
}

async fn nothing_but_login_makes_a_session<S: Sessions>([here, _]: [S; 2]) {
    let site = site(&here).await;
    for path in ["/", "/session", "/who"] {
        let answer = site.get(path, "").await;
        assert_eq!((answer.status, answer.set_cookie), (401, None), "{path}");
    }
    assert_eq!(site.get("/count", "").await.status, 401, "state without a session");
    assert_eq!(site.post("/logout", "").await.status, 204);
}

async fn foreign_keys_open_nothing<S: Sessions>([here, _]: [S; 2]) {
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
    // Not signed by us.
    assert_eq!(site.get("/who", &format!("jsessionid={sid}.{:032x}", 1)).await.status, 401);
    assert_eq!(site.get("/who", &login.cookie()).await.status, 200);
}

/// With the real lifetimes, which only the paused clock can wait for.
#[tokio::test(start_paused = true)]
async fn a_login_whose_answer_got_lost_frees_the_name_soon() {
    let sessions = MemorySessions::in_memory(Lifetimes::default());
    let site = site(&sessions).await;
    let lost = site.log_in("ann").await;
    sleep(Lifetimes::UNCONFIRMED - Duration::from_secs(1)).await;
    assert_eq!(site.get("/who", &lost).await.status, 200, "it had not got lost");
    sleep(Lifetimes::default().idle - Duration::from_secs(1)).await;
    assert_eq!(site.get("/who", &lost).await.status, 200, "from now on it idles as all do");
    site.log_in("bob").await;
    sleep(Lifetimes::UNCONFIRMED).await;
    site.log_in("bob").await;
    // A claim without any answer at all.
    sessions.claim(&"cai".parse().unwrap(), None).await.unwrap();
    sleep(Lifetimes::CLAIM).await;
    site.log_in("cai").await;
}
