//! Sending much for long, as an application might, and reading all of it.

use std::{io, time::Duration};

use clap::Args;
use serde_json::{Value, json};
use tokio::{
    io::Interest,
    time::{Instant, interval},
};
use trunkline_client::ClientSession;
use trunkline_domain::{Position, Room};

use super::{Ending, flood::burst, raw::Raw};

/// Pours.
#[derive(Clone, Debug, Args)]
pub struct Pour {
    /// Messages a second; fewer if the server takes fewer
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub rate: u64,
    /// How long
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    pub duration: Duration,
}

/// Times a second that it writes.
const BURSTS: u64 = 100;
/// Most messages without an answer; beyond, messages are left out.
const UNANSWERED_MOST: u64 = 1000;
/// How long the answers to the last messages may take.
const PATIENCE: Duration = Duration::from_secs(10);

impl Pour {
    pub(super) async fn carry_out(&self, session: &ClientSession, room: &Room) -> io::Result<Value> {
        let mut raw = Raw::open(session, None).await?;
        raw.say(&json!({"type": "join", "room": room, "recent": 0})).await?;
        let (mut waiting, mut seen) = (Vec::new(), Seen::default());
        let each = self.rate.div_ceil(BURSTS);
        let since = Instant::now();
        let mut turns = interval(Duration::from_secs(1) / 100);
        let close = loop {
            let pouring = since.elapsed() < self.duration;
            if !pouring && (seen.answers == seen.attempts || since.elapsed() > self.duration + PATIENCE) {
                break None;
            }
            let interest =
                if waiting.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
            tokio::select! {
                _ = turns.tick() => if pouring && seen.attempts - seen.answers < UNANSWERED_MOST {
                    waiting.extend(burst(room, seen.attempts, each));
                    seen.attempts += each;
                },
                ready = raw.stream.ready(interest) => {
                    if ready?.is_writable() && let Ok(count) = raw.stream.try_write(&waiting) {
                        waiting.drain(..count);
                    }
                    if let Some(code) = raw.take(|frame| seen.note(&frame)) {
                        break Some(code);
                    }
                }
            }
        };
        let Seen { attempts, sent, delivered, gaps, .. } = seen;
        let ending = Ending::new(since, close);
        Ok(json!({"attack": "pour", "ending": ending, "attempts": attempts, "sent": sent, "delivered": delivered,
            "gaps": gaps}))
    }
}

#[derive(Debug, Default)]
struct Seen {
    attempts: u64,
    /// `sent` or `error`.
    answers: u64,
    sent: u64,
    delivered: u64,
    /// Messages that did not follow the one before.
    gaps: u64,
    last: Option<Position>,
}

impl Seen {
    fn note(&mut self, frame: &Value) {
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
