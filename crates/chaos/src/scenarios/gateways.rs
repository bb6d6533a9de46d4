//! Faults of gateways.

use std::time::Duration;

use trunkline_testbed::ProcessEnd;

use super::{DETECTION_LIMIT_US, RedisSetup, Scenario};
use crate::{
    checker::{ClientLoad, FaultMark},
    error::Result,
    run::{MANY_AMENDMENTS, STEP_TIMEOUT, ScenarioRun, ScenarioScale},
    verdict::{Quantiles, millis},
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "gateway-killed",
        fault: "a gateway is killed",
        required: "its clients reconnect to the others and receive what they missed",
        redis: RedisSetup::Durable,
        arguments: &[],
        execute: killed,
    },
    Scenario {
        name: "rolling-restart",
        fault: "all gateways restart, one after another",
        required: "not ready before it ends; clients are asked to reconnect; no handshake fails; no socket breaks",
        redis: RedisSetup::Durable,
        arguments: &["--drain-window", "3s"],
        execute: rolling_restart,
    },
    Scenario {
        name: "gateway-hangs",
        fault: "a gateway hangs and continues later",
        required: "its clients disconnect within 1.6 ping intervals; after it continues, it closes their sockets",
        redis: RedisSetup::Durable,
        arguments: &["--ping-interval", "5s"],
        execute: hangs,
    },
    Scenario {
        name: "scaled",
        fault: "3 gateways become 5, then 2",
        required: "new gateways get sockets; gateways that end drain first",
        redis: RedisSetup::Durable,
        arguments: &["--drain-window", "3s"],
        execute: scaled,
    },
    Scenario {
        name: "reconnect-storm",
        fault: "one of 3 gateways with thousands of readers is killed",
        required: "all clients reconnect and receive what they missed; the log is read per room, not per client",
        redis: RedisSetup::Durable,
        arguments: &[],
        execute: reconnect_storm,
    },
    Scenario {
        name: "clock-off",
        fault: "the wall clock of one gateway is wrong by an hour",
        required: "order and positions do not depend on it",
        redis: RedisSetup::Durable,
        arguments: &[],
        execute: clock_off,
    },
];

fn killed(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.amend_percent = MANY_AMENDMENTS;
    run.start(3, run.scale.load())?;
    run.kill_gateway(2)?;
    run.undisturbed()?;
    run.deployment.start(2)?;
    run.wait_until_served(2)?;
    run.mark_healed()?;
    run.undisturbed()?;
    expect_all_reconnected(run)
}

fn expect_all_reconnected(run: &mut ScenarioRun<'_>) -> Result<()> {
    let verdict = run.judge()?;
    let closed: u64 = verdict.faults.iter().map(|fault| fault.closed).sum();
    let never_back: u64 = verdict.faults.iter().map(|fault| fault.never_back).sum();
    run.expect(format!("clients lost their sockets ({closed})"), closed > 0);
    run.expect(format!("all clients reconnected ({never_back} did not)"), never_back == 0);
    Ok(())
}

fn rolling_restart(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.start(3, run.scale.load())?;
    run.mark_fault(&FaultMark::new("rolling restart").closing_with(&[1012]))?;
    restart_all(run)?;
    run.mark_healed()?;
    run.undisturbed()?;
    let verdict = run.judge()?;
    let closing: u64 = verdict.faults.iter().map(|fault| fault.closing).sum();
    run.expect(format!("clients were asked to reconnect ({closing})"), closing > 0);
    let Quantiles { p50, max, .. } = verdict.silence;
    run.note(format!(
        "longest silence that a client saw: {} ms; median over the clients: {} ms",
        max / 1000,
        p50 / 1000
    ));
    let flickers = verdict.counts.flickers;
    run.expect(format!("no present user was reported as gone ({flickers} reports)"), flickers == 0);
    run.expect(format!("no handshake failed ({} failed)", verdict.counts.rejected), verdict.counts.rejected == 0);
    Ok(())
}

/// Restarts gateways 1 to 3, one after another. Each must drain first.
pub(super) fn restart_all(run: &mut ScenarioRun<'_>) -> Result<()> {
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
        run.expect(format!("gw-{number} still answers while it is not ready"), alive);
        wait_until_drained(run, number)?;
        run.deployment.start(number)?;
        run.wait_until_served(number)?;
    }
    Ok(())
}

