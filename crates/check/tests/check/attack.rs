//! Reports of the attacks on a fake gateway.

use clap::Parser;
use serde_json::Value;
use trunkline_check::attack::{self, AttackArguments, AttackCommand, suite};

use crate::fake_gateway::{Defect, FakeGateway};

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    attack: AttackArguments,
}

async fn execute(arguments: &[&str]) -> Value {
    let Flags { attack } = Flags::parse_from(["attack"].iter().chain(arguments));
    let AttackCommand::Single(kind) = &attack.command else { panic!("{arguments:?} is one attack") };
    attack::execute(&attack, kind).await.unwrap()
}

async fn run_suite(arguments: &[&str]) -> Result<suite::SuiteResult, trunkline_check::CheckError> {
    let Flags { attack } = Flags::parse_from(["attack", "suite"].iter().chain(arguments));
    let AttackCommand::Suite(suite) = &attack.command else { panic!("{arguments:?} is a suite") };
    suite::run(&attack.url, suite, |_| {}).await
}

#[tokio::test]
async fn suite_reports_attacks_and_honest_clients() {
    let server = FakeGateway::start(Defect::None).await;
    let pid = std::process::id().to_string();
    let arguments = ["--url", &server.url, "--honest", "8", "--quiet", "1s", "--p99-factor", "1000", "--pid", &pid];
    let attacks = ["--only", "impersonation", "--only", "missing-cookie"];
    let result = run_suite(&[&arguments[..], &attacks].concat()).await.unwrap();
    let found: Vec<_> = result.attacks.iter().map(|attack| (attack.name, attack.ok)).collect();
    // The fake gateway answers a probe without a cookie with 200.
    assert_eq!(found, [("missing-cookie", Some(false)), ("impersonation", Some(true))]);
    let honest = result.honest.as_ref().unwrap();
    assert!(honest.ok && honest.quiet.count > 0 && honest.attacked.count > 0, "{honest:?}");
    assert!(result.attacks.iter().all(|attack| attack.honest_delivery.is_some_and(|times| times.count > 0)));
    assert!(!result.passed && result.processes[0].ok && result.processes[0].after > 0);
    let (text, page) = (suite::attack_table(&result), suite::suite_page(&result, "suite"));
    assert!(text.contains("FAIL missing-cookie") && text.contains("1 as expected, 1 unexpected"), "{text}");
    assert!(page.contains("Memory of gateways") && page.contains("missing-cookie"), "{page}");
}

#[tokio::test]
async fn suite_refuses_unknown_attacks() {
    let error = run_suite(&["--only", "dance"]).await.unwrap_err();
    assert!(error.to_string().contains("no attack dance") && error.to_string().contains("giant-frame"), "{error}");
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
