//! External users, and the end of all sessions of a user. Part of the contract of [`Sessions`].

use std::time::Duration;

use tokio::time::{sleep, timeout};
use trunkline_session::{MAX_SESSIONS_PER_USER, SessionError, SessionEvent, SessionEvents, Sessions};
use trunkline_testbed::Redis;

use crate::{
    contract::{contract, handles, sid},
    site::site,
};

contract! {
    external_user_has_a_display_name_and_several_sessions,
    claimed_name_and_equal_external_id_do_not_exclude_each_other,
    external_login_ends_the_session_with_which_the_request_came,
    the_oldest_session_of_a_user_with_too_many_ends,
    end_user_ends_all_sessions_of_the_user_and_no_others,
    user_is_kept_out_for_the_given_time,
    keep_out_can_be_lifted_and_outlasts_another_end,
}

/// A user id such as an OpenID provider gives, percent-encoded for a path.
const PATH: &str = "/external/id.example%7C42/Ann%20Example";
const ID: &str = "id.example|42";

async fn external_user_has_a_display_name_and_several_sessions<S: Sessions>([here, there]: [S; 2]) {
    let (here, there) = (site(&here).await, site(&there).await);
    let (phone, desk) = (here.post(PATH, "").await, there.post(PATH, "").await);
    assert_eq!((phone.status, desk.status), (200, 200));
    assert_ne!(sid(&phone), sid(&desk));
    for login in [&phone, &desk] {
        let who = here.get("/who", &login.cookie()).await;
        assert_eq!(who.body, format!("{ID} {} Ann Example", sid(login)));
    }
    let page = there.get("/", &desk.cookie()).await;
    assert_eq!(page.body, desk.body, "user and name stay the same when the key rotates");
    here.post("/logout", &phone.cookie()).await;
    assert_eq!(there.get("/who", &phone.cookie()).await.status, 401);
    assert_eq!(here.get("/who", &page.cookie()).await.status, 200);
    let unnamed = here.post("/external/a%40b.example/a%40b.example", "").await;
    assert_eq!(unnamed.body, format!("a@b.example {}", sid(&unnamed)), "a name that equals the id is left out");
}

async fn claimed_name_and_equal_external_id_do_not_exclude_each_other<S: Sessions>([here, there]: [S; 2]) {
    let (here, there) = (site(&here).await, site(&there).await);
    let external = here.post("/external/ann/Ann", "").await;
    let claimed = there.log_in("ann").await;
    assert_eq!(here.post("/login/ann", "").await.status, 409);
    assert_eq!(here.post("/external/ann/Ann", "").await.status, 200);
    // The external session does not hold the name, so this login claims it.
    there.post("/logout", &claimed).await;
    let changed = there.post("/login/ann", &external.cookie()).await;
    assert_eq!(changed.status, 200);
    assert_ne!(sid(&changed), sid(&external));
    assert_eq!(here.post("/login/ann", "").await.status, 409);
}

async fn external_login_ends_the_session_with_which_the_request_came<S: Sessions>([here, there]: [S; 2]) {
    let (here_site, there_site) = (site(&here).await, site(&there).await);
    let mut before = here_site.post("/login/ann", "").await;
    for _ in 0..2 {
        let next = there_site.post(PATH, &before.cookie()).await;
        assert_eq!(next.status, 200);
        assert_eq!(here.touch(&sid(&before)).await.unwrap(), None);
        assert_eq!(here_site.get("/who", &before.cookie()).await.status, 401);
        assert_eq!(here_site.get("/who", &next.cookie()).await.status, 200);
        before = next;
    }
}

