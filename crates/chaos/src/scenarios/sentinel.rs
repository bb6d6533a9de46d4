//! Faults of a Redis master and of its Sentinels, when gateways ask the Sentinels for the master.

use std::time::Duration;

use super::{
    RedisSetup, Scenario,
    redis::{all_ready, expect_sends_again},
};
use crate::{
    checker::FaultMark,
    error::Result,
    run::{STEP_TIMEOUT, ScenarioRun},
};

/// Number of Sentinels.
const SENTINELS: usize = 3;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "sentinel-failover",
        fault: "Sentinel promotes the replica as planned; later the new master is killed. There is no proxy",
        required: "a new epoch after each; sends are accepted within 5 s after each promotion; no socket closes",
        redis: RedisSetup::SentinelWithoutProxy,
        arguments: &[],
        execute: failover,
    },
    Scenario {
        name: "sentinels-away",
        fault: "all Sentinels are killed, and started again later",
        required: "no client notices; gateways stay ready",
        redis: RedisSetup::SentinelWithoutProxy,
        arguments: &[],
        execute: sentinels_away,
    },
];

fn failover(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.start(2, run.scale.load())?;
    run.mark_fault(&FaultMark::new("planned failover").in_redis())?;
    let first = run.deployment.sentinel()?.master()?;
    let second = run.deployment.sentinel()?.fail_over()?;
    run.record_evidence(format!("node {second} was promoted as planned after node {first}"));
    // The old master calls itself master for some seconds longer.
    run.deployment.sentinel()?.wait_until_stable()?;
    run.mark_healed()?;
    run.wait_until("the gateways are ready again", STEP_TIMEOUT, all_ready)?;
    run.undisturbed()?;
    run.mark_fault(&FaultMark::new("the master is killed").in_redis())?;
    let before = run.deployment.sentinel()?.kill_master()?;
    let after = run.deployment.sentinel()?.wait_for_another(before)?;
    run.record_evidence(format!("node {after} was promoted after node {before} was killed"));
    run.mark_healed()?;
    run.wait_until("the gateways are ready again", STEP_TIMEOUT, all_ready)?;
    run.undisturbed()?;
    expect_sends_again(run)?;
    let closed = run.verdict.as_ref().map_or(0, |verdict| verdict.counts.closed);
    run.expect(format!("no socket was lost ({closed} lost)"), closed == 0);
    Ok(())
}

fn sentinels_away(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.start(2, run.scale.load())?;
    run.mark_fault(&FaultMark::new("the Sentinels are away").unnoticed())?;
    for sentinel in 0..SENTINELS {
        run.deployment.sentinel()?.kill_sentinel(sentinel)?;
    }
    run.run_for(run.scale.pick(Duration::from_secs(6), Duration::from_secs(30)))?;
    let sentinels = run.deployment.sentinel()?;
    if (0..SENTINELS).all(|sentinel| sentinels.sentinel_pid(sentinel).is_none()) {
        run.record_evidence("no Sentinel ran");
    }
    let ready = all_ready(&mut run.deployment);
    run.expect("the gateways stay ready", ready);
    for sentinel in 0..SENTINELS {
        run.deployment.sentinel()?.start_sentinel(sentinel)?;
    }
    run.mark_healed()?;
    run.undisturbed()?;
    let verdict = run.judge()?;
    let refused: u64 = verdict.faults.iter().map(|fault| fault.unavailable).sum();
    let (closed, gaps) = (verdict.counts.closed, verdict.counts.gaps_reported);
    run.expect(
        format!("no client noticed: {refused} sends refused, {closed} sockets lost, {gaps} gaps"),
        refused + closed + gaps == 0,
    );
    Ok(())
}
