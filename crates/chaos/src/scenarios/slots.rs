//! Slots of a Redis Cluster that move.

use std::time::Duration;

use trunkline_testbed::key_slot;

use super::{
    RedisSetup, Scenario,
    cluster::{ROOM_KEY, expect_continuity, load, wait_until_healthy},
};
use crate::{checker::FaultMark, error::Result, run::ScenarioRun};

/// Maximum time for which a client may wait for a message that is due, while whole slots move. Half of the time after which
/// a gateway finds a message by comparing heads.
const MAX_WAIT: Duration = Duration::from_secs(5);

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "cluster-slots-move",
        fault: "slots move from one master of a Redis Cluster to another, and back",
        required: "no client gets a gap, loses its socket, or waits for longer than 5 s; nothing acknowledged is lost",
        redis: RedisSetup::ClusterWithoutReplicas,
        arguments: &[],
        execute: slots_move,
    },
    Scenario {
        name: "cluster-node-joins",
        fault: "a master joins the Redis Cluster, and slots move to it",
        required: "the same",
        redis: RedisSetup::ClusterWithoutReplicas,
        arguments: &[],
        execute: node_joins,
    },
    Scenario {
        name: "cluster-node-leaves",
        fault: "the slots of a master move to the others, and it leaves the Redis Cluster",
        required: "the same",
        redis: RedisSetup::ClusterWithoutReplicas,
        arguments: &[],
        execute: node_leaves,
    },
    Scenario {
        name: "cluster-ask",
        fault: "for 3 s, half of a room's keys are at one master and half at another",
        required: "the same; sends to the room succeed afterwards",
        redis: RedisSetup::ClusterWithoutReplicas,
        arguments: &[],
        execute: half_migrated,
    },
    Scenario {
        name: "cluster-split-map",
        fault: "a gateway is stopped while slots move, and continues with its old slot map",
        required: "the same",
        redis: RedisSetup::ClusterWithoutReplicas,
        arguments: &[],
        execute: split_map,
    },
];

/// Lets the checker accept new epochs from now on. The mark ends at once: what is acknowledged later must not be lost.
fn allow_new_epochs(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.mark_fault(&FaultMark::new("slots move").in_redis().unnoticed())?;
    run.mark_healed()
}

/// Number of slots that move. They are the first ones of node 0, and that of [`ROOM_KEY`] is among them.
fn slots(run: &ScenarioRun<'_>) -> usize {
    run.scale.pick(300, 1500)
}

/// Moves slots. Returns when all nodes agree about the owners.
fn reshard(run: &mut ScenarioRun<'_>, from: usize, to: usize) -> Result<()> {
    let count = slots(run);
    let cluster = run.deployment.cluster()?;
    cluster.reshard(count, from, to)?;
    let owner = cluster.master_of(ROOM_KEY)?;
    if owner == to {
        run.record_evidence(format!("{count} slots moved from node {from} to node {to}"));
    }
    Ok(())
}

fn judge(run: &mut ScenarioRun<'_>, longest_wait: Duration) -> Result<()> {
    run.undisturbed()?;
    wait_until_healthy(run)?;
    let verdict = run.judge()?;
    expect_continuity(run, &verdict, longest_wait);
    Ok(())
}

fn slots_move(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.start(3, load(run))?;
    allow_new_epochs(run)?;
    reshard(run, 0, 1)?;
    // Longer than clients may wait, so that a gateway that does not follow the slots is noticed.
    run.run_for(MAX_WAIT + Duration::from_secs(3))?;
    reshard(run, 1, 0)?;
    judge(run, MAX_WAIT)
}

fn node_joins(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.start(3, load(run))?;
    allow_new_epochs(run)?;
    let joined = run.deployment.cluster()?.add_node(None)?;
    reshard(run, 0, joined)?;
    judge(run, MAX_WAIT)
}

fn node_leaves(run: &mut ScenarioRun<'_>) -> Result<()> {
    let leaving = run.deployment.cluster()?.add_node(None)?;
    reshard(run, 0, leaving)?;
    run.start(3, load(run))?;
    allow_new_epochs(run)?;
    run.deployment.cluster()?.remove_node(leaving)?;
    run.record_evidence(format!("node {leaving} left"));
    judge(run, MAX_WAIT)
}

fn half_migrated(run: &mut ScenarioRun<'_>) -> Result<()> {
    const OPEN: Duration = Duration::from_secs(3);
    run.start(3, load(run))?;
    allow_new_epochs(run)?;
    let cluster = run.deployment.cluster()?;
    let from = cluster.master_of(ROOM_KEY)?;
    let open = cluster.open_slot(key_slot(ROOM_KEY), (from + 1) % 3)?;
    let mut number = 0;
    let moved = cluster.move_keys(open, |key| {
        number += 1;
        key == ROOM_KEY || number % 2 == 0
    })?;
    let left = cluster.keys_left(open)?.len();
    run.run_for(OPEN)?;
    run.deployment.cluster()?.finish_move(open)?;
    if moved > 0 && left > 0 {
        run.record_evidence(format!("{moved} keys of a room had moved, {left} had not"));
    }
    judge(run, OPEN + MAX_WAIT)
}

fn split_map(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.start(3, load(run))?;
    allow_new_epochs(run)?;
    run.deployment.member(2)?.gateway.pause()?;
    let moved = reshard(run, 0, 1);
    run.deployment.member(2)?.gateway.resume()?;
    moved?;
    run.record_evidence("gw-2 was stopped meanwhile");
    run.wait_until_served(2)?;
    run.undisturbed()?;
    // Clients of the stopped gateway wait for as long as it is stopped.
    judge(run, MAX_WAIT * 2)
}
