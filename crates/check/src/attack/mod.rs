//! Hostile and broken clients: each attack sends raw bytes and reports the reaction of the deployment as JSON.

mod duplicate_send;
mod invalid_frames;
mod message_flood;
mod raw_socket;
mod slow_reader;
pub mod suite;
mod sustained_load;

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;
use trunkline_client::GatewayUrl;
use trunkline_domain::Room;

pub use message_flood::MessageFlood;
pub use slow_reader::SlowReader;
pub use sustained_load::SustainedLoad;

use crate::{
    CheckError,
    load::{log_in, log_out},
};

/// Longest time that the login may take.
const LOGIN_LIMIT: Duration = Duration::from_secs(60);

/// One attack on a deployment.
#[derive(Clone, Debug, Args)]
pub struct AttackArguments {
    /// URL of the deployment.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080", global = true)]
    pub url: String,
    /// User to log in as. Default: random.
    #[arg(long, value_name = "NAME", global = true)]
    pub user: Option<String>,
    /// Room to attack. Default: random.
    #[arg(long, value_name = "ROOM", global = true)]
    pub room: Option<Room>,
    /// The attack, or all of them.
    #[command(subcommand)]
    pub command: AttackCommand,
}

/// The attack to execute.
#[derive(Clone, Debug, Subcommand)]
pub enum AttackCommand {
    /// Execute one attack per defence of SECURITY.md while honest clients write and read, and compare the reactions with the
    /// documentation. Exit code 1 if one is unexpected
    Suite(Box<suite::SuiteArguments>),
    /// One attack.
    #[command(flatten)]
    Single(AttackKind),
}

/// An attack.
#[derive(Clone, Debug, Subcommand)]
pub enum AttackKind {
    /// Join a room and read slowly, or never, through a small receive buffer
    Slow(SlowReader),
    /// Send messages as fast as the socket accepts them and ignore rate limits
    Flood(MessageFlood),
    /// Send valid messages to one room at a constant rate, and receive all of them
    SustainedLoad(SustainedLoad),
    /// Announce a frame of 2^40 bytes and send as much of it as the server accepts
    Giant {
        /// Largest amount to send, in MiB
        #[arg(long, value_name = "MIB", default_value_t = 200)]
        most: u64,
    },
    /// Send frames that violate the protocol, each kind on its own socket
    Malformed,
    /// Send one message with the same id to two gateways at the same time
    Twice {
        /// URL of the other gateway
        #[arg(long, value_name = "URL")]
        other: String,
    },
}

/// Executes an attack and returns what was observed as a JSON object.
///
/// # Errors
/// - [`CheckError::Usage`] if a URL is invalid.
/// - [`CheckError::Deployment`] if the login fails.
/// - [`CheckError::System`] if a connection fails outside the attack.
///
/// The reaction of the deployment to the attack is a result, not an error.
pub async fn execute(arguments: &AttackArguments, kind: &AttackKind) -> Result<Value, CheckError> {
    let site: GatewayUrl = arguments.url.parse().map_err(|error| CheckError::Usage(format!("--url: {error}")))?;
    let user = arguments.user.clone().unwrap_or_else(|| format!("attacker{}", rand::random::<u32>() % 1_000_000));
    let refused = |source| CheckError::Deployment { action: format!("log in as {user}"), source };
    let (session, _) = log_in(&site, &user, LOGIN_LIMIT).await.map_err(refused)?;
    let room = arguments.room.clone().unwrap_or_else(random_room);
    let result = match kind {
        AttackKind::Slow(reader) => reader.execute(&session, &room).await,
        AttackKind::Flood(flood) => flood.execute(&session, &room).await,
        AttackKind::SustainedLoad(load) => load.execute(&session, &room).await,
        AttackKind::Giant { most } => invalid_frames::send_giant_frame(&session, most << 20).await,
        AttackKind::Malformed => invalid_frames::send_malformed_frames(&session).await,
        AttackKind::Twice { other } => {
            let other: GatewayUrl = other.parse().map_err(|error| CheckError::Usage(format!("--other: {error}")))?;
            duplicate_send::send_at_two_gateways([session.clone(), session.at(other)], &room).await
        }
    };
    log_out(&session).await;
    result.map_err(|source| CheckError::System { action: "carry out the attack".to_owned(), source })
}

fn random_room() -> Room {
    let room = format!("attacked-{}", rand::random::<u32>());
    room.parse().unwrap_or_else(|error| unreachable!("letters, a dash and digits are a valid room: {error}"))
}
