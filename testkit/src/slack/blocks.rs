//! Block Kit as Slack takes it: the blocks and elements that channels use, each with its limits
//! (<https://docs.slack.dev/reference/block-kit>). Anything else is refused, as `invalid_blocks`.

use serde_json::Value;

pub const MOST_IN_MESSAGE: usize = 50;
pub const MOST_IN_VIEW: usize = 100;
/// Documented nowhere; the least that was seen to be refused (slackapi/bolt-js, issue 2867).
pub const MOST_TEXT: usize = 11_300;

type Checked = Result<(), String>;

/// Whether Slack would take these blocks; the error is Slack's, with where it is.
pub fn check(blocks: &[Value], most: usize) -> Checked {
    if blocks.len() > most {
        return Err("too_many_blocks".into());
    }
    for (at, block) in blocks.iter().enumerate() {
        one(block).map_err(|why| format!("invalid_blocks: {at}: {why}"))?;
    }
    let mut all = Vec::new();
    texts(blocks, &mut all);
    let total: usize = all.iter().map(|text| units(text)).sum();
    if total > MOST_TEXT { Err("msg_blocks_too_long".into()) } else { Ok(()) }
}

/// Everything between `<` and `>` in marked-up texts: what Slack makes links, mentions and dates of.
pub fn controls(blocks: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    visit(&Value::from(blocks.to_vec()), &mut |value| {
        if value["type"] == "mrkdwn" {
            let text = value["text"].as_str().unwrap_or_default();
            let parts = text.split('<').skip(1).map(|part| part.split('>').next().unwrap_or_default());
            found.extend(parts.map(str::to_owned));
        }
    });
    found
}

/// Every text that is shown, of a kind: `mrkdwn` or `plain_text`.
pub fn texts_of(blocks: &[Value], kind: &str) -> Vec<String> {
    let mut found = Vec::new();
    visit(&Value::from(blocks.to_vec()), &mut |value| {
        if value["type"] == kind {
            found.extend(value["text"].as_str().map(str::to_owned));
        }
    });
    found
}

fn visit(value: &Value, see: &mut impl FnMut(&Value)) {
    see(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| visit(item, see)),
        Value::Object(members) => members.values().for_each(|member| visit(member, see)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn texts(blocks: &[Value], found: &mut Vec<String>) {
    for block in blocks {
        visit(block, &mut |value| {
            if let (Value::String(_), Value::String(text)) = (&value["type"], &value["text"]) {
                found.push(text.clone());
            }
        });
    }
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

fn one(block: &Value) -> Checked {
    match block["type"].as_str().unwrap_or_default() {
        "header" => {
            keys(block, &["type", "text", "block_id"])?;
            text(&block["text"], &["plain_text"], 150)
        }
        "divider" => keys(block, &["type", "block_id"]),
        "section" => {
            keys(block, &["type", "text", "fields", "expand", "block_id"])?;
            if block["text"].is_null() && block["fields"].is_null() {
                return Err("a section without text".into());
            }
            if !block["text"].is_null() {
                text(&block["text"], &["mrkdwn", "plain_text"], 3000)?;
            }
            list(&block["fields"], 10, |field| text(field, &["mrkdwn", "plain_text"], 2000))
        }
        "context" => {
            keys(block, &["type", "elements", "block_id"])?;
            list(&block["elements"], 10, |element| text(element, &["mrkdwn", "plain_text"], 3000))
        }
        "actions" => {
            keys(block, &["type", "elements", "block_id"])?;
            list(&block["elements"], 25, button)
        }
        "input" => {
            keys(block, &["type", "block_id", "label", "hint", "element", "optional"])?;
            text(&block["label"], &["plain_text"], 2000)?;
            if !block["hint"].is_null() {
                text(&block["hint"], &["plain_text"], 2000)?;
            }
            input(&block["element"])
        }
        other => Err(format!("`{other}` is no block that is used here")),
    }
}

fn button(element: &Value) -> Checked {
    keys(element, &["type", "text", "action_id", "value", "url", "style", "confirm"])?;
    if element["type"] != "button" {
        return Err("only buttons are used here".into());
    }
    text(&element["text"], &["plain_text"], 75)?;
    within(&element["action_id"], 255)?;
    within(&element["value"], 2000)?;
    within(&element["url"], 3000)?;
    if !matches!(element["style"].as_str(), None | Some("primary" | "danger")) {
        return Err("a style that is none".into());
    }
    let confirm = &element["confirm"];
    if confirm.is_null() {
        return Ok(());
    }
    keys(confirm, &["title", "text", "confirm", "deny", "style"])?;
    for (name, most) in [("title", 100), ("text", 300), ("confirm", 30), ("deny", 30)] {
        text(&confirm[name], &["plain_text"], most)?;
    }
    Ok(())
}

fn input(element: &Value) -> Checked {
    keys(
        element,
        &[
            "type",
            "action_id",
            "multiline",
            "min_length",
            "max_length",
            "placeholder",
            "focus_on_load",
            "initial_value",
        ],
    )?;
    if element["type"] != "plain_text_input" {
        return Err("only texts are asked for here".into());
    }
    within(&element["action_id"], 255)?;
    if !element["placeholder"].is_null() {
        text(&element["placeholder"], &["plain_text"], 150)?;
    }
    within(&element["initial_value"], 3000)?;
    if element["max_length"].as_u64().is_some_and(|most| most > 3000) {
        return Err("a text that may be too long".into());
    }
    Ok(())
}

fn text(value: &Value, kinds: &[&str], most: usize) -> Checked {
    let kind = value["type"].as_str().unwrap_or_default();
    if !kinds.contains(&kind) {
        return Err(format!("a text of type `{kind}`"));
    }
    match kind {
        "mrkdwn" => keys(value, &["type", "text", "verbatim"])?,
        _ => keys(value, &["type", "text", "emoji"])?,
    }
    let text = value["text"].as_str().unwrap_or_default();
    if text.is_empty() || units(text) > most {
        return Err(format!("a text of {} characters, of {most}", units(text)));
    }
    Ok(())
}

fn within(value: &Value, most: usize) -> Checked {
    match value {
        Value::Null => Ok(()),
        Value::String(text) if (1..=most).contains(&units(text)) => Ok(()),
        Value::String(_) | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err(format!("a text that is none, or longer than {most}"))
        }
    }
}

fn list(value: &Value, most: usize, check: impl Fn(&Value) -> Checked) -> Checked {
    match value {
        Value::Null => Ok(()),
        Value::Array(items) if (1..=most).contains(&items.len()) => items.iter().try_for_each(check),
        Value::String(_) | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err(format!("no list, an empty one, or one longer than {most}"))
        }
    }
}

fn keys(value: &Value, known: &[&str]) -> Checked {
    let members = value.as_object().ok_or("no object")?;
    match members.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(format!("`{key}` is not known there")),
        None => Ok(()),
    }
}
