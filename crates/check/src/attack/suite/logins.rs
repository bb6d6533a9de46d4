//! Logins with invalid names, in large numbers, and from forged addresses.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use trunkline_client::GatewayUrl;

use super::{
    http::{CLOSED, RawAnswer},
    target::{ANSWER_LIMIT, AttackOutcome, AttackTarget, Observation, status_name},
};
use crate::attack::raw_socket::{connect, invalid};

/// Connections that fail to log in at the same time.
const LOGIN_CONNECTIONS: u32 = 16;
/// Time between two logins at a deployment with a login limit. The default limit is 20 per minute and address.
const LOGIN_INTERVAL: Duration = Duration::from_millis(3200);
/// Largest accepted response head in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Returns a valid name that is free with high probability.
pub(super) fn random_name() -> String {
    format!("attacker{}", rand::random::<u32>())
}

/// Sends a login as JSON with additional header lines. Repeats it after `Retry-After` while the answer is 429.
pub(super) async fn login(target: &AttackTarget, headers: &str, body: &str) -> io::Result<RawAnswer> {
    let headers = format!("Content-Type: application/json\r\nAccept: application/json\r\n{headers}");
    exchange_login(target, &target.request("POST", "/login", &headers, body)).await
}

/// Sends a login. The first 429 makes all later logins wait [`LOGIN_INTERVAL`], because each refused login makes a gateway
/// demand a longer wait.
pub(super) async fn exchange_login(target: &AttackTarget, request: &[u8]) -> io::Result<RawAnswer> {
    let end = Instant::now() + target.bounds.attack_limit;
    loop {
        if target.logins_limited.load(Ordering::Relaxed) {
            sleep(LOGIN_INTERVAL).await;
        }
        let answer = target.exchange(request).await?;
        let wait = Duration::from_secs(answer.header("retry-after").parse().unwrap_or(1));
        if answer.status != 429 || Instant::now() + wait > end {
            return Ok(answer);
        }
        target.logins_limited.store(true, Ordering::Relaxed);
        sleep(wait).await;
    }
}

pub(super) async fn invalid_names(target: &AttackTarget) -> AttackOutcome {
    let own = target.user.as_str();
    let names = [
        "admin".to_owned(),
        "System".to_owned(),
        String::new(),
        "   ".to_owned(),
        "x".repeat(33),
        "\u{202e}evil".to_owned(),
        "zero\u{200b}width".to_owned(),
        "line\nbreak".to_owned(),
        "p\u{0430}ypal".to_owned(),
        own.replacen('a', "\u{0430}", 1),
        own.to_uppercase(),
        own.to_owned(),
    ];
    let mut statuses = Vec::new();
    for name in &names {
        statuses.push((&**name, login(target, "", &json!({"name": name}).to_string()).await?.status));
    }
    Ok(Observation::of_statuses(&statuses, &[400, 409]))
}

pub(super) async fn open_redirect(target: &AttackTarget) -> AttackOutcome {
    const NEXTS: [&str; 6] = [
        "https%3A%2F%2Fevil.example",
        "%2F%2Fevil.example",
        "%2F%5Cevil.example",
        "%5C%5Cevil.example",
        "%2F%09%2Fevil.example",
        "javascript%3Aalert(1)",
    ];
    let mut locations = Vec::new();
    for next in NEXTS {
        let headers = "Content-Type: application/x-www-form-urlencoded\r\nAccept: text/html\r\n";
        let body = format!("name={}&next={next}", random_name());
        let answer = exchange_login(target, &target.request("POST", "/login", headers, &body)).await?;
        let location = answer.header("location").to_owned();
        let is_local = location.starts_with('/') && !location.starts_with("//") && !location.contains(['\\', '\t']);
        // Without a redirect the answer is the login page again.
        if answer.status == 303 && !is_local {
            return Ok(Observation::new(false, format!("{next} redirects to {location}")));
        }
        locations.push(format!("{} {location}", answer.status));
    }
    locations.sort();
    locations.dedup();
    Ok(Observation::new(true, locations.join(", ")))
}

