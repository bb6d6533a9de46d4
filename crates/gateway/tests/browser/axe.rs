//! axe-core: automatic checks of accessibility.

use std::{fs, path::PathBuf, process::Command, sync::OnceLock};

use serde::Deserialize;
use trunkline_testbed::project_root;

use crate::person::Person;

/// The package, from npm.
const PACKAGE: &str = "axe-core@4";
/// Runs the rules of WCAG 2.2 up to AA, and those that axe-core calls best practice.
const RUN: &str = r"
const done = arguments[arguments.length - 1];
axe.run(document, { resultTypes: ['violations'] }).then(
  ({ violations }) => done(violations.flatMap(({ id, help, nodes }) => nodes.map((node) => `${id}: ${help}: ${node.html} ${node.failureSummary}`))),
  (error) => done([String(error)]),
);";

#[derive(Deserialize)]
struct Packed {
    filename: String,
}

/// Fails with every violation on the page in its present state.
pub(crate) async fn assert_no_violations(person: &Person, page: &str) {
    person.page.execute(script(), Vec::new()).await.unwrap();
    let found = person.page.execute_async(RUN, Vec::new()).await.unwrap();
    let found: Vec<String> = serde_json::from_value(found).unwrap();
    assert!(found.is_empty(), "axe-core on {page}:\n{}", found.join("\n"));
}

fn script() -> &'static str {
    static SCRIPT: OnceLock<String> = OnceLock::new();
    SCRIPT.get_or_init(|| fs::read_to_string(fetch()).unwrap())
}

/// Path of the script; fetched once.
fn fetch() -> PathBuf {
    let tools = project_root().join("target/tools");
    let folder = tools.join("axe-core");
    let file = folder.join("package/axe.min.js");
    if file.exists() {
        return file;
    }
    fs::create_dir_all(&folder).unwrap();
    // Unpacked beside its place and then moved: tests that run at the same time see the whole package or none.
    let unpacked = tempfile::tempdir_in(&tools).unwrap();
    let packed =
        Command::new("npm").args(["pack", "--json", "--pack-destination"]).arg(unpacked.path()).arg(PACKAGE).output();
    let packed =
        packed.unwrap_or_else(|e| panic!("npm is missing ({e}), which fetches {PACKAGE}: `sudo apt install npm`"));
    assert!(packed.status.success(), "`npm pack {PACKAGE}`: {}", String::from_utf8_lossy(&packed.stderr));
    let [Packed { filename }] = &serde_json::from_slice::<Vec<Packed>>(&packed.stdout).unwrap()[..] else {
        panic!("`npm pack` packs one package");
    };
    let tar = Command::new("tar").arg("-xzf").arg(filename).current_dir(unpacked.path()).status();
    assert!(tar.unwrap().success());
    if let Err(e) = fs::rename(unpacked.path().join("package"), folder.join("package")) {
        assert!(file.exists(), "{e}"); // another test has moved it there first
    }
    file
}
