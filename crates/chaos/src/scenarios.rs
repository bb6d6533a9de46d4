//! The fault matrix: a scenario is a fault, how it is made, and what is required beyond the promise.

mod failover;
mod gateways;
mod hostile;
mod network;
mod presence;
mod redis;
mod sessions;

use std::fs;

use super::{checker::FaultMark, deployment::RedisSetup, run::ScenarioRun};
use crate::error::Result;

/// 1.6 ping intervals of 5 s, in microseconds, and what a busy machine needs: how long a client may sit before a peer
/// that says nothing.
const DETECTION_LIMIT_US: u64 = 8_500_000;

/// One scenario.
pub(crate) struct Scenario {
    /// What `--only` takes.
    pub(crate) name: &'static str,
    /// What breaks.
    pub(crate) fault: &'static str,
    /// What must hold beyond the promise.
    pub(crate) required: &'static str,
    pub(crate) redis: RedisSetup,
    /// Arguments of every gateway.
    pub(crate) arguments: &'static [&'static str],
    /// Begins, breaks, heals and waits; the judgement comes after it, unless it asks for it itself.
    pub(crate) execute: fn(&mut ScenarioRun<'_>) -> Result<()>,
}

impl Scenario {
    /// Every scenario there is, in the order of the matrix in docs/GUARANTEES.md.
    pub(crate) fn all() -> impl Iterator<Item = &'static Self> {
        [
            gateways::SCENARIOS,
            presence::SCENARIOS,
            redis::SCENARIOS,
            failover::SCENARIOS,
            network::SCENARIOS,
            hostile::SCENARIOS,
            sessions::SCENARIOS,
        ]
        .into_iter()
        .flatten()
    }
}

/// Only for a gateway with mutants: without one that loses entries on purpose there is next to nothing to repair.
pub(crate) const ENTRIES_LOST: Scenario = Scenario {
    name: "entries-lost",
    fault: "one of 50 entries is lost between Redis and gateway",
    required: "each gap is read from the log",
    redis: RedisSetup::Durable,
    arguments: &["--log-filter", "info,trunkline_gateway=debug"],
    execute: entries_lost,
};

fn entries_lost(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.start(2, run.scale.load())?;
    run.mark_fault(&FaultMark::new("entries lost").unseen())?;
    run.undisturbed()?;
    run.undisturbed()?;
    run.mark_healed()?;
    run.judge()?;
    let log = fs::read_to_string(run.folder.join("gw-1.log")).unwrap_or_default();
    let gaps = log.lines().filter(|line| line.contains("gap: reading the log")).count();
    if gaps > 0 {
        run.record_evidence(format!("gw-1 noticed {gaps} gaps"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use super::*;
    use crate::mutants::MUTANTS;

    #[test]
    fn every_row_has_a_name_of_its_own_and_stands_in_the_document() {
        let document = fs::read_to_string(trunkline_testbed::project_root().join("docs/GUARANTEES.md")).unwrap();
        let mut names = BTreeSet::new();
        for scenario in Scenario::all() {
            assert!(names.insert(scenario.name), "{} stands twice", scenario.name);
            assert!(
                document.contains(&format!("`{}`", scenario.name)),
                "{} is not in docs/GUARANTEES.md",
                scenario.name
            );
        }
        for mutant in MUTANTS {
            assert!(
                names.contains(mutant.scenario) || mutant.scenario == ENTRIES_LOST.name,
                "{} has no scenario",
                mutant.name
            );
        }
    }
}
