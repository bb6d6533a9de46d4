//! What happens to gateways.

use std::time::Duration;

use trunkline_testbed::ProcessEnd;

use super::{DETECTION_LIMIT_US, RedisSetup, Scenario};
use crate::{
    checker::{ClientLoad, FaultMark},
    error::Result,
    run::{STEP_TIMEOUT, ScenarioRun, ScenarioScale},
    verdict::{Quantiles, millis},
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "gateway-killed",
        fault: "a gateway is killed",
        required: "its clients are back and caught up on the others",
        redis: RedisSetup::Durable,
        arguments: &[],
        execute: killed,
    },
    Scenario {
        name: "rolling-restart",
        fault: "all gateways are restarted, one after another",
        required: "not ready before leaving; clients are asked to move; no handshake fails, no socket breaks",
        redis: RedisSetup::Durable,
        arguments: &["--drain-window", "3s"],
        execute: rolled,
    },
    Scenario {
        name: "gateway-hangs",
        fault: "a gateway hangs, and wakes up",
        required: "its clients leave within 1.6 ping intervals; awake, it has none of them left",
        redis: RedisSetup::Durable,
        arguments: &["--ping-interval", "5s"],
        execute: hangs,
    },
    Scenario {
        name: "scaled",
        fault: "3 gateways become 5, then 2",
        required: "new ones take sockets; those that leave drain",
        redis: RedisSetup::Durable,
        arguments: &["--drain-window", "3s"],
        execute: scaled,
    },
    Scenario {
        name: "reconnect-storm",
        fault: "one of 3 gateways with thousands of readers is killed",
        required: "all are back and caught up; the log is read once a room, not once a client",
        redis: RedisSetup::Durable,
        arguments: &[],
        execute: storm,
    },
    Scenario {
        name: "clock-off",
        fault: "the wall clock of one gateway is an hour off",
        required: "order and positions do not depend on it",
        redis: RedisSetup::Durable,
        arguments: &[],
        execute: clock_off,
    },
];

fn killed(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.start(3, run.scale.load())?;
    run.kill_gateway(2)?;
    run.undisturbed()?;
    run.deployment.start(2)?;
    run.wait_until_served(2)?;
    run.mark_healed()?;
    run.undisturbed()?;
    all_came_back(run)
}

fn all_came_back(run: &mut ScenarioRun<'_>) -> Result<()> {
    let verdict = run.judge()?;
    let closed: u64 = verdict.faults.iter().map(|fault| fault.closed).sum();
    let never_back: u64 = verdict.faults.iter().map(|fault| fault.never_back).sum();
    run.expect(format!("clients lost their socket ({closed})"), closed > 0);
    run.expect(format!("all of them came back ({never_back} did not)"), never_back == 0);
    Ok(())
}

fn rolled(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.start(3, run.scale.load())?;
    run.mark_fault(&FaultMark::new("rolling restart").closing(&[1012]))?;
    for number in 1..=3 {
        let member = run.deployment.member(number)?;
        member.gateway.terminate()?;
        run.wait_until(&format!("gw-{number} is not ready"), STEP_TIMEOUT, |deployment| {
            deployment
                .member(number)
                .ok()
                .and_then(|member| member.get("/readyz"))
                .is_some_and(|answer| answer.status == 503)
        })?;
        let alive = run.deployment.member(number)?.get("/healthz").is_some_and(|answer| answer.status == 200);
        run.expect(format!("gw-{number} is not ready while it still wait_until_served"), alive);
        drained(run, number)?;
        run.deployment.start(number)?;
        run.wait_until_served(number)?;
    }
    run.mark_healed()?;
    run.undisturbed()?;
    let verdict = run.judge()?;
    let closing: u64 = verdict.faults.iter().map(|fault| fault.closing).sum();
    run.expect(format!("clients were asked to move ({closing})"), closing > 0);
    let Quantiles { p50, max, .. } = verdict.silence;
    run.note(format!(
        "the longest silence that a client record_evidence: {} ms; half of them record_evidence none above {} ms",
        max / 1000,
        p50 / 1000
    ));
    let flickers = verdict.counts.flickers;
    run.expect(format!("nobody was told to have gone who was there ({flickers} were)"), flickers == 0);
    run.expect(format!("no handshake failed ({} did)", verdict.counts.rejected), verdict.counts.rejected == 0);
    Ok(())
}

/// Waits until a gateway that was asked to has ended in order.
fn drained(run: &mut ScenarioRun<'_>, number: usize) -> Result<()> {
    let ended =
        |deployment: &mut crate::deployment::Deployment| deployment.member(number).ok().and_then(|m| m.gateway.ended());
    run.wait_until(&format!("gw-{number} has ended"), STEP_TIMEOUT, |deployment| ended(deployment).is_some())?;
    let end = ended(&mut run.deployment);
    run.expect(format!("gw-{number} ended in order"), end == Some(ProcessEnd::Code(0)));
    run.record_evidence(format!("gw-{number} drained and ended"));
    Ok(())
}

