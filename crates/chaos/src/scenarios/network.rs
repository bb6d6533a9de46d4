//! Faults of the network between clients and balancer.

use std::time::Duration;

use super::{DETECTION_LIMIT_US, RedisSetup, Scenario};
use crate::{checker::FaultMark, error::Result, run::ScenarioRun, verdict::millis};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "network-drops",
    fault: "the network between clients and balancer drops all bytes, then resets connections",
    required: "clients disconnect within 1.6 ping intervals, and resume",
    redis: RedisSetup::Durable,
    arguments: &["--ping-interval", "5s"],
    execute: drops,
}];

fn drops(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.check_resources();
    run.deployment.insert_network()?;
    run.start(3, run.scale.load())?;
    run.mark_fault(&FaultMark::new("blackhole"))?;
    run.deployment.command_network("blackhole")?;
    // 1.6 ping intervals of 5 s, and a reserve.
    run.run_for(Duration::from_secs(12))?;
    run.deployment.command_network("heal")?;
    run.mark_healed()?;
    run.run_for(Duration::from_secs(5))?;
    run.mark_fault(&FaultMark::new("reset"))?;
    run.deployment.command_network("cut")?;
    run.mark_healed()?;
    run.undisturbed()?;
    let verdict = run.judge()?;
    let left = verdict.faults.first().and_then(|fault| fault.last_lost);
    run.expect(
        format!("clients disconnected within 1.6 ping intervals (the last after {})", millis(left)),
        left.is_some_and(|left| left <= DETECTION_LIMIT_US),
    );
    let back: Vec<u64> = verdict.faults.iter().map(|fault| fault.recovery.count).collect();
    run.record_evidence(format!("sockets lost and reopened in the two faults: {back:?}"));
    run.expect("clients noticed both faults", back.iter().all(|count| *count > 0));
    let resumed = verdict.counts.gaps_reported == 0;
    run.expect(format!("all clients resumed without a gap ({} gaps)", verdict.counts.gaps_reported), resumed);
    Ok(())
}
