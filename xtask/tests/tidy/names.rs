//! Names of types.

use std::collections::{BTreeMap, BTreeSet};

use crate::tree::{Tree, code};

/// Type names that occur more than once because they name the same thing, with the reason.
const SAME_THING: [(&str, &str); 5] = [
    ("Gateway", "the gateway in its own process, and its handle in the testbed"),
    ("InvariantResult", "chaos reads the checker's JSON"),
    ("Quantiles", "chaos reads the checker's JSON"),
    ("TimelineSecond", "chaos reads the checker's JSON"),
    ("UnknownUser", "chaos reads the checker's JSON"),
];

/// The name that a line of code defines, if it begins a struct, an enum or a trait.
fn defined(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub") || *word == "unsafe");
    let keyword = words.next()?;
    let name = words.next().filter(|_| ["struct", "enum", "trait"].contains(&keyword))?;
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
    Some(&name[..end])
}

#[test]
fn type_names_are_unique_in_the_workspace() {
    let mut files: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    // The contract suite is test code of all implementations.
    for (file, text) in Tree::read().sources().iter().filter(|(file, _)| !file.contains("/contract")) {
        for name in code(text).filter_map(defined) {
            files.entry(name.to_owned()).or_default().insert(file.clone());
        }
    }
    files.retain(|_, files| files.len() > 1);
    let known = |name: &str| SAME_THING.iter().any(|(same, _)| *same == name);
    let unknown: Vec<String> =
        files.iter().filter(|(name, _)| !known(name)).map(|(name, files)| format!("{name}: {files:?}")).collect();
    assert!(unknown.is_empty(), "types with the same name:\n{}", unknown.join("\n"));
}

#[test]
fn type_definitions_are_recognized() {
    assert_eq!(defined("pub(crate) struct A<T> {"), Some("A"));
    assert_eq!(defined("    enum B {"), Some("B"));
    assert_eq!(defined("pub trait C: Send {"), Some("C"));
    assert_eq!(defined("pub struct D(u8);"), Some("D"));
    assert_eq!(defined("let structure = 1;"), None);
}
