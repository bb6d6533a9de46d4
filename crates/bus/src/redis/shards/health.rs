//! The checks of readiness.

use super::{shard::Shard, status::ClusterStatus, view::View};
use crate::Health;

const CHECKS: [&str; 5] = ["redis", "writes", "presence", "eviction", "subscription"];

/// The states of [`CHECKS`] of one shard. If the link is down, only that is known.
fn states(shard: &Shard) -> [Result<(), String>; 5] {
    let unreachable = || Err("Redis cannot be reached".to_owned());
    let [redis, writes, presence, eviction] = match shard.link_state() {
        Ok(link) => {
            let probed = link.probed();
            let presence = probed.presence.unwrap_or_else(|| Err("not checked yet".to_owned()));
            [Ok(()), probed.writes, presence, probed.eviction]
        }
        Err(reason) => [Err(reason), unreachable(), unreachable(), unreachable()],
    };
    [redis, writes, presence, eviction, shard.subscription_health().state()]
}

/// The checks of a single server.
pub(super) fn of_single(shard: &Shard) -> Vec<Health> {
    CHECKS.into_iter().zip(states(shard)).map(|(check, state)| Health::new(check, state)).collect()
}

/// The checks of a cluster. One passes if at least one shard passes it; the other shards are named as degraded.
pub(super) fn of_cluster(view: &View, status: ClusterStatus) -> Vec<Health> {
    let shards: Vec<_> =
        view.shards().iter().filter_map(|shard| Some((shard.node()?.to_string(), states(shard)))).collect();
    of_shards(&shards, status)
}

fn of_shards(shards: &[(String, [Result<(), String>; 5])], status: ClusterStatus) -> Vec<Health> {
    let mut health: Vec<Health> = CHECKS
        .into_iter()
        .enumerate()
        .map(|(index, check)| {
            let works = shards.iter().any(|(_, states)| states[index].is_ok());
            let first = shards.first().map(|(shard, states)| (shard, &states[index]));
            let state = match (works, first, &status.map) {
                (true, ..) => Ok(()),
                (false, Some((shard, Err(reason))), _) => Err(format!("shard {shard}: {reason}")),
                (false, _, Err(reason)) => Err(reason.clone()),
                (false, ..) => Err("the slots of the cluster are not known yet".to_owned()),
            };
            Health::new(check, state)
        })
        .collect();
    for (shard, states) in shards {
        // What depends on the link is not repeated for a shard without one.
        let failed = CHECKS
            .iter()
            .zip(states)
            .enumerate()
            .filter_map(|(index, (check, state))| state.as_ref().err().map(|reason| (index, check, reason)));
        let is_down = states[0].is_err();
        for (index, check, reason) in failed.filter(|(index, ..)| !is_down || *index == 0) {
            if health[index].state.is_ok() {
                let what = if index == 0 { String::new() } else { format!("{check}: ") };
                health[index].degraded.push(format!("shard {shard}: {what}{reason}"));
            }
        }
    }
    if !shards.is_empty() {
        health[0].degraded.extend(status.map.err().map(|reason| format!("slot map: {reason}")));
        health[0].degraded.extend(status.warnings);
    }
    health
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down(reason: &str) -> [Result<(), String>; 5] {
        [Err(reason), Err("x"), Err("x"), Err("x"), Err("x")].map(|state| state.map_err(str::to_owned))
    }

    const UP: [Result<(), String>; 5] = [Ok(()), Ok(()), Ok(()), Ok(()), Ok(())];

    fn known() -> ClusterStatus {
        ClusterStatus { map: Ok(()), warnings: Vec::new() }
    }

    #[test]
    fn lost_shard_degrades_and_losing_all_fails() {
        let shards = [("a:1".to_owned(), UP), ("a:2".to_owned(), down("no answer"))];
        let health = of_shards(&shards, known());
        assert!(health.iter().all(|health| health.state.is_ok()));
        let degraded: Vec<_> = health.iter().flat_map(|health| health.degraded.clone()).collect();
        assert_eq!(degraded, ["shard a:2: no answer"]);

        let health = of_shards(&[("a:1".to_owned(), down("no answer"))], known());
        assert_eq!(health[0].state, Err("shard a:1: no answer".to_owned()));
        assert!(health.iter().all(|health| health.state.is_err() && health.degraded.is_empty()));
    }

    #[test]
    fn shard_that_refuses_writes_is_named() {
        let mut full = UP;
        full[1] = Err("OOM".to_owned());
        let health = of_shards(&[("a:1".to_owned(), UP), ("a:2".to_owned(), full)], known());
        assert_eq!(health[1].degraded, ["shard a:2: writes: OOM"]);
    }

    #[test]
    fn unknown_map_fails_until_there_is_one_and_degrades_afterwards() {
        let health = of_shards(&[], ClusterStatus::default());
        assert!(health.iter().all(|health| health.state.is_err()));
        let status = ClusterStatus { map: Err("no answer".to_owned()), warnings: vec!["coverage".to_owned()] };
        let health = of_shards(&[("a:1".to_owned(), UP)], status);
        assert_eq!(health[0].degraded, ["slot map: no answer", "coverage"]);
    }
}
