//! Limits that hold for three gateway processes over one Redis together. The tests print what they measure:
//! `cargo nextest run -p trunkline-gateway cluster_limits --no-capture`.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt, future::join_all};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest},
};
use trunkline_testbed::{Gateway, Redis, http_get};

const BINARY: &str = env!("CARGO_BIN_EXE_trunkline");
const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const SECOND: Duration = Duration::from_secs(1);
const STEP_TIMEOUT: Duration = Duration::from_secs(20);
const INSTANCES: usize = 3;

type Socket = WebSocketStream<TcpStream>;

struct Cluster {
    gateways: Vec<Gateway>,
    _redis: Redis,
}

impl Cluster {
    /// Three gateways that are ready.
    async fn start(args: &[&str]) -> Self {
        let redis = Redis::start().unwrap();
        let start = |number| {
            let builder = Gateway::builder(BINARY).redis(redis.url()).env("TRUNKLINE_SECRET", SECRET);
            builder.instance(format!("gw-{number}")).args(args).spawn().unwrap()
        };
        let mut gateways: Vec<Gateway> = (0..INSTANCES).map(start).collect();
        for gateway in &mut gateways {
            gateway.wait_listening().unwrap();
            let deadline = Instant::now() + STEP_TIMEOUT;
            while http_get(gateway.port().unwrap(), "/readyz", STEP_TIMEOUT).unwrap().status != 200 {
                assert!(Instant::now() < deadline, "{}", gateway.last_lines());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Self { gateways, _redis: redis }
    }

    fn port(&self, instance: usize) -> u16 {
        self.gateways[instance].port().unwrap()
    }

    /// Returns the status of the answer, and the cookie if there is one.
    async fn log_in(&self, instance: usize, name: &str) -> (u16, Option<String>) {
        let (port, body) = (self.port(instance), json!({ "name": name }).to_string());
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let request = format!(
            "POST /login HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(STEP_TIMEOUT, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: "));
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, cookie.map(|cookie| cookie.split(';').next().unwrap().to_owned()))
    }

    async fn connect(&self, instance: usize, cookie: &str) -> Socket {
        let port = self.port(instance);
        let mut request = format!("ws://127.0.0.1:{port}/ws").into_client_request().unwrap();
        request.headers_mut().insert("cookie", cookie.parse().unwrap());
        request.headers_mut().insert("sec-websocket-protocol", "trunkline.v1".parse().unwrap());
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let mut socket = client_async(request, stream).await.unwrap().0;
        next_of(&mut socket, &["welcome"]).await;
        socket
    }
}

async fn next_of(socket: &mut Socket, kinds: &[&str]) -> Value {
    loop {
        let message = timeout(STEP_TIMEOUT, socket.next()).await.expect("a frame").expect("no end").unwrap();
        let Message::Text(text) = message else { continue };
        let frame: Value = serde_json::from_str(&text).unwrap();
        if kinds.iter().any(|kind| frame["type"] == *kind) {
            return frame;
        }
    }
}

