//! 5: any two clients agree on the order of what both saw.

use std::collections::{HashMap, HashSet};

use super::{
    Invariant,
    facts::Facts,
    record::{MessageNumber, Record, RoomNumber},
    verdict::{Breaches, Ruling},
};

/// Judged without looking at positions: "came right before", over all that clients hold of a room, has no cycle.
#[derive(Debug, Default)]
pub(super) struct Order {
    breaches: Breaches,
}

impl Invariant for Order {
    fn see(&mut self, _: &Record, _: &Facts) {}

    fn rule(&mut self, facts: &Facts) -> Ruling {
        let mut rooms: HashMap<RoomNumber, HashSet<(MessageNumber, MessageNumber)>> = HashMap::new();
        for (_, room, view) in facts.views() {
            // What came twice in a row is no matter of order.
            let pairs = view.shown.windows(2).map(|pair| (pair[0], pair[1])).filter(|(one, other)| one != other);
            rooms.entry(room).or_default().extend(pairs);
        }
        for (room, edges) in rooms {
            let left = in_cycles(&edges);
            if let Some(message) = left.iter().min() {
                self.breaches.add_many(left.len() as u64, || {
                    let name = facts.names.message_name(*message);
                    format!(
                        "clients disagree on the order of {} messages in {}, as {name}",
                        left.len(),
                        facts.names.room_name(room)
                    )
                });
            }
        }
        self.breaches.ruling(5, "any two clients agree on the order of what both saw")
    }
}

/// The messages that lie on cycles or between them: what Kahn's algorithm leaves when it is run from both ends.
fn in_cycles(edges: &HashSet<(MessageNumber, MessageNumber)>) -> HashSet<MessageNumber> {
    let left = without_sources(edges.iter().copied());
    let back = edges.iter().filter(|(from, to)| left.contains(from) && left.contains(to)).map(|&(from, to)| (to, from));
    without_sources(back)
}

/// What remains when nodes without a predecessor are taken away again and again.
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
    fn only_what_is_disputed_is_left() {
        assert!(left(&[(1, 2), (2, 3), (1, 3)]).is_empty());
        assert_eq!(left(&[(0, 1), (1, 2), (2, 1), (2, 3)]), [1, 2]);
        // Three clients, no two of which disagree.
        assert_eq!(left(&[(1, 2), (2, 3), (3, 1)]), [1, 2, 3]);
    }
}
