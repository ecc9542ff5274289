//! Source files that no other names: they compile into nothing, and read as if they were the product.

use crate::tree::{Fault, File, Tree};
use serde_json::Value;
use std::{collections::BTreeSet, path::Path};

/// Cargo does not list what another workspace builds.
const ELSEWHERE: &str = "fuzz/";

/// Every source file that belongs to no target.
pub(super) fn faults(tree: &Tree) -> Vec<Fault> {
    let packages = tree.metadata.pointer("/packages").and_then(Value::as_array).into_iter().flatten();
    let targets = packages.filter_map(|package| package.get("targets")?.as_array()).flatten();
    let files = targets.filter_map(|target| target.get("src_path")?.as_str());
    let roots = files.filter_map(|file| Path::new(file).strip_prefix(&tree.root).ok()?.to_str());
    orphans(&tree.files, &roots.collect())
}

fn orphans(files: &[File], roots: &BTreeSet<&str>) -> Vec<Fault> {
    let sources = || files.iter().filter(|file| file.is("rs") && !file.path.starts_with(ELSEWHERE));
    let is_named = |file: &File| {
        let Some((folder, name)) = file.path.rsplit_once('/') else { return false };
        let parent = format!("{folder}.rs");
        sources()
            .filter(|other| {
                let beside = other.path.rsplit_once('/').is_some_and(|(place, _)| place == folder);
                other.path == parent || beside && roots.contains(&*other.path)
            })
            .any(|other| names(&other.text, name.trim_end_matches(".rs")))
    };
    sources()
        .filter(|file| !roots.contains(&*file.path) && !is_named(file))
        .map(|file| Fault::new(&file.path, 1, "no file names this one: it is compiled into nothing"))
        .collect()
}

fn names(text: &str, module: &str) -> bool {
    let ends = format!("mod {module};");
    text.lines().any(|line| {
        let line = line.trim_start();
        line.strip_suffix(&*ends).is_some_and(|before| before.is_empty() || before.starts_with("pub"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_by_its_parent_or_by_a_root_beside_it() {
        let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
        let files = [
            file("a/src/lib.rs", "mod one;\npub(crate) mod two;\n// mod three;\n"),
            file("a/src/one.rs", "#[cfg(test)]\nmod tests;"),
            file("a/src/one/tests.rs", ""),
            file("a/src/two.rs", "mod one;"),
            file("a/src/three.rs", ""),
            file("a/src/one/tls.rs", ""),
            file("a/tests/it.rs", ""),
            file("fuzz/targets/read.rs", ""),
        ];
        let roots = BTreeSet::from(["a/src/lib.rs", "a/tests/it.rs"]);
        let found: Vec<String> = orphans(&files, &roots).into_iter().map(|fault| fault.path).collect();
        assert_eq!(found, ["a/src/three.rs", "a/src/one/tls.rs"]);
    }
}
