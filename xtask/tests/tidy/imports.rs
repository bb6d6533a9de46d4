//! Import cycles between the modules of a crate.

use std::collections::{BTreeMap, BTreeSet};

use crate::tree::{Tree, code, module_folder};

/// Crates without import cycles between files.
const ACYCLIC: [&str; 4] = ["domain", "redis", "bus", "session"];

/// Imports between the modules of one crate. Modules are paths such as `fanout::hub`; the root is empty.
struct Modules {
    /// For each module, the modules that it imports from.
    imports: BTreeMap<String, BTreeSet<String>>,
}

impl Modules {
    fn read(sources: &[(String, String)], crate_name: &str) -> Self {
        let prefix = format!("crates/{crate_name}/src/");
        // A program's `main` imports from its library, never the other way round.
        let files = sources.iter().filter(|(name, _)| name.starts_with(&prefix) && !name.ends_with("/main.rs"));
        let texts: BTreeMap<String, &str> = files
            .map(|(name, text)| (module_folder(name)[prefix.len() - 1..].trim_matches('/').replace('/', "::"), &**text))
            .collect();
        let exports: BTreeMap<(String, String), String> = texts
            .iter()
            .flat_map(|(module, text)| {
                let public = paths(text).filter(|(public, _)| *public);
                public.filter_map(|(_, path)| {
                    let path = absolute(module, &path);
                    let name = path.rsplit("::").next()?.to_owned();
                    Some(((module.clone(), name), path))
                })
            })
            .collect();
        let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (module, text) in &texts {
            // A re-export only passes a name on. Its user is connected to the module that defines the name.
            for (_, path) in paths(text).filter(|(public, _)| !public) {
                let target = resolve(&absolute(module, &path), &texts, &exports, 0);
                let target = target.filter(|target| target != module);
                imports.entry(module.clone()).or_default().extend(target);
            }
        }
        Self { imports }
    }

    /// Groups of modules that import each other, directly or through others.
    fn cycles(&self) -> Vec<BTreeSet<String>> {
        let reach: BTreeMap<&String, BTreeSet<&String>> =
            self.imports.keys().map(|module| (module, self.reachable(module))).collect();
        let mut cycles: Vec<BTreeSet<String>> = Vec::new();
        for (module, reached) in &reach {
            if reached.contains(module) && !cycles.iter().any(|cycle| cycle.contains(*module)) {
                let mutual = |other: &&&String| reach.get(**other).is_some_and(|back| back.contains(module));
                cycles.push(reached.iter().filter(mutual).map(|other| (*other).clone()).collect());
            }
        }
        cycles
    }

    fn reachable(&self, module: &String) -> BTreeSet<&String> {
        let mut found = BTreeSet::new();
        let mut open: Vec<&String> = self.imports.get(module).into_iter().flatten().collect();
        while let Some(next) = open.pop() {
            if found.insert(next) {
                open.extend(self.imports.get(next).into_iter().flatten());
            }
        }
        found
    }
}

/// All paths that a file imports, with whether they are re-exported.
fn paths(text: &str) -> impl Iterator<Item = (bool, String)> {
    let code: String = code(text).map(|line| format!("{line}\n")).collect();
    let statements: Vec<(bool, String)> = code
        .split(';')
        .filter_map(|statement| {
            let at = statement.rfind("use ").filter(|at| {
                let before = statement[..*at].rsplit('\n').next().unwrap_or_default().trim();
                before.is_empty() || before == "pub" || before.starts_with("pub(")
            })?;
            let public = statement[..at].trim_end().ends_with(['b', ')']);
            Some((public, statement[at + 4..].split_whitespace().collect::<Vec<_>>().join(" ")))
        })
        .collect();
    statements.into_iter().flat_map(|(public, tree)| flatten(&tree).into_iter().map(move |path| (public, path)))
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn flatten(tree: &str) -> Vec<String> {
    let Some((prefix, rest)) = tree.split_once('{') else {
        return tree.split(" as ").take(1).map(|path| path.trim().to_owned()).collect();
    };
    let inner = &rest[..rest.rfind('}').unwrap_or(rest.len())];
    let (mut depth, mut parts, mut current) = (0, Vec::new(), String::new());
    for c in inner.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(std::mem::take(&mut current));
                continue;
            }
            _ => {}
        }
        current.push(c);
    }
    parts.push(current);
    let parts = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty());
    parts.flat_map(flatten).map(|part| format!("{}{part}", prefix.trim())).collect()
}

