//! What hostile and broken clients do beside the others.

use std::time::Duration;

use serde_json::Value;

use super::{RedisSetup, Scenario};
use crate::{
    checker::FaultMark,
    deployment::GatewayInstance,
    error::Result,
    run::{STEP_TIMEOUT, ScenarioRun},
};

/// What others' deliveries may take longer, beside twice as long, in microseconds: rows run beside each other.
const P99_TOLERANCE_US: u64 = 500_000;

/// Who writes much into the room of the slow readers, for that long: until who reads nothing was given up.
const FLOOD_USERS: [&str; 2] = ["pour1", "pour2"];
const FLOOD_DURATION: Duration = Duration::from_secs(40);
/// How much a gateway may grow in the last two thirds of the time in which somebody does not read, in bytes: what an
/// allocator moves about.
const MEMORY_GROWTH_LIMIT_BYTES: u64 = 8 << 20;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "slow-readers",
        fault: "one client reads slowly, one never, in a room with 10,000 messages a second",
        required: "the gateway's memory is flat, the others' times unchanged; who takes nothing for 30 s is cut off",
        redis: RedisSetup::Durable,
        // Neither answers pings: what they take is to decide.
        arguments: &["--ping-interval", "5m", "--send-rate", "0"],
        execute: slow,
    },
    Scenario {
        name: "flood",
        fault: "one socket sends 10,000 messages a second",
        required: "rate_limited, then 1008; the others do not notice",
        redis: RedisSetup::Durable,
        arguments: &[],
        execute: flood,
    },
    Scenario {
        name: "giant-frame",
        fault: "a frame of 2^40 bytes is announced and sent",
        required: "1009 before 64 KiB are buffered",
        redis: RedisSetup::Durable,
        arguments: &[],
        execute: giant,
    },
    Scenario {
        name: "malformed-frames",
        fault: "malformed, binary and undecodable frames",
        required: "an error frame or a close with the right code; nothing else happens",
        redis: RedisSetup::Durable,
        arguments: &[],
        execute: malformed,
    },
    Scenario {
        name: "same-id-twice",
        fault: "one message is sent at two gateways at once",
        required: "one position, one message",
        redis: RedisSetup::Durable,
        arguments: &[],
        execute: twice,
    },
];

fn slow(run: &mut ScenarioRun<'_>) -> Result<()> {
    let rate: u64 = run.scale.pick(2000, 10_000);
    run.check_resources();
    run.start(1, run.scale.load())?;
    run.undisturbed()?;
    let direct = format!("http://127.0.0.1:{}", run.deployment.member(1)?.port);
    let all = run.deployment.sockets() + FLOOD_USERS.len() as u32 + 2;
    run.mark_fault(&FaultMark::new("slow readers").unseen())?;
    // A room of their own: what goes to each client of the checker must be judged, too, and machines are small.
    let each = (rate / FLOOD_USERS.len() as u64).to_string();
    let time = format!("{}s", FLOOD_DURATION.as_secs());
    let pour = FLOOD_USERS.map(|user| {
        run.start_attack_at(&direct, &["--user", user, "--room", "poured", "pour", "--rate", &each, "--for", &time])
    });
    // Without the balancer, which has buffers of its own.
    let stay = ["--room", "poured", "--for", "5m"];
    let slow = run.start_attack_at(&direct, &[&["--user", "slow", "slow", "--pace", "4000"], &stay[..]].concat())?;
    let never = run.start_attack_at(&direct, &[&["--user", "never", "slow", "--pace", "0"], &stay[..]].concat())?;
    run.wait_until("all are there", STEP_TIMEOUT, |deployment| deployment.sockets() == all)?;
    // Its kernel takes what fits; half a minute after that the gateway gives it up. Meanwhile the gateway is looked at.
    let mut resident = Vec::new();
    let cut = run.wait_until("who reads nothing is given up", STEP_TIMEOUT, |deployment| {
        resident.extend(deployment.members.first().map(GatewayInstance::resident));
        deployment.sockets() < all
    });
    let after = cut.as_ref().map_or("never".to_owned(), |after| format!("after {:.1} s", after.as_secs_f64()));
    run.expect(format!("who reads nothing is cut off ({after})"), cut.is_ok());
    run.undisturbed()?;
    let left = run.deployment.sockets() + 1;
    run.expect("who reads slowly is still served", left == all);
    let mut poured = 0;
    for pour in pour {
        let seen = run.finish_attack(pour?, FLOOD_DURATION + STEP_TIMEOUT)?;
        let number = |name: &str| seen[name].as_u64().unwrap_or_default();
        run.expect(
            format!("who pours gets it all ({} of {})", number("sent"), number("attempts")),
            seen["ending"]["close"].is_null() && number("gaps") == 0 && number("sent") == number("attempts"),
        );
        poured += number("sent");
    }
    run.mark_healed()?;
    drop((slow, never));
    run.record_evidence(format!("one read slowly, one not at all, of {poured} messages"));
    let (is_flat, memory) = flat(&resident);
    run.expect(format!("the gateway's memory is flat: {memory}"), is_flat);
    run.note(format!(
        "{} messages a second were written; the gateway held {memory}",
        poured / FLOOD_DURATION.as_secs()
    ));
    undisturbed(run)
}

