//! Presence of users whose gateway is killed. Every scenario checks that presence is right at the end.

use super::{RedisSetup, Scenario};
use crate::{
    checker::ClientLoad,
    error::Result,
    run::{STEP_TIMEOUT, ScenarioRun},
};

/// Users who do not reconnect.
const DEPARTED_USERS: [&str; 3] = ["ghost1", "ghost2", "ghost3"];
/// Maximum time in µs until the users of a killed gateway are reported as gone: the lease.
const LEASE_US: u64 = 15_000_000;

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "ghosts",
    fault: "a gateway is killed, and some of its users do not reconnect",
    required: "these users are reported as gone once, within a lease (15 s); no other user is",
    redis: RedisSetup::Durable,
    arguments: &[],
    execute: ghosts,
}];

fn ghosts(run: &mut ScenarioRun<'_>) -> Result<()> {
    // Five tabs of one user count as one user, on any gateways.
    run.start(3, ClientLoad { tabs: 5, ..run.scale.load() })?;
    let direct = format!("http://127.0.0.1:{}", run.deployment.member(2)?.port);
    let before = run.deployment.sockets();
    let departed = DEPARTED_USERS.map(|name| {
        let arguments = ["--user", name, "--room", "chaos-0", "slow", "--pace", "1000000", "--for", "5m"];
        run.start_attack_at(&direct, &arguments)
    });
    let departed = departed.into_iter().collect::<Result<Vec<_>>>()?;
    let all = before + DEPARTED_USERS.len() as u32;
    run.wait_until("the users who will not reconnect are connected", STEP_TIMEOUT, |deployment| {
        deployment.sockets() == all
    })?;
    run.undisturbed()?;
    run.kill_gateway(2)?;
    for user in departed {
        run.finish_attack(user, STEP_TIMEOUT)?;
    }
    run.undisturbed()?;
    run.mark_healed()?;
    let verdict = run.judge()?;
    let fault = verdict.faults.first().map_or(0, |fault| fault.t);
    for name in DEPARTED_USERS {
        let Some(user) = verdict.unknown_users.iter().find(|unknown| unknown.user == name) else {
            run.expect(format!("{name} was reported as present"), false);
            continue;
        };
        let after = user.last_left.map(|left| left.saturating_sub(fault));
        run.expect(
            format!(
                "{name}: {} clients saw it join, {} saw it leave, {} saw it leave twice",
                user.views, user.views_left, user.views_left_again
            ),
            user.views_left > 0 && user.views_left_again == 0,
        );
        run.expect(
            format!("{name} was reported as gone within a lease ({:.1} s)", after.unwrap_or_default() as f64 / 1e6),
            after.is_some_and(|after| after <= LEASE_US),
        );
    }
    let flickers = verdict.counts.flickers;
    run.expect(format!("no present user was reported as gone ({flickers} reports)"), flickers == 0);
    Ok(())
}
