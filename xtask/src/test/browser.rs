//! Finds the tests that drive a browser.
//!
//! They are integration tests named `browser` with `test = false` in their manifest, so that `cargo test` does not run
//! them on a machine without a browser.

use serde::Deserialize;
use trunkline_testbed::cargo;

use crate::error::{Result, XtaskError};

/// Name of the test targets.
pub(crate) const TARGET: &str = "browser";

#[derive(Deserialize)]
struct CargoMetadata {
    packages: Vec<CargoPackage>,
}

#[derive(Deserialize)]
struct CargoPackage {
    name: String,
    targets: Vec<CargoTarget>,
}

#[derive(Deserialize)]
struct CargoTarget {
    name: String,
    kind: Vec<String>,
}

/// The packages that have a test target named [`TARGET`].
pub(crate) fn packages_with_browser_tests() -> Result<Vec<String>> {
    const COMMAND: [&str; 4] = ["metadata", "--no-deps", "--format-version", "1"];
    let failed = || XtaskError::Cargo(format!("cargo {}", COMMAND.join(" ")));
    let output = cargo().args(COMMAND).output().map_err(|_| failed())?;
    let metadata: CargoMetadata = serde_json::from_slice(&output.stdout).map_err(|_| failed())?;
    let drives_browser = |target: &CargoTarget| target.name == TARGET && target.kind.iter().any(|kind| kind == "test");
    let packages = metadata.packages.into_iter().filter(|package| package.targets.iter().any(drives_browser));
    Ok(packages.map(|package| package.name).collect())
}
