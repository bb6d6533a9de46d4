//! What hostile and broken clients do beside the others.

use std::time::Duration;

use serde_json::Value;

use super::{Row, Store};
use crate::{
    chaos::{
        checker::Fault,
        scene::{SOON, Scene},
        site::Member,
    },
    error::Result,
};

/// What others' deliveries may take longer, beside twice as long, in microseconds: rows run beside each other.
const NOISE: u64 = 500_000;

/// Who writes much into the room of the slow readers, for that long: until who reads nothing was given up.
const POURERS: [&str; 2] = ["pour1", "pour2"];
const POURED: Duration = Duration::from_secs(40);
/// How much a gateway may grow in the last two thirds of the time in which somebody does not read, in bytes: what an
/// allocator moves about.
const FLAT: u64 = 8 << 20;

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "slow-readers",
        fault: "one client reads slowly, one never, in a room with 10,000 messages a second",
        required: "the gateway's memory is flat, the others' times unchanged; who takes nothing for 30 s is cut off",
        store: Store::Durable,
        // Neither answers pings: what they take is to decide.
        arguments: &["--ping-interval", "5m", "--send-rate", "0"],
        act: slow,
    },
    Row {
        name: "flood",
        fault: "one socket sends 10,000 messages a second",
        required: "rate_limited, then 1008; the others do not notice",
        store: Store::Durable,
        arguments: &[],
        act: flood,
    },
    Row {
        name: "giant-frame",
        fault: "a frame of 2^40 bytes is announced and sent",
        required: "1009 before 64 KiB are buffered",
        store: Store::Durable,
        arguments: &[],
        act: giant,
    },
    Row {
        name: "malformed-frames",
        fault: "malformed, binary and undecodable frames",
        required: "an error frame or a close with the right code; nothing else happens",
        store: Store::Durable,
        arguments: &[],
        act: malformed,
    },
    Row {
        name: "same-id-twice",
        fault: "one message is sent at two gateways at once",
        required: "one position, one message",
        store: Store::Durable,
        arguments: &[],
        act: twice,
    },
];

fn slow(scene: &mut Scene<'_>) -> Result<()> {
    let rate: u64 = scene.scale.pick(2000, 10_000);
    scene.measure();
    scene.begin(1, scene.scale.load())?;
    scene.calm()?;
    let direct = format!("http://127.0.0.1:{}", scene.site.member(1)?.port);
    let all = scene.site.sockets() + POURERS.len() as u32 + 2;
    scene.fault(&Fault::new("slow readers").unseen())?;
    // A room of their own: what goes to each client of the checker must be judged, too, and machines are small.
    let each = (rate / POURERS.len() as u64).to_string();
    let time = format!("{}s", POURED.as_secs());
    let pour = POURERS.map(|user| {
        scene.attack_at(&direct, &["--user", user, "--room", "poured", "pour", "--rate", &each, "--for", &time])
    });
    // Without the balancer, which has buffers of its own.
    let stay = ["--room", "poured", "--for", "5m"];
    let slow = scene.attack_at(&direct, &[&["--user", "slow", "slow", "--pace", "4000"], &stay[..]].concat())?;
    let never = scene.attack_at(&direct, &[&["--user", "never", "slow", "--pace", "0"], &stay[..]].concat())?;
    scene.wait("all are there", SOON, |site| site.sockets() == all)?;
    // Its kernel takes what fits; half a minute after that the gateway gives it up. Meanwhile the gateway is looked at.
    let mut resident = Vec::new();
    let cut = scene.wait("who reads nothing is given up", SOON, |site| {
        resident.extend(site.members.first().map(Member::resident));
        site.sockets() < all
    });
    let after = cut.as_ref().map_or("never".to_owned(), |after| format!("after {:.1} s", after.as_secs_f64()));
    scene.expect(format!("who reads nothing is cut off ({after})"), cut.is_ok());
    scene.calm()?;
    let left = scene.site.sockets() + 1;
    scene.expect("who reads slowly is still served", left == all);
    let mut poured = 0;
    for pour in pour {
        let seen = scene.outcome(pour?, POURED + SOON)?;
        let number = |name: &str| seen[name].as_u64().unwrap_or_default();
        scene.expect(
            format!("who pours gets it all ({} of {})", number("sent"), number("attempts")),
            seen["ending"]["close"].is_null() && number("gaps") == 0 && number("sent") == number("attempts"),
        );
        poured += number("sent");
    }
    scene.healed()?;
    drop((slow, never));
    scene.saw(format!("one read slowly, one not at all, of {poured} messages"));
    let (is_flat, memory) = flat(&resident);
    scene.expect(format!("the gateway's memory is flat: {memory}"), is_flat);
    scene.tell(format!("{} messages a second were written; the gateway held {memory}", poured / POURED.as_secs()));
    undisturbed(scene)
}

