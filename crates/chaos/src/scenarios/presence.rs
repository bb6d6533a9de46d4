//! What others are told of those who go with their gateway. That presence is right in the end is judged in every row.

use super::{RedisSetup, Scenario};
use crate::{
    checker::ClientLoad,
    error::Result,
    run::{STEP_TIMEOUT, ScenarioRun},
};

/// Who does not come back.
const DEPARTED_USERS: [&str; 3] = ["ghost1", "ghost2", "ghost3"];
/// How long a killed gateway stays in anybody's picture, in microseconds: a lease.
const LEASE_US: u64 = 15_000_000;

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "ghosts",
    fault: "a gateway is killed, and some of its users stay away",
    required: "they are told to have gone, once, within a lease (15 s); nobody else is",
    redis: RedisSetup::Durable,
    arguments: &[],
    execute: ghosts,
}];

fn ghosts(run: &mut ScenarioRun<'_>) -> Result<()> {
    // Five tabs of one user are one user, wherever they are.
    run.start(3, ClientLoad { tabs: 5, ..run.scale.load() })?;
    let direct = format!("http://127.0.0.1:{}", run.deployment.member(2)?.port);
    let before = run.deployment.sockets();
    let ghosts = DEPARTED_USERS.map(|name| {
        let arguments = ["--user", name, "--room", "chaos-0", "slow", "--pace", "1000000", "--for", "5m"];
        run.start_attack_at(&direct, &arguments)
    });
    let ghosts = ghosts.into_iter().collect::<Result<Vec<_>>>()?;
    let all = before + DEPARTED_USERS.len() as u32;
    run.wait_until("the ghosts-to-be are there", STEP_TIMEOUT, |deployment| deployment.sockets() == all)?;
    run.undisturbed()?;
    run.kill_gateway(2)?;
    for ghost in ghosts {
        run.finish_attack(ghost, STEP_TIMEOUT)?;
    }
    run.undisturbed()?;
    run.mark_healed()?;
    let verdict = run.judge()?;
    let fault = verdict.faults.first().map_or(0, |fault| fault.t);
    for name in DEPARTED_USERS {
        let Some(ghost) = verdict.strangers.iter().find(|stranger| stranger.user == name) else {
            run.expect(format!("{name} was told to be there"), false);
            continue;
        };
        let after = ghost.last_went.map(|went| went.saturating_sub(fault));
        run.expect(
            format!("{name}, known to {}, went for {}, twice for {}", ghost.told, ghost.went, ghost.went_again),
            ghost.went > 0 && ghost.went_again == 0,
        );
        run.expect(
            format!("{name} was gone within a lease ({:.1} s)", after.unwrap_or_default() as f64 / 1e6),
            after.is_some_and(|after| after <= LEASE_US),
        );
    }
    let flickers = verdict.counts.flickers;
    run.expect(format!("nobody was told to have gone who was there ({flickers} were)"), flickers == 0);
    Ok(())
}
