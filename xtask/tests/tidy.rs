//! Tidiness is a test: which crate may use which, how long a file may be, documents that match the code.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Which of our crates each may use, beside `trunkline-testbed` in its tests.
const TABLE: [(&str, &[&str]); 9] = [
    ("trunkline-domain", &[]),
    ("trunkline-session", &["trunkline-domain"]),
    ("trunkline-bus", &["trunkline-domain"]),
    ("trunkline-gateway", &["trunkline-domain", "trunkline-session", "trunkline-bus"]),
    ("trunkline-client", &["trunkline-domain"]),
    ("trunkline-check", &["trunkline-domain", "trunkline-client"]),
    ("trunkline-bench", &[]),
    ("trunkline-testbed", &[]),
    ("xtask", &["trunkline-testbed"]),
];

/// Libraries that stay behind a wall: the beginning of their names, and who may name them.
const WALLS: [(&str, &[&str]); 3] = [
    ("redis", &["trunkline-bus", "trunkline-session"]),
    ("deadpool-redis", &["trunkline-bus", "trunkline-session"]),
    ("actix", &["trunkline-gateway", "trunkline-session"]),
];

/// Longest source file, in lines. Some 400 are what a reader can hold in mind; a few more are no reason for a bad cut.
const MOST_LINES: usize = 450;

/// Files that may be longer, each with its reason.
const LONG: [(&str, &str); 1] =
    [("web/machine.js", "one state machine, served to browsers as one file; the Rust client splits the same one")];

/// Decisions without a shell: files and folders in which nothing waits, locks or looks at a clock.
const PURE: [&str; 36] = [
    "crates/domain/src/",
    "crates/bus/src/log.rs",
    "crates/bus/src/idempotency.rs",
    "crates/bus/src/local/rooms.rs",
    "crates/bus/src/redis/subscribe/backlog.rs",
    "crates/bus/src/redis/codec.rs",
    "crates/bus/src/redis/subscribe/channel_set.rs",
    "crates/bus/src/redis/at_rest.rs",
    "crates/bus/src/redis/connection/backoff.rs",
    "crates/bus/src/redis/connection/policy.rs",
    "crates/bus/src/redis/read.rs",
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
    "crates/bench/src/frame.rs",
    "crates/bench/src/stamp.rs",
    "crates/bench/src/load/ledger.rs",
    "crates/bench/src/load/plan.rs",
    "crates/bench/src/load/schedule.rs",
    "crates/bench/src/load/talk.rs",
];

/// The workspace, and whatever in it is source or document.
struct Tree {
    root: PathBuf,
    files: Vec<PathBuf>,
}

impl Tree {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
        let mut files = Vec::new();
        for entry in fs::read_dir(&root).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            match path.is_dir() {
                true if ["crates", "xtask", "web", "docs", "deploy"].contains(&name.as_str()) => {
                    walk(&path, &mut files);
                }
                true => {}
                false => files.push(path),
            }
        }
        files.sort();
        Self { root, files }
    }

    /// Files with one of these extensions, by their path from the root, with their text.
    fn texts(&self, extensions: &[&str]) -> Vec<(String, String)> {
        let wanted = |path: &&PathBuf| path.extension().is_some_and(|ext| extensions.iter().any(|one| ext == *one));
        let read = |path: &PathBuf| {
            let name = path.strip_prefix(&self.root).unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(path).unwrap())
        };
        self.files.iter().filter(wanted).map(read).collect()
    }
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_dir() && !["target", "node_modules"].contains(&&*name) && !name.starts_with('.') {
            walk(&path, files);
        } else if path.is_file() {
            files.push(path);
        }
    }
}

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
    assert_eq!(found, ours.iter().map(|name| (*name).to_owned()).collect(), "a crate without a row in the table");
    for (user, used, in_tests) in dependencies().iter().filter(|(_, used, _)| ours.contains(used.as_str())) {
        let (_, allowed) = TABLE.iter().find(|(name, _)| name == user).unwrap();
        // A crate's tests may switch features of its own on.
        let for_tests = *in_tests && (used == "trunkline-testbed" || used == user);
        assert!(allowed.contains(&used.as_str()) || for_tests, "{user} uses {used}");
    }
}

#[test]
fn redis_and_actix_stay_behind_their_walls() {
    for (user, used, in_tests) in dependencies() {
        for (library, allowed) in WALLS {
            if used == library || used.starts_with(&format!("{library}-")) {
                assert!(allowed.contains(&user.as_str()) || in_tests, "{user} uses {used}");
            }
        }
    }
}

