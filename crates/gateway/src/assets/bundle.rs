//! Turns the files of `web/` into files with content-hashed names, which a browser can cache without a time limit.
//!
//! ES modules import each other by name. An import must name the hashed file, and the hash of the importing file must
//! change with it, so a module is hashed after all modules that it imports. The code is pure and runs in the build
//! script: a dangling or cyclic import fails the build.
//!
//! Indentation, empty lines and comment lines are removed from scripts and style sheets.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

/// A file with its hashed name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BundledAsset {
    /// The file name in `web/`.
    pub(crate) name: String,
    /// The file name in the binary: `<stem>-<hash>.<extension>`.
    pub(crate) file: String,
    /// The media type.
    pub(crate) content_type: &'static str,
    /// The content, with imports rewritten.
    pub(crate) text: String,
}

/// Why files cannot be bundled.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BundleError {
    /// A module imports a file that does not exist.
    Dangling {
        /// The importing file.
        importer: String,
        /// The missing file.
        import: String,
    },
    /// Modules import each other in a cycle, so none can be hashed first. Holds one of them.
    Cycle(String),
}

impl std::fmt::Display for BundleError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dangling { importer, import } => write!(f, "{importer} imports {import}, which does not exist"),
            Self::Cycle(name) => write!(f, "{name} is part of an import cycle"),
        }
    }
}

impl std::error::Error for BundleError {}

/// Returns the media type of a file that browsers load; `None` for tests, documents and settings of tools.
pub(crate) fn content_type(name: &str) -> Option<&'static str> {
    let (stem, extension) = name.rsplit_once('.')?;
    match extension {
        _ if stem.contains('.') => None,
        "js" => Some("text/javascript; charset=utf-8"),
        "css" => Some("text/css; charset=utf-8"),
        "svg" => Some("image/svg+xml"),
        _ => None,
    }
}

/// Bundles files, given as names and contents. Returns them sorted by name; files without a [`content_type`] are left
/// out.
pub(crate) fn bundle(files: impl IntoIterator<Item = (String, String)>) -> Result<Vec<BundledAsset>, BundleError> {
    let sources: BTreeMap<String, String> = files.into_iter().collect();
    let mut done = BTreeMap::new();
    for name in sources.keys() {
        visit(name, &sources, &mut done, &mut BTreeSet::new())?;
    }
    Ok(done.into_values().collect())
}

fn visit(
    name: &str,
    sources: &BTreeMap<String, String>,
    done: &mut BTreeMap<String, BundledAsset>,
    in_progress: &mut BTreeSet<String>,
) -> Result<(), BundleError> {
    let (Some(source), Some(content_type)) = (sources.get(name), content_type(name)) else { return Ok(()) };
    if done.contains_key(name) {
        return Ok(());
    }
    if !in_progress.insert(name.to_owned()) {
        return Err(BundleError::Cycle(name.to_owned()));
    }
    let mut text = String::with_capacity(source.len());
    for line in lines(name, source) {
        match imported(line).filter(|_| name.ends_with(".js")) {
            None => text.push_str(line),
            Some(import) => {
                visit(import, sources, done, in_progress)?;
                let Some(target) = done.get(import) else {
                    return Err(BundleError::Dangling { importer: name.to_owned(), import: import.to_owned() });
                };
                text.push_str(&line.replace(&format!("\"./{import}\""), &format!("\"./{}\"", target.file)));
            }
        }
        text.push('\n');
    }
    in_progress.remove(name);
    let file = hashed(name, &text);
    done.insert(name.to_owned(), BundledAsset { name: name.to_owned(), file, content_type, text });
    Ok(())
}

/// Returns the lines of a file that are served. In scripts and style sheets no string spans lines (a test in `web/`
/// checks this), so indentation has no meaning, and a comment that begins a line also ends a line.
fn lines<'a>(name: &str, source: &'a str) -> impl Iterator<Item = &'a str> {
    let code = name.ends_with(".js") || name.ends_with(".css");
    let mut in_comment = false;
    source.lines().filter_map(move |line| {
        let bare = line.trim();
        in_comment |= code && bare.starts_with("/*");
        let comment = in_comment || bare.starts_with("//") || bare.is_empty();
        in_comment &= !bare.ends_with("*/");
        match code {
            true if comment => None,
            true => Some(bare),
            false => Some(line),
        }
    })
}

