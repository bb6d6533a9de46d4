//! The generation of a Redis, and the publish script that is compiled for it.

use redis::Script;
use trunkline_redis::info_field;

use crate::redis::mode::PubSubMode;

const PUBLISH: &str = include_str!("../publish.lua");
/// Stands in the script's text where the generation goes.
const PLACEHOLDER: &str = "@GENERATION@";

/// Identifies an unbroken sequence of writes of a Redis: its `run_id` (new at each start) and its `master_replid` (new at
/// each promotion). No write can have been lost between two writes of one generation.
///
/// `run_id` alone is not enough: a master that accepted a write which was not replicated, was demoted, resynchronised and
/// promoted again keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Generation(String);

impl Generation {
    /// Reads the generation from the replies to `INFO server` and `INFO replication`. `None` if they do not contain it.
    pub(in super::super) fn from_info(server: &str, replication: &str) -> Option<Self> {
        let run = info_field(server, "run_id")?;
        let replication = info_field(replication, "master_replid")?;
        // Both become part of a program. Redis writes 40 hexadecimal digits each.
        let is_plain = |id: &str| !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric());
        (is_plain(run) && is_plain(replication)).then(|| Self(format!("{run}.{replication}")))
    }

    /// One generation for every run of every Redis: a fault that the checker must notice. See [`crate::mutant`].
    pub(in super::super) fn constant(_server: &str, _replication: &str) -> Option<Self> {
        Some(Self("any".to_owned()))
    }

    /// The publish script that writes under this generation.
    pub(super) fn publish_script(&self, mode: PubSubMode) -> Script {
        Script::new(&mode.script_text(PUBLISH).replace(PLACEHOLDER, &self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_is_read_from_info() {
        let server = "# Server\r\nredis_version:7.0.15\r\nrun_id:0a1b\r\ntcp_port:6379\r\n";
        let replication = "# Replication\r\nrole:master\r\nmaster_replid:ff00\r\nmaster_replid2:00\r\n";
        let generation = Generation::from_info(server, replication).unwrap();
        assert_eq!(generation, Generation("0a1b.ff00".to_owned()));
        assert_eq!(Generation::from_info(server, "master_replid:'x'\r\n"), None, "never into the script's text");
        assert_eq!(Generation::from_info("", replication), None);
    }

    #[test]
    fn each_generation_has_its_own_script() {
        let scripts = ["a.b", "a.c"].map(|id| Generation(id.to_owned()).publish_script(PubSubMode::Classic));
        assert_ne!(scripts[0].get_hash(), scripts[1].get_hash());
        assert!(PUBLISH.matches(&format!("'{PLACEHOLDER}'")).count() == 2);
    }
}
