//! What happens to gateways.

use std::time::Duration;

use trunkline_testbed::Ended;

use super::{NOTICED, Row, Store};
use crate::{
    chaos::{
        checker::{Fault, Load},
        scene::{SOON, Scale, Scene},
        verdict::{Quantiles, millis},
    },
    error::Result,
};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "gateway-killed",
        fault: "a gateway is killed",
        required: "its clients are back and caught up on the others",
        store: Store::Durable,
        arguments: &[],
        act: killed,
    },
    Row {
        name: "rolling-restart",
        fault: "all gateways are restarted, one after another",
        required: "not ready before leaving; clients are asked to move; no handshake fails, no socket breaks",
        store: Store::Durable,
        arguments: &["--drain-window", "3s"],
        act: rolled,
    },
    Row {
        name: "gateway-hangs",
        fault: "a gateway hangs, and wakes up",
        required: "its clients leave within 1.6 ping intervals; awake, it has none of them left",
        store: Store::Durable,
        arguments: &["--ping-interval", "5s"],
        act: hangs,
    },
    Row {
        name: "scaled",
        fault: "3 gateways become 5, then 2",
        required: "new ones take sockets; those that leave drain",
        store: Store::Durable,
        arguments: &["--drain-window", "3s"],
        act: scaled,
    },
    Row {
        name: "reconnect-storm",
        fault: "one of 3 gateways with thousands of readers is killed",
        required: "all are back and caught up; the log is read once a room, not once a client",
        store: Store::Durable,
        arguments: &[],
        act: storm,
    },
    Row {
        name: "clock-off",
        fault: "the wall clock of one gateway is an hour off",
        required: "order and positions do not depend on it",
        store: Store::Durable,
        arguments: &[],
        act: clock_off,
    },
];

fn killed(scene: &mut Scene<'_>) -> Result<()> {
    scene.begin(3, scene.scale.load())?;
    scene.kill(2)?;
    scene.calm()?;
    scene.site.start(2)?;
    scene.serves(2)?;
    scene.healed()?;
    scene.calm()?;
    all_came_back(scene)
}

fn all_came_back(scene: &mut Scene<'_>) -> Result<()> {
    let verdict = scene.judge()?;
    let closed: u64 = verdict.faults.iter().map(|fault| fault.closed).sum();
    let never_back: u64 = verdict.faults.iter().map(|fault| fault.never_back).sum();
    scene.expect(format!("clients lost their socket ({closed})"), closed > 0);
    scene.expect(format!("all of them came back ({never_back} did not)"), never_back == 0);
    Ok(())
}

fn rolled(scene: &mut Scene<'_>) -> Result<()> {
    scene.begin(3, scene.scale.load())?;
    scene.fault(&Fault::new("rolling restart").closing(&[1012]))?;
    for number in 1..=3 {
        let member = scene.site.member(number)?;
        member.gateway.terminate()?;
        scene.wait(&format!("gw-{number} is not ready"), SOON, |site| {
            site.member(number).ok().and_then(|member| member.get("/readyz")).is_some_and(|answer| answer.status == 503)
        })?;
        let alive = scene.site.member(number)?.get("/healthz").is_some_and(|answer| answer.status == 200);
        scene.expect(format!("gw-{number} is not ready while it still serves"), alive);
        drained(scene, number)?;
        scene.site.start(number)?;
        scene.serves(number)?;
    }
    scene.healed()?;
    scene.calm()?;
    let verdict = scene.judge()?;
    let closing: u64 = verdict.faults.iter().map(|fault| fault.closing).sum();
    scene.expect(format!("clients were asked to move ({closing})"), closing > 0);
    let Quantiles { p50, max, .. } = verdict.silence;
    scene.tell(format!(
        "the longest silence that a client saw: {} ms; half of them saw none above {} ms",
        max / 1000,
        p50 / 1000
    ));
    let flickers = verdict.counts.flickers;
    scene.expect(format!("nobody was told to have gone who was there ({flickers} were)"), flickers == 0);
    scene.expect(format!("no handshake failed ({} did)", verdict.counts.rejected), verdict.counts.rejected == 0);
    Ok(())
}

/// Waits until a gateway that was asked to has ended in order.
fn drained(scene: &mut Scene<'_>, number: usize) -> Result<()> {
    let ended = |site: &mut crate::chaos::site::Site| site.member(number).ok().and_then(|m| m.gateway.ended());
    scene.wait(&format!("gw-{number} has ended"), SOON, |site| ended(site).is_some())?;
    let end = ended(&mut scene.site);
    scene.expect(format!("gw-{number} ended in order"), end == Some(Ended::Code(0)));
    scene.saw(format!("gw-{number} drained and ended"));
    Ok(())
}

