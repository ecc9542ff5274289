//! Documents of Jira's (the Atlassian Document Format): what of it Jira takes, as far as channels use it, and what they say
//! (<https://developer.atlassian.com/cloud/jira/platform/apis/document/structure/>, and its published schema).

use serde_json::{Map, Value};

/// Checks a document as strictly as Jira does: unknown nodes, marks and attributes, empty texts and nodes in the wrong place are refused.
pub fn check(document: &Value) -> Result<(), String> {
    let members = members(document, &["type", "version", "content"])?;
    if members.get("type") != Some(&"doc".into()) || members.get("version") != Some(&1.into()) {
        return Err("no document of version 1".into());
    }
    inside(document, 0, &["paragraph", "heading", "panel", "bulletList", "codeBlock"])
}

/// A text as somebody types it.
pub fn of(text: &str) -> Value {
    let paragraph = serde_json::json!({"type": "paragraph", "content": [{"type": "text", "text": text}]});
    serde_json::json!({"type": "doc", "version": 1, "content": [paragraph]})
}

/// A text as somebody types it, with a block of code behind it.
pub fn with_code(text: &str, code: &str) -> Value {
    let paragraph = serde_json::json!({"type": "paragraph", "content": [{"type": "text", "text": text}]});
    let code = serde_json::json!({"type": "codeBlock", "content": [{"type": "text", "text": code}]});
    serde_json::json!({"type": "doc", "version": 1, "content": [paragraph, code]})
}

/// Every text in it, with a line's end behind each block.
pub fn text(document: &Value) -> String {
    let mut text = document["text"].as_str().unwrap_or_default().to_owned();
    text.extend(content(document).iter().map(self::text));
    if document["type"] != "text" {
        text.push('\n');
    }
    text
}

/// What the nodes of one kind say, in order.
pub fn texts_of(document: &Value, kind: &str) -> Vec<String> {
    let mut found = if document["type"] == kind { vec![text(document)] } else { Vec::new() };
    found.extend(content(document).iter().flat_map(|node| texts_of(node, kind)));
    found
}

/// Texts with their marks, in order.
pub fn runs(document: &Value) -> Vec<(String, Vec<Value>)> {
    let mut found = Vec::new();
    if document["type"] == "text" {
        let marks = document["marks"].as_array().cloned().unwrap_or_default();
        found.push((document["text"].as_str().unwrap_or_default().to_owned(), marks));
    }
    found.extend(content(document).iter().flat_map(runs));
    found
}

fn content(node: &Value) -> &[Value] {
    node["content"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn inside(node: &Value, least: usize, kinds: &[&str]) -> Result<(), String> {
    let nodes = content(node);
    if nodes.len() < least {
        return Err(format!("nothing stands in {}", node["type"]));
    }
    for inner in nodes {
        let kind = inner["type"].as_str().unwrap_or_default();
        if !kinds.contains(&kind) {
            return Err(format!("`{kind}` may not stand in {}", node["type"]));
        }
        one(kind, inner)?;
    }
    Ok(())
}

fn one(kind: &str, node: &Value) -> Result<(), String> {
    let attribute = |name: &str| node["attrs"].get(name);
    match kind {
        "text" => run(node),
        "paragraph" => {
            members(node, &["type", "content"])?;
            inside(node, 0, &["text"])
        }
        "heading" => {
            members(node, &["type", "attrs", "content"])?;
            members(&node["attrs"], &["level"])?;
            match attribute("level").and_then(Value::as_u64) {
                Some(1..=6) => inside(node, 0, &["text"]),
                _ => Err("a heading without a level".into()),
            }
        }
        "panel" => {
            members(node, &["type", "attrs", "content"])?;
            members(&node["attrs"], &["panelType"])?;
            let kinds = ["info", "note", "tip", "warning", "error", "success"];
            if !attribute("panelType").and_then(Value::as_str).is_some_and(|kind| kinds.contains(&kind)) {
                return Err("a panel of no kind".into());
            }
            inside(node, 1, &["paragraph", "heading", "bulletList"])
        }
        "bulletList" => {
            members(node, &["type", "content"])?;
            inside(node, 1, &["listItem"])
        }
        "listItem" => {
            members(node, &["type", "content"])?;
            inside(node, 1, &["paragraph", "bulletList", "codeBlock"])
        }
        "codeBlock" => {
            members(node, &["type", "content"])?;
            if content(node).iter().any(|text| !text["marks"].is_null()) {
                return Err("a mark in a block of code".into());
            }
            inside(node, 0, &["text"])
        }
        other => Err(format!("`{other}` is no node")),
    }
}

fn run(node: &Value) -> Result<(), String> {
    members(node, &["type", "text", "marks"])?;
    if node["text"].as_str().is_none_or(str::is_empty) {
        return Err("a text without any".into());
    }
    let marks = node["marks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let kinds: Vec<&str> = marks.iter().filter_map(|mark| mark["type"].as_str()).collect();
    if kinds.len() != marks.len() || (kinds.contains(&"code") && kinds.contains(&"strong")) {
        return Err("marks that do not go together".into());
    }
    for mark in marks {
        match mark["type"].as_str() {
            Some("code" | "strong") => members(mark, &["type"]).map(drop)?,
            Some("link") => {
                members(mark, &["type", "attrs"])?;
                members(&mark["attrs"], &["href"])?;
                let href = mark.pointer("/attrs/href").and_then(Value::as_str);
                if href.is_none_or(|href| !href.starts_with("http")) {
                    return Err("a link to nowhere".into());
                }
            }
            _ => return Err(format!("{} is no mark", mark["type"])),
        }
    }
    Ok(())
}

fn members<'v>(node: &'v Value, keys: &[&str]) -> Result<&'v Map<String, Value>, String> {
    let members = node.as_object().ok_or_else(|| format!("{node} is no node"))?;
    match members.keys().find(|key| !keys.contains(&key.as_str())) {
        Some(key) => Err(format!("`{key}` does not belong there")),
        None => Ok(members),
    }
}
