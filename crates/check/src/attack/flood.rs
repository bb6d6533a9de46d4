//! Sending without heeding refusals.

use std::{io, time::Duration};

use clap::Args;
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, interval},
};
use trunkline_client::ClientSession;
use trunkline_domain::Room;

use super::{
    Ending,
    raw::{FIN, Frame, Raw, TEXT, frame_bytes},
};

/// Floods.
#[derive(Clone, Debug, Args)]
pub struct Flood {
    /// Messages a second
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub rate: u64,
    /// How long, unless the server ends it before
    #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub duration: Duration,
}

/// Bursts a second.
const BURSTS: u64 = 100;

impl Flood {
    pub(super) async fn carry_out(&self, session: &ClientSession, room: &Room) -> io::Result<Value> {
        let mut raw = Raw::open(session, None).await?;
        raw.say(&json!({"type": "join", "room": room, "recent": 0})).await?;
        let since = Instant::now();
        let mut turns = interval(Duration::from_secs(1) / 100);
        let mut seen = Seen::default();
        let close = loop {
            if since.elapsed() > self.duration {
                break None;
            }
            tokio::select! {
                _ = turns.tick() => {
                    let burst = burst(room, seen.attempts, self.rate.div_ceil(BURSTS));
                    // A server that does not read holds us here, which is its right; it may also have closed.
                    match tokio::time::timeout(Duration::from_millis(5), raw.stream.write_all(&burst)).await {
                        Ok(Ok(())) => seen.attempts += self.rate.div_ceil(BURSTS),
                        Ok(Err(_)) => break Some(raw.end(Duration::from_secs(1), |text| seen.note(text)).await.unwrap_or(1006)),
                        Err(_) => {
                            // Half a frame may be out: all that is left is to watch.
                            let left = self.duration.saturating_sub(since.elapsed());
                            break raw.end(left, |text| seen.note(text)).await;
                        }
                    }
                }
                frame = raw.hear() => match frame {
                    Ok(Frame::Text(text)) => seen.note(&text),
                    Ok(Frame::Close(code)) => break Some(code),
                    Ok(Frame::Other) => {}
                    Err(_) => break Some(1006),
                },
            }
        };
        let Seen { attempts, sent, refused, other } = seen;
        let ending = Ending::new(since, close);
        Ok(json!({"attack": "flood", "ending": ending, "attempts": attempts, "sent": sent,
            "rate_limited": refused, "other_errors": other}))
    }
}

#[derive(Debug, Default)]
struct Seen {
    attempts: u64,
    sent: u64,
    refused: u64,
    other: u64,
}

impl Seen {
    fn note(&mut self, text: &Value) {
        match (text["type"].as_str(), text["code"].as_str()) {
            (Some("sent"), _) => self.sent += 1,
            (Some("error"), Some("rate_limited")) => self.refused += 1,
            (Some("error"), _) => self.other += 1,
            _ => {}
        }
    }
}

pub(super) fn burst(room: &Room, from: u64, count: u64) -> Vec<u8> {
    let frame =
        |number| json!({"type": "send", "room": room, "id": format!("flood-{number}"), "text": "flood"}).to_string();
    (from..from + count).flat_map(|number| frame_bytes(FIN | TEXT, frame(number).as_bytes())).collect()
}
