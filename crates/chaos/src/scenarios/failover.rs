//! Faults of a Redis master with a replica under Sentinel.

use super::{RedisSetup, Scenario, redis::all_ready};
use crate::{
    checker::FaultMark,
    error::Result,
    run::{STEP_TIMEOUT, ScenarioRun},
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "redis-fails-over",
        fault: "the master is killed, and Sentinel promotes the replica",
        required: "a new epoch; sends continue; no client shows a wrong log as complete",
        redis: RedisSetup::Sentinel,
        arguments: &[],
        execute: fails_over,
    },
    Scenario {
        name: "redis-loses-writes",
        fault: "the master is killed, and Sentinel promotes a replica that lags behind",
        required: "acknowledged messages are lost, and each client that saw them gets a gap",
        redis: RedisSetup::Sentinel,
        arguments: &[],
        execute: loses_writes,
    },
    Scenario {
        name: "redis-demoted-promoted",
        fault: "a master with writes that the replica lacks is demoted, and promoted again",
        required: "a new epoch after each failover; clients get a gap",
        redis: RedisSetup::Sentinel,
        arguments: &[],
        execute: demoted_promoted,
    },
];

fn fails_over(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.start(2, run.scale.load())?;
    promote(run, false)
}

fn loses_writes(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.start(2, run.scale.load())?;
    promote(run, true)?;
    let verdict = run.judge()?;
    let gaps = verdict.counts.gaps_reported;
    run.expect(format!("clients got a gap ({gaps} gaps)"), gaps > 0);
    Ok(())
}

fn promote(run: &mut ScenarioRun<'_>, lag: bool) -> Result<()> {
    run.mark_fault(&FaultMark::new("the master is killed").in_redis())?;
    if lag {
        run.deployment.sentinel()?.lag()?;
        run.undisturbed()?;
    }
    let before = run.deployment.sentinel()?.kill_master()?;
    let after = run.deployment.sentinel()?.wait_for_another(before)?;
    run.record_evidence(format!("Sentinel promoted node {after} after node {before}"));
    run.deployment.sentinel()?.catch_up()?;
    run.mark_healed()?;
    run.wait_until("the gateways are ready again", STEP_TIMEOUT, all_ready)?;
    run.undisturbed()
}

fn demoted_promoted(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.start(2, run.scale.load())?;
    let run_id = |run: &mut ScenarioRun<'_>, node| {
        run.deployment.sentinel().ok().and_then(|redis| redis.info(node, "server", "run_id")).unwrap_or_default()
    };
    let first = run.deployment.sentinel()?.master()?;
    let before = run_id(run, first);
    run.mark_fault(&FaultMark::new("demoted").in_redis())?;
    run.deployment.sentinel()?.lag()?;
    // Writes that only the first node has.
    run.undisturbed()?;
    let second = run.deployment.sentinel()?.fail_over()?;
    run.record_evidence(format!("node {first} was demoted for node {second}"));
    run.deployment.sentinel()?.catch_up()?;
    run.wait_until("the gateways are ready again", STEP_TIMEOUT, all_ready)?;
    run.deployment.sentinel()?.wait_until_stable()?;
    run.undisturbed()?;
    let third = run.deployment.sentinel()?.fail_over()?;
    run.record_evidence(format!("node {third} was promoted again"));
    // For some seconds both nodes report the role of master, and the proxy forwards to one of them. Wait until both agree.
    run.deployment.sentinel()?.wait_until_stable()?;
    run.mark_healed()?;
    run.wait_until("the gateways are ready again", STEP_TIMEOUT, all_ready)?;
    run.undisturbed()?;
    let after = run_id(run, third);
    run.expect("the promoted node is the first process", third == first && before == after);
    let verdict = run.judge()?;
    let gaps = verdict.counts.gaps_reported;
    run.expect(format!("clients got a gap ({gaps} gaps)"), gaps > 0);
    Ok(())
}
