//! The fault matrix: a row is a fault, how it is made, and what is required beyond the promise.

mod failover;
mod gateways;
mod hostile;
mod network;
mod presence;
mod redis;
mod sessions;

use std::fs;

use super::{checker::Fault, scene::Scene, site::Store};
use crate::error::Result;

/// 1.6 ping intervals of 5 s, in microseconds, and what a busy machine needs: how long a client may sit before a peer
/// that says nothing.
const NOTICED: u64 = 8_500_000;

/// One row.
pub(crate) struct Row {
    /// What `--only` takes.
    pub(crate) name: &'static str,
    /// What breaks.
    pub(crate) fault: &'static str,
    /// What must hold beyond the promise.
    pub(crate) required: &'static str,
    pub(crate) store: Store,
    /// Arguments of every gateway.
    pub(crate) arguments: &'static [&'static str],
    /// Begins, breaks, heals and waits; the judgement comes after it, unless it asks for it itself.
    pub(crate) act: fn(&mut Scene<'_>) -> Result<()>,
}

impl Row {
    /// Every row there is, in the order of the matrix in docs/GUARANTEES.md.
    pub(crate) fn all() -> impl Iterator<Item = &'static Self> {
        [gateways::ROWS, presence::ROWS, redis::ROWS, failover::ROWS, network::ROWS, hostile::ROWS, sessions::ROWS]
            .into_iter()
            .flatten()
    }
}

/// Only for a gateway with mutants: without one that loses entries on purpose there is next to nothing to repair.
pub(crate) const ENTRIES_LOST: Row = Row {
    name: "entries-lost",
    fault: "one of 50 entries is lost between Redis and gateway",
    required: "each gap is read from the log",
    store: Store::Durable,
    arguments: &["--log-filter", "info,trunkline_gateway=debug"],
    act: entries_lost,
};

fn entries_lost(scene: &mut Scene<'_>) -> Result<()> {
    scene.begin(2, scene.scale.load())?;
    scene.fault(&Fault::new("entries lost").unseen())?;
    scene.calm()?;
    scene.calm()?;
    scene.healed()?;
    scene.judge()?;
    let log = fs::read_to_string(scene.folder.join("gw-1.log")).unwrap_or_default();
    let gaps = log.lines().filter(|line| line.contains("gap: reading the log")).count();
    if gaps > 0 {
        scene.saw(format!("gw-1 noticed {gaps} gaps"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use super::*;
    use crate::chaos::mutants::MUTANTS;

    #[test]
    fn every_row_has_a_name_of_its_own_and_stands_in_the_document() {
        let document = fs::read_to_string(trunkline_testbed::project_root().join("docs/GUARANTEES.md")).unwrap();
        let mut names = BTreeSet::new();
        for row in Row::all() {
            assert!(names.insert(row.name), "{} stands twice", row.name);
            assert!(document.contains(&format!("`{}`", row.name)), "{} is not in docs/GUARANTEES.md", row.name);
        }
        for mutant in MUTANTS {
            assert!(names.contains(mutant.row) || mutant.row == ENTRIES_LOST.name, "{} has no row", mutant.name);
        }
    }
}