/// Waits until a gateway that got SIGTERM has exited with code 0.
fn wait_until_drained(run: &mut ScenarioRun<'_>, number: usize) -> Result<()> {
    let ended =
        |deployment: &mut crate::deployment::Deployment| deployment.member(number).ok().and_then(|m| m.gateway.ended());
    run.wait_until(&format!("gw-{number} has ended"), STEP_TIMEOUT, |deployment| ended(deployment).is_some())?;
    let end = ended(&mut run.deployment);
    run.expect(format!("gw-{number} exited with code 0"), end == Some(ProcessEnd::Code(0)));
    run.record_evidence(format!("gw-{number} drained and exited"));
    Ok(())
}

fn hangs(run: &mut ScenarioRun<'_>) -> Result<()> {
    let hang = run.scale.pick(Duration::from_secs(15), Duration::from_secs(30));
    run.start(3, run.scale.load())?;
    let before = run.deployment.member(2)?.sockets();
    run.mark_fault(&FaultMark::new("gw-2 hangs"))?;
    run.deployment.member(2)?.gateway.pause()?;
    if run.deployment.member(2)?.get("/healthz").is_none() {
        run.record_evidence("gw-2 did not answer");
    }
    run.run_for(hang)?;
    run.deployment.member(2)?.gateway.resume()?;
    run.mark_healed()?;
    run.wait_until_served(2)?;
    // The earlier clients are connected elsewhere. Sockets of this gateway were opened after it continued.
    let clients = run.scale.load().clients();
    let left =
        run.wait_until("gw-2 has closed its old sockets", STEP_TIMEOUT, |deployment| deployment.sockets() <= clients);
    run.expect("it closes its old sockets after it continues", left.is_ok());
    run.undisturbed()?;
    let verdict = run.judge()?;
    run.expect(format!("it had sockets before ({before})"), before > 0);
    let left = verdict.faults.first().and_then(|fault| fault.last_lost);
    run.expect(
        format!("its clients disconnected within 1.6 ping intervals (the last after {})", millis(left)),
        left.is_some_and(|left| left <= DETECTION_LIMIT_US),
    );
    Ok(())
}

fn scaled(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.start(3, run.scale.load())?;
    run.mark_fault(&FaultMark::new("3, 5, 2 gateways").closing_with(&[1012]))?;
    for number in [4, 5] {
        run.deployment.start(number)?;
        run.wait_until_served(number)?;
    }
    // The first gateways end, so the new ones must take their sockets.
    for number in [1, 2, 3] {
        run.deployment.member(number)?.gateway.terminate()?;
    }
    for number in [1, 2, 3] {
        wait_until_drained(run, number)?;
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
    run.expect(format!("no handshake failed ({} failed)", verdict.counts.rejected), verdict.counts.rejected == 0);
    Ok(())
}

fn reconnect_storm(run: &mut ScenarioRun<'_>) -> Result<()> {
    let load = match run.scale {
        ScenarioScale::Quick => ClientLoad { writers: 6, readers: 300, rooms: 3, rate: 10, text: 64, tabs: 1 },
        ScenarioScale::Full => ClientLoad { writers: 20, readers: 5000, rooms: 20, rate: 20, text: 64, tabs: 5 },
    };
    run.check_resources();
    // Clients that amend read a page of history whenever they have caught up, and the row counts reads.
    run.amend_percent = 0;
    run.start(3, load)?;
    let before = log_reads(run)?;
    run.kill_gateway(2)?;
    run.undisturbed()?;
    run.mark_healed()?;
    run.wait_until("all clients are connected to the others", STEP_TIMEOUT * 4, |deployment| {
        deployment.sockets() >= load.clients()
    })?;
    let reads = log_reads(run)?.saturating_sub(before);
    run.undisturbed()?;
    expect_all_reconnected(run)?;
    let closed = run.verdict.as_ref().map_or(0, |verdict| verdict.counts.closed);
    run.expect(format!("{closed} clients reconnected, and Redis read logs {reads} times"), reads * 2 < closed);
    Ok(())
}

/// Number of log reads that Redis has executed.
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
    // Only the wall clock is wrong; timers run correctly.
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
    run.mark_fault(&FaultMark::new("gw-2's clock is an hour ahead").unnoticed())?;
    run.undisturbed()?;
    run.undisturbed()?;
    run.mark_healed()
}
