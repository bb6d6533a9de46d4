//! What a hostile or broken client does, on the wire itself, and what came of it.

mod flood;
mod frames;
mod pour;
mod raw;
mod slow;
mod twice;

use std::{io, time::Duration};

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;
use trunkline_client::{ClientSession, GatewayUrl};
use trunkline_domain::{Room, millis};

use crate::{Error, load::login};

/// One attack on a deployment.
#[derive(Clone, Debug, Args)]
pub struct Attack {
    /// Where the deployment is reached.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080", global = true)]
    pub url: String,
    /// Whom to log in as; random if left out.
    #[arg(long, value_name = "NAME", global = true)]
    pub user: Option<String>,
    /// Where to do it; random if left out.
    #[arg(long, value_name = "ROOM", global = true)]
    pub room: Option<Room>,
    /// What to do.
    #[command(subcommand)]
    pub kind: Kind,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Kind {
    /// Join a room and read it slowly, or never, through a small receive buffer
    Slow(slow::Slow),
    /// Send as fast as the socket takes it, without heeding refusals
    Flood(flood::Flood),
    /// Send much for long in one room, and read all of it
    Pour(pour::Pour),
    /// Announce a frame of 2^40 bytes and send as much of it as the server takes
    Giant {
        /// How much to send at most, in MiB
        #[arg(long, value_name = "MIB", default_value_t = 200)]
        most: u64,
    },
    /// Send frames that break the rules, each kind on its own socket
    Malformed,
    /// Send one message at two gateways at once, under one id
    Twice {
        /// Address of the other gateway
        #[arg(long, value_name = "URL")]
        other: String,
    },
}

/// How a socket ended.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Ending {
    /// The close code; 1006 where there was no close frame; `None`: it was still open when we left.
    pub close: Option<u16>,
    /// Milliseconds from the first bad byte to the end.
    pub ms: u64,
}

impl Ending {
    fn new(since: Instant, close: Option<u16>) -> Self {
        Self { close, ms: millis(since.elapsed()) }
    }
}

/// Does it, and tells what came of it, as one JSON object.
///
/// # Errors
/// Where the deployment cannot be reached or does not let us in; whatever it does to the attack is no error.
pub async fn carry_out(attack: &Attack) -> Result<Value, Error> {
    let site: GatewayUrl = attack.url.parse().map_err(|error| Error::Usage(format!("--url: {error}")))?;
    let user = attack.user.clone().unwrap_or_else(|| format!("attacker{}", rand::random::<u32>() % 1_000_000));
    let deployment = |source| Error::Deployment { doing: format!("log {user} in"), source };
    let (session, _) = login(&site, &user, Duration::from_secs(60)).await.map_err(deployment)?;
    let room = match &attack.room {
        Some(room) => room.clone(),
        None => format!("attacked-{}", rand::random::<u32>())
            .parse()
            .unwrap_or_else(|error| unreachable!("letters, a dash and digits are a room: {error}")),
    };
    let result = match &attack.kind {
        Kind::Slow(slow) => slow.carry_out(&session, &room).await,
        Kind::Flood(flood) => flood.carry_out(&session, &room).await,
        Kind::Pour(pour) => pour.carry_out(&session, &room).await,
        Kind::Giant { most } => frames::giant(&session, most << 20).await,
        Kind::Malformed => frames::malformed(&session).await,
        Kind::Twice { other } => {
            let other: GatewayUrl = other.parse().map_err(|error| Error::Usage(format!("--other: {error}")))?;
            twice::carry_out([session.clone(), session.at(other)], &room).await
        }
    };
    leave(&session).await;
    result.map_err(|source| Error::Network { doing: "attack".to_owned(), source })
}

async fn leave(session: &ClientSession) {
    let _ = tokio::time::timeout(Duration::from_secs(5), session.logout()).await;
}

/// What the server says is not what a server says.
fn strange(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
