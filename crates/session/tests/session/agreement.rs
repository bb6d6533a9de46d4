//! The stores agree: the same requests, of browsers that mix up their cookies, get the same answers from both.

use proptest::{collection::vec, prelude::*, sample::Index, test_runner::TestRunner};
use trunkline_session::{Lifetimes, MemorySessions, RedisSessions, Sessions};
use trunkline_testbed::Redis;

use crate::site::site;

/// A request: with which of the cookies given out so far, and what for.
#[derive(Clone, Debug)]
struct Request {
    cookie: Index,
    post: bool,
    path: &'static str,
}

fn request() -> impl Strategy<Value = Request> {
    let get = prop::sample::select(vec!["/", "/", "/", "/who", "/count", "/session", "/ended-meanwhile"]);
    let post = prop::sample::select(vec!["/login/ann", "/login/Ann", "/login/bob", "/login/cai", "/logout"]);
    let what = prop_oneof![3 => get.prop_map(|path| (false, path)), 2 => post.prop_map(|path| (true, path))];
    (any::<Index>(), what).prop_map(|(cookie, (post, path))| Request { cookie, post, path })
}

/// What the browsers see, with cookies told by the order in which they came.
async fn transcript<S: Sessions>(sessions: &S, requests: &[Request]) -> Vec<String> {
    let site = site(sessions).await;
    let mut cookies = vec![String::new()];
    let mut seen = Vec::new();
    for Request { cookie, post, path } in requests {
        let cookie = cookie.get(&cookies).clone();
        // Without a session there is nobody to end.
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
        // Not the id of the session, and not how long it lasts.
        let body = if path == "/session" { "" } else { answer.body.split(' ').next().unwrap() };
        seen.push(format!("{path} {} {body} {which:?}", answer.status));
    }
    seen
}

#[test]
fn on_any_history() {
    let redis = Redis::start().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(ProptestConfig::with_cases(60));
    let told = runner.run(&vec(request(), 1..40), |requests| {
        let prefix = format!("test-{:016x}", rand::random::<u64>());
        let in_redis = RedisSessions::in_redis(&redis.url(), &prefix, Lifetimes::default()).unwrap();
        let in_memory = MemorySessions::in_memory(Lifetimes::default());
        runtime.block_on(async {
            prop_assert_eq!(transcript(&in_memory, &requests).await, transcript(&in_redis, &requests).await);
            Ok(())
        })
    });
    told.unwrap();
}