/// A path of the same crate from its root, without `crate`. Empty for a path of another crate.
fn absolute(module: &str, path: &str) -> String {
    let mut base: Vec<&str> = module.split("::").filter(|part| !part.is_empty()).collect();
    let mut parts = path.split("::").peekable();
    match parts.peek() {
        Some(&"crate") => {
            base.clear();
            parts.next();
        }
        Some(&"self") => _ = parts.next(),
        Some(&"super") => {
            while parts.next_if_eq(&"super").is_some() {
                base.pop();
            }
        }
        _ => return String::new(),
    }
    base.extend(parts.filter(|part| *part != "self" && *part != "*"));
    base.join("::")
}

/// The module that defines what a path names, with re-exports followed.
fn resolve(
    path: &str,
    texts: &BTreeMap<String, &str>,
    exports: &BTreeMap<(String, String), String>,
    depth: usize,
) -> Option<String> {
    if path.is_empty() || depth > 8 {
        return None;
    }
    let parts: Vec<&str> = path.split("::").collect();
    let length = (0..=parts.len()).rev().find(|length| texts.contains_key(&parts[..*length].join("::")))?;
    let module = parts[..length].join("::");
    let name = parts.get(length).copied().unwrap_or_default().to_owned();
    match exports.get(&(module.clone(), name)) {
        Some(other) if !other.is_empty() && other != path => resolve(other, texts, exports, depth + 1).or(Some(module)),
        _ => Some(module),
    }
}

/// The folder of a module in the gateway: its first path component.
fn folder(module: &str) -> &str {
    module.split("::").next().unwrap_or_default()
}

#[test]
fn modules_of_domain_bus_and_session_do_not_import_each_other_in_cycles() {
    let sources = Tree::read().sources();
    let mut cycles = Vec::new();
    for name in ACYCLIC {
        for cycle in Modules::read(&sources, name).cycles() {
            cycles.push(cycle.into_iter().map(|module| format!("{name}::{module}")).collect::<BTreeSet<_>>());
        }
    }
    assert!(cycles.is_empty(), "modules that import each other: {cycles:#?}");
}

#[test]
fn modules_of_the_gateway_import_each_other_within_one_folder_only() {
    let mut cycles = Modules::read(&Tree::read().sources(), "gateway").cycles();
    cycles.retain(|cycle| {
        let folders: BTreeSet<&str> = cycle.iter().map(|module| folder(module)).collect();
        folders.len() > 1
    });
    assert!(cycles.is_empty(), "modules of several folders that import each other: {cycles:#?}");
}

#[test]
fn import_paths_are_read_from_code() {
    let text = "use std::io;\n// use crate::a;\npub use self::b::B;\nuse super::{c::{D, self}, E as F};\npub(crate) use crate::g::*;\nfn f() {}\n";
    let found: Vec<_> = paths(text).map(|(public, path)| (public, absolute("x::y", &path))).collect();
    let expected =
        [(false, ""), (true, "x::y::b::B"), (false, "x::c::D"), (false, "x::c"), (false, "x::E"), (true, "g")];
    assert_eq!(found, expected.map(|(public, path)| (public, path.to_owned())));
}

#[test]
fn cycles_are_found_through_re_exports() {
    let file = |name: &str, text: &str| (format!("crates/t/src/{name}"), text.to_owned());
    let sources = [
        file("lib.rs", "mod a;\nmod b;\nmod c;\npub use a::A;\npub use self::c::C;\n"),
        file("a.rs", "use crate::{b::B, C};\n"),
        file("b.rs", "use crate::c;\n"),
        file("c.rs", "use super::b::B;\n"),
    ];
    let cycles = Modules::read(&sources, "t").cycles();
    assert_eq!(cycles, [BTreeSet::from(["b".to_owned(), "c".to_owned()])]);
}