pub(super) async fn failed_logins(target: &AttackTarget) -> AttackOutcome {
    let left = Arc::new(AtomicU32::new(target.bounds.logins));
    let statuses = Arc::new(Mutex::new(BTreeMap::<u16, u32>::new()));
    let without_retry_after = Arc::new(AtomicU32::new(0));
    let bodies = [json!({"name": "admin"}).to_string(), json!({"name": target.user}).to_string(), "{".to_owned()];
    let requests = bodies.map(|body| {
        let host = target.site.authority();
        let length = body.len();
        let headers = format!("Host: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n");
        format!("POST /login HTTP/1.1\r\n{headers}\r\n{body}")
    });
    let since = Instant::now();
    // Leaves time for the answers in flight.
    let limit = target.bounds.attack_limit.mul_f64(0.9);
    let mut tasks = JoinSet::new();
    for _ in 0..LOGIN_CONNECTIONS {
        let (site, requests, left) = (target.site.clone(), requests.clone(), left.clone());
        let (statuses, without_retry_after) = (statuses.clone(), without_retry_after.clone());
        tasks.spawn(async move {
            let mut stream = None;
            while since.elapsed() < limit
                && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
            {
                let number = left.load(Ordering::Relaxed) as usize;
                let (status, has_retry_after) =
                    keep_alive_exchange(&site, &mut stream, &requests[number % requests.len()]).await;
                *statuses.lock().unwrap_or_else(PoisonError::into_inner).entry(status).or_default() += 1;
                if status == 429 && !has_retry_after {
                    without_retry_after.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    tasks.join_all().await;
    let statuses = std::mem::take(&mut *statuses.lock().unwrap_or_else(PoisonError::into_inner));
    let counts: Vec<_> = statuses.iter().map(|(status, count)| format!("{}: {count}", status_name(*status))).collect();
    let seen = format!("{} in {:.1} s", counts.join(", "), since.elapsed().as_secs_f64());
    let refused = statuses.keys().all(|status| matches!(status, 400 | 409 | 429));
    let retry_after = without_retry_after.load(Ordering::Relaxed) == 0;
    Ok(match statuses.contains_key(&429) {
        true => Observation::new(refused && retry_after, seen),
        false if refused => Observation::not_applicable(format!("no login limit: {seen}")),
        false => Observation::new(false, seen),
    })
}

/// Sends a request on a connection that is kept open, and reads its response. Returns the status ([`CLOSED`] if the connection
/// broke) and whether the response has a `Retry-After`.
async fn keep_alive_exchange(site: &GatewayUrl, stream: &mut Option<TcpStream>, request: &str) -> (u16, bool) {
    // A server may close an idle connection at any time, so a request on an old connection is sent once more.
    for _ in 0..2 {
        let is_old = stream.is_some();
        let Some(open) = (match stream.take() {
            Some(open) => Some(open),
            None => connect(site, None).await.ok(),
        }) else {
            return (CLOSED, false);
        };
        let mut open = open;
        if let Ok(Ok((head, closes))) = timeout(ANSWER_LIMIT, one_response(&mut open, request)).await {
            if !closes {
                *stream = Some(open);
            }
            let status = head.strip_prefix("http/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(CLOSED);
            return (status, head.contains("\r\nretry-after:"));
        }
        if !is_old {
            break;
        }
    }
    (CLOSED, false)
}

/// Returns the head of the response in lower case, and whether the server closes the connection after it.
async fn one_response(stream: &mut TcpStream, request: &str) -> io::Result<(String, bool)> {
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if bytes.len() > HEAD_BYTES_MAX || stream.read_buf(&mut bytes).await? == 0 {
            return Err(invalid("the server sent no complete response head"));
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).to_ascii_lowercase();
    let length = head.split("\r\ncontent-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
    let length: usize = length.unwrap_or(0);
    while bytes.len() < head_end + length {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(invalid("the server closed the connection within a response"));
        }
    }
    let closes = head.contains("\r\nconnection: close");
    Ok((head, closes))
}

pub(super) async fn forged_address(target: &AttackTarget) -> AttackOutcome {
    let attempt = |headers: String| {
        let headers = format!("Content-Type: application/json\r\nAccept: application/json\r\n{headers}");
        target.request("POST", "/login", &headers, "{\"name\":\"admin\"}")
    };
    // Exhausts the limit of this address, in case the failed logins were not executed before.
    let mut limited = false;
    for _ in 0..40 {
        limited = target.exchange(&attempt(String::new())).await?.status == 429;
        if limited {
            break;
        }
    }
    if !limited {
        return Ok(Observation::not_applicable("no login limit"));
    }
    let headers = ["X-Forwarded-For: 198.51.100.", "Forwarded: for=198.51.100.", "X-Real-IP: 198.51.100."];
    let requests = (1..=5).flat_map(|host| headers.map(|header| (header, attempt(format!("{header}{host}\r\n")))));
    target.expect_statuses(requests.collect(), &[429]).await
}
