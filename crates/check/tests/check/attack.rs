//! Reports of the attacks on a fake gateway.

use clap::Parser;
use serde_json::Value;
use trunkline_check::attack::{self, AttackArguments};

use crate::fake_gateway::{Defect, FakeGateway};

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    attack: AttackArguments,
}

async fn execute(arguments: &[&str]) -> Value {
    let Flags { attack } = Flags::parse_from(["attack"].iter().chain(arguments));
    attack::execute(&attack).await.unwrap()
}

#[tokio::test]
async fn duplicate_send_reports_copies_and_positions() {
    let server = FakeGateway::start(Defect::None).await;
    let seen = execute(&["--url", &server.url, "twice", "--other", &server.url]).await;
    assert_eq!((&seen["once"], &seen["copies"]), (&true.into(), &1.into()), "{seen}");
}

#[tokio::test]
async fn message_flood_counts_answers() {
    let server = FakeGateway::start(Defect::None).await;
    let seen = execute(&["--url", &server.url, "flood", "--rate", "1000", "--for", "300ms"]).await;
    let (attempts, sent) = (seen["attempts"].as_u64().unwrap(), seen["sent"].as_u64().unwrap());
    assert!(attempts >= 100 && sent > 0 && sent <= attempts, "{seen}");
    assert_eq!(seen["ending"]["close"], Value::Null, "{seen}");
}

#[tokio::test]
async fn giant_frame_reports_close_code_and_bytes_taken() {
    let server = FakeGateway::start(Defect::None).await;
    let seen = execute(&["--url", &server.url, "giant", "--most", "4"]).await;
    // The WebSocket library of the fake gateway closes the connection when it reads the header.
    assert!(seen["ending"]["close"].is_u64() && seen["bytes_taken"].is_u64(), "{seen}");
}

#[tokio::test]
async fn sustained_load_receives_all_its_messages_in_order() {
    let server = FakeGateway::start(Defect::None).await;
    let seen = execute(&["--url", &server.url, "sustained-load", "--rate", "1000", "--for", "300ms"]).await;
    let (sent, delivered) = (seen["sent"].as_u64().unwrap(), seen["delivered"].as_u64().unwrap());
    assert!(sent >= 100 && sent == seen["attempts"] && delivered >= sent - 1, "{seen}");
    assert_eq!((&seen["gaps"], &seen["ending"]["close"]), (&0.into(), &Value::Null), "{seen}");
}
