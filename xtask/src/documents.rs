//! What the documents promise: links lead to files that are there, commands are commands, and the reference pages
//! name everything the code has.

use crate::tree::{Fault, File, Tree};
use std::path::{Component, Path, PathBuf};

#[cfg(test)]
mod commands;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod samples;

/// Links between files of the tree that lead nowhere.
pub(crate) fn broken_links(tree: &Tree) -> Vec<Fault> {
    let documents = tree.files.iter().filter(|file| file.is("md"));
    documents.flat_map(|file| broken_in(tree, file)).collect()
}

fn broken_in(tree: &Tree, file: &File) -> Vec<Fault> {
    let folder = Path::new(&file.path).parent().unwrap_or(Path::new(""));
    let mut faults = Vec::new();
    let mut fenced = false;
    for (line, text) in file.text.lines().enumerate() {
        if text.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for link in links(text) {
            let path = link.split('#').next().unwrap_or_default();
            if path.is_empty() || path.contains(':') {
                continue;
            }
            let found = tree.root.join(plain(&folder.join(path)));
            if !found.exists() {
                faults.push(Fault::new(&file.path, line + 1, format!("`{path}` is not there")));
            }
        }
    }
    faults
}

/// What stands in the round brackets of `[…](…)`.
fn links(line: &str) -> Vec<&str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect()
}

/// The path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, part| {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => plain.push(part),
        }
        plain
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_files_are_followed_and_others_left_alone() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).to_owned();
        let text = "[a](src/main.rs) [b](../xtask/Cargo.toml#x) [c](https://example.com) [d](#here)\n\n[e](gone.rs)\n";
        let file = File { path: "README.md".into(), text: text.into() };
        let (metadata, dependencies) = (serde_json::Value::Null, serde_json::Value::Null);
        let tree = Tree { root, files: vec![file], metadata, dependencies };
        let lines: Vec<usize> = broken_links(&tree).iter().map(|fault| fault.line).collect();
        // `../xtask` of a file at the root stays within the root, where there is no such folder.
        assert_eq!(lines, [1, 3]);
    }
}
