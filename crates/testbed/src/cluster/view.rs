//! The view that one node of a Redis Cluster has of all nodes: the reply to `CLUSTER NODES`. Pure.

use std::ops::RangeInclusive;

use crate::{Result, TestbedError};

/// Number of hash slots of a cluster.
pub const SLOTS: u16 = 16_384;

/// One node as another node, or the node itself, describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterNodeView {
    /// Its id: 40 hexadecimal digits.
    pub id: String,
    /// Its client port: the TLS port in a cluster that speaks TLS.
    pub port: u16,
    /// Id of the master that it replicates, or `None` if it is a master.
    pub replicates: Option<String>,
    /// Whether the majority of the masters agree that it does not answer (flag `fail`, not `fail?`).
    pub failed: bool,
    /// Its slots, in ascending order. Always empty for a replica.
    pub slots: Vec<RangeInclusive<u16>>,
}

impl ClusterNodeView {
    /// Whether the node is a master: with or without slots, reachable or not.
    pub fn is_master(&self) -> bool {
        self.replicates.is_none()
    }

    /// Whether the node owns this slot.
    pub fn owns(&self, slot: u16) -> bool {
        self.slots.iter().any(|range| range.contains(&slot))
    }

    /// Number of its slots.
    pub fn slot_count(&self) -> usize {
        self.slots.iter().map(ExactSizeIterator::len).sum()
    }
}

/// Parses the reply to `CLUSTER NODES` (<https://redis.io/docs/latest/commands/cluster-nodes/>). Nodes in handshake are left
/// out, because their ids are temporary.
pub(super) fn parse(reply: &str) -> Result<Vec<ClusterNodeView>> {
    let nodes = reply.lines().filter(|line| !line.trim().is_empty() && !line.contains("handshake"));
    let nodes = nodes.map(|line| parse_line(line).ok_or_else(|| TestbedError::Reply(format!("not a node: {line:?}"))));
    nodes.collect()
}

/// `None` if the line is malformed.
fn parse_line(line: &str) -> Option<ClusterNodeView> {
    let mut words = line.split_whitespace();
    let (id, address, flags, master) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let port = address.split('@').next()?.rsplit(':').next()?.parse().ok()?;
    let has = |flag: &str| flags.split(',').any(|word| word == flag);
    // After ping time, pong time, epoch and link state. Open slots are in brackets and still belong to their source.
    let slots = words.skip(4).filter(|word| !word.starts_with('['));
    let slots = slots.map(|word| {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        Some(first.parse().ok()?..=last.parse().ok()?)
    });
    Some(ClusterNodeView {
        id: id.to_owned(),
        port,
        replicates: (master != "-").then(|| master.to_owned()),
        failed: has("fail"),
        slots: slots.collect::<Option<_>>()?,
    })
}

/// The slot of a key: CRC16 (XMODEM) of the key, or of the part in its first braces unless that part is empty
/// (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#key-distribution-model>).
pub fn key_slot(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    let hashed = tag.filter(|tag| !tag.is_empty()).unwrap_or(key);
    let crc = hashed.bytes().fold(0u16, |crc, byte| {
        (0..8)
            .fold(crc ^ (u16::from(byte) << 8), |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 })
    });
    crc % SLOTS
}

/// The slots of master `number` of `masters`, in equal parts.
pub(super) fn equal_part(number: usize, masters: usize) -> RangeInclusive<u16> {
    let slots = usize::from(SLOTS);
    let bound = |number: usize| (slots * number / masters) as u16;
    bound(number)..=bound(number + 1) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_of_keys_are_those_of_the_cluster_specification() {
        // 12739 is the specification's example for "123456789"; the others are replies of `CLUSTER KEYSLOT` (Redis 7.0.15).
        assert_eq!(key_slot("123456789"), 0x31c3 % SLOTS);
        assert_eq!(key_slot("foo"), 12_182);
        assert_eq!(key_slot("tl:{foo}:log"), 12_182);
        assert_eq!(key_slot("{foo}{bar}"), 12_182);
        assert_eq!(key_slot("foo{}{bar}"), 8_363);
    }

    #[test]
    fn nodes_are_parsed_with_roles_failures_and_slots() {
        let reply = "a 127.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-99 200 [150->-b]\n\
                     b 127.0.0.1:7001@17001,host.example master,fail? - 0 0 2 connected 100-199\n\
                     c :0@0 master,fail,noaddr - 0 0 3 disconnected\n\
                     d 127.0.0.1:7003@17003 slave a 0 0 1 connected\n\
                     e 127.0.0.1:7004@17004 handshake - 0 0 0 connected\n";
        let nodes = parse(reply).unwrap();
        assert_eq!(nodes.iter().map(|node| node.id.as_str()).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
        assert_eq!((nodes[0].slot_count(), nodes[0].owns(200), nodes[0].owns(150)), (101, true, false));
        assert_eq!((nodes[1].port, nodes[1].failed, nodes[2].failed), (7001, false, true));
        assert_eq!((nodes[3].is_master(), nodes[3].replicates.as_deref()), (false, Some("a")));
        assert!(parse("nonsense").is_err());
    }

    #[test]
    fn equal_parts_cover_all_slots_once() {
        for masters in 1..=7 {
            let mut next = 0;
            for number in 0..masters {
                let part = equal_part(number, masters);
                assert_eq!(*part.start(), next);
                next = part.end() + 1;
            }
            assert_eq!(next, SLOTS);
        }
    }
}
