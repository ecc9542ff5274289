//! From a file and the environment to checked sections. Unknown keys are named with their nearest known ones.

mod places;
mod sections;

use super::{Config, Mistake, check};
use countersign_core::Digest;
use places::Places;
use std::{collections::BTreeMap, path::Path};
use toml::{Table, Value};

/// Environment variables that override a key: `COUNTERSIGN__CONSOLE__URL`.
const PREFIX: &str = "COUNTERSIGN__";

/// Reads, overrides, checks. All mistakes at once.
pub(crate) fn load(path: &Path) -> Result<Config, Vec<Mistake>> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        one(
            path,
            format!("cannot be read: {error}"),
            "run `countersign init` to write one, or name it with `--config`",
        )
    })?;
    // Other programs' variables may be anything; ours that are no text are refused by whatever reads them.
    let environment = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .filter(|(name, _)| name.starts_with(PREFIX));
    load_text(path, &text, environment.collect())
}

pub(super) fn load_text(
    path: &Path,
    text: &str,
    environment: BTreeMap<String, String>,
) -> Result<Config, Vec<Mistake>> {
    let mut places = Places::of(path, text)?;
    let mut table: Table = toml::from_str(text).map_err(|error| {
        one(path, error.message().to_owned(), "see `countersign init` for a commented example")
    })?;
    let mut mistakes = Vec::new();
    for (name, value) in environment {
        match override_with(&mut table, &name, &value) {
            Ok(key) => places.override_with(key, name),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    let digest = Digest::of(table.to_string().as_bytes());
    let file = sections::read(table, &places, &mut mistakes);
    let checked = match check(file, path, digest) {
        Ok(config) if mistakes.is_empty() => return Ok(config),
        Ok(_) => Vec::new(),
        Err(more) => more,
    };
    Err(mistakes.into_iter().chain(checked).map(|mistake| places.locate(mistake)).collect())
}

/// Puts the variable's value into the table, and says which key that is.
fn override_with(table: &mut Table, name: &str, value: &str) -> Result<String, Mistake> {
    let keys: Vec<String> = name.trim_start_matches(PREFIX).split("__").map(str::to_lowercase).collect();
    let refuse = |why: &str| {
        let hint = "write `COUNTERSIGN__SECTION__KEY`, such as `COUNTERSIGN__CONSOLE__URL`";
        Mistake { at: Some(format!("environment variable `{name}`")), ..Mistake::new("", why, hint) }
    };
    let [section, key] = keys.as_slice() else { return Err(refuse("it does not name a section and a key")) };
    let entry = table.entry(section.as_str()).or_insert_with(|| Value::Table(Table::new()));
    let Value::Table(entries) = entry else { return Err(refuse("only single sections can be overridden")) };
    let parsed: Option<Value> = value.parse::<i64>().ok().map(Value::Integer);
    entries.insert(key.clone(), parsed.unwrap_or_else(|| Value::String(value.to_owned())));
    Ok(format!("{section}.{key}"))
}

fn one(path: &Path, why: String, hint: &str) -> Vec<Mistake> {
    vec![Mistake { at: Some(path.display().to_string()), ..Mistake::new("", why, hint) }]
}
