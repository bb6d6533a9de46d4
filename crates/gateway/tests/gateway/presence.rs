//! Presence across two instances that share a Redis server. The instances are processes, because one of them is killed.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest},
};
use trunkline_testbed::{Gateway, HttpAnswer, Redis, free_port, http_get, http_post};

/// Maximum time for a single step of a test; much longer than any step takes.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);
const SECOND: Duration = Duration::from_secs(1);
/// Maximum time until other instances remove the users of a killed instance.
const LEASE: Duration = Duration::from_secs(15);
/// Tolerance for a busy machine.
const SLACK: Duration = Duration::from_secs(5);
const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn instance(name: &str, redis: &Redis) -> Gateway {
    let mut gateway = Gateway::builder(env!("CARGO_BIN_EXE_trunkline"))
        .instance(name)
        .redis(redis.url())
        .admin_listen(free_port().unwrap())
        .env("TRUNKLINE_SECRET", SECRET)
        .args(["--login-rate", "0", "--drain-delay", "0s", "--drain-window", "1s"])
        .start()
        .unwrap();
    let deadline = Instant::now() + STEP_TIMEOUT;
    while http_get(gateway.port().unwrap(), "/readyz", SECOND).unwrap().status != 200 {
        assert!(Instant::now() < deadline && gateway.ended().is_none(), "{}", gateway.last_lines());
        std::thread::sleep(Duration::from_millis(50));
    }
    gateway
}

/// A user with a session, which is valid on each instance.
struct Person {
    cookie: String,
}

impl Person {
    fn log_in(gateway: &Gateway, name: &str) -> Self {
        let body = json!({ "name": name }).to_string();
        let answer = http_post(gateway.port().unwrap(), "/login", &body, STEP_TIMEOUT).unwrap();
        let cookie = header(&answer, "set-cookie").unwrap_or_else(|| panic!("{answer:?}"));
        Self { cookie: cookie.split(';').next().unwrap().to_owned() }
    }

    /// Opens a socket that has joined the lobby.
    async fn join(&self, gateway: &Gateway) -> Tab {
        let port = gateway.port().unwrap();
        let mut request = format!("ws://127.0.0.1:{port}/ws").into_client_request().unwrap();
        request.headers_mut().insert("cookie", self.cookie.parse().unwrap());
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let mut tab = Tab(client_async(request, stream).await.unwrap().0);
        tab.send(json!({"type": "join", "room": "lobby"})).await;
        assert_eq!(tab.next().await["type"], "welcome");
        assert_eq!(tab.next().await["type"], "joined");
        tab
    }
}

fn header<'a>(answer: &'a HttpAnswer, name: &str) -> Option<&'a str> {
    answer
        .head
        .lines()
        .find_map(|line| line.split_once(':').filter(|(key, _)| key.eq_ignore_ascii_case(name))?.1.into())
}

/// One socket of a user.
struct Tab(WebSocketStream<TcpStream>);

