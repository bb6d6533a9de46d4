//! 1: each acknowledged message that a client is entitled to reaches it.

use super::{
    Invariant,
    facts::{Facts, View},
    record::Record,
    verdict::{Breaches, Ruling},
};

/// Entitled means: behind the `head` of the client's first `joined`, less the gaps that it was told of and what Redis has
/// lost by a fault, and for a room that it left only as far as it had seen.
#[derive(Debug, Default)]
pub(super) struct Entitled {
    breaches: Breaches,
}

impl Entitled {
    /// Deliveries that never came.
    pub(super) fn lost(&self) -> u64 {
        self.breaches.count()
    }
}

impl Invariant for Entitled {
    fn see(&mut self, _: &Record, _: &Facts) {}

    fn rule(&mut self, facts: &Facts) -> Ruling {
        let acked: std::collections::HashMap<_, _> = facts
            .acked
            .iter()
            .map(|(room, positions)| {
                let owed = positions.iter().filter(|&&(pos, t)| !facts.is_lost(*room, pos, t));
                let mut positions: Vec<_> = owed.map(|&(pos, _)| pos).collect();
                positions.sort_unstable();
                (room, positions)
            })
            .collect();
        for (client, room, view) in facts.views() {
            let Some(acked) = acked.get(&room) else { continue };
            let missing: Vec<_> = missing(view, acked).collect();
            if let Some(first) = missing.first() {
                let count = missing.len() as u64;
                self.breaches.add_many(count, || {
                    format!(
                        "{} never got {count} acknowledged messages, the first at {first}",
                        facts.place(client, room)
                    )
                });
            }
        }
        self.breaches.ruling(1, "each acknowledged message that a client is entitled to reaches it")
    }
}

/// What of the sorted `acked` the view is owed and did not show.
fn missing<'a>(
    view: &'a View,
    acked: &'a [trunkline_domain::Position],
) -> impl Iterator<Item = trunkline_domain::Position> + 'a {
    view.stretches.iter().flat_map(move |stretch| {
        let end = if stretch.closed { stretch.runs.iter().map(|&(_, last)| last).max() } else { acked.last().copied() };
        let from = acked.partition_point(|pos| *pos <= stretch.floor);
        let to = end.map_or(from, |end| acked.partition_point(|pos| *pos <= end).max(from));
        acked[from..to].iter().copied().filter(|pos| !stretch.holds(*pos))
    })
}
