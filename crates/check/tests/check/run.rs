//! Runs against a correct fake gateway, and against one with a defect.

use clap::Parser;
use trunkline_check::{
    judge::{Verdict, judge_file},
    load,
};

use crate::fake_gateway::{Defect, FakeGateway};

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    settings: load::LoadSettings,
}

fn settings(url: &str, more: &[&str]) -> load::LoadSettings {
    let small = ["check", "--url", url, "--writers", "3", "--readers", "5", "--rooms", "2", "--rate", "300"];
    let short: &[&str] = if more.contains(&"--for") { &[] } else { &["--for", "1s"] };
    Flags::parse_from(small.iter().chain(&["--seed", "7"]).chain(short).chain(more)).settings
}

async fn check(defect: Defect) -> Verdict {
    let server = FakeGateway::start(defect).await;
    // A lost delivery does not arrive later, so short limits suffice.
    let limits: &[&str] = match defect {
        Defect::DropsSockets => &[],
        Defect::EndsSessions => &["--login-again"],
        _ => &["--settle", "2s", "--lease", "500ms"],
    };
    load::run(&settings(&server.url, limits), |_| {}).await.unwrap()
}

fn broken(verdict: &Verdict) -> Vec<u8> {
    verdict.invariants.iter().filter(|result| result.holds == Some(false)).map(|result| result.number).collect()
}

#[tokio::test]
async fn correct_gateway_passes_and_its_recorded_history_has_the_same_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let history = folder.path().join("history.jsonl");
    let server = FakeGateway::start(Defect::None).await;
    let settings =
        settings(&server.url, &["--history", history.to_str().unwrap(), "--rooms-per-reader", "2", "--amend", "40"]);
    let verdict = load::run(&settings, |_| {}).await.unwrap();
    assert!(verdict.passed, "{:#?}", verdict.invariants);
    let counts = verdict.counts;
    assert!(counts.amended > 5 && counts.redacted > 0, "{counts:?}");
    assert!(
        counts.sent > 50 && counts.acknowledged + counts.refused == counts.sent && counts.clients == 8,
        "{counts:?}"
    );
    assert!(counts.delivered > 5 * counts.acknowledged && verdict.delivery.count == counts.delivered, "{counts:?}");
    assert!(verdict.invariants.iter().all(|result| result.holds == Some(true)), "every invariant is judged");
    let again = judge_file(&history).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), serde_json::to_string(&verdict).unwrap());
}

#[tokio::test]
async fn readers_share_a_session_with_tabs() {
    let server = FakeGateway::start(Defect::None).await;
    let verdict = load::run(&settings(&server.url, &["--tabs", "5"]), |_| {}).await.unwrap();
    assert!(verdict.passed, "{:#?}", verdict.invariants);
}

#[tokio::test]
async fn gateway_that_loses_deliveries_fails() {
    let verdict = check(Defect::LosesDeliveries).await;
    assert!(broken(&verdict).starts_with(&[1, 4]), "{:#?}", verdict.invariants);
    assert!(verdict.counts.lost > 0 && verdict.counts.skipped > 0, "{:?}", verdict.counts);
}

#[tokio::test]
async fn gateway_that_delivers_duplicates_fails() {
    let verdict = check(Defect::DuplicatesDeliveries).await;
    assert!(broken(&verdict).contains(&4) && verdict.counts.duplicated > 0, "{:#?}", verdict.invariants);
}

#[tokio::test]
async fn gateway_that_reorders_deliveries_fails() {
    let verdict = check(Defect::ReordersDeliveries).await;
    assert!(broken(&verdict).contains(&4) && verdict.counts.reordered > 0, "{:#?}", verdict.invariants);
    assert!(broken(&verdict).contains(&5), "{:#?}", verdict.invariants);
}

#[tokio::test]
async fn gateway_that_alters_texts_fails() {
    let verdict = check(Defect::AltersTexts).await;
    assert!(broken(&verdict).contains(&2), "{:#?}", verdict.invariants);
}

#[tokio::test]
async fn gateway_that_acknowledges_without_appending_fails() {
    let verdict = check(Defect::SkipsAppends).await;
    assert!(broken(&verdict).contains(&1) && verdict.counts.lost > 0, "{:#?}", verdict.invariants);
}

#[tokio::test]
async fn gateway_that_appends_refused_messages_fails() {
    let verdict = check(Defect::AppendsRefused).await;
    assert!(broken(&verdict).contains(&2), "{:#?}", verdict.invariants);
}

#[tokio::test]
async fn gateway_with_incomplete_history_fails() {
    let verdict = check(Defect::HidesHistory).await;
    assert!(broken(&verdict).contains(&8), "{:#?}", verdict.invariants);
}