/// Sends one message after the other until `end`. After a refusal it waits 150 ms, whatever the gateway asks for: a client
/// that is refused 100 times in 10 s is closed. Returns when each acknowledged message was sent, and the refusals.
async fn flood(mut socket: Socket, instance: usize, end: Instant) -> (Vec<Instant>, usize) {
    socket.send(Message::text(json!({"type": "join", "room": "lobby"}).to_string())).await.unwrap();
    next_of(&mut socket, &["joined"]).await;
    let (mut sent, mut refused) = (Vec::new(), 0);
    while Instant::now() < end {
        let id = format!("m-{instance}-{}-{refused}", sent.len());
        let frame = json!({"type": "send", "room": "lobby", "id": id, "text": "hi"});
        let at = Instant::now();
        socket.send(Message::text(frame.to_string())).await.unwrap();
        let answer = next_of(&mut socket, &["sent", "error"]).await;
        if answer["type"] == "sent" {
            sent.push(at);
        } else {
            assert_eq!(answer["code"], "rate_limited", "{answer}");
            refused += 1;
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    }
    (sent, refused)
}

#[tokio::test]
async fn user_who_sends_at_three_instances_gets_the_rate_of_one() {
    const RATE: f64 = 10.0;
    const BURST: f64 = 30.0;
    let cluster = Cluster::start(&["--login-rate", "0", "--send-rate", "10"]).await;
    let cookie = cluster.log_in(0, "ann").await.1.unwrap();
    let sockets = join_all((0..INSTANCES).map(|instance| cluster.connect(instance, &cookie))).await;
    let start = Instant::now();
    let end = start + 20 * SECOND;
    let floods = sockets.into_iter().enumerate().map(|(instance, socket)| flood(socket, instance, end));
    let results = join_all(floods).await;
    let seconds = start.elapsed().as_secs_f64();
    let mut sent: Vec<Instant> = results.iter().flat_map(|(sent, _)| sent.iter().copied()).collect();
    sent.sort_unstable();
    let admitted = sent.len() as f64;
    let overshoot = admitted - RATE * seconds - BURST;
    // The largest excess over rate and burst in any window.
    let mut worst = f64::MIN;
    for (first, from) in sent.iter().enumerate() {
        for (last, to) in sent.iter().enumerate().skip(first) {
            worst = worst.max((last - first + 1) as f64 - RATE * (*to - *from).as_secs_f64() - BURST);
        }
    }
    println!(
        "messages: {admitted} in {seconds:.1} s at {INSTANCES} instances, {:?} each; one instance may admit {:.0}; overshoot \
         {overshoot:.0} in all, {worst:.0} in the worst window; limits per instance would admit {:.0}",
        results.iter().map(|(sent, _)| sent.len()).collect::<Vec<_>>(),
        RATE * seconds + BURST,
        INSTANCES as f64 * (RATE * seconds + BURST),
    );
    // Two bursts more, what three instances add during two exchanges of at most 750 ms, and the grace of 1 s.
    let bound = 2.0 * BURST + 3.0 * RATE * 1.5 + RATE;
    assert!(worst <= bound, "{worst} of {bound}");
    assert!(admitted >= RATE * (seconds - 3.0), "the user gets the rate: {admitted}");
}

#[tokio::test]
async fn logins_at_three_instances_are_limited_as_at_one() {
    let cluster = Cluster::start(&["--login-rate", "30"]).await;
    let start = Instant::now();
    let mut by_name = 0;
    for attempt in 0..12 {
        by_name += usize::from(cluster.log_in(attempt % INSTANCES, "ann").await.0 != 429);
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("logins with one name: {by_name} of 12 attempts in {seconds:.1} s at {INSTANCES} instances; limit 5");
    assert!((5..=5 + (seconds / 12.0) as usize).contains(&by_name), "{by_name}");

    let mut by_address = 12;
    for round in 0..10 {
        let attempts = (0..2 * INSTANCES).map(async |attempt| {
            cluster.log_in(attempt % INSTANCES, &format!("guest-{round}-{attempt}")).await.0 != 429
        });
        by_address += join_all(attempts).await.into_iter().filter(|is_admitted| *is_admitted).count();
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "logins from one address: {by_address} of 72 attempts in {seconds:.1} s at {INSTANCES} instances; limit 30"
    );
    assert!((30..=30 + (seconds / 2.0) as usize).contains(&by_address), "{by_address}");
}

#[tokio::test]
async fn oldest_sockets_of_a_user_are_evicted_whichever_instance_has_them() {
    const MAX: usize = 4;
    let cluster = Cluster::start(&["--login-rate", "0", "--max-sockets-per-user", "4"]).await;
    let cookie = cluster.log_in(0, "ann").await.1.unwrap();
    let mut sockets = Vec::new();
    for number in 0..3 * INSTANCES {
        sockets.push(cluster.connect(number % INSTANCES, &cookie).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let start = Instant::now();
    let newest = sockets.split_off(sockets.len() - MAX);
    let evicted = join_all(sockets.iter_mut().map(async |socket| {
        loop {
            match timeout(STEP_TIMEOUT, socket.next()).await.expect("an end") {
                Some(Ok(Message::Close(Some(close)))) => return u16::from(close.code),
                Some(Ok(_)) => {}
                end => panic!("{end:?}"),
            }
        }
    }))
    .await;
    println!(
        "sockets: {} of {} closed with 4409 {:.2} s after the last was opened at {INSTANCES} instances; limit {MAX}",
        evicted.len(),
        3 * INSTANCES,
        start.elapsed().as_secs_f64()
    );
    assert_eq!(evicted, [4409; 3 * INSTANCES - MAX]);
    tokio::time::sleep(2 * SECOND).await;
    for mut socket in newest {
        socket.send(Message::text(json!({"type": "join", "room": "lobby"}).to_string())).await.unwrap();
        next_of(&mut socket, &["joined"]).await;
    }
}
