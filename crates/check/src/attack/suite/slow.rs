//! Clients that send or read slowly, or not at all.

use std::{io, time::Duration};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use trunkline_client::GatewayUrl;

use super::target::{AttackOutcome, AttackTarget, Observation, answer_to, close_name};
use crate::attack::raw_socket::{RawSocket, connect};

/// Time after which a slow request must have ended: the limit of 10 s, and 5 s.
const REQUEST_END_LIMIT: Duration = Duration::from_secs(15);
/// Time after which a socket that answers no ping must have ended: ping interval (25 s) and 10 s, with a margin.
const SILENT_END_LIMIT: Duration = Duration::from_secs(60);
/// Time after which a socket that takes no byte and answers no ping must have ended: 30 s or 35 s, with a margin.
const STALLED_END_LIMIT: Duration = Duration::from_secs(60);
/// Longest time to read what the server sent before it ended the connection. A socket that is still open then is not ended.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// Size of the receive buffer of clients that do not read, in bytes.
const RECEIVE_BUFFER_BYTES: usize = 4096;
/// Messages of 4 KiB that fill the room for the history flood.
const LARGE_MESSAGES: usize = 20;
/// History requests of the flood. Each asks for about 64 KiB. They come one by one, because a second request for a room is
/// refused while the first is in flight.
const HISTORY_REQUESTS: usize = 200;
/// Time between two history requests.
const HISTORY_INTERVAL: Duration = Duration::from_millis(50);

/// Opens many connections that each send `head` and then one byte of `tail` per second. Every connection must end in time.
async fn slow_requests(target: &AttackTarget, head: String, tail: &'static [u8]) -> AttackOutcome {
    let mut tasks = JoinSet::new();
    for _ in 0..target.bounds.slow_connections {
        let (site, head) = (target.site.clone(), head.clone());
        tasks.spawn(async move { slow_request(&site, &head, tail).await });
    }
    let (mut longest, mut refused, mut open) = (Duration::ZERO, 0, 0);
    while let Some(result) = tasks.join_next().await {
        match result.map_err(io::Error::other)?? {
            (None, _) => open += 1,
            (Some(elapsed), status) => {
                longest = longest.max(elapsed);
                refused += u32::from(status == 408);
            }
        }
    }
    let count = target.bounds.slow_connections;
    let seen =
        format!("{} of {count} ended, the last after {:.1} s; {refused} with 408", count - open, longest.as_secs_f64());
    Ok(Observation::new(open == 0, seen))
}

