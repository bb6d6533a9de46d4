//! Documents match the code.

use std::collections::BTreeSet;

use crate::tree::{Tree, words};

#[test]
fn comments_contain_no_open_tasks() {
    // Split, so that this file does not contain them.
    let marks = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"]].map(|halves| halves.concat());
    for (name, text) in Tree::read().texts(&["rs", "js", "lua", "css", "md", "toml", "cfg", "conf", "yaml", "yml"]) {
        for (number, line) in text.lines().enumerate() {
            let word = words(line).find(|word| marks.iter().any(|mark| mark == word));
            assert_eq!(word, None, "{name}:{}", number + 1);
        }
    }
}

#[test]
fn relative_links_have_targets() {
    let tree = Tree::read();
    for (name, text) in tree.texts(&["md"]) {
        let folder = tree.root.join(&name).parent().unwrap().to_owned();
        for target in links(&text) {
            let path = target.split('#').next().unwrap_or_default();
            let external = target.contains("://") || target.starts_with("mailto:");
            assert!(external || path.is_empty() || folder.join(path).exists(), "{name} links to {target}");
        }
    }
}

#[test]
fn tests_named_in_documents_exist() {
    let tree = Tree::read();
    let sources = tree.texts(&["rs"]);
    let mut found = 0;
    for document in ["SECURITY.md", "ARCHITECTURE.md"] {
        let text = tree.text(document);
        let quoted = text.split('`').skip(1).step_by(2);
        let is_test = |name: &&str| words(name).count() == 1 && name.matches('_').count() >= 3;
        // Names of constants and lints have the same form.
        let is_other = |name: &&str| name.starts_with("await_holding_") || *name == name.to_uppercase();
        for name in quoted.filter(is_test).filter(|name| !is_other(name)) {
            let [test, generic] = [format!("fn {name}("), format!("fn {name}<")];
            let exists = sources.iter().any(|(_, source)| source.contains(&test) || source.contains(&generic));
            assert!(exists, "{document} names {name}, which does not exist");
            found += 1;
        }
    }
    assert!(found > 30, "documents name tests in a form that this test does not find");
}

#[test]
fn named_examples_exist() {
    let tree = Tree::read();
    let sources: Vec<String> = tree.texts(&["rs"]).into_iter().map(|(name, _)| name).collect();
    let mut found = 0;
    for (name, text) in tree.texts(&["md", "rs", "lua"]) {
        // This file contains the text as a string.
        for rest in text.split("--example ").skip(1).filter(|_| !name.ends_with("tidy/documents.rs")) {
            let example = words(rest).next().unwrap_or_default();
            let ends = [format!("/examples/{example}.rs"), format!("/examples/{example}/main.rs")];
            let exists = sources.iter().any(|source| ends.iter().any(|end| source.ends_with(end)));
            assert!(exists, "{name} names the example {example}, which does not exist");
            found += 1;
        }
    }
    assert!(found > 3, "examples are named in a form that this test does not find");
}

/// Targets of `[text](target)` outside code blocks.
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
fn protocol_document_lists_all_codes() {
    let tree = Tree::read();
    let read = |path: &str| tree.text(path);
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

/// The first cells of the table after a heading.
fn first_cells(document: &str, heading: &str) -> BTreeSet<String> {
    let (_, section) = document.split_once(heading).unwrap();
    let rows = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    rows.skip(2).map(|row| row.split('|').nth(1).unwrap().trim().trim_matches('`').to_owned()).collect()
}

#[test]
fn all_scenarios_are_documented_and_no_others() {
    let tree = Tree::read();
    let guarantees = tree.text("docs/GUARANTEES.md");
    let documented = first_cells(&guarantees, "### While everything breaks");
    let sources = tree.texts(&["rs"]);
    let scenarios = sources.iter().filter(|(name, _)| name.starts_with("crates/chaos/src/scenarios/"));
    let named =
        scenarios.flat_map(|(_, text)| text.split("name: \"").skip(1).filter_map(|rest| rest.split('"').next()));
    assert_eq!(documented, named.map(str::to_owned).collect());
}

#[test]
fn acl_allows_every_command_that_is_used() {
    let tree = Tree::read();
    let acl = tree.text("deploy/redis/users.acl");
    let gateway = acl.lines().find(|line| line.starts_with("user trunkline ")).unwrap();
    // Subcommands are allowed one by one: +cluster|shards.
    let allowed = gateway.split(' ').filter_map(|word| word.strip_prefix('+')?.split('|').next());
    let mut allowed: BTreeSet<&str> = allowed.collect();
    assert!(allowed.contains("@connection"));
    // Of that category. `sentinel` goes to Sentinels only: sentinel.acl, which the tests of `deploy` read. `config` is used
    // where it is permitted, to warn of a setting of a cluster.
    allowed.extend(["auth", "hello", "select", "sentinel", "config"]);
    let calls = [("lua", "redis.call('", '\''), ("lua", "redis.pcall('", '\''), ("rs", "cmd(\"", '"')];
    let mut found = 0;
    for (extension, opens, closes) in calls {
        let sources = tree.texts(&[extension]);
        let ours =
            |name: &str| ["bus", "redis", "session"].iter().any(|it| name.starts_with(&format!("crates/{it}/src/")));
        for (name, text) in sources.iter().filter(|(name, _)| ours(name)) {
            for command in text.split(opens).skip(1).filter_map(|rest| rest.split(closes).next()) {
                // Stands for two commands; see `PubSubMode`.
                let both = ["publish", "spublish"];
                let commands = if command == "@PUBLISH@" { &both[..] } else { &[&*command.to_lowercase()] };
                for command in commands {
                    assert!(allowed.contains(command), "{name} uses {command}; users.acl does not allow it");
                }
                found += 1;
            }
        }
    }
    assert!(found > 30, "Redis is called in a form that this test does not find");
}

#[test]
fn all_metrics_are_documented_and_no_others() {
    let tree = Tree::read();
    let read = |path: &str| tree.text(path);
    let source = read("crates/gateway/src/metrics.rs");
    let registered = source.split("counter(\"").skip(1).map(|rest| ("_total", rest));
    let gauges = ["gauge(\"", "registry.register(\""].into_iter().flat_map(|opens| source.split(opens).skip(1));
    let registered = registered.chain(gauges.map(|rest| ("", rest)));
    let names: BTreeSet<String> = registered
        .map(|(suffix, rest)| format!("trunkline_{}{suffix}", rest.split('"').next().unwrap()))
        // The suffix of a family of counters is added on export.
        .map(|name| if name == "trunkline_sends" { "trunkline_sends_total".to_owned() } else { name })
        .collect();
    let operations = read("docs/OPERATIONS.md");
    for name in &names {
        assert!(operations.contains(&format!("`{name}")), "OPERATIONS.md does not document {name}");
    }
    let named =
        ["docs/OPERATIONS.md", "docs/SCALING.md", "deploy/prometheus/alerts.yml", "deploy/grafana/trunkline.json"];
    for path in named {
        let text = read(path);
        // `trunkline_gateway` is a crate. Names of environment variables are upper case.
        let metrics = words(&text).filter(|word| word.starts_with("trunkline_") && *word != "trunkline_gateway");
        for word in metrics {
            assert!(names.contains(word), "{path} names {word}, which the gateway does not export");
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
