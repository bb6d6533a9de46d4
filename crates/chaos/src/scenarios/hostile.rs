//! Hostile and broken clients beside the load.

use std::{fs, time::Duration};

use serde::Deserialize;
use serde_json::Value;

use super::{RedisSetup, Scenario};
use crate::{
    checker::FaultMark,
    deployment::GatewayInstance,
    error::{ChaosError, Result},
    run::{STEP_TIMEOUT, ScenarioRun},
    verdict::{CheckerVerdict, Quantiles},
};

/// Tolerated increase of the other clients' p99, in µs, in addition to a factor of 2. Scenarios run at the same time.
const P99_TOLERANCE_US: u64 = 500_000;

/// Users who send to the room of the slow readers, until the reader that reads nothing is closed.
const FLOOD_USERS: [&str; 2] = ["flood1", "flood2"];
const FLOOD_DURATION: Duration = Duration::from_secs(40);
/// Maximum growth of a gateway's resident memory, in bytes, in the last two thirds of the time. An allocator needs that
/// much without a leak.
const MEMORY_GROWTH_LIMIT_BYTES: u64 = 8 << 20;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "slow-readers",
        fault: "one client reads slowly and one reads nothing, in a room with 10,000 messages per second",
        required: "the gateway's memory is flat; other clients' latencies are unchanged; a socket that takes nothing for 30 s is closed",
        redis: RedisSetup::Durable,
        // Neither client answers pings, and the scenario tests how much they read.
        arguments: &["--ping-interval", "5m", "--send-rate", "0"],
        execute: slow_readers,
    },
    Scenario {
        name: "flood",
        fault: "one socket sends 10,000 messages per second",
        required: "rate_limited, then close code 1008; other clients do not notice",
        redis: RedisSetup::Durable,
        arguments: &[],
        execute: flood,
    },
    Scenario {
        name: "giant-frame",
        fault: "a client announces and sends a frame of 2^40 bytes",
        required: "close code 1009 before 64 KiB are buffered",
        redis: RedisSetup::Durable,
        arguments: &[],
        execute: giant_frame,
    },
    Scenario {
        name: "malformed-frames",
        fault: "malformed, binary and undecodable frames",
        required: "an error frame or the right close code; other clients do not notice",
        redis: RedisSetup::Durable,
        arguments: &[],
        execute: malformed,
    },
    Scenario {
        name: "same-id-twice",
        fault: "one message is sent to two gateways at the same time",
        required: "one position, one message",
        redis: RedisSetup::Durable,
        arguments: &[],
        execute: same_id_twice,
    },
    Scenario {
        name: "attack",
        fault: "one attack per defence of SECURITY.md, one after the other",
        required: "every reaction is the documented one; honest clients keep their latency; the gateway's memory returns",
        redis: RedisSetup::Durable,
        arguments: &[],
        execute: attack,
    },
];

fn slow_readers(run: &mut ScenarioRun<'_>) -> Result<()> {
    let rate: u64 = run.scale.pick(2000, 10_000);
    run.check_resources();
    run.amend_percent = 0;
    run.start(1, run.scale.load())?;
    run.undisturbed()?;
    let direct = format!("http://127.0.0.1:{}", run.deployment.member(1)?.port);
    let all = run.deployment.sockets() + FLOOD_USERS.len() as u32 + 2;
    run.mark_fault(&FaultMark::new("slow readers").unnoticed())?;
    // A separate room: the checker judges every delivery to its own clients, and the machine may be small.
    let each = (rate / FLOOD_USERS.len() as u64).to_string();
    let time = format!("{}s", FLOOD_DURATION.as_secs());
    let floods = FLOOD_USERS.map(|user| {
        run.start_attack_at(
            &direct,
            &["--user", user, "--room", "flooded", "sustained-load", "--rate", &each, "--for", &time],
        )
    });
    // Direct connections: the balancer would buffer bytes for the slow readers.
    let stay = ["--room", "flooded", "--for", "5m"];
    let slow = run.start_attack_at(&direct, &[&["--user", "slow", "slow", "--pace", "4000"], &stay[..]].concat())?;
    let never = run.start_attack_at(&direct, &[&["--user", "never", "slow", "--pace", "0"], &stay[..]].concat())?;
    run.wait_until("all clients are connected", STEP_TIMEOUT, |deployment| deployment.sockets() == all)?;
    // The client's kernel buffers a part. The gateway closes the socket 30 s later; meanwhile its memory is sampled.
    let mut resident = Vec::new();
    let cut = run.wait_until("the socket that reads nothing is closed", STEP_TIMEOUT, |deployment| {
        resident.extend(deployment.members.first().map(GatewayInstance::resident));
        deployment.sockets() < all
    });
    let after = cut.as_ref().map_or("never".to_owned(), |after| format!("after {:.1} s", after.as_secs_f64()));
    run.expect(format!("the socket that reads nothing is closed ({after})"), cut.is_ok());
    run.undisturbed()?;
    let left = run.deployment.sockets() + 1;
    run.expect("the socket that reads slowly stays open", left == all);
    let mut flooded = 0;
    for flood in floods {
        let seen = run.finish_attack(flood?, FLOOD_DURATION + STEP_TIMEOUT)?;
        let number = |name: &str| seen[name].as_u64().unwrap_or_default();
        run.expect(
            format!("the sender's messages were all acknowledged ({} of {})", number("sent"), number("attempts")),
            seen["ending"]["close"].is_null() && number("gaps") == 0 && number("sent") == number("attempts"),
        );
        flooded += number("sent");
    }
    run.mark_healed()?;
    drop((slow, never));
    run.record_evidence(format!("one client read slowly and one read nothing of {flooded} messages"));
    let (is_flat, memory) = flat(&resident);
    run.expect(format!("the gateway's memory is flat: {memory}"), is_flat);
    run.note(format!(
        "{} messages per second were sent; resident memory: {memory}",
        flooded / FLOOD_DURATION.as_secs()
    ));
    expect_others_unaffected(run)
}