#[test]
fn what_is_called_pure_neither_waits_nor_locks_nor_looks_at_a_clock() {
    let texts = Tree::read().texts(&["rs"]);
    for pure in PURE {
        let mut there = texts.iter().filter(|(name, _)| name.starts_with(pure)).peekable();
        assert!(there.peek().is_some(), "{pure} is not there");
        for (name, text) in there {
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            for (word, line) in code.flat_map(|line| words(line).map(move |word| (word, line))) {
                let impure = ["async", "await", "Mutex", "RwLock", "Instant", "SystemTime", "spawn"].contains(&word);
                assert!(!impure, "{name}: {line}");
            }
        }
    }
}

#[test]
fn the_gateway_reads_its_environment_in_one_place() {
    for (name, text) in Tree::read().texts(&["rs"]) {
        let elsewhere = name.starts_with("crates/gateway/src/") && name != "crates/gateway/src/settings.rs";
        assert!(!elsewhere || !text.contains("std::env"), "{name} reads the environment");
    }
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
}

#[test]
fn no_file_is_too_long() {
    for (name, text) in Tree::read().texts(&["rs", "js", "lua"]) {
        let lines = text.lines().count();
        let excused = LONG.iter().any(|(long, _)| *long == name);
        assert!(lines <= MOST_LINES || excused, "{name} has {lines} lines: split it, or give a reason in LONG");
    }
}

#[test]
fn nothing_is_put_off_in_a_comment() {
    // Written so that this file does not find itself.
    let marks = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"]].map(|halves| halves.concat());
    for (name, text) in Tree::read().texts(&["rs", "js", "lua", "css", "md", "toml", "cfg", "conf", "yaml", "yml"]) {
        for (number, line) in text.lines().enumerate() {
            let word = words(line).find(|word| marks.iter().any(|mark| mark == word));
            assert_eq!(word, None, "{name}:{}", number + 1);
        }
    }
}

#[test]
fn relative_links_lead_somewhere() {
    let tree = Tree::read();
    for (name, text) in tree.texts(&["md"]) {
        let folder = tree.root.join(&name).parent().unwrap().to_owned();
        for target in links(&text) {
            let path = target.split('#').next().unwrap_or_default();
            let foreign = target.contains("://") || target.starts_with("mailto:");
            assert!(foreign || path.is_empty() || folder.join(path).exists(), "{name} links to {target}");
        }
    }
}

#[test]
fn tests_that_documents_name_exist() {
    let tree = Tree::read();
    let sources = tree.texts(&["rs"]);
    let mut found = 0;
    for document in ["SECURITY.md", "ARCHITECTURE.md"] {
        let text = fs::read_to_string(tree.root.join(document)).unwrap();
        let quoted = text.split('`').skip(1).step_by(2);
        let is_test = |name: &&str| words(name).count() == 1 && name.matches('_').count() >= 3;
        // Constants and lints have names of that form, too.
        let is_other = |name: &&str| name.starts_with("await_holding_") || *name == name.to_uppercase();
        for name in quoted.filter(is_test).filter(|name| !is_other(name)) {
            let [test, generic] = [format!("fn {name}("), format!("fn {name}<")];
            let exists = sources.iter().any(|(_, source)| source.contains(&test) || source.contains(&generic));
            assert!(exists, "{document} names {name}, which is nowhere");
            found += 1;
        }
    }
    assert!(found > 30, "documents name tests in another way");
}

#[test]
fn examples_that_are_named_exist() {
    let tree = Tree::read();
    let sources: Vec<String> = tree.texts(&["rs"]).into_iter().map(|(name, _)| name).collect();
    let mut found = 0;
    for (name, text) in tree.texts(&["md", "rs", "lua"]) {
        // Here it is no command.
        for rest in text.split("--example ").skip(1).filter(|_| !name.ends_with("tidy.rs")) {
            let example = words(rest).next().unwrap_or_default();
            let ends = [format!("/examples/{example}.rs"), format!("/examples/{example}/main.rs")];
            let exists = sources.iter().any(|source| ends.iter().any(|end| source.ends_with(end)));
            assert!(exists, "{name} names the example {example}, which is nowhere");
            found += 1;
        }
    }
    assert!(found > 3, "examples are named in another way");
}

/// Targets of `[text](target)` outside of fenced code.
fn links(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        fenced ^= line.starts_with("```");
        if !fenced {
            found.extend(line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target));
        }
    }
    found
}

