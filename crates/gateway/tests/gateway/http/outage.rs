//! Failures of the session store, with a real Redis server: the answers are 503, and never 401.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use actix_http::Request;
use actix_session::storage::{LoadError, SaveError, SessionKey, SessionStore, UpdateError};
use actix_web::{
    Error,
    body::MessageBody,
    cookie::time,
    dev::{Service, ServiceResponse},
    http::{Method, StatusCode},
};
use trunkline_domain::{DisplayName, UserId, UserName};
use trunkline_gateway::Config;
use trunkline_session::{LoginAttempt, SessionError, SessionEvents, Sessions, Sid};
use trunkline_testbed::{AppendFsync, Redis};

use super::{
    browser::{Browser, site},
    in_memory, in_redis,
};

#[actix_web::test]
async fn unreachable_store_answers_503_and_keeps_sessions() {
    let mut redis = Redis::builder().append_only(AppendFsync::Always).start().unwrap();
    let site = site(in_redis(&redis), Config::default()).await;
    let (mut ann, mut bob) = (Browser::default(), Browser::default());
    ann.log_in(&site, "ann").await;
    redis.kill().unwrap();

    for path in ["/", "/rooms/lobby", "/rooms"] {
        let page = ann.get(path).send(&site).await;
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(!page.header("retry-after").is_empty() && !page.is_login_page(), "{path}: {page:?}");
        assert!(page.body.contains("http-equiv=\"refresh\"") && page.body.contains("This page tries again by itself."));
        assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
        assert!(page.cookies().is_empty(), "the session is not given up");
    }
    for path in ["/session", "/rooms", "/"] {
        let answer = ann.fetch(path).send(&site).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"), "{path}");
        assert!(!answer.header("retry-after").is_empty());
    }
    let answer = ann.submit("/logout", "").send(&site).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);

    // Of two session cookies none is preferred while neither can be looked up.
    let mut twice = Browser { cookie: ann.cookie.as_ref().map(|cookie| format!("{cookie}; {cookie}")) };
    let answer = twice.fetch("/session").send(&site).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"));

    // A person without a cookie sees the login page; a login says that it is not possible.
    assert!(bob.get("/").send(&site).await.is_login_page());
    let answer = bob.post_json("/login", r#"{"name":"bob"}"#).send(&site).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"));
    assert!(!answer.header("retry-after").is_empty());
    let page = bob.submit("/login", "name=bob").send(&site).await;
    assert!(page.status == 503 && page.is_login_page() && page.body.contains("not possible at the moment"));

    // The WebSocket handshake.
    let answer = upgrade(&mut ann).send(&site).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"));

    // Routes without a session still answer, and readiness names the failure.
    assert_eq!(ann.fetch("/healthz").send(&site).await.status, StatusCode::OK);
    let ready = ann.fetch("/readyz").send(&site).await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready.json()["checks"]["sessions"]["ok"], false);

    redis.restart().unwrap();
    until_chat(&mut ann, &site).await;
}

