//! A client that reads slowly, or never.

use std::{io, time::Duration};

use clap::Args;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, Interest},
    time::{Instant, interval, timeout},
};
use trunkline_client::ClientSession;
use trunkline_domain::Room;

use super::raw_socket::{CONNECTION_BROKEN, RawSocket, SocketEnd};

/// A client that reads slowly, or never.
#[derive(Clone, Debug, Args)]
pub struct SlowReader {
    /// Bytes to read per second; 0 never reads
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub pace: usize,
    /// Size of the receive buffer to request from the kernel, in bytes. The kernel may choose a larger one
    #[arg(long, value_name = "BYTES", default_value_t = 4096)]
    pub buffer: usize,
    /// Time to stay connected
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    pub duration: Duration,
}

/// Reads per second.
const READS_PER_SECOND: usize = 10;
/// Longest time of one read.
const READ_LIMIT: Duration = Duration::from_millis(50);

impl SlowReader {
    pub(super) async fn execute(&self, session: &ClientSession, room: &Room) -> io::Result<Value> {
        let mut socket = RawSocket::open(session, Some(self.buffer)).await?;
        socket.send(&json!({"type": "join", "room": room, "recent": 200})).await?;
        let since = Instant::now();
        let mut read_timer = interval(Duration::from_secs(1) / 10);
        let mut chunk = vec![0; self.pace.div_ceil(READS_PER_SECOND).max(1)];
        let (mut bytes_read, mut ended) = (0, false);
        while !ended && since.elapsed() < self.duration {
            read_timer.tick().await;
            ended = if self.pace > 0 {
                match timeout(READ_LIMIT, socket.stream.read(&mut chunk)).await {
                    Ok(Ok(0) | Err(_)) => true,
                    Ok(Ok(length)) => {
                        bytes_read += length;
                        false
                    }
                    Err(_) => false,
                }
            } else {
                is_reset(&socket).await
            };
        }
        let end = SocketEnd::new(since, ended.then_some(CONNECTION_BROKEN));
        Ok(json!({"attack": "slow", "ending": end, "bytes_read": bytes_read}))
    }
}

/// Returns whether the server has reset the connection. Reads no bytes from it.
pub(super) async fn is_reset(socket: &RawSocket) -> bool {
    let ready = timeout(Duration::from_millis(1), socket.stream.ready(Interest::ERROR)).await;
    let failed = matches!(socket.stream.take_error(), Ok(Some(_)) | Err(_));
    failed || matches!(ready, Ok(Ok(state)) if state.is_error()) || matches!(ready, Ok(Err(_)))
}
