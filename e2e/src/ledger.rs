//! An exported bundle, read by nothing but a JSON parser: what the record says, to be compared with what happened.

use crate::E2eError;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use std::collections::BTreeMap;

/// One entry with the private values the export discloses.
#[derive(Clone, Debug)]
pub struct Entry {
    pub index: u64,
    /// Such as `execution.authorized`.
    pub kind: String,
    /// Empty for an entry that belongs to no action.
    pub action: String,
    pub data: Value,
    /// The signed leaf, whole.
    pub leaf: Value,
    /// Private values by name.
    pub disclosed: BTreeMap<String, String>,
}

impl Entry {
    /// A text of its data.
    pub fn text(&self, pointer: &str) -> &str {
        self.data.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }
}

/// Reads the entries of a bundle, in the order of the log.
pub fn read(bundle: &str) -> Result<Vec<Entry>, E2eError> {
    let wrong = |what: &str| E2eError::Export(what.to_owned());
    let mut entries: Vec<Entry> = Vec::new();
    for line in bundle.lines() {
        let line: Value = serde_json::from_str(line).map_err(|error| E2eError::Export(error.to_string()))?;
        if let Some(entry) = line.get("entry") {
            let leaf = entry.get("leaf").ok_or_else(|| wrong("an entry without a leaf"))?;
            let text = |name: &str| leaf.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            entries.push(Entry {
                index: entry.get("index").and_then(Value::as_u64).ok_or_else(|| wrong("no index"))?,
                kind: text("type"),
                action: text("action_id"),
                data: leaf.get("data").cloned().unwrap_or_default(),
                leaf: leaf.clone(),
                disclosed: BTreeMap::new(),
            });
        } else if let Some(disclosure) = line.get("disclosure") {
            let text = |name: &str| disclosure.get(name).and_then(Value::as_str).unwrap_or_default();
            let value = URL_SAFE_NO_PAD.decode(text("value")).map_err(|_| wrong("not base64url"))?;
            let entry = entries.last_mut().ok_or_else(|| wrong("a disclosure of nothing"))?;
            entry.disclosed.insert(text("path").to_owned(), String::from_utf8_lossy(&value).into_owned());
        }
    }
    Ok(entries)
}
