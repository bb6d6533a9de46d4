//! The files of the workspace.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Root of the workspace, and all files that may be source or documentation.
pub(crate) struct Tree {
    pub(crate) root: PathBuf,
    files: Vec<PathBuf>,
}

impl Tree {
    pub(crate) fn read() -> Self {
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

    /// The text of a file, given by its path from the root.
    pub(crate) fn text(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Paths from the root, and texts, of all files with one of these extensions.
    pub(crate) fn texts(&self, extensions: &[&str]) -> Vec<(String, String)> {
        let wanted = |path: &&PathBuf| path.extension().is_some_and(|ext| extensions.iter().any(|one| ext == *one));
        let read = |path: &PathBuf| {
            let name = path.strip_prefix(&self.root).unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(path).unwrap())
        };
        self.files.iter().filter(wanted).map(read).collect()
    }

    /// The product's and the tools' sources: paths from the root, and texts up to the unit tests. Files that are compiled
    /// for tests only are left out.
    pub(crate) fn sources(&self) -> Vec<(String, String)> {
        let mut sources = self.texts(&["rs"]);
        sources.retain(|(name, _)| name.contains("/src/"));
        let test_files: Vec<String> = sources.iter().flat_map(|(name, text)| test_modules(name, text)).collect();
        sources.retain(|(name, _)| !test_files.iter().any(|test| name.starts_with(test.as_str())));
        for (_, text) in &mut sources {
            text.truncate(inline_tests(text));
        }
        sources
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

/// Path prefixes of the modules that a file declares after `#[cfg(test)]`.
fn test_modules(name: &str, text: &str) -> Vec<String> {
    let folder = module_folder(name);
    let declared = text.split("#[cfg(test)]").skip(1).filter_map(|rest| {
        let line = rest.trim_start().lines().next()?;
        line.rsplit_once("mod ")?.1.strip_suffix(';').map(str::to_owned)
    });
    declared.flat_map(|module| [format!("{folder}/{module}.rs"), format!("{folder}/{module}/")]).collect()
}

/// The folder of the modules that a file declares.
pub(crate) fn module_folder(name: &str) -> String {
    let stem = name.strip_suffix(".rs").unwrap();
    let (folder, file) = stem.rsplit_once('/').unwrap();
    if ["mod", "lib", "main"].contains(&file) { folder.to_owned() } else { stem.to_owned() }
}

/// Offset of the unit tests in a file, or its length.
fn inline_tests(text: &str) -> usize {
    let attribute = "#[cfg(test)]";
    let starts = text.match_indices(attribute).map(|(at, _)| at);
    let is_block = |at: &usize| {
        let line = text[*at + attribute.len()..].trim_start().lines().next().unwrap_or_default();
        line.contains("mod ") && line.ends_with('{')
    };
    starts.into_iter().find(is_block).unwrap_or(text.len())
}

/// The words of a line of code.
pub(crate) fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// The lines of a text that are not comments.
pub(crate) fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}
