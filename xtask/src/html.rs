//! What reports and their pages share. A page is one file that needs nothing else.

use std::{fs, path::Path};

use serde::Serialize;

use crate::error::{Error, OnFile, Result};

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;width:100%}th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid #ddd}
th:first-child,td:first-child{text-align:left}.ok{color:#17692f}.failed{color:#b3261e;font-weight:600}
h2{margin:2.2rem 0 .2rem}svg{width:100%;height:auto;background:#fafafa}ul{margin:.3rem 0}.key{font-size:13px;color:#555}
@media(prefers-color-scheme:dark){body{background:#16181c;color:#ddd}svg{background:#1f2227}.ok{color:#6cc58a}.failed{color:#ff8a80}}";

/// The beginning of a page, up to its first heading.
pub(crate) fn head(title: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style><h1>{title}</h1>"
    )
}

/// Text as HTML content and attribute values.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// Writes a report into the folder: `report.json`, and `report.html` with its page.
pub(crate) fn write(folder: &Path, report: &impl Serialize, page: &str) -> Result<()> {
    let json = serde_json::to_string_pretty(report).map_err(|e| Error::Row(e.to_string()))?;
    for (name, text) in [("report.json", &*json), ("report.html", page)] {
        let path = folder.join(name);
        fs::write(&path, text).on("cannot write", &path)?;
    }
    Ok(())
}
