//! Asks a node of a cluster for the slot map and for the state of the cluster.

use std::sync::Arc;

use redis::{Cmd, Value, aio::ConnectionLike as _};
use trunkline_redis::{CommandConnection, info_field, slots::SlotMap};

use crate::redis::{
    config::RESPONSE_TIMEOUT,
    connection::{Link, within},
};

/// What the last look at a cluster found. For people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClusterStatus {
    /// Whether the slots are known; otherwise why not.
    pub(super) map: Result<(), String>,
    /// What is wrong although rooms of some shards work.
    pub(super) warnings: Vec<String>,
}

impl Default for ClusterStatus {
    fn default() -> Self {
        Self { map: Err("the slots of the cluster are not known yet".to_owned()), warnings: Vec::new() }
    }
}

/// The connection on which a node is asked.
pub(super) enum Asked {
    Link(Arc<Link>),
    Connection(Box<CommandConnection>),
}

/// What a node said.
pub(super) struct Answer {
    pub(super) map: SlotMap,
    /// `cluster_current_epoch`, which grows with every failover and every slot that moved: a node with a smaller one has not
    /// learned of them.
    pub(super) epoch: u64,
    pub(super) warnings: Vec<String>,
}

/// Asks a node. `host` is its host, which stands where nodes have no endpoint of their own. With `tls`, ports are TLS ports.
///
/// # Errors
/// Why there is no map, for people and without secrets.
pub(super) async fn ask(mut node: Asked, host: &str, tls: bool) -> Result<Answer, String> {
    let coverage = redis::cmd("CONFIG").arg("GET").arg("cluster-require-full-coverage").take();
    let replies = node.exchange(vec![cluster("SHARDS"), cluster("INFO"), coverage]).await?;
    let [shards, info, coverage] = replies.try_into().map_err(|_| "Redis sent another number of replies")?;
    if let Value::ServerError(error) = &shards
        && error.details().is_some_and(|detail| detail.contains("cluster support disabled"))
    {
        return Err("this Redis is not a node of a cluster; use redis:// (rediss:// for TLS)".to_owned());
    }
    let shards = shards.extract_error().map_err(|error| error.to_string());
    let map = shards.and_then(|shards| SlotMap::from_shards(&shards, host, tls).map_err(|error| error.to_string()));
    let map = match map {
        Ok(map) => map,
        Err(reason) => {
            // The older command names the ports of the kind that this connection uses.
            tracing::debug!(reason, "CLUSTER SHARDS failed; trying CLUSTER SLOTS");
            let slots = node.exchange(vec![cluster("SLOTS")]).await?.pop().unwrap_or_default();
            let slots = slots.extract_error().map_err(|error| format!("CLUSTER SLOTS: {error}"))?;
            SlotMap::from_slots(&slots, host).map_err(|_| reason)?
        }
    };
    if map.masters().is_empty() {
        return Err("no master of the cluster owns slots; the cluster was not created yet".to_owned());
    }
    let info = redis::from_redis_value::<String>(info).unwrap_or_default();
    let epoch = info_field(&info, "cluster_current_epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or_default();
    let warnings = warnings(&map, &info, &coverage);
    Ok(Answer { map, epoch, warnings })
}

fn cluster(subcommand: &str) -> Cmd {
    redis::cmd("CLUSTER").arg(subcommand).take()
}

fn warnings(map: &SlotMap, info: &str, coverage: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    if info_field(info, "cluster_state") == Some("fail") {
        warnings.push("the cluster is in state fail (CLUSTER INFO)".to_owned());
    }
    if map.unowned() > 0 {
        warnings.push(format!("{} of 16384 slots have no master; rooms in them are unavailable", map.unowned()));
    }
    // A user without the permission, or a managed Redis, answers with an error, which is no reason to warn.
    if let Value::Array(pair) = coverage
        && pair.get(1) == Some(&Value::BulkString(b"yes".to_vec()))
    {
        warnings.push(
            "cluster-require-full-coverage is yes: all rooms are unavailable while one shard is; set it to no"
                .to_owned(),
        );
    }
    warnings
}

impl Asked {
    /// Sends commands and returns their replies, which may be errors.
    async fn exchange(&mut self, commands: Vec<Cmd>) -> Result<Vec<Value>, String> {
        match self {
            Self::Link(link) => link.call(commands).await.map_err(|error| {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                cause.unwrap_or_else(|| error.to_string())
            }),
            Self::Connection(opened) => {
                let mut pipeline = redis::pipe();
                for command in &commands {
                    pipeline.add_command(command.clone());
                }
                let mut connection = opened.connection.clone();
                let replies = connection.req_packed_commands(&pipeline, 0, commands.len());
                within(RESPONSE_TIMEOUT, "CLUSTER SHARDS", opened.address(), replies).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use trunkline_redis::NodeAddress;

    use super::*;

    #[test]
    fn what_makes_rooms_unavailable_is_named() {
        let node = NodeAddress { host: "10.0.0.1".to_owned(), port: 7001 };
        let (whole, holes) =
            (SlotMap::new([(node.clone(), 0..=16_383)], vec![]), SlotMap::new([(node, 0..=16_381)], vec![]));
        let reply = |value: &str| {
            Value::Array(["cluster-require-full-coverage", value].map(|text| Value::BulkString(text.into())).into())
        };
        assert_eq!(warnings(&whole, "cluster_state:ok\r\n", &reply("no")), Vec::<String>::new());
        assert_eq!(warnings(&whole, "", &Value::Nil), Vec::<String>::new());
        let all = warnings(&holes, "cluster_state:fail\r\n", &reply("yes"));
        assert!(all.len() == 3 && all[0].contains("fail") && all[1].starts_with("2 of"), "{all:?}");
        assert!(all[2].contains("cluster-require-full-coverage"), "{all:?}");
    }
}