fn hangs(run: &mut ScenarioRun<'_>) -> Result<()> {
    let hang = run.scale.pick(Duration::from_secs(15), Duration::from_secs(30));
    run.start(3, run.scale.load())?;
    let before = run.deployment.member(2)?.sockets();
    run.mark_fault(&FaultMark::new("gw-2 hangs"))?;
    run.deployment.member(2)?.gateway.pause()?;
    if run.deployment.member(2)?.get("/healthz").is_none() {
        run.record_evidence("gw-2 answered nothing");
    }
    run.run_for(hang)?;
    run.deployment.member(2)?.gateway.resume()?;
    run.mark_healed()?;
    run.wait_until_served(2)?;
    // Clients of before are elsewhere; who is there came after it woke.
    let clients = run.scale.load().clients();
    let left = run.wait_until("gw-2 has let its ghosts go", STEP_TIMEOUT, |deployment| deployment.sockets() <= clients);
    run.expect("its ghosts vanish when it wakes", left.is_ok());
    run.undisturbed()?;
    let verdict = run.judge()?;
    run.expect(format!("it had sockets ({before})"), before > 0);
    let left = verdict.faults.first().and_then(|fault| fault.last_lost);
    run.expect(
        format!("its clients left within 1.6 ping intervals (the last after {})", millis(left)),
        left.is_some_and(|left| left <= DETECTION_LIMIT_US),
    );
    Ok(())
}

fn scaled(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.start(3, run.scale.load())?;
    run.mark_fault(&FaultMark::new("3, 5, 2 gateways").closing(&[1012]))?;
    for number in [4, 5] {
        run.deployment.start(number)?;
        run.wait_until_served(number)?;
    }
    // The oldest leave, so that the newest must take over.
    for number in [1, 2, 3] {
        run.deployment.member(number)?.gateway.terminate()?;
    }
    for number in [1, 2, 3] {
        drained(run, number)?;
        run.deployment.remove(number)?;
    }
    for number in [4, 5] {
        run.wait_until(&format!("gw-{number} has sockets"), STEP_TIMEOUT, |deployment| {
            deployment.member(number).is_ok_and(|member| member.sockets() > 0)
        })?;
    }
    run.mark_healed()?;
    run.undisturbed()?;
    let verdict = run.judge()?;
    run.expect(format!("no handshake failed ({} did)", verdict.counts.rejected), verdict.counts.rejected == 0);
    Ok(())
}

fn storm(run: &mut ScenarioRun<'_>) -> Result<()> {
    let load = match run.scale {
        ScenarioScale::Quick => ClientLoad { writers: 6, readers: 300, rooms: 3, rate: 10, text: 64, tabs: 1 },
        ScenarioScale::Full => ClientLoad { writers: 20, readers: 5000, rooms: 20, rate: 20, text: 64, tabs: 5 },
    };
    run.check_resources();
    run.start(3, load)?;
    let before = log_reads(run)?;
    run.kill_gateway(2)?;
    run.undisturbed()?;
    run.mark_healed()?;
    run.wait_until("the others have all sockets", STEP_TIMEOUT * 4, |deployment| {
        deployment.sockets() >= load.clients()
    })?;
    let reads = log_reads(run)?.saturating_sub(before);
    run.undisturbed()?;
    all_came_back(run)?;
    let closed = run.verdict.as_ref().map_or(0, |verdict| verdict.counts.closed);
    run.expect(format!("{closed} clients came back with {reads} reads of logs"), reads * 2 < closed);
    Ok(())
}

/// How often Redis read logs so far.
fn log_reads(run: &mut ScenarioRun<'_>) -> Result<u64> {
    let stats = run.deployment.redis()?.cli(&["INFO", "commandstats"])?;
    let calls = |line: &str| {
        let counted =
            line.strip_prefix("cmdstat_xrange:calls=").or_else(|| line.strip_prefix("cmdstat_xrevrange:calls="))?;
        counted.split(',').next()?.parse::<u64>().ok()
    };
    Ok(stats.lines().filter_map(calls).sum())
}

fn clock_off(run: &mut ScenarioRun<'_>) -> Result<()> {
    let library = trunkline_testbed::fake_time()?;
    let library = library.display().to_string();
    run.start_gateways(1)?;
    // Timers run on as they should: it is the wall clock that is wrong, not time.
    let wrong = [("LD_PRELOAD", library.as_str()), ("FAKETIME", "+1h"), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
    run.deployment.start_with_environment(2, &wrong)?;
    run.wait_until_served(2)?;
    let date = |deployment: &mut crate::deployment::Deployment, number| {
        let answer = deployment.member(number).ok()?.get("/healthz")?;
        answer
            .head
            .lines()
            .find_map(|line| line.strip_prefix("date: "))
            .map(|date| date.get(17..19).map(str::to_owned))?
    };
    let (right, wrong) = (date(&mut run.deployment, 1), date(&mut run.deployment, 2));
    if right.is_some() && wrong.is_some() && right != wrong {
        run.record_evidence(format!(
            "hours of the clocks: {} and {}",
            right.unwrap_or_default(),
            wrong.unwrap_or_default()
        ));
    }
    run.start_clients(run.scale.load())?;
    run.mark_fault(&FaultMark::new("gw-2's clock is an hour ahead").unseen())?;
    run.undisturbed()?;
    run.undisturbed()?;
    run.mark_healed()
}