/// Returns the file that a line imports: `import … from "./name.js";`, `export … from "./name.js";` or `import
/// "./name.js";`. Other lines, such as a type in a comment, are not imports.
fn imported(line: &str) -> Option<&str> {
    if !line.starts_with("import ") && !line.starts_with("export ") {
        return None;
    }
    let (before, rest) = line.strip_suffix("\";")?.rsplit_once("\"./")?;
    let before = before.trim_end();
    (before == "import" || before.ends_with(" from")).then_some(rest)
}

/// Adds 64 bits of SHA-256 to the name, which tells versions of one file apart.
fn hashed(name: &str, text: &str) -> String {
    let hash: String = Sha256::digest(text)[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    match name.rsplit_once('.') {
        Some((stem, extension)) => format!("{stem}-{hash}.{extension}"),
        None => format!("{name}-{hash}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(files: &[(&str, &str)]) -> Result<Vec<BundledAsset>, BundleError> {
        bundle(files.iter().map(|&(name, text)| (name.to_owned(), text.to_owned())))
    }

    fn named<'a>(bundled: &'a [BundledAsset], name: &str) -> &'a BundledAsset {
        bundled.iter().find(|file| file.name == name).unwrap()
    }

    #[test]
    fn imports_name_the_hashed_file() {
        let found = files(&[
            ("a.js", "import { b } from \"./b.js\";\nexport { c } from \"./c.js\";\nimport \"./c.js\";\nb();\n"),
            ("b.js", "import { c } from \"./c.js\";\nexport const b = c;\n"),
            ("c.js", "export const c = 1;\n"),
        ])
        .unwrap();
        let [a, b, c] = ["a.js", "b.js", "c.js"].map(|name| named(&found, name));
        let (b_file, c_file) = (&b.file, &c.file);
        assert_eq!(
            a.text,
            format!(
                "import {{ b }} from \"./{b_file}\";\nexport {{ c }} from \"./{c_file}\";\nimport \"./{c_file}\";\nb();\n"
            )
        );
        assert!(a.file.starts_with("a-") && a.file.ends_with(".js") && a.file.len() == "a-.js".len() + 16);
    }

    #[test]
    fn a_change_renames_the_file_and_its_importers_only() {
        let with = |c: &str| {
            files(&[("a.js", "import \"./b.js\";\n"), ("b.js", "import \"./c.js\";\n"), ("c.js", c), ("d.css", "")])
                .unwrap()
        };
        let (one, two) = (with("1"), with("2"));
        for (name, same) in [("a.js", false), ("b.js", false), ("c.js", false), ("d.css", true)] {
            assert_eq!(named(&one, name).file == named(&two, name).file, same, "{name}");
        }
    }

    #[test]
    fn only_import_lines_are_rewritten() {
        let text = "import(\"./b.js\")\nconst x = \"./b.js\";\nexport const y = \"./b.js\";\n";
        let found = files(&[("a.js", text), ("b.js", ""), ("c.css", "import \"./b.js\";\n")]).unwrap();
        assert_eq!(named(&found, "a.js").text, text);
        assert_eq!(named(&found, "c.css").text, "import \"./b.js\";\n");
    }

    #[test]
    fn indentation_and_comments_are_removed() {
        let script = "/** A\n * b.\n */\n\n// c\nif (d) { // e\n  /* f */\n  g(\"/*\");\n}\n";
        let found =
            files(&[("a.js", script), ("b.css", "/* A */\na {\n  b: c; }\n"), ("c.svg", "<svg>\n  //\n</svg>\n")]);
        let found = found.unwrap();
        assert_eq!(named(&found, "a.js").text, "if (d) { // e\ng(\"/*\");\n}\n");
        assert_eq!(named(&found, "b.css").text, "a {\nb: c; }\n");
        assert_eq!(named(&found, "c.svg").text, "<svg>\n  //\n</svg>\n");
    }

    #[test]
    fn dangling_and_cyclic_imports_are_errors() {
        let dangling = BundleError::Dangling { importer: "a.js".into(), import: "b.js".into() };
        assert_eq!(files(&[("a.js", "import \"./b.js\";\n")]), Err(dangling));
        let cycle = files(&[("a.js", "import \"./b.js\";\n"), ("b.js", "import \"./a.js\";\n")]);
        assert_eq!(cycle, Err(BundleError::Cycle("a.js".into())));
        assert_eq!(files(&[("a.js", "import \"./a.js\";\n")]), Err(BundleError::Cycle("a.js".into())));
    }

    #[test]
    fn tests_documents_and_tool_settings_are_left_out() {
        let out = ["PAGE.md", "x.test.js", "package.json", "tsconfig.json", "eslint.config.js", "js"];
        assert!(out.iter().all(|name| content_type(name).is_none()));
    }
}
