//! A client that sends messages as fast as the socket accepts them and ignores rate limits.

use std::{io, time::Duration};

use clap::Args;
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, interval, timeout},
};
use trunkline_client::ClientSession;
use trunkline_domain::Room;

use super::raw_socket::{CONNECTION_BROKEN, FIN, RawSocket, ReceivedFrame, SocketEnd, TEXT, frame_bytes};

/// A flood of messages on one socket.
#[derive(Clone, Debug, Args)]
pub struct MessageFlood {
    /// Messages per second
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub rate: u64,
    /// Duration, unless the server closes the socket earlier
    #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub duration: Duration,
}

/// Bursts per second.
pub(super) const BURSTS_PER_SECOND: u64 = 100;
/// Time between two bursts.
pub(super) const BURST_INTERVAL: Duration = Duration::from_millis(10);
/// Longest time to write one burst.
const WRITE_LIMIT: Duration = Duration::from_millis(5);

impl MessageFlood {
    pub(super) async fn execute(&self, session: &ClientSession, room: &Room) -> io::Result<Value> {
        let mut socket = RawSocket::open(session, None).await?;
        socket.send(&json!({"type": "join", "room": room, "recent": 0})).await?;
        let since = Instant::now();
        let mut burst_timer = interval(BURST_INTERVAL);
        let per_burst = self.rate.div_ceil(BURSTS_PER_SECOND);
        let mut counts = FloodCounts::default();
        let close = loop {
            if since.elapsed() > self.duration {
                break None;
            }
            tokio::select! {
                _ = burst_timer.tick() => {
                    let burst = burst(room, counts.attempts, per_burst);
                    match timeout(WRITE_LIMIT, socket.stream.write_all(&burst)).await {
                        Ok(Ok(())) => counts.attempts += per_burst,
                        Ok(Err(_)) => {
                            let close = socket.receive_until_end(Duration::from_secs(1), |text| counts.add(text)).await;
                            break Some(close.unwrap_or(CONNECTION_BROKEN));
                        }
                        Err(_) => {
                            // The server does not read any more, and half a frame may have been written.
                            let left = self.duration.saturating_sub(since.elapsed());
                            break socket.receive_until_end(left, |text| counts.add(text)).await;
                        }
                    }
                }
                frame = socket.receive() => match frame {
                    Ok(ReceivedFrame::Text(text)) => counts.add(&text),
                    Ok(ReceivedFrame::Close(code)) => break Some(code),
                    Ok(ReceivedFrame::Other) => {}
                    Err(_) => break Some(CONNECTION_BROKEN),
                },
            }
        };
        let FloodCounts { attempts, sent, rate_limited, other_errors } = counts;
        Ok(json!({"attack": "flood", "ending": SocketEnd::new(since, close), "attempts": attempts, "sent": sent,
            "rate_limited": rate_limited, "other_errors": other_errors}))
    }
}

/// Frames of the server, by kind.
#[derive(Debug, Default)]
struct FloodCounts {
    attempts: u64,
    sent: u64,
    rate_limited: u64,
    other_errors: u64,
}

impl FloodCounts {
    fn add(&mut self, frame: &Value) {
        match (frame["type"].as_str(), frame["code"].as_str()) {
            (Some("sent"), _) => self.sent += 1,
            (Some("error"), Some("rate_limited")) => self.rate_limited += 1,
            (Some("error"), _) => self.other_errors += 1,
            _ => {}
        }
    }
}

/// Returns `count` `send` frames with the ids `flood-<from>` and following.
pub(super) fn burst(room: &Room, from: u64, count: u64) -> Vec<u8> {
    let frame =
        |number| json!({"type": "send", "room": room, "id": format!("flood-{number}"), "text": "flood"}).to_string();
    (from..from + count).flat_map(|number| frame_bytes(FIN | TEXT, frame(number).as_bytes())).collect()
}
