//! Conventions of the workspace as tests: dependencies between crates, pure files, file lengths, and documents that match
//! the code.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod documents;
mod imports;
mod names;
mod tree;

use std::{collections::BTreeSet, path::Path, process::Command};

use serde_json::Value;

use crate::tree::{Tree, code, words};

/// Crates of this workspace that each crate may use. In its tests, each may also use `trunkline-testbed`.
const TABLE: [(&str, &[&str]); 11] = [
    ("trunkline-domain", &[]),
    ("trunkline-redis", &[]),
    ("trunkline-session", &["trunkline-domain", "trunkline-redis"]),
    ("trunkline-bus", &["trunkline-domain", "trunkline-redis"]),
    ("trunkline-gateway", &["trunkline-domain", "trunkline-session", "trunkline-bus"]),
    ("trunkline-client", &["trunkline-domain"]),
    ("trunkline-check", &["trunkline-domain", "trunkline-client"]),
    ("trunkline-chaos", &["trunkline-testbed", "trunkline-check"]),
    ("trunkline-bench", &["trunkline-testbed", "trunkline-chaos", "trunkline-check"]),
    ("trunkline-testbed", &[]),
    ("xtask", &["trunkline-testbed"]),
];

/// Libraries that only some crates may use: prefixes of their names, and these crates.
const RESTRICTED_LIBRARIES: [(&str, &[&str]); 2] = [
    ("redis", &["trunkline-redis", "trunkline-bus", "trunkline-session", "trunkline-testbed"]),
    ("actix", &["trunkline-gateway", "trunkline-session"]),
];

/// Maximum length of a source file in lines. The aim is 400; a few more lines do not justify an unnatural split.
const MAX_LINES: usize = 450;

/// Files and folders without I/O, clocks, locks, randomness and environment: their results depend on arguments only.
const PURE: [&str; 52] = [
    "crates/domain/src/",
    "crates/redis/src/master.rs",
    "crates/redis/src/server.rs",
    "crates/redis/src/url.rs",
    "crates/bus/src/log.rs",
    "crates/bus/src/idempotency.rs",
    "crates/bus/src/local/rooms.rs",
    "crates/bus/src/redis/subscribe/backlog.rs",
    "crates/bus/src/redis/codec.rs",
    "crates/bus/src/redis/subscribe/channel_set.rs",
    "crates/bus/src/redis/subscribe/requests.rs",
    "crates/bus/src/redis/read.rs",
    "crates/redis/src/slots.rs",
    "crates/redis/src/slots/",
    "crates/redis/src/subscriber/wire.rs",
    "crates/redis/src/topology.rs",
    "crates/session/src/keyring.rs",
    "crates/gateway/src/connection/decoder.rs",
    "crates/gateway/src/connection/frame_check.rs",
    "crates/gateway/src/fanout/connection.rs",
    "crates/gateway/src/fanout/cursor.rs",
    "crates/gateway/src/fanout/heartbeat.rs",
    "crates/gateway/src/fanout/hub.rs",
    "crates/gateway/src/fanout/hub/",
    "crates/gateway/src/fanout/reader.rs",
    "crates/gateway/src/fanout/room_feed.rs",
    "crates/gateway/src/fanout/tail.rs",
    "crates/gateway/src/frame.rs",
    "crates/gateway/src/ids.rs",
    "crates/gateway/src/limits/rate.rs",
    "crates/gateway/src/presence/",
    "crates/gateway/src/random.rs",
    "crates/gateway/src/ticks.rs",
    "crates/client/src/core/",
    "crates/bench/src/dialect.rs",
    "crates/bench/src/dialect/",
    "crates/bench/src/frame.rs",
    "crates/bench/src/stamp.rs",
    "crates/bench/src/load/deliveries.rs",
    "crates/bench/src/load/plan.rs",
    "crates/bench/src/load/schedule.rs",
    "crates/bench/src/load/conversation.rs",
    "crates/bench/src/compare/figures.rs",
    "crates/bench/src/compare/cells.rs",
    "crates/bench/src/compare/goals.rs",
    "crates/bench/src/compare/growth_axis.rs",
    "crates/bench/src/compare/peer.rs",
    "crates/bench/src/compare/plan.rs",
    "crates/bench/src/compare/table.rs",
    "crates/testbed/src/console/panel.rs",
    "xtask/src/cluster/roll.rs",
    "xtask/src/test/counts.rs",
];

fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let command =
        Command::new(cargo).args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(root).output();
    let output = command.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Crate, dependency, and whether only its tests use it.
fn dependencies() -> Vec<(String, String, bool)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let packages = metadata()["packages"].as_array().unwrap().clone();
    let of = |package: &Value| {
        let (name, all) = (text(&package["name"]), package["dependencies"].as_array().unwrap().clone());
        all.into_iter().map(move |one| (name.clone(), text(&one["name"]), one["kind"] == "dev")).collect::<Vec<_>>()
    };
    packages.iter().flat_map(of).collect()
}

#[test]
fn crates_use_only_what_the_table_allows() {
    let ours: BTreeSet<&str> = TABLE.iter().map(|(name, _)| *name).collect();
    let found: BTreeSet<String> =
        metadata()["packages"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(found, ours.iter().map(|name| (*name).to_owned()).collect(), "a crate is missing in TABLE");
    for (user, used, in_tests) in dependencies().iter().filter(|(_, used, _)| ours.contains(used.as_str())) {
        let (_, allowed) = TABLE.iter().find(|(name, _)| name == user).unwrap();
        // A crate's tests may enable features of the crate itself.
        let for_tests = *in_tests && (used == "trunkline-testbed" || used == user);
        assert!(allowed.contains(&used.as_str()) || for_tests, "{user} uses {used}");
    }
}

#[test]
fn redis_and_actix_are_used_by_few_crates() {
    for (user, used, in_tests) in dependencies() {
        for (library, allowed) in RESTRICTED_LIBRARIES {
            if used == library || used.starts_with(&format!("{library}-")) {
                assert!(allowed.contains(&user.as_str()) || in_tests, "{user} uses {used}");
            }
        }
    }
}

/// Words that make a file impure.
const IMPURE_WORDS: [&str; 9] =
    ["async", "await", "Mutex", "RwLock", "Instant", "SystemTime", "spawn", "thread_rng", "RandomState"];
/// Paths that make a file impure.
const IMPURE_PATHS: [&str; 6] = ["rand::random", "rand::rng", "getrandom", "std::env", "env::var", "std::fs"];

#[test]
fn pure_files_use_no_clock_lock_randomness_or_environment() {
    let sources = Tree::read().sources();
    for pure in PURE {
        let mut files = sources.iter().filter(|(name, _)| name.starts_with(pure)).peekable();
        assert!(files.peek().is_some(), "{pure} does not exist");
        for (name, text) in files {
            for line in code(text) {
                let word = words(line).find(|word| IMPURE_WORDS.contains(word));
                let path = IMPURE_PATHS.into_iter().find(|path| line.contains(path));
                assert_eq!(word.or(path), None, "{name}: {line}");
            }
        }
    }
}

#[test]
fn gateway_reads_its_environment_in_one_file() {
    for (name, text) in Tree::read().texts(&["rs"]) {
        let elsewhere = name.starts_with("crates/gateway/src/") && name != "crates/gateway/src/settings.rs";
        assert!(!elsewhere || !text.contains("std::env"), "{name} reads the environment");
    }
}

#[test]
fn files_are_short() {
    for (name, text) in Tree::read().texts(&["rs", "js", "lua"]) {
        let lines = text.lines().count();
        assert!(lines <= MAX_LINES, "{name} has {lines} lines: split it by subject");
    }
}
