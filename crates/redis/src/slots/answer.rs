//! Which nodes of a cluster to ask for the slot map, and what a node answers. Pure.

use redis::{Cmd, Value};

use super::{SlotMap, UnusableMap};
use crate::{server::info_field, url::NodeAddress};

/// The commands that ask a node for the map. [`MapAnswer::read`] takes the replies.
#[must_use]
pub fn map_commands() -> Vec<Cmd> {
    ["SHARDS", "SLOTS", "INFO"].map(|subcommand| redis::cmd("CLUSTER").arg(subcommand).take()).into()
}

/// The answer of one node.
#[derive(Debug)]
pub struct MapAnswer {
    /// The masters with their slots; there is at least one.
    pub map: SlotMap,
    /// `cluster_current_epoch`, which grows with every failover and every slot that moved: a node with a smaller one has not
    /// learned of them.
    pub epoch: u64,
    /// Whether the node takes the cluster to be in state `fail`.
    pub is_failing: bool,
    /// The replies to the commands after [`map_commands`].
    pub further: Vec<Value>,
}

impl MapAnswer {
    /// Reads the replies to [`map_commands`] and to any commands after them. `asked` is the host of the server that replied:
    /// it stands where a node has no endpoint of its own. With `tls`, ports are TLS ports.
    ///
    /// # Errors
    /// Why there is no map: see [`UnusableMap`].
    pub fn read(replies: Vec<Value>, asked: &str, tls: bool) -> Result<Self, UnusableMap> {
        let mut replies = replies.into_iter();
        let mut next = || replies.next().unwrap_or_default();
        let (shards, slots, info) = (next(), next(), next());
        let map = match shards.extract_error() {
            Ok(shards) => SlotMap::from_shards(&shards, asked, tls),
            Err(error) if error.detail().is_some_and(|detail| detail.contains("cluster support disabled")) => {
                return Err(UnusableMap::NotACluster);
            }
            Err(error) => Err(UnusableMap::Refused(error.to_string())),
        };
        // The older command names ports of the kind that this connection uses, so it is understood where the newer one is not.
        let map = map.or_else(|reason| SlotMap::from_slots(&slots, asked).map_err(|_| reason))?;
        if map.masters().is_empty() {
            return Err(UnusableMap::NoSlots);
        }
        let info = redis::from_redis_value::<String>(info).unwrap_or_default();
        let epoch = info_field(&info, "cluster_current_epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or_default();
        let is_failing = info_field(&info, "cluster_state") == Some("fail");
        Ok(Self { map, epoch, is_failing, further: replies.collect() })
    }
}

impl SlotMap {
    /// The nodes to ask for a newer map, in this order: the one that a redirection named, nodes of which `is_up` is true, the
    /// others, and any seed (`None`).
    pub fn nodes_to_ask(
        &self,
        named: Option<NodeAddress>,
        is_up: impl Fn(&NodeAddress) -> bool,
    ) -> Vec<Option<NodeAddress>> {
        let known = self.nodes().filter(|node| is_up(node)).chain(self.nodes());
        let mut nodes = Vec::new();
        for node in named.into_iter().chain(known.cloned()).map(Some).chain([None]) {
            if !nodes.contains(&node) {
                nodes.push(node);
            }
        }
        nodes
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::node, *};

    fn parsed(reply: &str) -> Value {
        redis::parse_redis_value(reply.as_bytes()).unwrap()
    }

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    /// A reply to `CLUSTER SLOTS` in which one master owns all slots.
    fn slots() -> Value {
        let master = Value::Array(vec![bulk("10.0.0.1"), Value::Int(7001)]);
        Value::Array(vec![Value::Array(vec![Value::Int(0), Value::Int(16_383), master])])
    }

    fn answer(epoch: u64) -> MapAnswer {
        let info = bulk(&format!("cluster_state:ok\r\ncluster_current_epoch:{epoch}\r\n"));
        MapAnswer::read(vec![Value::Nil, slots(), info], "seed", false).unwrap()
    }

    #[test]
    fn map_is_read_from_slots_if_shards_is_refused() {
        let refused = || parsed("-NOPERM no permissions to run 'cluster|shards'\r\n");
        let info = bulk("cluster_state:fail\r\ncluster_current_epoch:7\r\n");
        let read = MapAnswer::read(vec![refused(), slots(), info, Value::Int(1)], "seed", false).unwrap();
        assert_eq!((read.map.masters(), read.epoch, read.is_failing), (&[node(7001)][..], 7, true));
        assert_eq!(read.further, [Value::Int(1)]);
        assert_eq!((answer(7).epoch, answer(7).is_failing), (7, false));
        let error = MapAnswer::read(vec![refused(), refused()], "seed", false).unwrap_err();
        assert!(error.to_string().contains("no permissions"), "{error}");
    }

    #[test]
    fn server_without_slots_is_named() {
        let single = || parsed("-ERR This instance has cluster support disabled\r\n");
        let read = |replies| MapAnswer::read(replies, "seed", false).unwrap_err();
        assert_eq!(read(vec![single(), single(), single()]), UnusableMap::NotACluster);
        assert_eq!(read(vec![Value::Array(vec![]), Value::Array(vec![])]), UnusableMap::NoSlots);
        assert_eq!(read(vec![]), UnusableMap::Malformed("SHARDS"));
    }

    #[test]
    fn named_node_is_asked_first_and_seeds_last() {
        let map = SlotMap::new([(node(1), 0..=9), (node(2), 10..=16_383)], vec![node(3)]);
        let order = |named| map.nodes_to_ask(named, |up| *up == node(2));
        let ports = |nodes: Vec<Option<NodeAddress>>| nodes.into_iter().map(|node| node.map_or(0, |node| node.port));
        assert!(ports(order(None)).eq([2, 1, 3, 0]));
        assert!(ports(order(Some(node(3)))).eq([3, 2, 1, 0]));
        assert!(ports(SlotMap::default().nodes_to_ask(None, |_| true)).eq([0]));
    }
}
