//! Faults of masters of a Redis Cluster.

use std::time::Duration;

use trunkline_testbed::key_slot;

use super::{NO_LONG_WAIT, RedisSetup, Scenario, hostile::expect_same_latency, redis::expect_sends_again};
use crate::{
    checker::{ClientLoad, FaultMark, NamePrefixes},
    deployment::{Deployment, GatewayInstance},
    error::{ChaosError, Result},
    run::{STEP_TIMEOUT, ScenarioRun},
    verdict::{CheckerVerdict, FaultOutcome, millis},
};

/// A key of the first room of the checker's clients.
pub(super) const ROOM_KEY: &str = "tl:{chaos-0}:log";

/// Maximum time until gateways have replaced connections that stalled: two probe intervals of 2 s without a probe, one more
/// until the first of them, and a reserve for a busy machine.
const STALLED_LIMIT: Duration = Duration::from_secs(10);
/// Beginning of the expectation that each subscription that stalled was replaced.
pub(crate) const SUBSCRIBED_AGAIN: &str = "the gateways subscribed again";

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "cluster-master-killed",
        fault: "a master of a Redis Cluster is killed, and its replica is promoted",
        required: "sends to its rooms are refused, and accepted within 5 s after the promotion; no socket closes",
        redis: RedisSetup::Cluster,
        arguments: &[],
        execute: master_killed,
    },
    Scenario {
        name: "cluster-shard-down",
        fault: "a master without a replica stops answering, and continues later",
        required: "its rooms catch up; rooms of other masters keep their latency; gateways stay ready and name the shard",
        redis: RedisSetup::ClusterWithoutReplicas,
        arguments: &[],
        execute: shard_down,
    },
    Scenario {
        name: "cluster-shard-stalls",
        fault: "the network forgets all connections to one master: they are not closed, and nothing passes",
        required: "links and subscriptions are replaced within 10 s; no socket closes; no client gets a gap",
        redis: RedisSetup::ClusterWithoutReplicas,
        arguments: &[],
        execute: shard_stalls,
    },
];

/// Clients in rooms of all masters.
pub(super) fn load(run: &ScenarioRun<'_>) -> ClientLoad {
    ClientLoad { rooms: 5, ..run.scale.load() }
}

/// Waits until all gateways are ready and reach all masters.
pub(super) fn wait_until_healthy(run: &mut ScenarioRun<'_>) -> Result<()> {
    let healthy = |deployment: &mut Deployment| deployment.members.iter().all(GatewayInstance::is_healthy);
    run.wait_until("all gateways reach all masters", STEP_TIMEOUT, healthy).map(drop)
}

/// Expects that no client got a gap, lost its socket or waited for longer than `limit` for a message that was due.
pub(super) fn expect_continuity(run: &mut ScenarioRun<'_>, verdict: &CheckerVerdict, limit: Duration) {
    let (gaps, closed) = (verdict.counts.gaps_reported, verdict.counts.closed);
    run.expect(format!("no client got a gap ({gaps} gaps)"), gaps == 0);
    run.expect(format!("no socket was lost ({closed} lost)"), closed == 0);
    let longest = verdict.silence.max;
    let what = format!("{NO_LONG_WAIT} {} s (longest wait: {})", limit.as_secs(), millis(Some(longest)));
    run.expect(what, u128::from(longest) <= limit.as_micros());
}

fn master_killed(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.start(3, load(run))?;
    run.mark_fault(&FaultMark::new("a master is killed").in_redis())?;
    let cluster = run.deployment.cluster()?;
    let before = cluster.master_of(ROOM_KEY)?;
    cluster.kill(before)?;
    let after = cluster.wait_for_another(ROOM_KEY, before)?;
    run.record_evidence(format!("node {after} was promoted after node {before}"));
    run.mark_healed()?;
    run.deployment.cluster()?.restart(before)?;
    run.deployment.cluster()?.wait_until_stable()?;
    wait_until_healthy(run)?;
    run.undisturbed()?;
    expect_sends_again(run)?;
    let Some(verdict) = run.verdict.clone() else { return Ok(()) };
    run.expect(format!("no socket was lost ({} lost)", verdict.counts.closed), verdict.counts.closed == 0);
    Ok(())
}

/// A prefix of room names with which the first `rooms` rooms are at masters that `accepts`.
fn rooms_at(run: &mut ScenarioRun<'_>, rooms: u32, accepts: impl Fn(usize) -> bool) -> Result<String> {
    let view = run.deployment.cluster()?.view()?;
    let fits = |room: &str| {
        let slot = key_slot(&format!("tl:{{{room}}}"));
        view.iter().any(|(index, node)| node.owns(slot) && accepts(*index))
    };
    let mut prefixes = (0..10_000).map(|number| format!("chaos{number}"));
    let found = prefixes.find(|prefix| (0..rooms).all(|room| fits(&format!("{prefix}-{room}"))));
    found.ok_or_else(|| ChaosError::Scenario("no room names fit the slots".to_owned()))
}

