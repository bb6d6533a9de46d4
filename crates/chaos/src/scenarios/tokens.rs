//! Users of another service: tokens that expire and are refreshed while gateways end.

use super::{RedisSetup, Scenario, gateways::restart_all};
use crate::{
    checker::{FaultMark, TOKEN_LIFETIME},
    error::Result,
    run::{MANY_AMENDMENTS, ScenarioRun},
};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "tokens",
    fault: "a gateway is killed, then all restart, while the users' short-lived tokens expire and are refreshed",
    required: "no socket closes because of an expired token; all clients reconnect; edits, deletions and reactions agree",
    redis: RedisSetup::Durable,
    arguments: &["--drain-window", "3s"],
    execute: tokens,
}];

fn tokens(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.use_tokens()?;
    run.amend_percent = MANY_AMENDMENTS;
    let load = run.scale.load();
    run.start(3, load)?;
    run.kill_gateway(2)?;
    // Tokens expire and are refreshed while a gateway is gone.
    run.run_for(run.scale.pick(TOKEN_LIFETIME, TOKEN_LIFETIME * 5))?;
    run.deployment.start(2)?;
    run.wait_until_served(2)?;
    run.mark_healed()?;
    run.mark_fault(&FaultMark::new("rolling restart").closing_with(&[1012]))?;
    restart_all(run)?;
    run.mark_healed()?;
    run.run_for(run.scale.pick(TOKEN_LIFETIME, TOKEN_LIFETIME * 5))?;
    let verdict = run.judge()?;
    let counts = verdict.counts;
    let never_back: u64 = verdict.faults.iter().map(|fault| fault.never_back).sum();
    run.expect(format!("all clients reconnected ({never_back} did not)"), never_back == 0);
    let refreshed = counts.refreshed;
    run.expect(format!("tokens were refreshed on open sockets ({refreshed})"), refreshed > u64::from(load.clients()));
    run.expect(format!("texts were edited, deleted and reacted to ({} times)", counts.amended), counts.amended > 0);
    run.expect(format!("deleted texts were left out of answers ({} times)", counts.redacted), counts.redacted > 0);
    Ok(())
}