impl Tab {
    async fn send(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// Returns the next frame that is not a `ping`.
    async fn next(&mut self) -> Value {
        loop {
            let frame = timeout(STEP_TIMEOUT, self.0.next()).await.expect("a frame").expect("no end").unwrap();
            let Message::Text(text) = frame else { continue };
            let frame: Value = serde_json::from_str(&text).unwrap();
            if frame["type"] != "ping" {
                return frame;
            }
        }
    }

    /// Fails if a frame arrives within this time.
    async fn silent(&mut self, time: Duration) {
        if let Ok(frame) = timeout(time, self.next()).await {
            panic!("{frame}");
        }
    }
}

/// Users without display names.
fn members(users: &[&str]) -> Vec<Value> {
    users.iter().map(|user| json!({ "user": user })).collect()
}

fn state(count: usize, users: &[&str]) -> Value {
    json!({"type": "presence", "room": "lobby", "count": count, "users": members(users)})
}

fn change(count: usize, joined: &[&str], left: &[&str]) -> Value {
    json!({"type": "presence", "room": "lobby", "count": count, "joined": members(joined), "left": members(left)})
}

#[tokio::test]
async fn two_instances_agree_on_the_presence_of_a_room() {
    let redis = Redis::start().unwrap();
    redis.cli(&["FLUSHDB"]).unwrap();
    let (one, other) = (instance("gw-1", &redis), instance("gw-2", &redis));
    let (ann, bob) = (Person::log_in(&one, "ann"), Person::log_in(&other, "bob"));
    let mut ann = ann.join(&one).await;
    assert_eq!(ann.next().await, state(1, &["ann"]), "oneself included");
    tokio::time::sleep(SECOND).await;

    let started = Instant::now();
    let mut tabs = vec![bob.join(&other).await];
    assert_eq!(tabs[0].next().await, state(2, &["ann", "bob"]));
    assert_eq!(ann.next().await, change(2, &["bob"], &[]));
    assert!(started.elapsed() < SECOND + SLACK, "after {:?}", started.elapsed());
    tabs[0].send(json!({"type": "typing", "room": "lobby"})).await;
    assert_eq!(ann.next().await, json!({"type": "typing", "room": "lobby", "user": "bob"}));

    // Five sockets of one user, on both instances, count as one user.
    for gateway in [&one, &other, &one, &other] {
        let mut tab = bob.join(gateway).await;
        assert_eq!(tab.next().await, state(2, &["ann", "bob"]));
        tabs.push(tab);
    }
    for gateway in [&one, &other] {
        let expected = json!({"rooms": [{"room": "lobby", "count": 2}]});
        until("the lobby is listed", || rooms(gateway, &bob) == expected).await;
    }
    ann.silent(2 * SECOND).await;
    // All sockets close and one comes back within the grace period: no presence change is sent.
    tabs.clear();
    tokio::time::sleep(2 * SECOND).await;
    let mut back = bob.join(&one).await;
    assert_eq!(back.next().await, state(2, &["ann", "bob"]));
    ann.silent(7 * SECOND).await;
    back.send(json!({"type": "leave", "room": "lobby"})).await;
    let left = Instant::now();
    assert_eq!(ann.next().await, change(1, &[], &["bob"]));
    assert!(left.elapsed() >= 4 * SECOND, "after the grace, not {:?}", left.elapsed());
}

#[tokio::test]
async fn users_of_a_killed_instance_leave_once_within_one_lease() {
    let redis = Redis::start().unwrap();
    redis.cli(&["FLUSHDB"]).unwrap();
    let (one, mut other) = (instance("gw-1", &redis), instance("gw-2", &redis));
    // A new instance expires no lease of another one before it has run for one lease.
    tokio::time::sleep(LEASE).await;
    let people = ["ann", "bob", "cai"].map(|name| Person::log_in(&one, name));
    let mut ann = people[0].join(&one).await;
    assert_eq!(ann.next().await, state(1, &["ann"]));
    let mut tabs = Vec::new();
    for person in &people {
        tabs.push(person.join(&other).await);
    }
    let mut count = 1;
    while count < 3 {
        count = ann.next().await["count"].as_u64().unwrap();
    }
    let admin = one.admin_url().unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
    let states = |wanted: &str| -> bool {
        let status = http_get(admin, "/status", STEP_TIMEOUT).unwrap().body;
        let page = http_get(admin, "/", STEP_TIMEOUT).unwrap();
        assert!(page.status == 200 && page.body.contains("gw-1"), "{page:?}");
        let status: Value = serde_json::from_str(&status).unwrap();
        let instances = status["instances"].as_array().unwrap();
        let shown: Vec<&str> = instances.iter().map(|one| one["state"].as_str().unwrap()).collect();
        shown.join(" ") == wanted
    };
    until("both are shown", || states("serving serving")).await;

    other.kill().unwrap();
    let killed = Instant::now();
    // Cai reconnects within the lease and was never absent.
    let mut cai = people[2].join(&one).await;
    assert_eq!(cai.next().await, state(3, &["ann", "bob", "cai"]));
    assert_eq!(ann.next().await, change(2, &[], &["bob"]));
    let after = killed.elapsed();
    assert!(after <= LEASE + SLACK, "within one lease, not {after:?}");
    println!("gone after {after:?}");
    let expected = json!({"rooms": [{"room": "lobby", "count": 2}]});
    until("the lobby is listed", || rooms(&one, &people[0]) == expected).await;
    ann.silent(3 * SECOND).await;
    until("one is left", || states("serving")).await;
}

#[tokio::test]
async fn draining_an_instance_causes_no_presence_change() {
    let redis = Redis::start().unwrap();
    redis.cli(&["FLUSHDB"]).unwrap();
    let (one, mut other) = (instance("gw-1", &redis), instance("gw-2", &redis));
    let (ann, bob) = (Person::log_in(&one, "ann"), Person::log_in(&other, "bob"));
    let mut ann = ann.join(&one).await;
    assert_eq!(ann.next().await, state(1, &["ann"]));
    let mut tab = bob.join(&other).await;
    assert_eq!(ann.next().await, change(2, &["bob"], &[]));
    other.terminate().unwrap();
    while tab.next().await["type"] != "closing" {}
    let mut elsewhere = bob.join(&one).await;
    assert_eq!(elsewhere.next().await, state(2, &["ann", "bob"]));
    drop(tab);
    assert_eq!(other.wait(STEP_TIMEOUT), Some(trunkline_testbed::ProcessEnd::Code(0)));
    let leases = redis.cli(&["SCARD", "tl:{lobby}:holders"]).unwrap();
    assert_eq!(leases, "1", "it gave its lease up");
    ann.silent(7 * SECOND).await;
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + STEP_TIMEOUT;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited for: {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn rooms(gateway: &Gateway, person: &Person) -> Value {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", gateway.port().unwrap())).unwrap();
    let cookie = &person.cookie;
    write!(
        stream,
        "GET /rooms HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap_or_else(|_| panic!("{answer}"))
}
