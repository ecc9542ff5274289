//! Adaptive Cards as Teams takes them: the elements and actions that channels use, of schema 1.5
//! (<https://adaptivecards.io/explorer/>). Anything else is refused.

use serde_json::Value;

type Checked = Result<(), String>;

/// Whether Teams would draw this card; the error says what it would not.
pub fn check(card: &Value) -> Checked {
    keys(card, &["type", "version", "msteams", "fallbackText", "body", "actions", "refresh"])?;
    if card["type"] != "AdaptiveCard" || card["version"] != "1.5" {
        return Err("no card of version 1.5".into());
    }
    if !card["refresh"].is_null() {
        keys(&card["refresh"], &["action"])?;
        action(at(card, "/refresh/action"))?;
    }
    inside(card)
}

/// Every text that is shown in elements of a kind: `TextBlock`, in which Markdown counts, or `TextRun`, in which it does not.
pub fn texts_of(card: &Value, kind: &str) -> Vec<String> {
    let mut found = Vec::new();
    visit(card, &mut |value| {
        if value["type"] == kind {
            found.extend(value["text"].as_str().map(str::to_owned));
        }
    });
    found
}

/// What stands in the fences: bytes, a line in each paragraph.
pub fn fenced(card: &Value) -> Vec<String> {
    let mut found = Vec::new();
    visit(card, &mut |value| {
        if value["type"] == "Container" {
            let lines = value["items"].as_array().into_iter().flatten();
            let lines: Vec<&str> = lines.filter_map(|line| at(line, "/inlines/0/text").as_str()).collect();
            found.push(lines.join("\n"));
        }
    });
    found
}

/// The button with this verb, wherever it is.
pub fn button(card: &Value, verb: &str) -> Option<Value> {
    let mut found = None;
    visit(&card["actions"], &mut |value| {
        if value["type"] == "Action.Execute" && value["verb"] == verb {
            found = Some(value.clone());
        }
    });
    found
}

/// The addresses that buttons open, by their titles.
pub fn links(card: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    visit(&card["actions"], &mut |value| {
        if value["type"] == "Action.OpenUrl" {
            let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
            found.push((text("title"), text("url")));
        }
    });
    found
}

/// Whether a card says this somewhere.
pub fn says(card: &Value, part: &str) -> bool {
    ["TextBlock", "TextRun"].iter().any(|kind| texts_of(card, kind).iter().any(|text| text.contains(part)))
}

/// What a JSON pointer leads to; nothing where it leads nowhere.
pub(super) fn at<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

fn visit(value: &Value, see: &mut impl FnMut(&Value)) {
    see(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| visit(item, see)),
        Value::Object(members) => members.values().for_each(|member| visit(member, see)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn inside(card: &Value) -> Checked {
    list(&card["body"], element)?;
    list(&card["actions"], action)
}

fn element(element: &Value) -> Checked {
    match element["type"].as_str().unwrap_or_default() {
        "TextBlock" => {
            let own = ["type", "text", "style", "size", "weight", "wrap", "color", "spacing", "separator"];
            keys(element, &own)?;
            text(&element["text"])
        }
        "RichTextBlock" => {
            keys(element, &["type", "inlines", "spacing", "separator"])?;
            let some = element["inlines"].as_array().is_some_and(|runs| !runs.is_empty());
            if !some {
                return Err("a paragraph without text".into());
            }
            list(&element["inlines"], run)
        }
        "Container" => {
            keys(element, &["type", "items", "style", "spacing", "separator"])?;
            list(&element["items"], self::element)
        }
        "Input.Text" => {
            let own = ["type", "id", "label", "isMultiline", "isRequired", "errorMessage", "maxLength"];
            keys(element, &own)?;
            text(&element["id"])
        }
        other => Err(format!("`{other}` is no element that is used here")),
    }
}

fn run(run: &Value) -> Checked {
    keys(run, &["type", "text", "fontType", "weight"])?;
    if run["type"] != "TextRun" {
        return Err("no run of text".into());
    }
    text(&run["text"])
}

fn action(action: &Value) -> Checked {
    match action["type"].as_str().unwrap_or_default() {
        "Action.Execute" => {
            keys(action, &["type", "title", "verb", "data", "style"])?;
            text(&action["verb"])?;
            if action["data"].is_object() { Ok(()) } else { Err("no data".into()) }
        }
        "Action.OpenUrl" => {
            keys(action, &["type", "title", "url"])?;
            let url = action["url"].as_str().unwrap_or_default();
            if url.starts_with("https://") || url.starts_with("http://") {
                Ok(())
            } else {
                Err("no address".into())
            }
        }
        "Action.ShowCard" => {
            keys(action, &["type", "title", "card"])?;
            keys(&action["card"], &["type", "body", "actions"])?;
            inside(&action["card"])
        }
        other => Err(format!("`{other}` is no action that is used here")),
    }
}

fn text(value: &Value) -> Checked {
    if value.as_str().is_some_and(|text| !text.is_empty()) {
        Ok(())
    } else {
        Err("a text that is none".into())
    }
}

fn list(value: &Value, check: impl Fn(&Value) -> Checked) -> Checked {
    match value {
        Value::Null => Ok(()),
        Value::Array(items) => items.iter().try_for_each(check),
        Value::String(_) | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Err("no list".into()),
    }
}

fn keys(value: &Value, known: &[&str]) -> Checked {
    let members = value.as_object().ok_or("no object")?;
    match members.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(format!("`{key}` is not known there")),
        None => Ok(()),
    }
}
