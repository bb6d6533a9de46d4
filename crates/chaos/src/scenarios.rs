//! All scenarios. A scenario consists of a fault, the code that injects it, and requirements besides the invariants.

mod amendments;
mod cluster;
mod failover;
mod gateways;
mod hostile;
mod network;
mod presence;
mod redis;
mod sentinel;
mod sessions;
mod sharing;
mod slots;
mod tls;
mod tokens;

use std::fs;

pub(crate) use self::cluster::SUBSCRIBED_AGAIN;

use super::{checker::FaultMark, deployment::RedisSetup, run::ScenarioRun};
use crate::error::Result;

/// Maximum time in µs until a client disconnects from a gateway that does not answer: 1.6 ping intervals of 5 s, plus
/// 0.5 s for a busy machine.
const DETECTION_LIMIT_US: u64 = 8_500_000;

/// Beginning of the expectation that limits how long a client waits for a message that is due.
pub(crate) const NO_LONG_WAIT: &str = "no client waited for longer than";

/// A scenario.
pub(crate) struct Scenario {
    /// Its name, as in `--only`.
    pub(crate) name: &'static str,
    /// The fault.
    pub(crate) fault: &'static str,
    /// Requirements besides the invariants.
    pub(crate) required: &'static str,
    pub(crate) redis: RedisSetup,
    /// Arguments of all gateways.
    pub(crate) arguments: &'static [&'static str],
    /// Starts the clients, injects the fault, removes it and waits. The runner judges afterwards, unless this function has
    /// done so.
    pub(crate) execute: fn(&mut ScenarioRun<'_>) -> Result<()>,
}

impl Scenario {
    /// All scenarios, in the order of docs/GUARANTEES.md.
    pub(crate) fn all() -> impl Iterator<Item = &'static Self> {
        [
            gateways::SCENARIOS,
            presence::SCENARIOS,
            redis::SCENARIOS,
            failover::SCENARIOS,
            sentinel::SCENARIOS,
            cluster::SCENARIOS,
            slots::SCENARIOS,
            tls::SCENARIOS,
            sharing::SCENARIOS,
            network::SCENARIOS,
            hostile::SCENARIOS,
            sessions::SCENARIOS,
            amendments::SCENARIOS,
            tokens::SCENARIOS,
        ]
        .into_iter()
        .flatten()
    }
}

/// For mutants only. The gateway repairs gaps that a mutant creates; without it there are almost none.
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
    run.mark_fault(&FaultMark::new("entries lost").unnoticed())?;
    run.undisturbed()?;
    run.undisturbed()?;
    run.mark_healed()?;
    run.judge()?;
    let log = fs::read_to_string(run.folder.join("gw-1.log")).unwrap_or_default();
    let gaps = log.lines().filter(|line| line.contains("gap; reading the log")).count();
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
    fn scenario_names_are_unique_and_documented() {
        let document = fs::read_to_string(trunkline_testbed::project_root().join("docs/GUARANTEES.md")).unwrap();
        let mut names = BTreeSet::new();
        for scenario in Scenario::all() {
            assert!(names.insert(scenario.name), "{} is defined twice", scenario.name);
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
