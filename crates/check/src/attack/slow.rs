//! A reader that is slow, or does not read at all.

use std::{io, time::Duration};

use clap::Args;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, Interest},
    time::{Instant, interval},
};
use trunkline_client::ClientSession;
use trunkline_domain::Room;

use super::{Ending, raw::Raw};

/// Reads slowly.
#[derive(Clone, Debug, Args)]
pub struct Slow {
    /// Bytes to read a second; 0 reads never
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub pace: usize,
    /// Receive buffer to ask the kernel for, in bytes; it takes what it thinks is right
    #[arg(long, value_name = "BYTES", default_value_t = 4096)]
    pub buffer: usize,
    /// How long to stay
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    pub duration: Duration,
}

/// Reads a second.
const READS: usize = 10;

impl Slow {
    pub(super) async fn carry_out(&self, session: &ClientSession, room: &Room) -> io::Result<Value> {
        let mut raw = Raw::open(session, Some(self.buffer)).await?;
        raw.say(&json!({"type": "join", "room": room, "recent": 200})).await?;
        let since = Instant::now();
        let mut turns = interval(Duration::from_secs(1) / 10);
        let mut piece = vec![0; self.pace.div_ceil(READS).max(1)];
        let mut bytes = 0;
        let mut broken = false;
        while !broken && since.elapsed() < self.duration {
            turns.tick().await;
            broken = if self.pace > 0 {
                match tokio::time::timeout(Duration::from_millis(50), raw.stream.read(&mut piece)).await {
                    Ok(Ok(0) | Err(_)) => true,
                    Ok(Ok(length)) => {
                        bytes += length;
                        false
                    }
                    Err(_) => false,
                }
            } else {
                is_reset(&raw).await
            };
        }
        let ending = Ending::new(since, broken.then_some(1006));
        Ok(json!({"attack": "slow", "ending": ending, "bytes_read": bytes}))
    }
}

/// Whether the other side has reset the connection; without taking a byte from it.
async fn is_reset(raw: &Raw) -> bool {
    let ready = tokio::time::timeout(Duration::from_millis(1), raw.stream.ready(Interest::ERROR)).await;
    let failed = matches!(raw.stream.take_error(), Ok(Some(_)) | Err(_));
    failed || matches!(ready, Ok(Ok(state)) if state.is_error()) || matches!(ready, Ok(Err(_)))
}
