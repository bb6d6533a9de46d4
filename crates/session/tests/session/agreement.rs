//! The same requests, with any cookies received so far, get the same responses from the memory and the Redis store.

use proptest::{collection::vec, prelude::*, sample::Index, test_runner::TestRunner};
use trunkline_session::{Lifetimes, MemorySessions, RedisSessions, Sessions};
use trunkline_testbed::{Redis, RedisCluster};

use crate::site::site;

/// A request, and the index of its cookie among those received so far.
#[derive(Clone, Debug)]
struct Request {
    cookie: Index,
    post: bool,
    path: &'static str,
}

fn request() -> impl Strategy<Value = Request> {
    let get = prop::sample::select(vec!["/", "/", "/", "/who", "/count", "/session", "/ended-meanwhile"]);
    let post = prop::sample::select(vec![
        "/login/ann",
        "/login/Ann",
        "/login/bob",
        "/login/cai",
        "/logout",
        "/external/ann/Ann%20A",
        "/external/ann/Ann%20B",
        "/external/idp%7C1/Bob",
        "/external/idp%7C1/idp%7C1",
        "/end-user/ann/-",
        "/end-user/ann/0",
        "/end-user/ann/600",
        "/end-user/Ann/-",
        "/end-user/idp%7C1/-",
        "/end-user/idp%7C1/600",
        "/end-user/idp%7C1/0",
    ]);
    let what = prop_oneof![3 => get.prop_map(|path| (false, path)), 2 => post.prop_map(|path| (true, path))];
    (any::<Index>(), what).prop_map(|(cookie, (post, path))| Request { cookie, post, path })
}

/// The responses, with cookies replaced by the order in which they were first received.
async fn transcript<S: Sessions>(sessions: &S, requests: &[Request]) -> Vec<String> {
    let site = site(sessions).await;
    let mut cookies = vec![String::new()];
    let mut seen = Vec::new();
    for Request { cookie, post, path } in requests {
        let cookie = cookie.get(&cookies).clone();
        // This handler needs a session to end.
        let path =
            if *path == "/ended-meanwhile" && site.get("/who", &cookie).await.status != 200 { "/who" } else { path };
        let answer = if *post { site.post(path, &cookie).await } else { site.get(path, &cookie).await };
        let which = answer.set_cookie.is_some().then(|| {
            let cookie = answer.cookie();
            cookies.iter().position(|known| *known == cookie).unwrap_or_else(|| {
                cookies.push(cookie);
                cookies.len() - 1
            })
        });
        // Without session ids and remaining times, which differ.
        let mut body: Vec<_> = if path == "/session" { vec![] } else { answer.body.splitn(3, ' ').collect() };
        if body.len() > 1 {
            body.remove(1);
        }
        seen.push(format!("{path} {} {body:?} {which:?}", answer.status));
    }
    seen
}

#[test]
fn memory_and_redis_answer_any_request_sequence_alike() {
    let redis = Redis::start().unwrap();
    assert_answered_alike(&redis.url(), 60);
}

#[test]
fn memory_and_cluster_answer_any_request_sequence_alike() {
    let redis = RedisCluster::builder(3).replicas(0).start().unwrap();
    assert_answered_alike(&redis.url(), 20);
}

fn assert_answered_alike(url: &str, cases: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(ProptestConfig::with_cases(cases));
    let result = runner.run(&vec(request(), 1..40), |requests| {
        let prefix = format!("test-{:016x}", rand::random::<u64>());
        let in_redis = RedisSessions::in_redis(url, &prefix, Lifetimes::default()).unwrap();
        let in_memory = MemorySessions::in_memory(Lifetimes::default());
        runtime.block_on(async {
            prop_assert_eq!(transcript(&in_memory, &requests).await, transcript(&in_redis, &requests).await);
            Ok(())
        })
    });
    result.unwrap();
}
