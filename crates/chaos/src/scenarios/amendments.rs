//! Edits, deletions and reactions while nothing fails. Gateways then answer joins from memory, where deleted texts were.

use super::{RedisSetup, Scenario};
use crate::{
    checker::FaultMark,
    error::Result,
    run::{MANY_AMENDMENTS, ScenarioRun},
};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "amendments",
    fault: "none; many messages are edits, deletions, reactions and events",
    required: "they are delivered within 1 s; deleted texts are left out",
    redis: RedisSetup::Durable,
    arguments: &[],
    execute: amendments,
}];

fn amendments(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.amend_percent = MANY_AMENDMENTS;
    run.start(2, run.scale.load())?;
    run.mark_fault(&FaultMark::new("messages are amended").unnoticed())?;
    run.undisturbed()?;
    run.undisturbed()?;
    run.mark_healed()?;
    let verdict = run.judge()?;
    let (counts, delivery) = (verdict.counts, verdict.delivery);
    if counts.amended > 0 {
        run.record_evidence(format!("{} edits, deletions and reactions", counts.amended));
    }
    run.expect(format!("99 % are delivered within 1 s ({} ms)", delivery.p99 / 1000), delivery.p99 < 1_000_000);
    run.expect(format!("deleted texts were left out of answers ({} times)", counts.redacted), counts.redacted > 0);
    Ok(())
}
