//! The frame of HTML reports. A report is one self-contained file.

use std::{fs, path::Path};

use serde::Serialize;
use trunkline_testbed::IoContext;

use crate::error::{ChaosError, Result};

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;width:100%}th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid #ddd}
th:first-child,td:first-child{text-align:left}.ok{color:#17692f}.failed{color:#b3261e;font-weight:600}
h2{margin:2.2rem 0 .2rem}svg{width:100%;height:auto;background:#fafafa}ul{margin:.3rem 0}.key{font-size:13px;color:#555}
@media(prefers-color-scheme:dark){body{background:#16181c;color:#ddd}svg{background:#1f2227}.ok{color:#6cc58a}.failed{color:#ff8a80}}";

/// The beginning of a page, up to and including its main heading.
pub fn head(title: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style><h1>{title}</h1>"
    )
}

/// Escapes text for use as HTML content or in a double-quoted attribute.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// Writes `report.json` and `report.html` to the folder.
///
/// # Errors
/// Returns [`ChaosError::Testbed`] if a file cannot be written, and [`ChaosError::Scenario`] if the report cannot be
/// serialized.
pub fn write(folder: &Path, report: &impl Serialize, page: &str) -> Result<()> {
    let json = serde_json::to_string_pretty(report).map_err(|e| ChaosError::Scenario(e.to_string()))?;
    for (name, text) in [("report.json", &*json), ("report.html", page)] {
        let path = folder.join(name);
        fs::write(&path, text).on_path("cannot write", &path)?;
    }
    Ok(())
}