fn shard_down(run: &mut ScenarioRun<'_>) -> Result<()> {
    const DOWN: usize = 0;
    // More rooms whose names differ in the last digit only are never at one of three masters.
    let load = ClientLoad { rooms: 2, ..run.scale.load() };
    run.names.rooms = rooms_at(run, load.rooms, |node| node == DOWN)?;
    let others = NamePrefixes { users: "other".to_owned(), rooms: rooms_at(run, load.rooms, |node| node != DOWN)? };
    run.start_gateways(3)?;
    let mut others = run.start_others("others", run.deployment.url(), others, load)?;
    run.start_clients(load)?;
    others.mark_fault(&FaultMark::new("another shard does not answer").unnoticed())?;
    run.mark_fault(&FaultMark::new("the shard does not answer"))?;
    run.deployment.cluster()?.pause(DOWN)?;
    let port = run.deployment.cluster()?.node(DOWN).port();
    let shard = format!("shard 127.0.0.1:{port}: ");
    run.wait_until("/readyz names the shard", STEP_TIMEOUT, |deployment| {
        let answers = |member: &GatewayInstance| member.get("/readyz");
        deployment.members.iter().all(|member| answers(member).is_some_and(|answer| answer.body.contains(&shard)))
    })?;
    run.record_evidence(format!("/readyz names {shard}"));
    run.run_for(run.scale.pick(Duration::from_secs(6), Duration::from_secs(30)))?;
    let ready = run.deployment.members.iter().all(|m| m.get("/readyz").is_some_and(|answer| answer.status == 200));
    run.expect("the gateways stay ready", ready);
    others.mark_healed()?;
    run.deployment.cluster()?.resume(DOWN)?;
    run.mark_healed()?;
    wait_until_healthy(run)?;
    run.undisturbed()?;
    let verdict = run.judge_others("rooms of other masters", others)?;
    let counts = verdict.counts;
    let refused: u64 = verdict.faults.iter().map(|fault| fault.unavailable).sum();
    run.expect(
        format!("rooms of other masters: {refused} sends refused, {} gaps", counts.gaps_reported),
        refused + counts.gaps_reported == 0,
    );
    if let Some(&FaultOutcome { t, healed: Some(healed), .. }) = verdict.faults.first() {
        let [before, meanwhile] = [0..t, t..healed].map(|time| millis(Some(verdict.usual_p99(time))));
        run.note(format!("rooms of other masters: usual p99 per second {before} before, {meanwhile} meanwhile"));
    }
    expect_same_latency(run, &verdict);
    expect_sends_again(run)?;
    let gaps = run.verdict.as_ref().map_or(0, |verdict| verdict.counts.gaps_reported);
    run.expect(format!("its rooms caught up without a gap ({gaps} gaps)"), gaps == 0);
    Ok(())
}

/// Number of clients of a node that are subscribed to sharded channels.
fn sharded_subscriptions(run: &mut ScenarioRun<'_>, node: usize) -> Result<usize> {
    let clients = run.deployment.cluster()?.node(node).cli(&["CLIENT", "LIST"])?;
    Ok(clients.lines().filter(|line| !line.contains(" ssub=0 ")).count())
}

fn shard_stalls(run: &mut ScenarioRun<'_>) -> Result<()> {
    // Gateways find the proxy in the place of the master.
    let master = run.deployment.cluster()?.master_of(ROOM_KEY)?;
    let port = run.deployment.cluster()?.node(master).port();
    let mut network = run.deployment.network_proxy("network", port)?;
    let announced = network.port.to_string();
    run.deployment.cluster()?.node(master).cli(&["CONFIG", "SET", "cluster-announce-port", &announced])?;
    run.wait_until("all nodes know the announced port", STEP_TIMEOUT, |deployment| {
        let Ok(cluster) = deployment.cluster() else { return false };
        let knows = |node: usize| cluster.node(node).cli(&["CLUSTER", "NODES"]).unwrap_or_default();
        (0..cluster.node_count()).all(|node| knows(node).contains(&format!(":{announced}@")))
    })?;
    run.start_gateways(3)?;
    wait_until_healthy(run)?;
    run.start_clients(load(run))?;
    run.mark_fault(&FaultMark::new("connections to a master stall").unnoticed())?;
    let stalled = sharded_subscriptions(run, master)?;
    if stalled > 0 {
        run.record_evidence(format!("{stalled} subscriptions stalled"));
    }
    network.command("stall")?;
    run.run_for(STALLED_LIMIT + Duration::from_secs(3))?;
    // The server keeps those that stalled.
    let new = sharded_subscriptions(run, master)?.saturating_sub(stalled);
    run.expect(format!("{SUBSCRIBED_AGAIN} ({new} of {stalled})"), new >= stalled);
    run.mark_healed()?;
    wait_until_healthy(run)?;
    run.undisturbed()?;
    let verdict = run.judge()?;
    expect_continuity(run, &verdict, STALLED_LIMIT);
    Ok(())
}