async fn the_oldest_session_of_a_user_with_too_many_ends<S: Sessions>([here, there]: [S; 2]) {
    let mut events = here.events();
    missed_at_first(&mut events).await;
    let user = ID.parse().unwrap();
    let mut sids = Vec::new();
    for _ in 0..=MAX_SESSIONS_PER_USER {
        sids.push(there.start(&user, None).await.unwrap());
        sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(timeout(Duration::from_secs(5), events.next()).await.unwrap(), Some(SessionEvent::Ended(sids[0])));
    assert_eq!(here.touch(&sids[0]).await.unwrap(), None);
    for sid in &sids[1..] {
        assert!(here.touch(sid).await.unwrap().is_some());
    }
    // An ended session makes room.
    here.end(&sids[5]).await.unwrap();
    here.start(&user, None).await.unwrap();
    assert!(there.touch(&sids[1]).await.unwrap().is_some());
}

async fn end_user_ends_all_sessions_of_the_user_and_no_others<S: Sessions>([here, there]: [S; 2]) {
    let mut events = [here.events(), there.events()];
    for events in &mut events {
        missed_at_first(events).await;
    }
    let (user, other) = ("ann".parse().unwrap(), "ann2".parse().unwrap());
    let claimed = here.claim(&"ann".parse().unwrap(), None).await.unwrap();
    let mut ended = vec![here.start(&user, None).await.unwrap(), there.start(&user, None).await.unwrap(), claimed];
    let spared = [here.start(&other, None).await.unwrap(), there.claim(&"bob".parse().unwrap(), None).await.unwrap()];
    there.end_user(&user, None).await.unwrap();
    for sid in &ended {
        assert_eq!(here.touch(sid).await.unwrap(), None);
    }
    for sid in &spared {
        assert!(here.touch(sid).await.unwrap().is_some());
    }
    ended.sort_unstable();
    for events in &mut events {
        let mut seen = Vec::new();
        for _ in &ended {
            match timeout(Duration::from_secs(5), events.next()).await.unwrap() {
                Some(SessionEvent::Ended(sid)) => seen.push(sid),
                event => panic!("{event:?}"),
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, ended);
    }
    // The name is free, and the look-alike that takes it is another user.
    let look_alike = there.claim(&"Ann".parse().unwrap(), None).await.unwrap();
    here.end_user(&user, None).await.unwrap();
    assert!(here.touch(&look_alike).await.unwrap().is_some());
}

async fn user_is_kept_out_for_the_given_time<S: Sessions>([here, there]: [S; 2]) {
    const TIME: Duration = Duration::from_millis(1_500);
    let (ann, name) = ("ann".parse().unwrap(), "ann".parse().unwrap());
    here.end_user(&ann, Some(TIME)).await.unwrap();
    let refused = [
        there.start(&ann, None).await,
        there.claim(&name, None).await,
        there.claim(&"Ann".parse().unwrap(), None).await,
    ];
    for refused in refused {
        match refused {
            Err(SessionError::KeptOut(left)) => assert!(Duration::ZERO < left && left <= TIME, "{left:?}"),
            other => panic!("{other:?}"),
        }
    }
    there.start(&"Ann".parse().unwrap(), None).await.expect("external ids are compared byte for byte");
    sleep(TIME + Duration::from_millis(100)).await;
    there.start(&ann, None).await.unwrap();
    there.claim(&name, None).await.unwrap();
}

async fn keep_out_can_be_lifted_and_outlasts_another_end<S: Sessions>([here, there]: [S; 2]) {
    let user = ID.parse().unwrap();
    here.end_user(&user, Some(Duration::MAX)).await.unwrap();
    there.end_user(&user, None).await.unwrap();
    assert!(matches!(here.start(&user, None).await, Err(SessionError::KeptOut(_))));
    there.end_user(&user, Some(Duration::ZERO)).await.unwrap();
    here.start(&user, None).await.unwrap();
}

/// A store that subscribes to a server reports `Missed` first, and every event after that.
async fn missed_at_first(events: &mut SessionEvents) {
    let first = timeout(Duration::from_secs(5), events.next()).await;
    assert!(matches!(first, Ok(Some(SessionEvent::Missed)) | Err(_)), "{first:?}");
}

#[tokio::test]
async fn keys_of_each_user_have_one_slot_and_expire() {
    let redis = Redis::start().unwrap();
    let [here, _] = handles(&redis);
    let user = ID.parse().unwrap();
    for _ in 0..2 {
        here.start(&user, None).await.unwrap();
    }
    let mut keys = redis.cli(&["KEYS", "*"]).unwrap();
    here.end_user(&user, Some(Duration::from_secs(60))).await.unwrap();
    let left = redis.cli(&["KEYS", "*"]).unwrap();
    assert_eq!(left.lines().count(), 1, "only the refusal of new sessions: {left}");
    keys.push('\n');
    keys.push_str(&left);
    let tags: Vec<_> = keys.lines().map(|key| key.split(['{', '}']).nth(1).unwrap()).collect();
    assert_eq!(tags.len(), 4, "{keys}");
    assert!(tags.iter().all(|tag| *tag == tags[0]), "{keys}");
    // -1 means that a key never expires, -2 that it is gone.
    here.end_user(&user, Some(Duration::ZERO)).await.unwrap();
    here.start(&user, None).await.unwrap();
    for key in keys.lines() {
        assert_ne!(redis.cli(&["PTTL", key]).unwrap().trim(), "-1", "{key}");
    }
}
