//! Reads a map from the replies to `CLUSTER SHARDS` and `CLUSTER SLOTS`, in RESP2 and RESP3.

use redis::Value;

use super::SlotMap;
use crate::url::NodeAddress;

/// Why a node's answer contains no map. The message is for people.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UnusableMap {
    /// The reply has another structure than the documentation of the command describes.
    #[error("the reply to CLUSTER {0} is not a list of shards")]
    Malformed(&'static str),
    /// The nodes have no port of the kind that was asked for.
    #[error("the nodes of the cluster accept {0}")]
    WrongTransport(&'static str),
    /// The server belongs to no cluster.
    #[error("this Redis is not a node of a cluster; use redis:// (rediss:// for TLS)")]
    NotACluster,
    /// No master owns slots.
    #[error("no master of the cluster owns slots; the cluster was not created yet")]
    NoSlots,
    /// Redis refused the command.
    #[error("CLUSTER SHARDS: {0}")]
    Refused(String),
}

impl SlotMap {
    /// Reads a reply to [`CLUSTER SHARDS`](https://redis.io/docs/latest/commands/cluster-shards/) (Redis 7.0). `asked` is the
    /// host of the server that replied: it stands where a node has no endpoint of its own. With `tls`, ports are TLS ports.
    ///
    /// The owner of a shard's slots is its master. If several nodes call themselves master, as during a failover, one that
    /// is not failing is preferred; a failing one counts if there is no other.
    ///
    /// # Errors
    /// - [`Malformed`](UnusableMap::Malformed): not such a reply.
    /// - [`WrongTransport`](UnusableMap::WrongTransport): a master of the cluster has only ports of the other kind.
    pub(super) fn from_shards(reply: &Value, asked: &str, tls: bool) -> Result<Self, UnusableMap> {
        let malformed = || UnusableMap::Malformed("SHARDS");
        let (mut ranges, mut others) = (Vec::new(), Vec::new());
        for shard in list(reply).ok_or_else(malformed)? {
            let shard = fields(shard).ok_or_else(malformed)?;
            let slots = get(&shard, "slots").and_then(list).ok_or_else(malformed)?;
            let mut master: Option<(bool, NodeAddress)> = None;
            let mut is_wrong_transport = false;
            for node in get(&shard, "nodes").and_then(list).ok_or_else(malformed)? {
                let node = fields(node).ok_or_else(malformed)?;
                let is_master = get(&node, "role").and_then(text) == Some("master");
                let Some(port) = get(&node, if tls { "tls-port" } else { "port" }).and_then(port) else {
                    is_wrong_transport |= is_master;
                    continue;
                };
                let named = |name| get(&node, name).and_then(text).filter(|host| !host.is_empty() && *host != "?");
                let is_nil = matches!(get(&node, "endpoint"), Some(Value::Nil));
                let own = named("endpoint").or_else(|| if is_nil { None } else { named("ip") });
                let address = NodeAddress::new(own.unwrap_or(asked), port);
                let is_failing = get(&node, "health").and_then(text) == Some("fail");
                if is_master && master.as_ref().is_none_or(|(was_failing, _)| *was_failing) {
                    others.extend(master.replace((is_failing, address)).map(|(_, node)| node));
                } else {
                    others.push(address);
                }
            }
            match master {
                Some((_, master)) if slots.is_empty() => others.push(master),
                Some((_, master)) => {
                    for range in slots.chunks(2) {
                        let [from, to] = range else { return Err(malformed()) };
                        let (from, to) = (slot(from).ok_or_else(malformed)?, slot(to).ok_or_else(malformed)?);
                        ranges.push((master.clone(), from..=to));
                    }
                }
                None if is_wrong_transport => {
                    let wrong = if tls { "no TLS; use redis-cluster://" } else { "TLS only; use rediss-cluster://" };
                    return Err(UnusableMap::WrongTransport(wrong));
                }
                None => {}
            }
        }
        Ok(Self::new(ranges, others))
    }

    /// Reads a reply to [`CLUSTER SLOTS`](https://redis.io/docs/latest/commands/cluster-slots/). The ports in it are of the
    /// same kind as that of the connection. Otherwise like [`from_shards`](Self::from_shards).
    ///
    /// # Errors
    /// [`Malformed`](UnusableMap::Malformed): not such a reply.
    pub(super) fn from_slots(reply: &Value, asked: &str) -> Result<Self, UnusableMap> {
        let malformed = || UnusableMap::Malformed("SLOTS");
        let (mut ranges, mut others) = (Vec::new(), Vec::new());
        for range in list(reply).ok_or_else(malformed)? {
            let [from, to, nodes @ ..] = list(range).ok_or_else(malformed)? else { return Err(malformed()) };
            let (from, to) = (slot(from).ok_or_else(malformed)?, slot(to).ok_or_else(malformed)?);
            let address = |node: &Value| {
                let [host, node_port, ..] = list(node)? else { return None };
                let host = text(host).filter(|host| !host.is_empty() && *host != "?").unwrap_or(asked);
                Some(NodeAddress::new(host, port(node_port)?))
            };
            let mut nodes = nodes.iter().filter_map(address);
            ranges.push((nodes.next().ok_or_else(malformed)?, from..=to));
            others.extend(nodes);
        }
        Ok(Self::new(ranges, others))
    }
}

fn list(value: &Value) -> Option<&[Value]> {
    if let Value::Array(list) = value { Some(list) } else { None }
}

/// The fields of a map: a map in RESP3, a flat list of names and values in RESP2.
fn fields(value: &Value) -> Option<Vec<(&Value, &Value)>> {
    match value {
        Value::Map(fields) => Some(fields.iter().map(|(name, value)| (name, value)).collect()),
        Value::Array(flat) => Some(flat.chunks_exact(2).map(|pair| (&pair[0], &pair[1])).collect()),
        _ => None,
    }
}

fn get<'a>(fields: &[(&'a Value, &'a Value)], name: &str) -> Option<&'a Value> {
    fields.iter().find(|(field, _)| text(field) == Some(name)).map(|(_, value)| *value)
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

fn number(value: &Value) -> Option<i64> {
    if let Value::Int(number) = value { Some(*number) } else { text(value)?.parse().ok() }
}

fn port(value: &Value) -> Option<u16> {
    number(value).and_then(|port| u16::try_from(port).ok()).filter(|&port| port != 0)
}

fn slot(value: &Value) -> Option<u16> {
    number(value).and_then(|slot| u16::try_from(slot).ok()).filter(|&slot| slot < super::SLOTS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn map(fields: Vec<(&str, Value)>, resp3: bool) -> Value {
        let fields = fields.into_iter().map(|(name, value)| (bulk(name), value));
        if resp3 {
            Value::Map(fields.collect())
        } else {
            Value::Array(fields.flat_map(|(name, value)| [name, value]).collect())
        }
    }

    struct NodeReply(&'static str, &'static str, &'static str, Value);

    /// A shard as Redis 7.0.15 describes it.
    fn shard(slots: &[i64], nodes: &[NodeReply], port: &'static str, resp3: bool) -> Value {
        let node = |NodeReply(ip, role, health, endpoint): &NodeReply| {
            let fields = vec![
                ("id", bulk("e10b7051d6bf2d5febd39a2be297bbaea6084111")),
                (port, Value::Int(7001)),
                ("ip", bulk(ip)),
                ("endpoint", endpoint.clone()),
                ("role", bulk(role)),
                ("replication-offset", Value::Int(72156)),
                ("health", bulk(health)),
            ];
            map(fields, resp3)
        };
        let slots = Value::Array(slots.iter().map(|&slot| Value::Int(slot)).collect());
        map(vec![("slots", slots), ("nodes", Value::Array(nodes.iter().map(node).collect()))], resp3)
    }

    fn owner(map: &SlotMap, slot: u16) -> Option<String> {
        map.owner(slot).map(ToString::to_string)
    }

    #[test]
    fn shards_are_read_in_both_protocols() {
        for resp3 in [false, true] {
            let online = |ip: &'static str, role| NodeReply(ip, role, "online", bulk(ip));
            let reply = Value::Array(vec![
                shard(
                    &[0, 99, 200, 299],
                    &[online("10.0.0.2", "replica"), online("10.0.0.1", "master")],
                    "port",
                    resp3,
                ),
                shard(&[100, 199], &[online("10.0.0.3", "master")], "port", resp3),
                shard(&[], &[online("10.0.0.4", "master")], "port", resp3),
            ]);
            let map = SlotMap::from_shards(&reply, "seed", false).unwrap();
            assert_eq!(owner(&map, 99).as_deref(), Some("10.0.0.1:7001"));
            assert_eq!(owner(&map, 100).as_deref(), Some("10.0.0.3:7001"));
            assert_eq!(owner(&map, 250).as_deref(), Some("10.0.0.1:7001"));
            assert_eq!(owner(&map, 300), None);
            assert_eq!(map.masters().len(), 2, "a master without slots is no shard");
            assert_eq!(map.nodes().count(), 4);
            let wrong = SlotMap::from_shards(&reply, "seed", true).unwrap_err();
            assert!(wrong.to_string().contains("redis-cluster://"), "{wrong}");
        }
    }

    #[test]
    fn live_master_is_preferred_and_a_failing_one_is_kept() {
        let node = |ip: &'static str, role, health| NodeReply(ip, role, health, bulk(ip));
        let owner_of = |nodes: &[NodeReply]| {
            let reply = Value::Array(vec![shard(&[0, 9], nodes, "port", false)]);
            owner(&SlotMap::from_shards(&reply, "seed", false).unwrap(), 5)
        };
        let failing = || node("10.0.0.1", "master", "fail");
        assert_eq!(owner_of(&[failing(), node("10.0.0.2", "master", "online")]).as_deref(), Some("10.0.0.2:7001"));
        assert_eq!(owner_of(&[node("10.0.0.2", "master", "online"), failing()]).as_deref(), Some("10.0.0.2:7001"));
        assert_eq!(owner_of(&[failing(), node("10.0.0.2", "replica", "online")]).as_deref(), Some("10.0.0.1:7001"));
    }

    #[test]
    fn endpoints_are_names_addresses_or_missing() {
        let host_of = |endpoint| {
            let reply = Value::Array(vec![shard(
                &[0, 9],
                &[NodeReply("10.0.0.1", "master", "online", endpoint)],
                "tls-port",
                false,
            )]);
            SlotMap::from_shards(&reply, "seed", true).unwrap().owner(0).unwrap().host.clone()
        };
        assert_eq!(host_of(bulk("redis-1.example")), "redis-1.example");
        assert_eq!(host_of(Value::Nil), "seed", "cluster-preferred-endpoint-type unknown-endpoint");
        assert_eq!(host_of(bulk("?")), "10.0.0.1", "a host name that is not set");
        assert_eq!(host_of(bulk("")), "10.0.0.1");
    }

    #[test]
    fn slots_are_read() {
        let node = |host: Value| Value::Array(vec![host, Value::Int(7001), bulk("id"), Value::Array(vec![])]);
        let range =
            |from, to, nodes: Vec<Value>| Value::Array([vec![Value::Int(from), Value::Int(to)], nodes].concat());
        let reply = Value::Array(vec![
            range(0, 8000, vec![node(bulk("10.0.0.1")), node(bulk("10.0.0.2"))]),
            range(8001, 16383, vec![node(Value::Nil)]),
        ]);
        let map = SlotMap::from_slots(&reply, "seed").unwrap();
        assert_eq!(owner(&map, 8000).as_deref(), Some("10.0.0.1:7001"));
        assert_eq!(owner(&map, 8001).as_deref(), Some("seed:7001"));
        assert_eq!((map.unowned(), map.nodes().count()), (0, 3));
        assert!(SlotMap::from_slots(&Value::Okay, "seed").is_err());
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Nil),
            any::<i64>().prop_map(Value::Int),
            "slots|nodes|role|master|port|endpoint|[a-z]*".prop_map(|text| bulk(&text)),
        ];
        leaf.prop_recursive(5, 60, 6, |inner| prop::collection::vec(inner, 0..6).prop_map(Value::Array))
    }

    proptest! {
        #[test]
        fn no_reply_panics(reply in values(), tls: bool) {
            let _ = SlotMap::from_shards(&reply, "seed", tls);
            let _ = SlotMap::from_slots(&reply, "seed");
        }
    }
}
