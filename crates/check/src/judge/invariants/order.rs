//! Invariant 5: any two clients agree on the order of the messages that both received.
//!
//! The check does not use positions. It builds the relation "was received immediately before" over everything that the
//! clients of a room hold; the clients agree exactly if this relation has no cycle.

use std::collections::{HashMap, HashSet};

use crate::judge::{
    event::{HistoryEvent, MessageNumber, RoomNumber},
    invariant::{Invariant, Violations},
    state::HistoryState,
    verdict::InvariantResult,
};

#[derive(Debug, Default)]
pub(crate) struct OrderInvariant {
    violations: Violations,
}

impl Invariant for OrderInvariant {
    fn observe(&mut self, _: &HistoryEvent, _: &HistoryState) {}

    fn result(&mut self, state: &HistoryState) -> InvariantResult {
        let mut rooms: HashMap<RoomNumber, HashSet<(MessageNumber, MessageNumber)>> = HashMap::new();
        for (_, room, view) in state.views() {
            // A message that is received twice in a row violates invariant 4, not this one.
            let pairs = view.shown.windows(2).map(|pair| (pair[0], pair[1])).filter(|(one, other)| one != other);
            rooms.entry(room).or_default().extend(pairs);
        }
        for (room, edges) in rooms {
            let disputed = in_cycles(&edges);
            if let Some(message) = disputed.iter().min() {
                self.violations.add_many(disputed.len() as u64, || {
                    format!(
                        "clients received {} messages of room {} in different orders, among them {}",
                        disputed.len(),
                        state.names.room_name(room),
                        state.names.message_name(*message)
                    )
                });
            }
        }
        self.violations.result(5, "any two clients agree on the order of the messages that both received")
    }
}

/// Returns the messages that lie on a cycle or between two cycles: what remains after Kahn's algorithm has run from both
/// ends.
fn in_cycles(edges: &HashSet<(MessageNumber, MessageNumber)>) -> HashSet<MessageNumber> {
    let left = without_sources(edges.iter().copied());
    let back = edges.iter().filter(|(from, to)| left.contains(from) && left.contains(to)).map(|&(from, to)| (to, from));
    without_sources(back)
}

/// Removes nodes without a predecessor until none is left, and returns the remaining nodes.
fn without_sources(edges: impl Iterator<Item = (MessageNumber, MessageNumber)>) -> HashSet<MessageNumber> {
    let mut after: HashMap<MessageNumber, Vec<MessageNumber>> = HashMap::new();
    let mut before: HashMap<MessageNumber, usize> = HashMap::new();
    for (from, to) in edges {
        after.entry(from).or_default().push(to);
        before.entry(from).or_default();
        *before.entry(to).or_default() += 1;
    }
    let mut free: Vec<_> = before.iter().filter(|(_, count)| **count == 0).map(|(node, _)| *node).collect();
    while let Some(node) = free.pop() {
        before.remove(&node);
        for next in after.remove(&node).unwrap_or_default() {
            if let Some(count) = before.get_mut(&next) {
                *count -= 1;
                if *count == 0 {
                    free.push(next);
                }
            }
        }
    }
    before.into_keys().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(edges: &[(u32, u32)]) -> Vec<u32> {
        let edges = edges.iter().map(|&(from, to)| (MessageNumber(from), MessageNumber(to))).collect();
        let mut left: Vec<_> = in_cycles(&edges).into_iter().map(|message| message.0).collect();
        left.sort_unstable();
        left
    }

    #[test]
    fn only_disputed_messages_are_reported() {
        assert!(left(&[(1, 2), (2, 3), (1, 3)]).is_empty());
        assert_eq!(left(&[(0, 1), (1, 2), (2, 1), (2, 3)]), [1, 2]);
        // Three clients, of which no two disagree directly.
        assert_eq!(left(&[(1, 2), (2, 3), (3, 1)]), [1, 2, 3]);
    }
}
