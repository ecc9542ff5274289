//! The app's manifests as they are handed out in `docs/examples`, read: what an app that was made from one may do. This
//! workspace has such an app, so that a call for which the manifest asks no scope is refused here as it is there.

use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// For a gateway that Slack reaches at its console.
pub const AT_AN_ADDRESS: &str = include_str!("../../../docs/examples/slack-manifest.yaml");
/// For one that it does not reach.
pub const ON_A_SOCKET: &str = include_str!("../../../docs/examples/slack-manifest-socket.yaml");

/// What a bot's token needs for a method, where it needs anything: by the kind of conversation that is read, public, private
/// or somebody's own (<https://docs.slack.dev/reference/methods>).
pub const NEEDED: [(&str, Option<char>, &str); 9] = [
    ("chat.postMessage", None, "chat:write"),
    ("chat.update", None, "chat:write"),
    ("conversations.open", None, "im:write"),
    ("conversations.history", Some('C'), "channels:history"),
    ("conversations.history", Some('G'), "groups:history"),
    ("conversations.history", Some('D'), "im:history"),
    ("conversations.replies", Some('C'), "channels:history"),
    ("conversations.replies", Some('G'), "groups:history"),
    ("conversations.replies", Some('D'), "im:history"),
];
/// For commands, which no method asks for.
pub const COMMANDS: &str = "commands";

/// An app.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct App {
    /// The manifest, as JSON would say it.
    pub manifest: Value,
    /// Scopes of the bot's token.
    pub scopes: BTreeSet<String>,
    /// Commands, such as `/countersign`.
    pub commands: BTreeSet<String>,
    /// Buttons and forms are handed in.
    pub is_interactive: bool,
    /// They are, on connections of the app's.
    pub has_sockets: bool,
}

impl App {
    /// The app that a manifest makes.
    pub fn of(manifest: &str) -> Result<Self, String> {
        let manifest = read(manifest)?;
        let texts = |pointer: &str, part: &str| -> BTreeSet<String> {
            let all = manifest.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
            all.filter_map(|one| if part.is_empty() { Some(one) } else { one.get(part) })
                .filter_map(|one| one.as_str().map(str::to_owned))
                .collect()
        };
        let on = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_bool) == Some(true);
        Ok(Self {
            scopes: texts("/oauth_config/scopes/bot", ""),
            commands: texts("/features/slash_commands", "command"),
            is_interactive: on("/settings/interactivity/is_enabled"),
            has_sockets: on("/settings/socket_mode_enabled"),
            manifest,
        })
    }
}

/// The scope that a call needs on this conversation.
pub(super) fn scope_of(method: &str, conversation: &str) -> Option<&'static str> {
    let kind = conversation.chars().next();
    let fits = |(name, of, _): &&(&str, Option<char>, &str)| *name == method && (of.is_none() || *of == kind);
    NEEDED.iter().find(fits).map(|(_, _, scope)| *scope)
}

/// As much of YAML as manifests here are written in: mappings and lists by indentation, texts, `true` and `false`. Anything
/// else is an error.
fn read(text: &str) -> Result<Value, String> {
    let lines: Vec<(usize, &str)> = text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
        .map(|line| (line.len() - line.trim_start().len(), line.trim()))
        .collect();
    let mut left = lines.as_slice();
    let value = block(&mut left, 0)?;
    if left.is_empty() { Ok(value) } else { Err(format!("not read: {left:?}")) }
}

/// What stands at this indentation.
fn block(left: &mut &[(usize, &str)], at: usize) -> Result<Value, String> {
    if left.first().is_some_and(|(_, line)| line.starts_with("- ")) {
        let mut items = Vec::new();
        while let Some((_, item)) = left
            .first()
            .filter(|(indent, _)| *indent == at)
            .and_then(|(indent, line)| Some((indent, line.strip_prefix("- ")?)))
        {
            if is_pair(item) {
                // A mapping whose first line stands behind the mark.
                let rest: Vec<(usize, &str)> =
                    left.iter().skip(1).copied().take_while(|(indent, _)| *indent > at).collect();
                let mut own = vec![(at + 2, item)];
                own.extend(&rest);
                let mut own = own.as_slice();
                items.push(block(&mut own, at + 2)?);
                if !own.is_empty() {
                    return Err(format!("not read: {own:?}"));
                }
                *left = left.get(1 + rest.len()..).unwrap_or_default();
            } else {
                items.push(scalar(item)?);
                *left = left.get(1..).unwrap_or_default();
            }
        }
        return Ok(Value::Array(items));
    }
    let mut members = Map::new();
    while let Some((_, line)) = left.first().filter(|(indent, _)| *indent == at) {
        let (key, value) = line.split_once(':').ok_or_else(|| format!("no pair: {line}"))?;
        *left = left.get(1..).unwrap_or_default();
        let value = match (value.trim(), left.first()) {
            ("", Some((deeper, _))) if *deeper > at => block(left, *deeper)?,
            (text, _) => scalar(text)?,
        };
        if members.insert(key.to_owned(), value).is_some() {
            return Err(format!("`{key}` stands there twice"));
        }
    }
    Ok(Value::Object(members))
}

/// A key of a mapping begins it: a scope has a colon too, and no space behind it.
fn is_pair(text: &str) -> bool {
    text.contains(": ") || text.ends_with(':')
}

fn scalar(text: &str) -> Result<Value, String> {
    if let Some(quoted) = text.strip_prefix('"') {
        let inner = quoted.strip_suffix('"').filter(|inner| !inner.contains(['"', '\\']));
        return inner.map(Into::into).ok_or_else(|| format!("not read: {text}"));
    }
    match text {
        "true" => Ok(true.into()),
        "false" => Ok(false.into()),
        _ if text.is_empty()
            || text.starts_with(['[', '{', '&', '*', '!', '|', '>', '\'', '%', '@', '`']) =>
        {
            Err(format!("not read: {text}"))
        }
        _ if text.contains(" #") || text.contains(": ") => Err(format!("not read: {text}")),
        _ => Ok(text.into()),
    }
}
