//! What hostile and broken clients do beside the others.

use std::time::Duration;

use serde_json::Value;

use super::{Row, Store};
use crate::{
    chaos::{
        checker::{Fault, Load},
        scene::{SOON, Scene},
    },
    error::Result,
};

/// Others' deliveries must stay faster than this, in microseconds: generous, for a busy machine.
const UNDISTURBED: u64 = 2_000_000;

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "slow-readers",
        fault: "one client reads slowly, one never",
        required: "their memory is bounded, the others' times unchanged; who takes nothing for 30 s is cut off",
        store: Store::Durable,
        // Neither answers pings: what they take is to decide.
        arguments: &["--ping-interval", "5m"],
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
    // Much in one room, so that the buffers of the kernel are full soon.
    let readers = scene.scale.pick(12, 100);
    scene.begin(1, Load { writers: 12, readers, rooms: 1, rate: 100, text: 2048, tabs: 1 })?;
    let member = scene.site.member(1)?;
    let (before, direct) = (member.resident(), format!("http://127.0.0.1:{}", member.port));
    scene.fault(&Fault::new("slow readers").unseen())?;
    let all = scene.site.sockets() + 2;
    // Without the balancer, which has buffers of its own.
    let slow = ["--user", "slow", "--room", "chaos-0", "slow", "--pace", "4000", "--for", "70s"];
    let slow = scene.attack_at(&direct, &slow)?;
    let never = ["--user", "never", "--room", "chaos-0", "slow", "--pace", "0", "--for", "70s"];
    let never = scene.attack_at(&direct, &never)?;
    scene.wait("both are there", SOON, |site| site.sockets() == all)?;
    // Its kernel takes what fits; half a minute after that the gateway gives it up.
    let cut = scene.wait("who reads nothing is given up", SOON, |site| site.sockets() < all);
    scene.expect(format!("who reads nothing is cut off ({cut:.1?})"), cut.is_ok());
    let slow = scene.outcome(slow, SOON * 2)?;
    scene.outcome(never, SOON * 2)?;
    scene.healed()?;
    let after = scene.site.member(1)?.resident();
    scene.saw(format!("one read {} bytes, one none", slow["bytes_read"]));
    scene.expect(format!("who reads slowly is still served: {slow}"), slow["ending"]["close"].is_null());
    let grown = after.saturating_sub(before) >> 20;
    scene.expect(format!("the gateway grew by {grown} MiB"), grown < 48);
    undisturbed(scene)
}

/// Judges, and expects that nobody else noticed.
fn undisturbed(scene: &mut Scene<'_>) -> Result<()> {
    scene.calm()?;
    let verdict = scene.judge()?;
    let since = verdict.faults.first().map_or(0, |fault| fault.t);
    let usual = verdict.usual_p99_after(since);
    scene.expect(format!("the others' p99 in a second is usually {} ms", usual / 1000), usual < UNDISTURBED);
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
