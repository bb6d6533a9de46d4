//! Floods of messages, joins, pings, fragments, sockets and connections.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tokio::{
    io::AsyncWriteExt,
    task::JoinSet,
    time::{Instant, interval, sleep, timeout},
};
use trunkline_client::GatewayUrl;

use super::{
    http::exchange,
    target::{ANSWER_LIMIT, AttackOutcome, AttackTarget, Observation, answer_to, close_name, handshake},
};
use crate::attack::{
    message_flood::{BURST_INTERVAL, BURSTS_PER_SECOND, MessageFlood},
    raw_socket::{CONNECTION_BROKEN, FIN, PING, RawSocket, ReceivedFrame, TEXT, connect, frame_bytes},
};

/// Joins that the join flood sends at once.
const JOINS: usize = 150;
/// Sockets that one user opens at most.
const SOCKETS_MAX: usize = 40;
/// Longest time to wait for the last answers of a flood.
const LAST_ANSWERS_LIMIT: Duration = Duration::from_secs(5);

pub(super) async fn message_flood(target: &AttackTarget) -> AttackOutcome {
    let flood = MessageFlood { rate: target.bounds.flood_rate.into(), duration: target.bounds.flood_for };
    let result = flood.execute(&target.session, &target.room).await?;
    let close = result["ending"]["close"].as_u64().and_then(|code| u16::try_from(code).ok());
    let number = |name: &str| result[name].as_u64().unwrap_or_default();
    if number("rate_limited") == 0 && number("sent") > 0 {
        return Ok(Observation::not_applicable(format!("no limit: {} messages acknowledged", number("sent"))));
    }
    let counts = format!("{} acknowledged, {} rate_limited", number("sent"), number("rate_limited"));
    Ok(Observation::new(close == Some(1008), format!("{counts}, {}", close_name(close))))
}

pub(super) async fn join_flood(target: &AttackTarget) -> AttackOutcome {
    let mut socket = target.open_socket().await?;
    let frame = |number: usize| {
        let join = json!({"type": "join", "room": format!("{}-{number}", target.room), "recent": 0});
        frame_bytes(FIN | TEXT, join.to_string().as_bytes())
    };
    let burst: Vec<u8> = (0..JOINS).flat_map(frame).collect();
    socket.stream.write_all(&burst).await?;
    let (mut joined, mut rate_limited, mut other) = (0, 0, 0);
    let close = socket
        .receive_until_end(LAST_ANSWERS_LIMIT, |text| match (text["type"].as_str(), text["code"].as_str()) {
            (Some("joined"), _) => joined += 1,
            (Some("error"), Some("rate_limited")) => rate_limited += 1,
            (Some("error"), _) => other += 1,
            _ => {}
        })
        .await;
    let seen = format!("{joined} joined, {rate_limited} rate_limited, {other} other errors, {}", close_name(close));
    Ok(if rate_limited + other == 0 {
        Observation::not_applicable(seen)
    } else {
        Observation::new(rate_limited > 0, seen)
    })
}

/// Time between two joins, a little more than the default rate of 10 joins per second allows. Waiting only after a refusal
/// would collect 100 refusals in 10 s, after which the gateway closes the socket.
const JOIN_INTERVAL: Duration = Duration::from_millis(110);

pub(super) async fn too_many_rooms(target: &AttackTarget) -> AttackOutcome {
    let mut socket = target.open_socket().await?;
    let welcome = answer_to(&mut socket, "welcome").await?;
    let rooms_max = welcome["limits"]["rooms"].as_u64().unwrap_or_default();
    let mut joined = 0;
    loop {
        socket.send(&json!({"type": "join", "room": format!("{}-{joined}", target.room), "recent": 0})).await?;
        let answer = answer_to(&mut socket, "joined").await?;
        match answer["code"].as_str() {
            None => joined += 1,
            Some("rate_limited") => {
                let wait = answer["retry_after_ms"].as_u64().unwrap_or(100);
                sleep(Duration::from_millis(wait)).await;
            }
            Some(code) => {
                let ok = code == "too_many_rooms" && joined == rooms_max;
                return Ok(Observation::new(ok, format!("{joined} rooms joined, then {code}")));
            }
        }
        sleep(JOIN_INTERVAL).await;
        if joined > rooms_max {
            return Ok(Observation::new(false, format!("{joined} rooms joined; the announced limit is {rooms_max}")));
        }
    }
}

