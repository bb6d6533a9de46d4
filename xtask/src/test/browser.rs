//! Where the tests are that drive a browser.
//!
//! They are integration tests named `browser` with `test = false` in their manifest, so that `cargo test` on a machine
//! without a browser does not meet them.

use serde::Deserialize;

use crate::{
    cargo,
    error::{Error, Result},
};

/// The name of their test target.
pub(crate) const TARGET: &str = "browser";

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// The packages that have such tests.
pub(crate) fn browser_tests() -> Result<Vec<String>> {
    const COMMAND: [&str; 4] = ["metadata", "--no-deps", "--format-version", "1"];
    let failed = || Error::Cargo(format!("cargo {}", COMMAND.join(" ")));
    let output = cargo::command().args(COMMAND).output().map_err(|_| failed())?;
    let metadata: Metadata = serde_json::from_slice(&output.stdout).map_err(|_| failed())?;
    let drives_browser = |target: &Target| target.name == TARGET && target.kind.iter().any(|kind| kind == "test");
    let packages = metadata.packages.into_iter().filter(|package| package.targets.iter().any(drives_browser));
    Ok(packages.map(|package| package.name).collect())
}