#[tokio::test]
async fn gateway_that_closes_sockets_without_reason_fails() {
    let verdict = check(Defect::DropsSockets).await;
    assert!(broken(&verdict).contains(&10) && verdict.counts.closed > 0, "{:#?}", verdict.invariants);
    assert!(verdict.counts.resumed > 0 && verdict.recovery.count > 0, "{:?}", verdict.counts);
    assert_eq!((verdict.counts.lost, verdict.counts.duplicated, verdict.counts.skipped), (0, 0, 0));
}

#[tokio::test]
async fn lost_sockets_are_accepted_only_if_gateways_may_fail() {
    let server = FakeGateway::start(Defect::DropsSockets).await;
    let verdict = async |faults| load::run(&settings(&server.url, &["--faults", faults]), |_| {}).await.unwrap();
    let (gateways, redis) = (verdict("gateways").await, verdict("redis").await);
    assert!(gateways.passed && gateways.counts.closed > 0, "{:#?}", gateways.invariants);
    assert_eq!(gateways.faults[0].recovery.max, gateways.recovery.max, "from the loss of each socket");
    assert_eq!(broken(&redis), [10], "{:#?}", redis.invariants);
}

#[tokio::test]
async fn gateway_that_loses_deliveries_fails_although_everything_may_fail() {
    let server = FakeGateway::start(Defect::LosesDeliveries).await;
    let settings = settings(&server.url, &["--faults", "redis,gateways", "--settle", "2s", "--lease", "500ms"]);
    let verdict = load::run(&settings, |_| {}).await.unwrap();
    assert!(broken(&verdict).starts_with(&[1, 4]), "{:#?}", verdict.invariants);
}

#[tokio::test]
async fn gateway_that_reports_absent_users_fails() {
    let verdict = check(Defect::ReportsAbsentUser).await;
    assert_eq!(broken(&verdict), [9], "{:#?}", verdict.invariants);
    assert_eq!(verdict.unknown_users[0].user, "ghost");
}

#[tokio::test]
async fn client_logs_in_again_after_session_end_and_loses_nothing() {
    let verdict = check(Defect::EndsSessions).await;
    assert_eq!(broken(&verdict), [10], "{:#?}", verdict.invariants);
    assert!(verdict.counts.closed > 0 && verdict.recovery.count > 0, "{:?}", verdict.counts);
    assert_eq!(verdict.counts.acknowledged + verdict.counts.refused, verdict.counts.sent, "{:?}", verdict.counts);
}

#[tokio::test]
async fn gateway_that_answers_with_deleted_texts_fails() {
    let server = FakeGateway::start(Defect::KeepsDeletedTexts).await;
    let settings = settings(&server.url, &["--settle", "2s", "--lease", "500ms", "--amend", "40"]);
    let verdict = load::run(&settings, |_| {}).await.unwrap();
    assert_eq!(broken(&verdict), [12], "{:#?}", verdict.invariants);
}

#[tokio::test]
async fn gateway_that_hides_amendments_from_history_fails() {
    let server = FakeGateway::start(Defect::HidesDeletions).await;
    let settings = settings(&server.url, &["--settle", "2s", "--lease", "500ms", "--amend", "40"]);
    let verdict = load::run(&settings, |_| {}).await.unwrap();
    assert!(broken(&verdict).contains(&8), "{:#?}", verdict.invariants);
}

/// A run whose users have tokens of 3 s.
async fn check_with_tokens(defect: Defect) -> Verdict {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "0123456789abcdef0123456789abcdef\n").unwrap();
    let server = FakeGateway::start(defect).await;
    let more = ["--jwt-secret-file", secret.to_str().unwrap(), "--token-ttl", "3s", "--for", "4s", "--lease", "500ms"];
    load::run(&settings(&server.url, &more), |_| {}).await.unwrap()
}

#[tokio::test]
async fn tokens_are_refreshed_before_they_expire_and_after_a_refusal() {
    for defect in [Defect::None, Defect::RefusesTokens] {
        let verdict = check_with_tokens(defect).await;
        assert!(verdict.passed, "{defect:?}: {:#?}", verdict.invariants);
        assert!(verdict.counts.refreshed >= 8 && verdict.counts.closed == 0, "{:?}", verdict.counts);
    }
}

#[tokio::test]
async fn gateway_that_omits_display_names_fails() {
    let verdict = check_with_tokens(Defect::OmitsNames).await;
    assert_eq!(broken(&verdict), [9], "{:#?}", verdict.invariants);
}