/// Writes a burst every 10 ms until the duration has passed or the socket ends, and counts frames that are not text (pongs).
/// Returns the written and received numbers and the close code.
async fn control_flood(
    target: &AttackTarget,
    socket: &mut RawSocket,
    frame: &[u8],
    count_answers: bool,
) -> io::Result<Flood> {
    let per_burst = u64::from(target.bounds.flood_rate).div_ceil(BURSTS_PER_SECOND);
    let burst = frame.repeat(usize::try_from(per_burst).unwrap_or(usize::MAX));
    let (mut sent, mut answers, mut unwritten) = (0, 0, Vec::new());
    let since = Instant::now();
    let mut burst_timer = interval(BURST_INTERVAL);
    let close = loop {
        let sending = since.elapsed() < target.bounds.flood_for;
        let answered = !count_answers || answers >= sent;
        let timed_out = since.elapsed() > target.bounds.flood_for + LAST_ANSWERS_LIMIT;
        if !sending && ((answered && unwritten.is_empty()) || timed_out) {
            break None;
        }
        tokio::select! {
            _ = burst_timer.tick() => {
                // Bounds the memory of the attack if the server stops reading.
                if sending && unwritten.len() < burst.len() * 10 {
                    unwritten.extend_from_slice(&burst);
                    sent += per_burst;
                }
                match socket.stream.try_write(&unwritten) {
                    Ok(count) => drop(unwritten.drain(..count)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => break Some(last_close(socket).await),
                }
            }
            frame = socket.receive() => match frame {
                Ok(ReceivedFrame::Other) => answers += 1,
                Ok(ReceivedFrame::Text(_)) => {}
                Ok(ReceivedFrame::Close(code)) => break Some(code),
                Err(_) => break Some(CONNECTION_BROKEN),
            },
        }
    };
    Ok(Flood { sent, answers, close })
}

struct Flood {
    sent: u64,
    answers: u64,
    close: Option<u16>,
}

/// Returns the code of a close frame that arrived before the connection broke.
async fn last_close(socket: &mut RawSocket) -> u16 {
    socket.receive_until_end(Duration::from_secs(1), |_| {}).await.unwrap_or(CONNECTION_BROKEN)
}

pub(super) async fn ping_flood(target: &AttackTarget) -> AttackOutcome {
    let mut socket = target.open_socket().await?;
    let Flood { sent, answers, close } =
        control_flood(target, &mut socket, &frame_bytes(FIN | PING, &[b'x'; 125]), true).await?;
    let ok = close == Some(1008) || (close.is_none() && answers == sent);
    Ok(Observation::new(ok, format!("{sent} pings, {answers} pongs, {}", close_name(close))))
}

pub(super) async fn fragment_flood(target: &AttackTarget) -> AttackOutcome {
    let mut socket = target.open_socket().await?;
    let command = json!({"type": "join", "room": target.room, "recent": 0}).to_string();
    socket.stream.write_all(&frame_bytes(TEXT, command.as_bytes())).await?;
    let Flood { sent, close, .. } = control_flood(target, &mut socket, &frame_bytes(0, b""), false).await?;
    let Some(code) = close else {
        socket.stream.write_all(&frame_bytes(FIN, b"")).await?;
        let answer = answer_to(&mut socket, "joined").await;
        let seen = match &answer {
            Ok(answer) => format!("{sent} fragments, then the command was answered with {}", answer["type"]),
            Err(error) => format!("{sent} fragments, then no answer: {error}"),
        };
        return Ok(Observation::new(answer.is_ok(), seen));
    };
    Ok(Observation::new(true, format!("{} after {sent} fragments", close_name(Some(code)))))
}

pub(super) async fn too_many_sockets(target: &AttackTarget) -> AttackOutcome {
    let mut oldest = target.open_socket().await?;
    let mut others = Vec::new();
    while others.len() + 1 < SOCKETS_MAX {
        match target.open_socket().await {
            Ok(socket) => others.push(socket),
            Err(error) => {
                let count = others.len() + 1;
                return Ok(Observation::new(false, format!("the handshake after {count} sockets failed: {error}")));
            }
        }
        if let Some(code) =
            timeout(Duration::from_millis(100), oldest.receive_until_end(ANSWER_LIMIT, |_| {})).await.ok().flatten()
        {
            let count = others.len() + 1;
            return Ok(Observation::new(code == 4409, format!("{} at socket {count}", close_name(Some(code)))));
        }
    }
    Ok(Observation::not_applicable(format!("no limit up to {SOCKETS_MAX} sockets")))
}

pub(super) async fn connection_churn(target: &AttackTarget) -> AttackOutcome {
    let per_burst = u64::from(target.bounds.churn_rate).div_ceil(BURSTS_PER_SECOND);
    let failures = Arc::new(AtomicU32::new(0));
    let since = Instant::now();
    let (mut tasks, mut timer, mut started) = (JoinSet::new(), interval(BURST_INTERVAL), 0_u64);
    while since.elapsed() < target.bounds.flood_for {
        timer.tick().await;
        for _ in 0..per_burst {
            let (site, failures) = (target.site.clone(), failures.clone());
            tasks.spawn(async move {
                if !connect_once(&site, started).await.unwrap_or(false) {
                    failures.fetch_add(1, Ordering::Relaxed);
                }
            });
            started += 1;
        }
        while tasks.try_join_next().is_some() {}
    }
    // Rounded down: the last connections end after the last burst.
    let rate = started / since.elapsed().as_secs().max(1);
    tasks.join_all().await;
    let failures = failures.load(Ordering::Relaxed);
    let since = Instant::now();
    let mut socket = target.open_socket().await?;
    answer_to(&mut socket, "welcome").await?;
    let served_ms = since.elapsed().as_millis();
    let seen =
        format!("{started} connections at {rate}/s, {failures} failed; a new client is served in {served_ms} ms");
    Ok(Observation::new(failures == 0 && served_ms < 2000, seen))
}

/// Makes one connection of the churn. Returns false if the answer is not the expected one.
async fn connect_once(site: &GatewayUrl, number: u64) -> io::Result<bool> {
    let host = site.authority();
    match number % 4 {
        0 => {
            let stream = connect(site, None).await?;
            stream.set_zero_linger()?;
            Ok(true)
        }
        1 => {
            let request = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            Ok(exchange(site, request.as_bytes(), ANSWER_LIMIT).await?.status == 200)
        }
        2 => Ok(exchange(site, &handshake(&host, ""), ANSWER_LIMIT).await?.status == 401),
        _ => {
            let mut stream = connect(site, None).await?;
            stream.write_all(b"GET / HTTP/1.1\r\nHos").await?;
            Ok(true)
        }
    }
}
