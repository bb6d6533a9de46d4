//! Missing, forged, planted and old session cookies.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};
use trunkline_client::ClientSession;

use super::{
    logins::{login, random_name},
    target::{AttackOutcome, AttackTarget, Observation, close_name, status_name},
};
use crate::{attack::raw_socket::RawSocket, load::log_in};

/// Time after which a rotated key must be void: its grace of 10 s, and 2 s.
const OLD_KEY_LIFETIME: Duration = Duration::from_secs(12);
/// Longest time from a logout to the close of the session's sockets.
const LOGOUT_LIMIT: Duration = Duration::from_secs(1);

/// Returns a probe and a handshake with these header lines.
fn probe_and_handshake(target: &AttackTarget, headers: &str) -> [Vec<u8>; 2] {
    [
        target.request("GET", "/session", &format!("Accept: application/json\r\n{headers}"), ""),
        target.handshake(headers),
    ]
}

pub(super) async fn missing_cookie(target: &AttackTarget) -> AttackOutcome {
    let [probe, handshake] = probe_and_handshake(target, "");
    let rooms = target.request("GET", "/rooms", "Accept: application/json\r\n", "");
    target.expect_statuses(vec![("probe", probe), ("handshake", handshake), ("rooms", rooms)], &[401]).await
}

pub(super) async fn forged_cookie(target: &AttackTarget) -> AttackOutcome {
    let cookie = target.cookie();
    let (name, value) = cookie.split_once('=').unwrap_or((&cookie, ""));
    let middle = value.len() / 2;
    let flipped = if value.as_bytes().get(middle) == Some(&b'A') { "B" } else { "A" };
    let forged = [
        format!("{}{flipped}{}", &value[..middle], value.get(middle + 1..).unwrap_or_default()),
        value[..middle].to_owned(),
        format!("{value}x"),
        String::new(),
        "x".to_owned(),
        "x".repeat(5000),
        value.chars().rev().collect(),
        "%00".to_owned(),
        "\"; Path=/; \"".to_owned(),
    ];
    let mut requests = Vec::new();
    for value in &forged {
        let [probe, handshake] = probe_and_handshake(target, &format!("Cookie: {name}={value}\r\n"));
        requests.extend([("probe", probe), ("handshake", handshake)]);
    }
    target.expect_statuses(requests, &[401]).await
}

pub(super) async fn duplicate_cookie(target: &AttackTarget) -> AttackOutcome {
    let cookie = target.cookie();
    let (name, value) = cookie.split_once('=').unwrap_or((&cookie, ""));
    let encoded = format!(
        "%{:02x}{}={value}",
        name.as_bytes().first().copied().unwrap_or_default(),
        name.get(1..).unwrap_or_default()
    );
    let headers = [
        ("two in one line", format!("Cookie: {cookie}; {cookie}\r\n")),
        ("two lines", format!("Cookie: {cookie}\r\nCookie: {cookie}\r\n")),
        ("an encoded name", format!("Cookie: {encoded}\r\n")),
        ("an encoded name first", format!("Cookie: {encoded}; {cookie}\r\n")),
    ];
    let mut requests = Vec::new();
    for (name, headers) in &headers {
        let [probe, handshake] = probe_and_handshake(target, headers);
        requests.extend([(*name, probe), (*name, handshake)]);
    }
    target.expect_statuses(requests, &[401]).await
}

pub(super) async fn cookie_attributes(target: &AttackTarget) -> AttackOutcome {
    let answer = login(target, "", &json!({"name": random_name()}).to_string()).await?;
    let Some(cookie) = answer.headers("set-cookie").find(|cookie| cookie.contains("HttpOnly")) else {
        return Ok(Observation::new(false, format!("{}: no HttpOnly cookie", status_name(answer.status))));
    };
    let attributes: Vec<_> = cookie.split("; ").skip(1).collect();
    let has = |name: &str| attributes.iter().any(|attribute| attribute.eq_ignore_ascii_case(name));
    let has_domain = attributes.iter().any(|attribute| attribute.to_ascii_lowercase().starts_with("domain"));
    let ok = has("HttpOnly") && has("SameSite=Lax") && has("Path=/") && !has_domain;
    Ok(Observation::new(ok, attributes.join("; ")))
}

/// The attacker knows a valid key, plants it, and the victim logs in with it.
pub(super) async fn session_fixation(target: &AttackTarget) -> AttackOutcome {
    let first = login(target, "", &json!({"name": random_name()}).to_string()).await?;
    let Some(planted) = first.cookie() else {
        return Ok(Observation::new(false, format!("{}: no cookie", status_name(first.status))));
    };
    let planted_line = format!("Cookie: {planted}\r\n");
    let second = login(target, &planted_line, &json!({"name": random_name()}).to_string()).await?;
    let [probe, handshake] = probe_and_handshake(target, &planted_line);
    let (probe, handshake) = (target.exchange(&probe).await?.status, target.exchange(&handshake).await?.status);
    let new_key = second.cookie().is_some_and(|cookie| cookie != planted);
    let ok = second.status == 200 && new_key && probe == 401 && handshake == 401;
    let key = if new_key { "a new key" } else { "no new key" };
    Ok(Observation::new(ok, format!("{key}; the planted one: {}, {}", status_name(probe), status_name(handshake))))
}

/// A page load rotates the key; the old key is used after its grace.
pub(super) async fn stolen_old_key(target: &AttackTarget) -> AttackOutcome {
    let first = login(target, "", &json!({"name": random_name()}).to_string()).await?;
    let old = first.cookie().unwrap_or_default().to_owned();
    let page = target.exchange(&target.request("GET", "/", &format!("Cookie: {old}\r\n"), "")).await?;
    let Some(new) = page.cookie().filter(|new| *new != old) else {
        return Ok(Observation::new(false, "the page load did not rotate the key"));
    };
    let [with_old, _] = probe_and_handshake(target, &format!("Cookie: {old}\r\n"));
    let [with_new, _] = probe_and_handshake(target, &format!("Cookie: {new}\r\n"));
    // The grace begins when the new key is presented.
    let presented = target.exchange(&with_new).await?.status;
    sleep(OLD_KEY_LIFETIME).await;
    let (old, new) = (target.exchange(&with_old).await?.status, target.exchange(&with_new).await?.status);
    let ok = presented == 200 && old == 401 && new == 200;
    Ok(Observation::new(ok, format!("old key: {}; new key: {}", status_name(old), status_name(new))))
}

pub(super) async fn use_after_logout(target: &AttackTarget) -> AttackOutcome {
    let name = random_name();
    let session: ClientSession = match log_in(&target.site, &name, target.bounds.attack_limit).await {
        Ok((session, _)) => session,
        Err(error) => return Err(std::io::Error::other(error)),
    };
    let cookie = format!("Cookie: {}\r\n", session.cookie_header().unwrap_or_default());
    let mut socket = RawSocket::open(&session, None).await?;
    session.logout().await.map_err(std::io::Error::other)?;
    let since = Instant::now();
    let close = socket.receive_until_end(LOGOUT_LIMIT * 10, |_| {}).await;
    let elapsed = since.elapsed();
    let [probe, handshake] = probe_and_handshake(target, &cookie);
    let (probe, handshake) = (target.exchange(&probe).await?.status, target.exchange(&handshake).await?.status);
    let ok = close == Some(4401) && elapsed <= LOGOUT_LIMIT && probe == 401 && handshake == 401;
    let statuses = format!("{}, {}", status_name(probe), status_name(handshake));
    Ok(Observation::new(ok, format!("{} after {} ms; cookie: {statuses}", close_name(close), elapsed.as_millis())))
}