/// Whether resident memory stayed flat in the last two thirds of the samples (in bytes), and a description.
fn flat(resident: &[u64]) -> (bool, String) {
    let at = |place: usize| resident.get(place).copied().unwrap_or(0);
    let [first, later, last] = [0, resident.len() / 3, resident.len().saturating_sub(1)].map(at);
    let [a, b, c] = [first, later, last].map(|bytes| bytes as f64 / f64::from(1 << 20));
    let memory = format!("{a:.1} MiB at first, {b:.1} MiB after a third of the time, {c:.1} MiB at the end");
    (later > 0 && last < later + MEMORY_GROWTH_LIMIT_BYTES, memory)
}

/// Judges, and expects that other clients were not affected.
fn expect_others_unaffected(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.undisturbed()?;
    let verdict = run.judge()?;
    expect_same_latency(run, &verdict);
    Ok(())
}

/// Expects that clients keep their sockets, and their latency since the first fault.
pub(super) fn expect_same_latency(run: &mut ScenarioRun<'_>, verdict: &CheckerVerdict) {
    let since = verdict.faults.first().map_or(0, |fault| fault.t);
    let [before, after] = [verdict.usual_p99(0..since), verdict.usual_p99(since..u64::MAX)];
    run.expect(
        format!("the other clients' usual p99 per second is {} ms, after {} ms before", after / 1000, before / 1000),
        after < 2 * before + P99_TOLERANCE_US,
    );
    run.expect(format!("no other socket was lost ({} lost)", verdict.counts.closed), verdict.counts.closed == 0);
}

/// Runs one attack beside the load.
fn run_attack(run: &mut ScenarioRun<'_>, name: &str, arguments: &[&str]) -> Result<Value> {
    run.start(2, run.scale.load())?;
    run.mark_fault(&FaultMark::new(name).unnoticed())?;
    let attack = run.start_attack(arguments)?;
    let seen = run.finish_attack(attack, STEP_TIMEOUT * 3)?;
    run.mark_healed()?;
    Ok(seen)
}

fn flood(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.check_resources();
    let seen = run_attack(run, "flood", &["flood", "--rate", "10000", "--for", "10s"])?;
    run.record_evidence(format!("{} messages were sent on one socket", seen["attempts"]));
    run.expect(format!("it got rate_limited: {seen}"), seen["rate_limited"].as_u64() > Some(0));
    run.expect("it was closed with 1008", seen["ending"]["close"] == 1008);
    expect_others_unaffected(run)
}

fn giant_frame(run: &mut ScenarioRun<'_>) -> Result<()> {
    let seen = run_attack(run, "giant frame", &["giant", "--most", "200"])?;
    run.record_evidence(format!("{} bytes were accepted", seen["bytes_taken"]));
    // 1006: the attacker's writes to the closed connection can cause a reset that overtakes the close frame.
    let close = &seen["ending"]["close"];
    run.expect(format!("it was closed with 1009: {seen}"), *close == 1009 || *close == 1006);
    // Kernels and the balancer buffer bytes between the attacker and the gateway.
    run.expect(
        "it was closed before 16 MiB were accepted",
        seen["bytes_taken"].as_u64().is_some_and(|bytes| bytes < 16 << 20),
    );
    expect_others_unaffected(run)
}

