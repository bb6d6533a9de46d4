//! The task that keeps the slot map of a cluster current.

use std::sync::{Arc, Weak};

use tokio::time::{Instant, sleep_until};
use trunkline_redis::{
    NodeAddress, newest_map,
    slots::{MapAnswer, map_commands},
    topology::{MapRefresh, Refreshed},
};

use super::{
    cluster::Cluster,
    status::{ClusterStatus, warnings},
};
use crate::redis::connection::MapRequests;

/// Asks the cluster for its map when [`MapRefresh`] says so, until the cluster is dropped; that is noticed within 15 s.
pub(super) async fn keep_current(cluster: Weak<Cluster>, requests: Arc<MapRequests>) {
    let started = Instant::now();
    let mut policy = MapRefresh::default();
    let mut epoch = 0;
    loop {
        // One refresh at a time: this loop awaits each.
        let Some(due) = policy.due() else { return };
        if due > started.elapsed() {
            tokio::select! {
                () = sleep_until(started + due) => {}
                () = requests.requested() => policy.request(),
            }
            continue;
        }
        let Some(cluster) = cluster.upgrade() else { return };
        policy.start();
        let result = refresh(&cluster, requests.take_named(), &mut epoch).await;
        policy.set_degraded(cluster.view().shards().iter().any(|shard| shard.link_state().is_err()));
        policy.end(result, started.elapsed());
    }
}

/// Asks nodes for the map until one knows of everything that is known here. `epoch` is that of the map in use.
async fn refresh(cluster: &Cluster, named: Option<NodeAddress>, epoch: &mut u64) -> Refreshed {
    let nodes = cluster.view().nodes_to_ask(named);
    let answer = match newest_map(nodes, *epoch, |node| ask(cluster, node)).await {
        Ok(answer) => answer,
        Err(reason) => {
            cluster.set_status(ClusterStatus { map: Err(reason), warnings: Vec::new() });
            return Refreshed::Failed;
        }
    };
    *epoch = answer.epoch;
    let result = cluster.set_map(&answer.map);
    cluster.set_status(ClusterStatus { map: Ok(()), warnings: warnings(&answer) });
    result
}

/// Asks a node, on its link if there is one, or any seed.
///
/// # Errors
/// Why there is no map, for people and without secrets.
async fn ask(cluster: &Cluster, node: Option<NodeAddress>) -> Result<MapAnswer, String> {
    let mut commands = map_commands();
    commands.push(redis::cmd("CONFIG").arg("GET").arg("cluster-require-full-coverage").take());
    let view = cluster.view();
    let linked = node.as_ref().and_then(|node| Some((node, view.shard_at(node)?.link_state().ok()?)));
    let Some((node, link)) = linked else { return cluster.connector.ask_for_map(node.as_ref(), &commands).await };
    let replies = link.call(commands).await.map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        cause.unwrap_or_else(|| error.to_string())
    })?;
    MapAnswer::read(replies, &node.host, cluster.connector.uses_tls()).map_err(|error| error.to_string())
}
