//! Which master of a Redis Cluster owns which slot. Pure.
//!
//! The source of all rules is the Redis Cluster specification
//! (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>). [`SlotMap`] is read from the replies to
//! `CLUSTER SHARDS` and `CLUSTER SLOTS`, see `reply`, as a part of a node's [`MapAnswer`].

use std::{fmt, ops::RangeInclusive};

use crate::url::NodeAddress;

mod answer;
mod reply;

pub use self::{
    answer::{MapAnswer, map_commands},
    reply::UnusableMap,
};

/// Number of slots of every cluster.
pub const SLOTS: u16 = 16_384;

/// The slot of a key or of a sharded channel, from 0 to 16,383: CRC16 of its hash tag, which is the text between the first
/// `{` and the first `}` behind it unless that is empty; otherwise of the whole key.
#[must_use]
pub fn slot_of(key: &str) -> u16 {
    let key = key.as_bytes();
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let length = rest.iter().position(|&byte| byte == b'}')?;
        (length > 0).then(|| &rest[..length])
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM, as in appendix A of the specification.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| (crc << 8) ^ CRC16[usize::from((crc >> 8) as u8 ^ byte)])
}

const CRC16: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// Parses `host:port`, as `MOVED` and `ASK` name a node. An empty host is that of the server that answered, `asked`. `None`
/// if the text is no address.
#[must_use]
pub fn parse_node(address: &str, asked: &str) -> Option<NodeAddress> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    // "?" stands for a host name that is not set (cluster-preferred-endpoint-type).
    let host = if host.is_empty() || host == "?" { asked } else { host };
    Some(NodeAddress::new(host, port.parse().ok().filter(|&port| port != 0)?))
}

/// The masters of a cluster with their slots. 32 KiB.
#[derive(Clone, PartialEq, Eq)]
pub struct SlotMap {
    /// The masters that own slots, sorted.
    masters: Vec<NodeAddress>,
    /// The other nodes: replicas, and masters without slots. Sorted.
    others: Vec<NodeAddress>,
    /// Per slot, 0 if no master owns it, otherwise the master's index plus 1.
    owners: Box<[u16]>,
}

impl Default for SlotMap {
    /// A map in which no slot has an owner.
    fn default() -> Self {
        Self { masters: Vec::new(), others: Vec::new(), owners: vec![0; usize::from(SLOTS)].into() }
    }
}

impl fmt::Debug for SlotMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.masters.iter().map(|master| (master.to_string(), self.slots_of(master).count()));
        f.debug_map().entries(counts).finish()
    }
}

impl SlotMap {
    /// The map in which each of `ranges` belongs to its node; where ranges overlap, the last one counts. Slots above 16,383
    /// are ignored. `others` are nodes without slots.
    pub fn new(ranges: impl IntoIterator<Item = (NodeAddress, RangeInclusive<u16>)>, others: Vec<NodeAddress>) -> Self {
        let ranges: Vec<_> = ranges.into_iter().collect();
        let mut owners: Vec<Option<&NodeAddress>> = vec![None; usize::from(SLOTS)];
        for (node, slots) in &ranges {
            for slot in slots.clone() {
                if let Some(owner) = owners.get_mut(usize::from(slot)) {
                    *owner = Some(node);
                }
            }
        }
        Self::from_owners(&owners, others)
    }

    fn from_owners(owners: &[Option<&NodeAddress>], mut others: Vec<NodeAddress>) -> Self {
        let mut masters: Vec<&NodeAddress> = owners.iter().flatten().copied().collect();
        masters.dedup();
        masters.sort_unstable();
        masters.dedup();
        let masters: Vec<NodeAddress> = masters.into_iter().cloned().collect();
        others.retain(|node| masters.binary_search(node).is_err());
        others.sort_unstable();
        others.dedup();
        let index = |owner: &Option<&NodeAddress>| {
            let index = owner.and_then(|owner| masters.binary_search(owner).ok());
            index.map_or(0, |index| index as u16 + 1)
        };
        let owners = owners.iter().map(index).collect();
        Self { masters, others, owners }
    }

    /// The masters that own slots, sorted.
    #[must_use]
    pub fn masters(&self) -> &[NodeAddress] {
        &self.masters
    }