/// Whether memory did not grow in the last two thirds of these looks, in bytes; and what it was.
fn flat(resident: &[u64]) -> (bool, String) {
    let at = |place: usize| resident.get(place).copied().unwrap_or(0);
    let [first, later, last] = [0, resident.len() / 3, resident.len().saturating_sub(1)].map(at);
    let [a, b, c] = [first, later, last].map(|bytes| bytes as f64 / f64::from(1 << 20));
    let memory = format!("{a:.1} MiB at first, {b:.1} after a third of the time, {c:.1} in the end");
    (later > 0 && last < later + MEMORY_GROWTH_LIMIT_BYTES, memory)
}

/// Judges, and expects that nobody else noticed.
fn undisturbed(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.undisturbed()?;
    let verdict = run.judge()?;
    let since = verdict.faults.first().map_or(0, |fault| fault.t);
    let [before, after] = [verdict.usual_p99(0..since), verdict.usual_p99(since..u64::MAX)];
    run.expect(
        format!("the others' p99 in a second is usually {} ms, and was {} ms before", after / 1000, before / 1000),
        after < 2 * before + P99_TOLERANCE_US,
    );
    run.expect(format!("no other socket was lost ({} were)", verdict.counts.closed), verdict.counts.closed == 0);
    Ok(())
}

/// Carries one attack out beside the load, under a mark.
fn assault(run: &mut ScenarioRun<'_>, name: &str, arguments: &[&str]) -> Result<Value> {
    run.start(2, run.scale.load())?;
    run.mark_fault(&FaultMark::new(name).unseen())?;
    let attack = run.start_attack(arguments)?;
    let seen = run.finish_attack(attack, STEP_TIMEOUT * 3)?;
    run.mark_healed()?;
    Ok(seen)
}

fn flood(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.check_resources();
    let seen = assault(run, "flood", &["flood", "--rate", "10000", "--for", "10s"])?;
    run.record_evidence(format!("{} messages in one socket", seen["attempts"]));
    run.expect(format!("it was told rate_limited: {seen}"), seen["rate_limited"].as_u64() > Some(0));
    run.expect("then closed with 1008", seen["ending"]["close"] == 1008);
    undisturbed(run)
}

fn giant(run: &mut ScenarioRun<'_>) -> Result<()> {
    let seen = assault(run, "giant frame", &["giant", "--most", "200"])?;
    run.record_evidence(format!("{} bytes were taken", seen["bytes_taken"]));
    // 1006: our own writing into the closed connection can overtake its close frame.
    let close = &seen["ending"]["close"];
    run.expect(format!("closed with 1009: {seen}"), *close == 1009 || *close == 1006);
    // What kernels and the balancer hold between us and the gateway is taken, too.
    run.expect("before much was taken", seen["bytes_taken"].as_u64().is_some_and(|bytes| bytes < 16 << 20));
    undisturbed(run)
}

fn malformed(run: &mut ScenarioRun<'_>) -> Result<()> {
    let seen = assault(run, "malformed frames", &["malformed"])?;
    let cases = seen["cases"].as_array().cloned().unwrap_or_default();
    run.record_evidence(format!("{} kinds of bad frames", cases.len()));
    for case in &cases {
        let (name, close) = (case["case"].as_str().unwrap_or_default(), &case["ending"]["close"]);
        let right: &[u16] = match name {
            "no JSON, three times" => &[1008],
            // A newer client may know types that a gateway does not: an error each, and no close.
            "unknown type, three times" => &[],
            "binary" => &[1003],
            "bad UTF-8" => &[1007],
            "20 KiB of text" => &[1009],
            // RFC 6455 section 7.4.1: a protocol error.
            _ => &[1002],
        };
        let fits = match close.as_u64() {
            Some(close) => right.iter().any(|code| u64::from(*code) == close),
            None => right.is_empty(),
        };
        run.expect(format!("{name}: closed with {close}, errors {}", case["errors"]), fits);
    }
    undisturbed(run)
}

fn twice(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.start(2, run.scale.load())?;
    run.mark_fault(&FaultMark::new("one id at two gateways").unseen())?;
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
    undisturbed(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_flat_if_it_grows_at_the_start_only() {
        const MIB: u64 = 1 << 20;
        assert!(!flat(&[]).0, "nobody looked");
        let (is_flat, told) = flat(&[10 * MIB, 30 * MIB, 31 * MIB]);
        assert!(is_flat && told.starts_with("10.0 MiB at first, 30.0"), "{told}");
        assert!(!flat(&[10 * MIB, 10 * MIB, 20 * MIB]).0);
    }
}