fn malformed(run: &mut ScenarioRun<'_>) -> Result<()> {
    let seen = run_attack(run, "malformed frames", &["malformed"])?;
    let cases = seen["cases"].as_array().cloned().unwrap_or_default();
    run.record_evidence(format!("{} kinds of bad frames were sent", cases.len()));
    for case in &cases {
        let (name, close) = (case["case"].as_str().unwrap_or_default(), &case["ending"]["close"]);
        let right: &[u16] = match name {
            "no JSON, three times" => &[1008],
            // A newer client may send types that the gateway does not know: an error for each, and no close.
            "unknown type, three times" => &[],
            "binary" => &[1003],
            "bad UTF-8" => &[1007],
            "40 KiB of text" => &[1009],
            // Protocol error (RFC 6455 section 7.4.1).
            _ => &[1002],
        };
        let fits = match close.as_u64() {
            Some(close) => right.iter().any(|code| u64::from(*code) == close),
            None => right.is_empty(),
        };
        run.expect(format!("{name}: closed with {close}, errors {}", case["errors"]), fits);
    }
    expect_others_unaffected(run)
}

fn same_id_twice(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.start(2, run.scale.load())?;
    run.mark_fault(&FaultMark::new("one id at two gateways").unnoticed())?;
    let other = format!("http://127.0.0.1:{}", run.deployment.member(2)?.port);
    for number in 0..3 {
        let user = format!("twice{number}");
        let attack = run.start_attack(&["--user", &user, "twice", "--other", &other])?;
        let seen = run.finish_attack(attack, STEP_TIMEOUT)?;
        run.record_evidence(format!("positions {}", seen["positions"]));
        run.expect(format!("one message: {} copies", seen["copies"]), seen["once"] == true);
    }
    run.mark_healed()?;
    run.run_for(Duration::from_secs(1))?;
    expect_others_unaffected(run)
}

/// Attacks that take 4 s or more, most of them because they wait for limits of 10 s. A quick run leaves them out.
const SLOW_ATTACKS: &[&str] = &[
    "oversized-body",
    "stolen-old-key",
    "history-flood",
    "too-many-rooms",
    "too-many-sockets",
    "connection-churn",
    "slow-request-heads",
    "slow-request-bodies",
    "silent-socket",
    "never-reading-client",
];
/// Maximum time of the whole suite in a full run. Each attack has its own limit.
const SUITE_TIMEOUT: Duration = Duration::from_secs(900);

/// Runs the attack suite with its own honest clients, directly at one of three gateways: a balancer would answer malformed
/// requests itself.
fn attack(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.start_gateways(3)?;
    let member = run.deployment.member(1)?;
    let (url, pid) = (format!("http://127.0.0.1:{}", member.port), member.gateway.pid().to_string());
    let result = run.folder.join("attack.json");
    let path = result.display().to_string();
    let mut arguments = vec!["suite", "--pid", &pid, "--json", &path];
    // A quick run shares the machine with other scenarios, which disturb the quiet phase and the attacks differently.
    arguments.extend(run.scale.pick(
        &["--honest", "60", "--quiet", "4s", "--p99-factor", "4", "--logins", "2000", "--flood-for", "1s"][..],
        &["--honest", "200", "--p99-factor", "2"][..],
    ));
    arguments.extend(run.scale.pick(SLOW_ATTACKS, &[]).iter().flat_map(|attack| ["--skip", attack]));
    let passed = run.run_attack_suite(&url, &arguments, SUITE_TIMEOUT)?;
    let text = fs::read_to_string(&result).map_err(|e| ChaosError::Scenario(format!("no result of the suite: {e}")))?;
    let result: SuiteOutcome = serde_json::from_str(&text)
        .map_err(|e| ChaosError::Scenario(format!("the result of the suite cannot be parsed: {e}")))?;
    run.record_evidence(format!("{} attacks were executed", result.attacks.len()));
    for attack in result.attacks.iter().filter(|attack| attack.ok == Some(false)) {
        run.expect(format!("{}: {}; seen: {}", attack.name, attack.expected, attack.seen), false);
    }
    let [quiet, attacked] = [result.honest.quiet.p99, result.honest.attacked.p99].map(|micros| micros / 1000);
    run.note(format!("p99 of the honest clients: {quiet} ms before the attacks, {attacked} ms during them"));
    run.expect("the attack suite passed", passed);
    run.verdict = Some(result.honest.verdict);
    Ok(())
}

/// The parts of the suite's JSON result that the scenario uses.
#[derive(Deserialize)]
struct SuiteOutcome {
    attacks: Vec<ExecutedAttack>,
    honest: HonestSummary,
}

#[derive(Deserialize)]
struct ExecutedAttack {
    name: String,
    expected: String,
    seen: String,
    ok: Option<bool>,
}

#[derive(Deserialize)]
struct HonestSummary {
    quiet: Quantiles,
    attacked: Quantiles,
    verdict: CheckerVerdict,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_grows_only_at_first_is_flat() {
        const MIB: u64 = 1 << 20;
        assert!(!flat(&[]).0, "no samples");
        let (is_flat, text) = flat(&[10 * MIB, 30 * MIB, 31 * MIB]);
        assert!(is_flat && text.starts_with("10.0 MiB at first, 30.0 MiB"), "{text}");
        assert!(!flat(&[10 * MIB, 10 * MIB, 20 * MIB]).0);
    }
}
