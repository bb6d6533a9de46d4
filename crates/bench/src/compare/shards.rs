//! The workload `shards`: what gateways and masters of a Redis Cluster do per send, how they are connected, and how long a
//! killed master is missed. With fewer than three masters no replica is promoted, so no master is killed.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use trunkline_testbed::{RedisCluster, StopSignal};

use super::{
    deployment::{PeerDeployment, masters},
    figures::{Figure, FigureValues, figures},
    plan::{BenchCell, BenchPlan, Peer},
    probe::SendProbe,
    programs::PreparedPeers,
    running_load::RunningLoad,
};
use crate::{
    dialect::Dialect,
    error::{BenchError, Result},
    load::log_in,
};

/// Maximum time of the load.
const LOAD_TIMEOUT: Duration = Duration::from_secs(180);
/// Maximum time from a killed master to an acknowledged send.
const FAILOVER_TIMEOUT: Duration = Duration::from_secs(60);
/// Fewer masters cannot agree that one of them is away.
const MIN_MASTERS_FOR_FAILOVER: u32 = 3;

/// Measures the gateways with a cluster of so many masters, once.
pub(super) fn measure(
    cell: &BenchCell,
    peer: Peer,
    plan: BenchPlan,
    prepared: &PreparedPeers,
    stop: &StopSignal,
) -> Result<FigureValues> {
    let mut deployment = PeerDeployment::start(peer, cell.instances, cell.masters, prepared, stop)?;
    let mut command = Command::new(&prepared.programs.bench);
    command.args(["load", "--dialect", peer.dialect()]).args(cell.arguments(plan));
    for port in deployment.ports() {
        command.arg("--target").arg(format!("127.0.0.1:{port}"));
    }
    for pid in deployment.pids().flatten() {
        command.arg("--server-pid").arg(pid.to_string());
    }
    for pid in deployment.redis_pids()? {
        command.arg("--redis-pid").arg(pid.to_string());
    }
    let deadline = Instant::now() + LOAD_TIMEOUT;
    let mut load = RunningLoad::start(command)?;
    load.wait_open(deadline, stop)?;
    let links = links(cluster(&mut deployment)?)?;
    let mut values = figures(cell, peer, &load.finish(deadline, stop)?);
    let instances = f64::from(cell.instances);
    let most = links.iter().map(|links| links.connections).max().unwrap_or_default();
    values.insert(Figure::Connections, f64::from(most) / instances);
    let subscriptions: u32 = links.iter().map(|links| links.subscriptions).sum();
    values.insert(Figure::Subscriptions, f64::from(subscriptions) / instances);
    if cell.masters >= MIN_MASTERS_FOR_FAILOVER {
        values.insert(Figure::Failover, failover(&mut deployment, stop)?.as_secs_f64());
    }
    Ok(values)
}

/// Kills the master of a room, and returns the time until a send to the room is acknowledged.
fn failover(deployment: &mut PeerDeployment, stop: &StopSignal) -> Result<Duration> {
    const ROOM: &str = "failover";
    let port = deployment.ports().next().unwrap_or_default();
    let cookies = log_in(Dialect::Trunkline, &[([127, 0, 0, 1], port).into()], 1)?;
    let mut probe = SendProbe::join(port, cookies.first().map_or("", String::as_str), ROOM)?;
    probe.time_to_acknowledgement(FAILOVER_TIMEOUT)?;
    let cluster = cluster(deployment)?;
    cluster.wait_until_stable()?;
    let master = cluster.master_of(&format!("tl:{{{ROOM}}}:log"))?;
    cluster.kill(master)?;
    if stop.is_requested() {
        return Err(BenchError::Stopped);
    }
    probe.time_to_acknowledgement(FAILOVER_TIMEOUT)
}

fn cluster(deployment: &mut PeerDeployment) -> Result<&mut RedisCluster> {
    deployment.cluster().ok_or_else(|| BenchError::Measurement("shards need a cluster".to_owned()))
}

/// What gateways have at one master.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct MasterLinks {
    connections: u32,
    /// Channels with sharded subscriptions, over all connections.
    subscriptions: u32,
}

impl MasterLinks {
    /// From the reply to `CLIENT LIST` (<https://redis.io/docs/latest/commands/client-list/>). Replicas (flag `S`), masters
    /// (`M`) and the connection that asks are left out.
    fn parse(list: &str) -> Self {
        let mut links = Self::default();
        for line in list.lines().filter(|line| !line.trim().is_empty()) {
            let field = |name: &str| {
                let mut pairs = line.split(' ').filter_map(|pair| pair.split_once('='));
                pairs.find(|(key, _)| *key == name).map_or("", |(_, value)| value)
            };
            if field("flags").contains(['S', 'M']) || field("cmd").starts_with("client") {
                continue;
            }
            links.connections += 1;
            links.subscriptions += field("ssub").parse().unwrap_or(0);
        }
        links
    }
}

/// The links of all gateways to each master.
fn links(cluster: &RedisCluster) -> Result<Vec<MasterLinks>> {
    let list = |index| Ok(MasterLinks::parse(&cluster.node(index).cli(&["CLIENT", "LIST"])?));
    masters(cluster)?.map(list).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_gateways_are_counted() {
        let list = "id=3 addr=127.0.0.1:1 flags=S db=0 sub=0 psub=0 ssub=0 cmd=replconf user=default\n\
                    id=8 addr=127.0.0.1:2 flags=P db=0 sub=0 psub=0 ssub=601 cmd=ssubscribe user=default\n\
                    id=9 addr=127.0.0.1:3 flags=N db=0 sub=0 psub=0 ssub=0 cmd=evalsha user=default\n\
                    id=10 addr=127.0.0.1:4 flags=N db=0 sub=0 psub=0 ssub=0 cmd=client|list user=default\n";
        assert_eq!(MasterLinks::parse(list), MasterLinks { connections: 2, subscriptions: 601 });
        assert_eq!(MasterLinks::parse("\n"), MasterLinks::default());
    }
}