/// Loads the page until it is the chat page again. Until then every answer must be 503.
async fn until_chat<A, B>(ann: &mut Browser, site: &A)
where
    A: Service<Request, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody + 'static,
{
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let page = ann.get("/").send(site).await;
        if page.is_chat_of("ann") {
            return;
        }
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{page:?}");
        assert!(Instant::now() < deadline, "still away: {page:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn upgrade(browser: &mut Browser) -> super::browser::PendingRequest<'_> {
    browser
        .ask(Method::GET, "/ws")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

/// A hanging Redis server is treated like an unreachable one.
#[actix_web::test]
async fn hanging_store_answers_503_in_bounded_time() {
    let mut redis = Redis::builder().start().unwrap();
    let site = site(in_redis(&redis), Config::default()).await;
    let mut ann = Browser::default();
    ann.log_in(&site, "ann").await;
    redis.pause().unwrap();
    let begun = Instant::now();
    let page = ann.get("/").send(&site).await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(begun.elapsed() < Duration::from_secs(8), "bounded: {:?}", begun.elapsed());
    redis.resume().unwrap();
    until_chat(&mut ann, &site).await;
}

/// Redis answers reads but refuses writes: existing sessions continue with their current key.
#[actix_web::test]
async fn store_without_memory_serves_existing_sessions() {
    let redis = Redis::builder().start().unwrap();
    let site = site(in_redis(&redis), Config::default()).await;
    let mut ann = Browser::default();
    ann.log_in(&site, "ann").await;
    redis.cli(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    let before = ann.cookie.clone();
    assert!(ann.get("/").send(&site).await.is_chat_of("ann"));
    assert_eq!(ann.cookie, before, "the key could not be rotated");
    assert_eq!(ann.fetch("/session").send(&site).await.json()["user"], "ann");
    let answer = Browser::default().post_json("/login", r#"{"name":"bob"}"#).send(&site).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"));
    redis.cli(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    assert!(ann.get("/").send(&site).await.is_chat_of("ann"));
    assert_ne!(ann.cookie, before);
}

/// The session ends during a page load: the answer is 401, and the page load does not restore the session.
#[actix_web::test]
async fn logout_during_a_page_load_ends_the_session() {
    let sessions = EndsBeforeUpdate { inner: in_memory(), sid: Arc::default() };
    let site = site(sessions.clone(), Config::default()).await;
    let mut ann = Browser::default();
    ann.log_in(&site, "ann").await;
    let page = ann.get("/").send(&site).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    assert!(page.is_login_page(), "{page:?}");
    assert_eq!(ann.fetch("/session").send(&site).await.code(), "not_logged_in");
}

/// A store whose sessions end between the lookup and the update of a request.
#[derive(Clone)]
struct EndsBeforeUpdate<S> {
    inner: S,
    sid: Arc<Mutex<Option<Sid>>>,
}

type State = HashMap<String, String>;

impl<S: Sessions> SessionStore for EndsBeforeUpdate<S> {
    async fn load(&self, key: &SessionKey) -> Result<Option<State>, LoadError> {
        self.inner.load(key).await
    }

    async fn save(&self, state: State, ttl: &time::Duration) -> Result<SessionKey, SaveError> {
        self.inner.save(state, ttl).await
    }

    async fn update(&self, key: SessionKey, state: State, ttl: &time::Duration) -> Result<SessionKey, UpdateError> {
        let sid = self.sid.lock().unwrap().unwrap();
        self.inner.end(&sid).await.unwrap();
        self.inner.update(key, state, ttl).await
    }

    async fn update_ttl(&self, key: &SessionKey, ttl: &time::Duration) -> Result<(), anyhow::Error> {
        self.inner.update_ttl(key, ttl).await
    }

    async fn delete(&self, key: &SessionKey) -> Result<(), anyhow::Error> {
        self.inner.delete(key).await
    }
}

impl<S: Sessions> Sessions for EndsBeforeUpdate<S> {
    async fn claim(&self, user: &UserName, attempt: Option<LoginAttempt>) -> Result<Sid, SessionError> {
        let sid = self.inner.claim(user, attempt).await?;
        *self.sid.lock().unwrap() = Some(sid);
        Ok(sid)
    }

    async fn start(&self, user: &UserId, name: Option<&DisplayName>) -> Result<Sid, SessionError> {
        self.inner.start(user, name).await
    }

    async fn end_user(&self, user: &UserId, keep_out: Option<Duration>) -> Result<(), SessionError> {
        self.inner.end_user(user, keep_out).await
    }

    async fn touch(&self, sid: &Sid) -> Result<Option<Duration>, SessionError> {
        self.inner.touch(sid).await
    }

    async fn end(&self, sid: &Sid) -> Result<(), SessionError> {
        self.inner.end(sid).await
    }

    fn events(&self) -> SessionEvents {
        self.inner.events()
    }

    async fn health(&self) -> Result<Vec<String>, SessionError> {
        self.inner.health().await
    }
}
