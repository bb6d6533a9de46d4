//! Several deployments with one Redis.

use super::{RedisSetup, Scenario};
use crate::{
    checker::FaultMark,
    error::Result,
    run::{STEP_TIMEOUT, ScenarioRun},
};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "two-deployments-one-redis",
    fault: "deployments with another database or another prefix use the same Redis, and the same names of users and rooms",
    required: "the promise holds in each; no client gets anything of another deployment",
    redis: RedisSetup::Durable,
    arguments: &[],
    execute: two_deployments,
}];

/// The other deployments: name, path of the URL, arguments.
const OTHERS: [(&str, &str, &[&str]); 2] = [("database-1", "/1", &[]), ("prefix", "", &["--redis-prefix", "other"])];

fn two_deployments(run: &mut ScenarioRun<'_>) -> Result<()> {
    let load = run.scale.load();
    run.start(2, load)?;
    run.mark_fault(&FaultMark::new("other deployments").unnoticed())?;
    let mut others = Vec::new();
    for (name, database, arguments) in OTHERS {
        let mut deployment = run.deployment.beside(database, arguments, &run.folder.join(name))?;
        deployment.start(1)?;
        run.wait_until("the other balancer uses its gateway", STEP_TIMEOUT, |_| deployment.gets_traffic(1))?;
        let clients = run.start_others(name, deployment.url(), run.names.clone(), load)?;
        // Clients end before the servers that they are connected to.
        others.push((name, clients, deployment));
    }
    run.undisturbed()?;
    // All gateways read their logs again.
    let cut = run.deployment.redis()?.cli(&["CLIENT", "KILL", "TYPE", "pubsub"])?;
    run.undisturbed()?;
    let databases = run.deployment.redis()?.cli(&["INFO", "keyspace"])?;
    let prefixed = run.deployment.redis()?.cli(&["EXISTS", "tl:{chaos-0}:log", "other:{chaos-0}:log"])?;
    if databases.contains("db1:") && prefixed == "2" {
        run.record_evidence(format!("three logs of one room were in use; {cut} subscriptions were cut"));
    }
    for (name, clients, _deployment) in others {
        let verdict = run.judge_others(name, clients)?;
        let gaps = verdict.counts.gaps_reported;
        run.expect(format!("{name}: no client got a gap ({gaps} gaps)"), gaps == 0);
    }
    run.mark_healed()?;
    run.undisturbed()?;
    let verdict = run.judge()?;
    let (gaps, closed) = (verdict.counts.gaps_reported, verdict.counts.closed);
    run.expect(format!("no client noticed: {closed} sockets lost, {gaps} gaps"), closed + gaps == 0);
    Ok(())
}
