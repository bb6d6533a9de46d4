//! Faults between a session store and Redis: connections that stop answering, and servers that answer no step of a connect.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};
use trunkline_session::{Lifetimes, RedisSessions, SessionError, Sessions};
use trunkline_testbed::{Redis, free_port};

/// Upper bound for a store to work again once new connections work, in seconds.
const RECOVERY: Duration = Duration::from_secs(5);

/// Forwards connections to Redis. It can go on accepting bytes on the connections that are open without forwarding
/// anything, while new connections work.
struct SilencingProxy {
    port: u16,
    connections: Arc<Mutex<Vec<Arc<AtomicBool>>>>,
}

impl SilencingProxy {
    async fn start(redis: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, server) = (listener.local_addr().unwrap().port(), redis.port());
        let connections: Arc<Mutex<Vec<Arc<AtomicBool>>>> = Arc::default();
        let all = connections.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let silenced = Arc::<AtomicBool>::default();
                all.lock().unwrap().push(silenced.clone());
                let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                tokio::spawn(forward(client, server, silenced));
            }
        });
        Self { port, connections }
    }

    fn silence_open_connections(&self) {
        self.connections.lock().unwrap().iter().for_each(|silenced| silenced.store(true, Relaxed));
    }

    fn sessions(&self) -> RedisSessions {
        RedisSessions::in_redis(&format!("redis://127.0.0.1:{}", self.port), "test", Lifetimes::default()).unwrap()
    }
}

async fn forward(mut client: TcpStream, mut server: TcpStream, silenced: Arc<AtomicBool>) {
    let (mut up, mut down) = ([0; 16384], [0; 16384]);
    loop {
        let (bytes, to) = tokio::select! {
            read = client.read(&mut up) => (&up[..read.unwrap_or(0)], &mut server),
            read = server.read(&mut down) => (&down[..read.unwrap_or(0)], &mut client),
        };
        if bytes.is_empty() {
            return;
        }
        if !silenced.load(Relaxed) && to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

/// The time until `operation` succeeds. Panics after [`RECOVERY`].
async fn time_to_recover<T>(operation: impl AsyncFn() -> Result<T, SessionError>) -> Duration {
    let start = Instant::now();
    while let Err(error) = operation().await {
        assert!(start.elapsed() < RECOVERY, "no recovery within {RECOVERY:?}: {error:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    start.elapsed()
}

fn cause(result: Result<impl std::fmt::Debug, SessionError>) -> String {
    match result {
        Err(SessionError::Unavailable(cause)) => cause.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn lookups_recover_after_the_shared_connection_stops_answering() {
    let redis = Redis::builder().start().unwrap();
    let proxy = SilencingProxy::start(&redis).await;
    let sessions = proxy.sessions();
    let sid = sessions.claim(&"ann".parse().unwrap(), None).await.unwrap();
    assert!(sessions.touch(&sid).await.unwrap().is_some());
    proxy.silence_open_connections();
    let timed_out = cause(sessions.touch(&sid).await);
    assert!(timed_out.contains(&format!("command to Redis at 127.0.0.1:{}", proxy.port)), "{timed_out}");
    let took = time_to_recover(async || sessions.touch(&sid).await).await;
    assert!(took < RECOVERY, "{took:?}");
    sessions.health().await.unwrap();
}

#[tokio::test]
async fn logins_recover_after_the_connection_stops_answering() {
    let redis = Redis::builder().start().unwrap();
    let proxy = SilencingProxy::start(&redis).await;
    let sessions = proxy.sessions();
    let users: Vec<_> = (0..32).map(|number| format!("user{number}").parse().unwrap()).collect();
    let claims = join_all(users.iter().map(|user| sessions.claim(user, None))).await;
    assert!(claims.iter().all(Result::is_ok));
    proxy.silence_open_connections();
    let ann = "ann".parse().unwrap();
    let took = time_to_recover(async || match sessions.claim(&ann, None).await {
        // The first attempt may have reached Redis; only its answer got lost.
        Err(SessionError::Taken) => Ok(()),
        other => other.map(drop),
    })
    .await;
    assert!(took < RECOVERY, "{took:?}");
}

#[tokio::test]
async fn error_names_the_set_up_step_when_a_server_accepts_but_does_not_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let url = format!("redis://:hunter2@{address}/");
    let sessions = RedisSessions::in_redis(&url, "test", Lifetimes::default()).unwrap();
    let ann = "ann".parse().unwrap();
    for cause in [cause(sessions.health().await), cause(sessions.claim(&ann, None).await)] {
        assert!(cause.contains("set-up") && cause.contains(&address), "{cause}");
        assert!(!cause.contains("hunter2"), "{cause}");
    }
}

#[tokio::test]
async fn error_names_the_connect_step_when_no_server_listens() {
    let address = format!("127.0.0.1:{}", free_port().unwrap());
    let sessions = RedisSessions::in_redis(&format!("redis://{address}"), "test", Lifetimes::default()).unwrap();
    let cause = cause(sessions.health().await);
    assert!(cause.contains("connect") && cause.contains(&address), "{cause}");
}

#[tokio::test]
async fn error_names_the_lookup_step_when_a_name_does_not_resolve() {
    let url = "redis://:hunter2@redis.invalid";
    let sessions = RedisSessions::in_redis(url, "test", Lifetimes::default()).unwrap();
    // RFC 6761 section 6.4: names under .invalid never resolve. The resolver may also not answer in time.
    let cause = cause(timeout(Duration::from_secs(4), sessions.health()).await.unwrap());
    assert!(cause.contains("look-up") && cause.contains("redis.invalid"), "{cause}");
    assert!(!cause.contains("hunter2"), "{cause}");
}
