//! The task that keeps the slot map of a cluster current.

use std::sync::{Arc, Weak};

use tokio::time::{Instant, sleep_until};
use trunkline_redis::{
    NodeAddress,
    topology::{MapRefresh, Refreshed},
};

use super::{
    ask::{Answer, Asked, ClusterStatus, ask},
    cluster::Cluster,
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

/// Asks nodes until one answers that knows of everything that is known here, and takes its map; if there is none, the newest
/// one. `epoch` is that of the map in use.
async fn refresh(cluster: &Cluster, named: Option<NodeAddress>, epoch: &mut u64) -> Refreshed {
    let mut newest: Option<Answer> = None;
    let mut reason = String::new();
    for node in candidates(cluster, named) {
        match ask_node(cluster, &node).await {
            Ok(answer) => {
                if newest.as_ref().is_none_or(|newest| answer.epoch > newest.epoch) {
                    newest = Some(answer);
                }
                if newest.as_ref().is_some_and(|newest| newest.epoch >= *epoch) {
                    break;
                }
            }
            Err(error) => reason = error,
        }
    }
    let Some(answer) = newest else {
        cluster.set_status(ClusterStatus { map: Err(reason), warnings: Vec::new() });
        return Refreshed::Failed;
    };
    *epoch = answer.epoch;
    let result = cluster.set_map(&answer.map);
    cluster.set_status(ClusterStatus { map: Ok(()), warnings: answer.warnings });
    result
}

/// The nodes to ask, in this order: the one that a redirection named, those with a link, the others, and the seeds.
fn candidates(cluster: &Cluster, named: Option<NodeAddress>) -> Vec<NodeAddress> {
    let view = cluster.view();
    let linked = view.shards().iter().filter(|shard| shard.link_state().is_ok());
    let linked = linked.filter_map(|shard| shard.node().cloned());
    let known = view.map().into_iter().flat_map(|map| map.nodes().cloned());
    let mut nodes: Vec<NodeAddress> = Vec::new();
    for node in named.into_iter().chain(linked).chain(known).chain(cluster.seeds.iter().cloned()) {
        if !nodes.contains(&node) {
            nodes.push(node);
        }
    }
    nodes
}

async fn ask_node(cluster: &Cluster, node: &NodeAddress) -> Result<Answer, String> {
    let link = cluster.view().shard_at(node).and_then(|shard| shard.link_state().ok());
    let asked = match link {
        Some(link) => Asked::Link(link),
        None => {
            let opened = cluster.connector.open_at_any(node).await.map_err(|error| error.to_string())?;
            Asked::Connection(Box::new(opened))
        }
    };
    ask(asked, &node.host, cluster.uses_tls).await
}
