//! What the last look at a cluster found.

use redis::Value;
use trunkline_redis::slots::MapAnswer;

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

/// What makes rooms unavailable, according to an answer.
pub(super) fn warnings(MapAnswer { map, is_failing, further, .. }: &MapAnswer) -> Vec<String> {
    let mut warnings = Vec::new();
    if *is_failing {
        warnings.push("the cluster is in state fail (CLUSTER INFO)".to_owned());
    }
    if map.unowned() > 0 {
        warnings.push(format!("{} of 16384 slots have no master; rooms in them are unavailable", map.unowned()));
    }
    // A user without the permission, or a managed Redis, answers with an error, which is no reason to warn.
    if let Some(Value::Array(pair)) = further.first()
        && pair.get(1) == Some(&Value::BulkString(b"yes".to_vec()))
    {
        warnings.push(
            "cluster-require-full-coverage is yes: all rooms are unavailable while one shard is; set it to no"
                .to_owned(),
        );
    }
    warnings
}

#[cfg(test)]
mod tests {
    use trunkline_redis::{NodeAddress, slots::SlotMap};

    use super::*;

    #[test]
    fn what_makes_rooms_unavailable_is_named() {
        let node = NodeAddress { host: "10.0.0.1".to_owned(), port: 7001 };
        let answer = |last_slot, is_failing, coverage| {
            let map = SlotMap::new([(node.clone(), 0..=last_slot)], vec![]);
            MapAnswer { map, epoch: 1, is_failing, further: vec![coverage] }
        };
        let coverage = |value: &str| {
            Value::Array(["cluster-require-full-coverage", value].map(|text| Value::BulkString(text.into())).into())
        };
        assert_eq!(warnings(&answer(16_383, false, coverage("no"))), Vec::<String>::new());
        assert_eq!(warnings(&answer(16_383, false, Value::Nil)), Vec::<String>::new());
        let all = warnings(&answer(16_381, true, coverage("yes")));
        assert!(all.len() == 3 && all[0].contains("fail") && all[1].starts_with("2 of"), "{all:?}");
        assert!(all[2].contains("cluster-require-full-coverage"), "{all:?}");
    }
}
