//! Which of our crates may depend on which. Dependencies point down; siblings do not know each other.

use crate::tree::{Fault, Tree};
use anyhow::Context;
use serde_json::Value;

/// Every crate, and what it may be built on.
const EDGES: [(&str, &[&str]); 18] = [
    ("countersign-core", &[]),
    ("countersign-ledger", &["countersign-core"]),
    ("countersign-policy", &["countersign-core"]),
    ("countersign-engine", &["countersign-core", "countersign-ledger", "countersign-policy"]),
    ("countersign-store", &["countersign-core", "countersign-ledger", "countersign-engine"]),
    ("countersign-identity", &["countersign-core", "countersign-ledger", "countersign-engine"]),
    ("countersign-pep", &["countersign-core"]),
    (
        "countersign-pep-http",
        &["countersign-core", "countersign-ledger", "countersign-engine", "countersign-pep"],
    ),
    (
        "countersign-pep-mcp",
        &["countersign-core", "countersign-ledger", "countersign-engine", "countersign-pep"],
    ),
    (
        "countersign-pep-sql",
        &["countersign-core", "countersign-ledger", "countersign-engine", "countersign-pep"],
    ),
    (
        "countersign-console",
        &[
            "countersign-core",
            "countersign-ledger",
            "countersign-policy",
            "countersign-engine",
            "countersign-identity",
        ],
    ),
    ("countersign-reviewer", &["countersign-core", "countersign-engine", "countersign-pep"]),
    ("countersign-testkit", &[]),
    ("countersign-demo", &["countersign-testkit"]),
    (
        "countersign",
        &[
            "countersign-core",
            "countersign-ledger",
            "countersign-policy",
            "countersign-engine",
            "countersign-store",
            "countersign-identity",
            "countersign-pep",
            "countersign-pep-http",
            "countersign-pep-mcp",
            "countersign-pep-sql",
            "countersign-console",
            "countersign-reviewer",
            "countersign-demo",
        ],
    ),
    (
        "countersign-e2e",
        &["countersign-testkit", "countersign-demo", "countersign-core", "countersign-ledger"],
    ),
    (
        "countersign-benches",
        &[
            "countersign-core",
            "countersign-ledger",
            "countersign-policy",
            "countersign-engine",
            "countersign-store",
            "countersign-identity",
            "countersign-pep-http",
            "countersign-testkit",
            "countersign-demo",
            "countersign-e2e",
        ],
    ),
    ("xtask", &[]),
];

/// Crates whose tests, too, know nothing above them.
const PURE: [&str; 3] = ["countersign-core", "countersign-ledger", "countersign-policy"];

/// Every edge between our crates that is not on the list.
pub(super) fn faults(tree: &Tree) -> anyhow::Result<Vec<Fault>> {
    let packages = tree.metadata.pointer("/packages").and_then(Value::as_array);
    let packages = packages.context("`cargo metadata` names no packages")?;
    Ok(packages.iter().flat_map(|package| of_package(tree, package)).collect())
}

fn of_package(tree: &Tree, package: &Value) -> Vec<Fault> {
    let name = text(package, "name");
    let manifest = text(package, "manifest_path");
    let root = tree.root.to_string_lossy();
    let path = manifest.strip_prefix(&*root).unwrap_or(manifest).trim_start_matches('/');
    let Some((_, allowed)) = EDGES.iter().find(|(known, _)| *known == name) else {
        return vec![Fault::new(
            path,
            1,
            format!("`{name}` is not in the list of crates in xtask/src/tidy/edges.rs"),
        )];
    };
    let edges = package.pointer("/dependencies").and_then(Value::as_array).into_iter().flatten();
    let ours = edges.filter(|edge| EDGES.iter().any(|(known, _)| *known == text(edge, "name")));
    let forbidden = ours.filter(|edge| {
        let free = text(edge, "kind") == "dev" && !PURE.contains(&name);
        !free && !allowed.contains(&text(edge, "name"))
    });
    forbidden
        .map(|edge| {
            let to = text(edge, "name");
            let line = tree.file(path).and_then(|file| {
                file.text
                    .lines()
                    .position(|line| line.starts_with(to) && !line.starts_with(&format!("{to}-")))
            });
            let why = format!("`{name}` must not depend on `{to}`: dependencies point down only");
            Fault::new(path, line.map_or(1, |line| line + 1), why)
        })
        .collect()
}

/// A member as text; empty when it is none.
fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value.get(member).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::File;
    use serde_json::json;

    fn tree(name: &str, edges: &Value) -> Tree {
        let text = "[dependencies]\ncountersign-store.workspace = true\n".to_owned();
        Tree {
            root: "/r".into(),
            files: vec![File { path: "a/Cargo.toml".into(), text }],
            metadata: json!({"packages": [
                {"name": name, "manifest_path": "/r/a/Cargo.toml", "dependencies": edges},
            ]}),
            dependencies: Value::Null,
        }
    }

    #[test]
    fn edges_up_and_sideways_are_faults() {
        let to = |name: &str, kind: Option<&str>| json!([{"name": name, "kind": kind}]);
        for (from, edge, fine) in [
            ("countersign-engine", to("countersign-core", None), true),
            ("countersign-engine", to("countersign-store", None), false),
            ("countersign-engine", to("countersign-store", Some("dev")), true),
            ("countersign-pep-http", to("countersign-store", None), false),
            ("countersign-pep-http", to("countersign-console", Some("build")), false),
            ("countersign-ledger", to("countersign-store", Some("dev")), false),
            ("countersign-demo", to("countersign-engine", None), false),
            ("countersign-core", to("serde", None), true),
            ("countersign-unheard-of", to("serde", None), false),
        ] {
            assert_eq!(faults(&tree(from, &edge)).unwrap().is_empty(), fine, "{from} -> {edge}");
        }
    }

    #[test]
    fn a_fault_names_the_line_in_the_manifest() {
        let edges = json!([{"name": "countersign-store", "kind": null}]);
        let found = faults(&tree("countersign-identity", &edges)).unwrap();
        assert_eq!(found.first().map(|fault| (&*fault.path, fault.line)), Some(("a/Cargo.toml", 2)));
    }
}