/// Returns the time until the connection ended, if it did, and the status of the response.
async fn slow_request(site: &GatewayUrl, head: &str, tail: &[u8]) -> io::Result<(Option<Duration>, u16)> {
    let mut stream = connect(site, None).await?;
    let since = Instant::now();
    stream.write_all(head.as_bytes()).await?;
    let (mut read, mut write) = stream.split();
    let send = async {
        for byte in tail.iter().cycle() {
            sleep(Duration::from_secs(1)).await;
            if write.write_all(&[*byte]).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let mut bytes = Vec::new();
    let receive = async { while matches!(read.read_buf(&mut bytes).await, Ok(1..)) {} };
    let ended = timeout(REQUEST_END_LIMIT, async {
        tokio::select! {
            () = send => {}
            () = receive => {}
        }
    });
    let ended = ended.await.is_ok();
    let status = if bytes.starts_with(b"HTTP/1.1 408") { 408 } else { 0 };
    Ok((ended.then(|| since.elapsed()), status))
}

pub(super) async fn slow_request_heads(target: &AttackTarget) -> AttackOutcome {
    let head = format!("GET / HTTP/1.1\r\nHost: {}\r\nX-Slow: ", target.site.authority());
    slow_requests(target, head, b"x").await
}

pub(super) async fn slow_request_bodies(target: &AttackTarget) -> AttackOutcome {
    let head = format!(
        "POST /login HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{",
        target.site.authority()
    );
    slow_requests(target, head, b"").await
}

pub(super) async fn silent_socket(target: &AttackTarget) -> AttackOutcome {
    let mut socket = target.open_socket().await?;
    let since = Instant::now();
    let close = socket.receive_until_end(SILENT_END_LIMIT, |_| {}).await;
    let seen = format!("{} after {:.1} s", close_name(close), since.elapsed().as_secs_f64());
    Ok(Observation::new(close == Some(4408), seen))
}

/// Waits until the server has closed or reset the connection, without reading from it. Returns the time that it took.
async fn wait_for_end(socket: &RawSocket, limit: Duration) -> Option<Duration> {
    let since = Instant::now();
    while since.elapsed() < limit {
        let ready = timeout(Duration::from_millis(1), socket.stream.ready(Interest::READABLE | Interest::ERROR)).await;
        let ended = match ready {
            Ok(Ok(ready)) => ready.is_read_closed() || ready.is_error(),
            Ok(Err(_)) => true,
            Err(_) => false,
        };
        if ended || matches!(socket.stream.take_error(), Ok(Some(_)) | Err(_)) {
            return Some(since.elapsed());
        }
        sleep(Duration::from_millis(200)).await;
    }
    None
}

/// Waits for the end of a connection that the client does not read. If nothing is seen of it, reads what the server has
/// sent: while the client's receive buffer is full, the end of the stream cannot arrive.
async fn observe_end(mut socket: RawSocket, limit: Duration) -> Observation {
    if let Some(elapsed) = wait_for_end(&socket, limit).await {
        return Observation::new(true, format!("the connection ended after {:.1} s", elapsed.as_secs_f64()));
    }
    let close = socket.receive_until_end(DRAIN_LIMIT, |_| {}).await;
    Observation::new(close.is_some(), format!("{}, read after {} s", close_name(close), limit.as_secs()))
}

pub(super) async fn never_reading_client(target: &AttackTarget) -> AttackOutcome {
    let mut socket = RawSocket::open(&target.session, Some(RECEIVE_BUFFER_BYTES)).await?;
    socket.send(&json!({"type": "join", "room": target.room, "recent": 200})).await?;
    Ok(observe_end(socket, STALLED_END_LIMIT).await)
}

/// Fills the room with large messages, requests its history again and again, and never reads the answers.
pub(super) async fn history_flood(target: &AttackTarget) -> AttackOutcome {
    fill_room(target).await?;
    let mut socket = RawSocket::open(&target.session, Some(RECEIVE_BUFFER_BYTES)).await?;
    socket.send(&json!({"type": "join", "room": target.room, "recent": 0})).await?;
    for _ in 0..HISTORY_REQUESTS {
        sleep(HISTORY_INTERVAL).await;
        // Fails when the server has closed the connection. A server that stops reading takes the requests into its kernel.
        if socket.send(&json!({"type": "history", "room": target.room, "limit": 200})).await.is_err() {
            break;
        }
    }
    Ok(observe_end(socket, STALLED_END_LIMIT).await)
}

/// Sends large messages at the allowed rate.
async fn fill_room(target: &AttackTarget) -> io::Result<()> {
    let mut socket = target.open_socket().await?;
    socket.send(&json!({"type": "join", "room": target.room, "recent": 0})).await?;
    answer_to(&mut socket, "joined").await?;
    let mut sent = 0;
    while sent < LARGE_MESSAGES {
        let text = "x".repeat(4000);
        let id = format!("large-{sent}");
        socket.send(&json!({"type": "send", "room": target.room, "id": id, "text": text})).await?;
        let answer = answer_to(&mut socket, "sent").await?;
        if answer["code"] == "rate_limited" {
            sleep(Duration::from_millis(answer["retry_after_ms"].as_u64().unwrap_or(100))).await;
        } else {
            sent += 1;
        }
    }
    Ok(())
}