/// Whether memory did not grow in the last two thirds of these looks, in bytes; and what it was.
fn flat(resident: &[u64]) -> (bool, String) {
    let at = |place: usize| resident.get(place).copied().unwrap_or(0);
    let [first, later, last] = [0, resident.len() / 3, resident.len().saturating_sub(1)].map(at);
    let [a, b, c] = [first, later, last].map(|bytes| bytes as f64 / f64::from(1 << 20));
    let memory = format!("{a:.1} MiB at first, {b:.1} after a third of the time, {c:.1} in the end");
    (later > 0 && last < later + FLAT, memory)
}

/// Judges, and expects that nobody else noticed.
fn undisturbed(scene: &mut Scene<'_>) -> Result<()> {
    scene.calm()?;
    let verdict = scene.judge()?;
    let since = verdict.faults.first().map_or(0, |fault| fault.t);
    let [before, after] = [verdict.usual_p99(0..since), verdict.usual_p99(since..u64::MAX)];
    scene.expect(
        format!("the others' p99 in a second is usually {} ms, and was {} ms before", after / 1000, before / 1000),
        after < 2 * before + NOISE,
    );
    scene.expect(format!("no other socket was lost ({} were)", verdict.counts.closed), verdict.counts.closed == 0);
    Ok(())
}

/// Carries one attack out beside the load, under a mark.
fn assault(scene: &mut Scene<'_>, name: &str, arguments: &[&str]) -> Result<Value> {
    scene.begin(2, scene.scale.load())?;
    scene.fault(&Fault::new(name).unseen())?;
    let attack = scene.attack(arguments)?;
    let seen = scene.outcome(attack, SOON * 3)?;
    scene.healed()?;
    Ok(seen)
}

fn flood(scene: &mut Scene<'_>) -> Result<()> {
    scene.measure();
    let seen = assault(scene, "flood", &["flood", "--rate", "10000", "--for", "10s"])?;
    scene.saw(format!("{} messages in one socket", seen["attempts"]));
    scene.expect(format!("it was told rate_limited: {seen}"), seen["rate_limited"].as_u64() > Some(0));
    scene.expect("then closed with 1008", seen["ending"]["close"] == 1008);
    undisturbed(scene)
}

fn giant(scene: &mut Scene<'_>) -> Result<()> {
    let seen = assault(scene, "giant frame", &["giant", "--most", "200"])?;
    scene.saw(format!("{} bytes were taken", seen["bytes_taken"]));
    // 1006: our own writing into the closed connection can overtake its close frame.
    let close = &seen["ending"]["close"];
    scene.expect(format!("closed with 1009: {seen}"), *close == 1009 || *close == 1006);
    // What kernels and the balancer hold between us and the gateway is taken, too.
    scene.expect("before much was taken", seen["bytes_taken"].as_u64().is_some_and(|bytes| bytes < 16 << 20));
    undisturbed(scene)
}

fn malformed(scene: &mut Scene<'_>) -> Result<()> {
    let seen = assault(scene, "malformed frames", &["malformed"])?;
    let cases = seen["cases"].as_array().cloned().unwrap_or_default();
    scene.saw(format!("{} kinds of bad frames", cases.len()));
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
        scene.expect(format!("{name}: closed with {close}, errors {}", case["errors"]), fits);
    }
    undisturbed(scene)
}

fn twice(scene: &mut Scene<'_>) -> Result<()> {
    scene.begin(2, scene.scale.load())?;
    scene.fault(&Fault::new("one id at two gateways").unseen())?;
    let other = format!("http://127.0.0.1:{}", scene.site.member(2)?.port);
    for number in 0..3 {
        let user = format!("twice{number}");
        let attack = scene.attack(&["--user", &user, "twice", "--other", &other])?;
        let seen = scene.outcome(attack, SOON)?;
        scene.saw(format!("positions {}", seen["positions"]));
        scene.expect(format!("one message: {} copies", seen["copies"]), seen["once"] == true);
    }
    scene.healed()?;
    scene.pass(Duration::from_secs(1))?;
    undisturbed(scene)
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
