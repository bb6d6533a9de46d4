//! Attackers tell what they saw.

use clap::Parser;
use serde_json::Value;
use trunkline_check::attack::{self, Attack};

use crate::stand_in::{Flaw, StandIn};

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    attack: Attack,
}

async fn carry_out(arguments: &[&str]) -> Value {
    let Flags { attack } = Flags::parse_from(["attack"].iter().chain(arguments));
    attack::carry_out(&attack).await.unwrap()
}

#[tokio::test]
async fn one_message_at_two_gateways_is_compared() {
    let server = StandIn::start(Flaw::None).await;
    let seen = carry_out(&["--url", &server.url, "twice", "--other", &server.url]).await;
    assert_eq!((&seen["once"], &seen["copies"]), (&true.into(), &1.into()), "{seen}");
}

#[tokio::test]
async fn a_flood_counts_its_answers() {
    let server = StandIn::start(Flaw::None).await;
    let seen = carry_out(&["--url", &server.url, "flood", "--rate", "1000", "--for", "300ms"]).await;
    let (attempts, sent) = (seen["attempts"].as_u64().unwrap(), seen["sent"].as_u64().unwrap());
    assert!(attempts >= 100 && sent > 0 && sent <= attempts, "{seen}");
    assert_eq!(seen["ending"]["close"], Value::Null, "{seen}");
}

#[tokio::test]
async fn a_giant_frame_tells_what_was_taken() {
    let server = StandIn::start(Flaw::None).await;
    let seen = carry_out(&["--url", &server.url, "giant", "--most", "4"]).await;
    // The stand-in's library ends the connection when it reads the announcement.
    assert!(seen["ending"]["close"].is_u64() && seen["bytes_taken"].is_u64(), "{seen}");
}

#[tokio::test]
async fn who_pours_sees_all_of_it_in_order() {
    let server = StandIn::start(Flaw::None).await;
    let seen = carry_out(&["--url", &server.url, "pour", "--rate", "1000", "--for", "300ms"]).await;
    let (sent, delivered) = (seen["sent"].as_u64().unwrap(), seen["delivered"].as_u64().unwrap());
    assert!(sent >= 100 && sent == seen["attempts"] && delivered >= sent - 1, "{seen}");
    assert_eq!((&seen["gaps"], &seen["ending"]["close"]), (&0.into(), &Value::Null), "{seen}");
}