fn hangs(scene: &mut Scene<'_>) -> Result<()> {
    let hang = scene.scale.pick(Duration::from_secs(15), Duration::from_secs(30));
    scene.begin(3, scene.scale.load())?;
    let before = scene.site.member(2)?.sockets();
    scene.fault(&Fault::new("gw-2 hangs"))?;
    scene.site.member(2)?.gateway.pause()?;
    if scene.site.member(2)?.get("/healthz").is_none() {
        scene.saw("gw-2 answered nothing");
    }
    scene.pass(hang)?;
    scene.site.member(2)?.gateway.resume()?;
    scene.healed()?;
    scene.serves(2)?;
    // Clients of before are elsewhere; who is there came after it woke.
    let clients = scene.scale.load().clients();
    let left = scene.wait("gw-2 has let its ghosts go", SOON, |site| site.sockets() <= clients);
    scene.expect("its ghosts vanish when it wakes", left.is_ok());
    scene.calm()?;
    let verdict = scene.judge()?;
    scene.expect(format!("it had sockets ({before})"), before > 0);
    let left = verdict.faults.first().and_then(|fault| fault.last_lost);
    scene.expect(
        format!("its clients left within 1.6 ping intervals (the last after {})", millis(left)),
        left.is_some_and(|left| left <= NOTICED),
    );
    Ok(())
}

fn scaled(scene: &mut Scene<'_>) -> Result<()> {
    scene.begin(3, scene.scale.load())?;
    scene.fault(&Fault::new("3, 5, 2 gateways").closing(&[1012]))?;
    for number in [4, 5] {
        scene.site.start(number)?;
        scene.serves(number)?;
    }
    // The oldest leave, so that the newest must take over.
    for number in [1, 2, 3] {
        scene.site.member(number)?.gateway.terminate()?;
    }
    for number in [1, 2, 3] {
        drained(scene, number)?;
        scene.site.remove(number)?;
    }
    for number in [4, 5] {
        scene.wait(&format!("gw-{number} has sockets"), SOON, |site| {
            site.member(number).is_ok_and(|member| member.sockets() > 0)
        })?;
    }
    scene.healed()?;
    scene.calm()?;
    let verdict = scene.judge()?;
    scene.expect(format!("no handshake failed ({} did)", verdict.counts.rejected), verdict.counts.rejected == 0);
    Ok(())
}

fn storm(scene: &mut Scene<'_>) -> Result<()> {
    let load = match scene.scale {
        Scale::Quick => Load { writers: 6, readers: 300, rooms: 3, rate: 10, text: 64, tabs: 1 },
        Scale::Full => Load { writers: 20, readers: 5000, rooms: 20, rate: 20, text: 64, tabs: 5 },
    };
    scene.measure();
    scene.begin(3, load)?;
    let before = log_reads(scene)?;
    scene.kill(2)?;
    scene.calm()?;
    scene.healed()?;
    scene.wait("the others have all sockets", SOON * 4, |site| site.sockets() >= load.clients())?;
    let reads = log_reads(scene)?.saturating_sub(before);
    scene.calm()?;
    all_came_back(scene)?;
    let closed = scene.verdict.as_ref().map_or(0, |verdict| verdict.counts.closed);
    scene.expect(format!("{closed} clients came back with {reads} reads of logs"), reads * 2 < closed);
    Ok(())
}

/// How often Redis read logs so far.
fn log_reads(scene: &mut Scene<'_>) -> Result<u64> {
    let stats = scene.site.redis()?.cli(&["INFO", "commandstats"])?;
    let calls = |line: &str| {
        let counted =
            line.strip_prefix("cmdstat_xrange:calls=").or_else(|| line.strip_prefix("cmdstat_xrevrange:calls="))?;
        counted.split(',').next()?.parse::<u64>().ok()
    };
    Ok(stats.lines().filter_map(calls).sum())
}

fn clock_off(scene: &mut Scene<'_>) -> Result<()> {
    let library = trunkline_testbed::fake_time()?;
    let library = library.display().to_string();
    scene.start_gateways(1)?;
    // Timers run on as they should: it is the wall clock that is wrong, not time.
    let wrong = [("LD_PRELOAD", library.as_str()), ("FAKETIME", "+1h"), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
    scene.site.start_with(2, &wrong)?;
    scene.serves(2)?;
    let date = |site: &mut crate::chaos::site::Site, number| {
        let answer = site.member(number).ok()?.get("/healthz")?;
        answer
            .head
            .lines()
            .find_map(|line| line.strip_prefix("date: "))
            .map(|date| date.get(17..19).map(str::to_owned))?
    };
    let (right, wrong) = (date(&mut scene.site, 1), date(&mut scene.site, 2));
    if right.is_some() && wrong.is_some() && right != wrong {
        scene.saw(format!("hours of the clocks: {} and {}", right.unwrap_or_default(), wrong.unwrap_or_default()));
    }
    scene.let_in(scene.scale.load())?;
    scene.fault(&Fault::new("gw-2's clock is an hour ahead").unseen())?;
    scene.calm()?;
    scene.calm()?;
    scene.healed()
}
