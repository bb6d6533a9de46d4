//! A client that sends valid messages at a high constant rate and receives all of them, as an application might.

use std::{io, time::Duration};

use clap::Args;
use serde_json::{Value, json};
use tokio::{
    io::Interest,
    time::{Instant, interval},
};
use trunkline_client::ClientSession;
use trunkline_domain::{Position, Room};

use super::{
    message_flood::{BURST_INTERVAL, BURSTS_PER_SECOND, burst},
    raw_socket::{RawSocket, SocketEnd},
};

/// A constant rate of valid messages on one socket.
#[derive(Clone, Debug, Args)]
pub struct SustainedLoad {
    /// Messages per second. The client sends fewer if the server answers fewer
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub rate: u64,
    /// Duration
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    pub duration: Duration,
}

/// Largest number of messages without an answer. Beyond it the client skips bursts.
const UNANSWERED_MAX: u64 = 1000;
/// Longest time to wait for the answers to the last messages.
const LAST_ANSWERS_LIMIT: Duration = Duration::from_secs(10);

impl SustainedLoad {
    pub(super) async fn execute(&self, session: &ClientSession, room: &Room) -> io::Result<Value> {
        let mut socket = RawSocket::open(session, None).await?;
        socket.send(&json!({"type": "join", "room": room, "recent": 0})).await?;
        let (mut unwritten, mut counts) = (Vec::new(), LoadCounts::default());
        let per_burst = self.rate.div_ceil(BURSTS_PER_SECOND);
        let since = Instant::now();
        let mut burst_timer = interval(BURST_INTERVAL);
        let close = loop {
            let sending = since.elapsed() < self.duration;
            let timed_out = since.elapsed() > self.duration + LAST_ANSWERS_LIMIT;
            if !sending && (counts.answers == counts.attempts || timed_out) {
                break None;
            }
            let interest =
                if unwritten.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
            tokio::select! {
                _ = burst_timer.tick() => if sending && counts.attempts - counts.answers < UNANSWERED_MAX {
                    unwritten.extend(burst(room, counts.attempts, per_burst));
                    counts.attempts += per_burst;
                },
                ready = socket.stream.ready(interest) => {
                    if ready?.is_writable() && let Ok(count) = socket.stream.try_write(&unwritten) {
                        unwritten.drain(..count);
                    }
                    if let Some(code) = socket.receive_available(|frame| counts.add(&frame)) {
                        break Some(code);
                    }
                }
            }
        };
        let LoadCounts { attempts, sent, delivered, gaps, .. } = counts;
        Ok(
            json!({"attack": "sustained-load", "ending": SocketEnd::new(since, close), "attempts": attempts, "sent": sent,
            "delivered": delivered, "gaps": gaps}),
        )
    }
}

/// Frames of the server, by kind.
#[derive(Debug, Default)]
struct LoadCounts {
    attempts: u64,
    /// `sent` and `error` frames.
    answers: u64,
    sent: u64,
    delivered: u64,
    /// Messages whose position does not follow the position of the message before.
    gaps: u64,
    last: Option<Position>,
}

impl LoadCounts {
    fn add(&mut self, frame: &Value) {
        match frame["type"].as_str() {
            Some("sent") => {
                self.answers += 1;
                self.sent += 1;
            }
            Some("error") => self.answers += 1,
            Some("message") => {
                self.delivered += 1;
                let pos: Option<Position> = frame["pos"].as_str().and_then(|pos| pos.parse().ok());
                let follows = self.last.is_none() || self.last.map(Position::next_in_epoch) == pos;
                self.gaps += u64::from(!follows);
                self.last = pos;
            }
            _ => {}
        }
    }
}