    /// All known nodes: the masters, then those without slots.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeAddress> {
        self.masters.iter().chain(&self.others)
    }

    /// The index in [`masters`](Self::masters) of the owner of a slot.
    #[must_use]
    pub fn owner_index(&self, slot: u16) -> Option<usize> {
        self.owners.get(usize::from(slot)).and_then(|&owner| usize::from(owner).checked_sub(1))
    }

    /// The owner of a slot.
    #[must_use]
    pub fn owner(&self, slot: u16) -> Option<&NodeAddress> {
        self.masters.get(self.owner_index(slot)?)
    }

    /// The slots of a master, in ascending order.
    pub fn slots_of<'a>(&'a self, master: &'a NodeAddress) -> impl Iterator<Item = u16> + 'a {
        (0..SLOTS).filter(move |&slot| self.owner(slot) == Some(master))
    }

    /// Number of slots that no master owns.
    #[must_use]
    pub fn unowned(&self) -> usize {
        self.owners.iter().filter(|&&owner| owner == 0).count()
    }

    /// Replaces the map by a newer one. A slot that has no owner there keeps the one that it had: commands for it fail
    /// either way, and the failure names the server that last owned it. Returns whether an owner changed.
    pub fn merge(&mut self, newer: &Self) -> bool {
        let owners: Vec<_> = (0..SLOTS).map(|slot| newer.owner(slot).or_else(|| self.owner(slot))).collect();
        let merged = Self::from_owners(&owners, newer.others.clone());
        let is_changed = (&merged.masters, &merged.owners) != (&self.masters, &self.owners);
        *self = merged;
        is_changed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) fn node(port: u16) -> NodeAddress {
        NodeAddress::new("10.0.0.1", port)
    }

    #[test]
    fn slots_are_those_of_redis() {
        // `CLUSTER KEYSLOT` of Redis 7.0.15. The check value of the CRC is in the specification.
        assert_eq!(crc16(b"123456789"), 0x31C3);
        let known = [
            ("foo", 12182),
            ("bar", 5061),
            ("tl:{lobby}:log", slot_of("lobby")),
            ("{user1000}.following", slot_of("user1000")),
            ("foo{}{bar}", 8363),
            ("foo{{bar}}zap", slot_of("{bar")),
            ("foo{bar}{zap}", slot_of("bar")),
            ("foo{bar", slot_of("foo{bar")),
            ("", 0),
        ];
        for (key, slot) in known {
            assert_eq!(slot_of(key), slot, "{key}");
        }
    }

    #[test]
    fn nodes_are_parsed_as_redirections_name_them() {
        let parsed = |address: &str| parse_node(address, "seed").map(|node| node.to_string());
        assert_eq!(parsed("10.0.0.1:7001").as_deref(), Some("10.0.0.1:7001"));
        assert_eq!(parsed("redis-1.example:7001").as_deref(), Some("redis-1.example:7001"));
        assert_eq!(parsed(":7001").as_deref(), Some("seed:7001"), "an empty host is that of the server that answered");
        assert_eq!(parsed("?:7001").as_deref(), Some("seed:7001"));
        assert_eq!(parsed("::1:7001").as_deref(), Some("[::1]:7001"));
        assert_eq!(parsed("[::1]:7001").as_deref(), Some("[::1]:7001"));
        for bad in ["", "host", "host:", "host:0", "host:70000", "host:x"] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }

    fn maps() -> impl Strategy<Value = (SlotMap, Vec<(u16, u16, u16)>)> {
        let range = (0..SLOTS, 0_u16..6000, 1_u16..5);
        prop::collection::vec(range, 0..6).prop_map(|ranges| {
            let ranges: Vec<_> =
                ranges.into_iter().map(|(from, length, port)| (from, (from + length).min(SLOTS - 1), port)).collect();
            let map =
                SlotMap::new(ranges.iter().map(|&(from, to, port)| (node(port), from..=to)), vec![node(1), node(9)]);
            (map, ranges)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn every_slot_belongs_to_the_last_range_that_contains_it((map, ranges) in maps()) {
            for slot in 0..SLOTS {
                let expected = ranges.iter().rev().find(|(from, to, _)| (*from..=*to).contains(&slot));
                prop_assert_eq!(map.owner(slot).map(|owner| owner.port), expected.map(|(_, _, port)| *port));
            }
            let owned: usize = map.masters().iter().map(|master| map.slots_of(master).count()).sum();
            prop_assert_eq!(owned + map.unowned(), usize::from(SLOTS));
            prop_assert!(map.masters().iter().all(|master| map.slots_of(master).next().is_some()));
            prop_assert!(map.masters().is_sorted());
            let nodes: Vec<_> = map.nodes().collect();
            prop_assert_eq!(nodes.iter().filter(|known| **known == &node(1)).count(), 1);
        }

        #[test]
        fn merged_map_has_the_newer_owner_of_each_slot_or_else_the_older_one((old, _) in maps(), (new, _) in maps()) {
            let mut merged = old.clone();
            let is_changed = merged.merge(&new);
            for slot in 0..SLOTS {
                prop_assert_eq!(merged.owner(slot), new.owner(slot).or(old.owner(slot)));
            }
            prop_assert_eq!(is_changed, (0..SLOTS).any(|slot| merged.owner(slot) != old.owner(slot)));
            prop_assert!(!merged.clone().merge(&new), "a second time nothing changes");
        }
    }
}