#[test]
fn the_protocols_codes_stand_in_the_document() {
    let tree = Tree::read();
    let read = |path: &str| fs::read_to_string(tree.root.join(path)).unwrap();
    let document = read("docs/PROTOCOL.md");
    let errors: BTreeSet<String> = first_cells(&document, "### Error codes");
    let closes: BTreeSet<String> = first_cells(&document, "### Close codes");

    let command = read("crates/domain/src/command.rs");
    let (_, variants) = command.split_once("pub enum ErrorCode {").unwrap();
    let (variants, _) = variants.split_once("\n}").unwrap();
    let named = variants.lines().map(str::trim).filter(|line| !line.starts_with("//") && !line.is_empty());
    assert_eq!(errors, named.map(|line| snake_case(line.trim_end_matches(','))).collect());

    let close = read("crates/domain/src/close.rs");
    let (_, numbers) = close.split_once("pub const fn code(self)").unwrap();
    let (numbers, _) = numbers.split_once("\n    }").unwrap();
    let numbers = numbers.lines().filter_map(|line| line.split_once("=> ")).map(|(_, code)| code.trim_matches(','));
    assert_eq!(closes, numbers.map(str::to_owned).collect());
}

/// The first cells of the table below a heading.
fn first_cells(document: &str, heading: &str) -> BTreeSet<String> {
    let (_, section) = document.split_once(heading).unwrap();
    let rows = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    rows.skip(2).map(|row| row.split('|').nth(1).unwrap().trim().trim_matches('`').to_owned()).collect()
}

#[test]
fn every_row_of_the_fault_matrix_is_documented_and_no_other() {
    let tree = Tree::read();
    let guarantees = fs::read_to_string(tree.root.join("docs/GUARANTEES.md")).unwrap();
    let documented = first_cells(&guarantees, "### While everything breaks");
    let sources = tree.texts(&["rs"]);
    let rows = sources.iter().filter(|(name, _)| name.starts_with("xtask/src/chaos/rows/"));
    let named = rows.flat_map(|(_, text)| text.split("name: \"").skip(1).filter_map(|rest| rest.split('"').next()));
    assert_eq!(documented, named.map(str::to_owned).collect());
}

#[test]
fn the_acl_has_every_command_that_is_used() {
    let tree = Tree::read();
    let acl = fs::read_to_string(tree.root.join("deploy/redis/users.acl")).unwrap();
    let gateway = acl.lines().find(|line| line.starts_with("user trunkline ")).unwrap();
    let allowed: BTreeSet<&str> = gateway.split(' ').filter_map(|word| word.strip_prefix('+')).collect();
    let calls = [("lua", "redis.call('", '\''), ("lua", "redis.pcall('", '\''), ("rs", "cmd(\"", '"')];
    let mut found = 0;
    for (extension, opens, closes) in calls {
        let sources = tree.texts(&[extension]);
        let ours =
            |name: &str| ["crates/bus/src/", "crates/session/src/"].iter().any(|folder| name.starts_with(folder));
        for (name, text) in sources.iter().filter(|(name, _)| ours(name)) {
            for command in text.split(opens).skip(1).filter_map(|rest| rest.split(closes).next()) {
                assert!(
                    allowed.contains(&*command.to_lowercase()),
                    "{name} uses {command}; users.acl does not allow it"
                );
                found += 1;
            }
        }
    }
    assert!(found > 30, "the way to call Redis has changed");
}

#[test]
fn every_metric_is_documented_and_no_other_is_named() {
    let tree = Tree::read();
    let read = |path: &str| fs::read_to_string(tree.root.join(path)).unwrap();
    let source = read("crates/gateway/src/metrics.rs");
    let registered = source.split("counter(\"").skip(1).map(|rest| ("_total", rest));
    let gauges = ["gauge(\"", "registry.register(\""].into_iter().flat_map(|opens| source.split(opens).skip(1));
    let registered = registered.chain(gauges.map(|rest| ("", rest)));
    let names: BTreeSet<String> = registered
        .map(|(suffix, rest)| format!("trunkline_{}{suffix}", rest.split('"').next().unwrap()))
        // A family of counters is registered as what it is.
        .map(|name| if name == "trunkline_sends" { "trunkline_sends_total".to_owned() } else { name })
        .collect();
    let operations = read("docs/OPERATIONS.md");
    for name in &names {
        assert!(operations.contains(&format!("`{name}")), "OPERATIONS.md does not tell of {name}");
    }
    let named =
        ["docs/OPERATIONS.md", "docs/SCALING.md", "deploy/prometheus/alerts.yml", "deploy/grafana/trunkline.json"];
    for path in named {
        let text = read(path);
        // Crates are `trunkline_gateway` and the like; variables are upper case.
        let metrics = words(&text).filter(|word| word.starts_with("trunkline_") && *word != "trunkline_gateway");
        for word in metrics {
            assert!(names.contains(word), "{path} names {word}, which the gateway does not count");
        }
    }
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for (index, c) in name.char_indices() {
        if c.is_uppercase() && index > 0 {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}
