//! Runs against a server that does everything right, and against one that does one thing wrong.

use clap::Parser;
use trunkline_check::{judge::Verdict, judge_file, load};

use crate::stand_in::{Flaw, StandIn};

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    settings: load::Settings,
}

fn settings(url: &str, more: &[&str]) -> load::Settings {
    let small = ["check", "--url", url, "--writers", "3", "--readers", "5", "--rooms", "2", "--rate", "300"];
    Flags::parse_from(small.iter().chain(&["--for", "1s", "--seed", "7"]).chain(more)).settings
}

async fn check(flaw: Flaw) -> Verdict {
    let server = StandIn::start(flaw).await;
    // What is lost does not come, however long one waits.
    let patience: &[&str] = match flaw {
        Flaw::Hangs => &[],
        Flaw::LogsOut => &["--login-again"],
        _ => &["--settle", "2s", "--lease", "500ms"],
    };
    load::run(&settings(&server.url, patience), |_| {}).await.unwrap()
}

fn broken(verdict: &Verdict) -> Vec<u8> {
    verdict.invariants.iter().filter(|ruling| ruling.holds == Some(false)).map(|ruling| ruling.number).collect()
}

#[tokio::test]
async fn a_good_server_passes_and_the_recording_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let history = folder.path().join("history.jsonl");
    let server = StandIn::start(Flaw::None).await;
    let settings = settings(&server.url, &["--history", history.to_str().unwrap(), "--rooms-per-reader", "2"]);
    let verdict = load::run(&settings, |_| {}).await.unwrap();
    assert!(verdict.passed, "{:#?}", verdict.invariants);
    let counts = verdict.counts;
    assert!(counts.sent > 50 && counts.acknowledged == counts.sent && counts.clients == 8, "{counts:?}");
    assert!(counts.delivered > 5 * counts.sent && verdict.delivery.count == counts.delivered, "{counts:?}");
    assert!(verdict.invariants.iter().all(|ruling| ruling.holds == Some(true)), "all are judged");
    let again = judge_file(&history).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), serde_json::to_string(&verdict).unwrap());
}

#[tokio::test]
async fn tabs_share_a_session() {
    let server = StandIn::start(Flaw::None).await;
    let verdict = load::run(&settings(&server.url, &["--tabs", "5"]), |_| {}).await.unwrap();
    assert!(verdict.passed, "{:#?}", verdict.invariants);
}

#[tokio::test]
async fn a_server_that_loses_deliveries_fails() {
    let verdict = check(Flaw::Loses).await;
    assert!(broken(&verdict).starts_with(&[1, 4]), "{:#?}", verdict.invariants);
    assert!(verdict.counts.lost > 0 && verdict.counts.skipped > 0, "{:?}", verdict.counts);
}

#[tokio::test]
async fn a_server_that_shows_messages_twice_fails() {
    let verdict = check(Flaw::Duplicates).await;
    assert!(broken(&verdict).contains(&4) && verdict.counts.duplicated > 0, "{:#?}", verdict.invariants);
}

#[tokio::test]
async fn a_server_that_mixes_the_order_fails() {
    let verdict = check(Flaw::Reorders).await;
    assert!(broken(&verdict).contains(&4) && verdict.counts.reordered > 0, "{:#?}", verdict.invariants);
    assert!(broken(&verdict).contains(&5), "{:#?}", verdict.invariants);
}

#[tokio::test]
async fn a_server_that_alters_texts_fails() {
    let verdict = check(Flaw::Tears).await;
    assert!(broken(&verdict).contains(&2), "{:#?}", verdict.invariants);
}

#[tokio::test]
async fn a_server_that_acknowledges_and_forgets_fails() {
    let verdict = check(Flaw::Forgets).await;
    assert!(broken(&verdict).contains(&1) && verdict.counts.lost > 0, "{:#?}", verdict.invariants);
}

#[tokio::test]
async fn a_server_that_writes_what_it_refused_fails() {
    let verdict = check(Flaw::Lies).await;
    assert!(broken(&verdict).contains(&2), "{:#?}", verdict.invariants);
}

#[tokio::test]
async fn a_server_whose_history_lacks_what_it_delivered_fails() {
    let verdict = check(Flaw::Hides).await;
    assert!(broken(&verdict).contains(&8), "{:#?}", verdict.invariants);
}

#[tokio::test]
async fn a_server_that_drops_sockets_for_no_reason_fails() {
    let verdict = check(Flaw::Hangs).await;
    assert!(broken(&verdict).contains(&10) && verdict.counts.closed > 0, "{:#?}", verdict.invariants);
    assert!(verdict.counts.resumed > 0 && verdict.recovery.count > 0, "{:?}", verdict.counts);
    assert_eq!((verdict.counts.lost, verdict.counts.duplicated, verdict.counts.skipped), (0, 0, 0));
}

#[tokio::test]
async fn a_server_that_shows_somebody_who_is_not_there_fails() {
    let verdict = check(Flaw::Haunts).await;
    assert_eq!(broken(&verdict), [9], "{:#?}", verdict.invariants);
    assert_eq!(verdict.strangers[0].user, "ghost");
}

#[tokio::test]
async fn whoever_is_logged_out_logs_in_again_if_told_to_and_loses_nothing() {
    let verdict = check(Flaw::LogsOut).await;
    assert_eq!(broken(&verdict), [10], "{:#?}", verdict.invariants);
    assert!(verdict.counts.closed > 0 && verdict.recovery.count > 0, "{:?}", verdict.counts);
    assert_eq!(verdict.counts.acknowledged, verdict.counts.sent, "{:?}", verdict.counts);
}
