//! The generation of a Redis, and the publish script that carries it.

use redis::{Cmd, Script};
use trunkline_domain::{Draft, Position, Room};

use super::{RedisConfig, keys::Keys};
use crate::{
    Receipt,
    mutant::{self, Mutant},
};

const PUBLISH: &str = include_str!("publish.lua");
const PLACE: &str = "@GENERATION@";

/// Which unbroken history of writes a Redis continues: its `run_id` (new at each start) and its `master_replid` (new at
/// each promotion). Two writes of one generation cannot have lost anything between them.
///
/// `run_id` alone would not do: a master that took a write nobody replicated, was demoted, resynchronised and promoted
/// again keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Generation(String);

impl Generation {
    /// Reads it from the answers of `INFO server` and `INFO replication`. `None` if they do not hold it.
    pub(super) fn from_info(server: &str, replication: &str) -> Option<Self> {
        let run = info_field(server, "run_id")?;
        let replication = info_field(replication, "master_replid")?;
        // It becomes part of a program: nothing but what Redis writes there, forty hexadecimal digits each.
        let plain = |id: &str| !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric());
        if mutant::is_on(Mutant::Epoch) {
            return Some(Self("any".to_owned()));
        }
        (plain(run) && plain(replication)).then(|| Self(format!("{run}.{replication}")))
    }

    /// The script that writes under this generation and no other.
    pub(super) fn script(&self) -> Script {
        let text = PUBLISH.replace(PLACE, &self.0);
        if mutant::is_on(Mutant::Dedupe) {
            return Script::new(&text.replace("if earlier then", "if false then"));
        }
        Script::new(&text)
    }
}

/// The value of a line `name:value` in an answer of INFO.
pub(super) fn info_field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// The call of a loaded script. Never falls back to sending the text: the reply NOSCRIPT means that this is another
/// Redis than the one it was compiled for.
pub(super) fn publish(script: &Script, config: &RedisConfig, room: &Room, draft: &Draft) -> Cmd {
    let keys = Keys::of(&config.prefix, room);
    let mut cmd = redis::cmd("EVALSHA");
    cmd.arg(script.get_hash()).arg(4).arg(keys.log()).arg(keys.meta()).arg(keys.ids(0)).arg(keys.ids(1));
    cmd.arg(draft.user.as_str()).arg(draft.id.as_str()).arg(draft.text.as_str()).arg(keys.channel());
    cmd.arg(config.retain.max(1)).arg(config.retain_millis());
    cmd
}

/// The script's reply; `None` if it is not one.
pub(super) fn receipt(pos: &str, repeated: u8) -> Option<Receipt> {
    let pos: Position = pos.parse().ok()?;
    Some(Receipt { pos, repeated: repeated == 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_read_from_info() {
        let server = "# Server\r\nredis_version:7.0.15\r\nrun_id:0a1b\r\ntcp_port:6379\r\n";
        let replication = "# Replication\r\nrole:master\r\nmaster_replid:ff00\r\nmaster_replid2:00\r\n";
        let generation = Generation::from_info(server, replication).unwrap();
        assert_eq!(generation, Generation("0a1b.ff00".to_owned()));
        assert_eq!(Generation::from_info(server, "master_replid:'x'\r\n"), None, "never into the script's text");
        assert_eq!(Generation::from_info("", replication), None);
    }

    #[test]
    fn every_generation_has_its_own_text() {
        let scripts = ["a.b", "a.c"].map(|id| Generation(id.to_owned()).script());
        assert_ne!(scripts[0].get_hash(), scripts[1].get_hash());
        assert!(PUBLISH.matches(&format!("'{PLACE}'")).count() == 2);
    }
}
