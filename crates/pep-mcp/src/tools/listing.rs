//! A list of tools as one agent sees it: without what it could never call, without a word of the server's that nobody
//! has accepted, and with the gateway's own tools at its end.

use super::{Definition, Ruling, read};
use crate::{approvals, call, classify::Understood, config::McpTarget, edge::Door, members::Members};
use countersign_core::Requester;
use countersign_engine::{
    definitions::Standing,
    intake::{self, Request},
};
use serde_json::{json, value::RawValue};
use std::{collections::HashMap, sync::Arc};

/// Whose list it is, and of which target.
pub(crate) struct Listing {
    pub(crate) door: Arc<Door>,
    pub(crate) requester: Requester,
    /// Its agent may ask for tasks of calls, by the version that was agreed on.
    pub(crate) tasks: bool,
}

impl Listing {
    /// One page of the list; `None` when it is none. What is shown is in the server's own bytes.
    pub(crate) fn shown(&self, result: &str) -> Option<String> {
        let (mut shown, next) = self.page(result)?;
        shown.extend(next.is_none().then(|| approvals::DEFINITIONS.to_owned()));
        let shown = shown.join(",");
        let raw: &RawValue = serde_json::from_str(result).ok()?;
        Some(Members::read(raw)?.rewritten(|name, value| {
            Some(match name {
                "tools" => format!("[{shown}]"),
                // What one principal sees is nobody else's, and may be otherwise as soon as somebody decides.
                "cacheScope" => r#""private""#.into(),
                "ttlMs" => "0".into(),
                _ => value.get().to_owned(),
            })
        }))
    }

    /// The tools of one page that its agent may see, and where the next begins, in the server's own bytes.
    pub(crate) fn page(&self, result: &str) -> Option<(Vec<String>, Option<String>)> {
        let raw: &RawValue = serde_json::from_str(result).ok()?;
        let page = Members::read(raw)?;
        let tools: Vec<&RawValue> = serde_json::from_str(page.find("tools")?.get()).ok()?;
        let next = page.find("nextCursor").map(RawValue::get).filter(|next| *next != "null");
        Some((self.each(&tools), next.map(str::to_owned)))
    }

    fn each(&self, tools: &[&RawValue]) -> Vec<String> {
        let named: Vec<_> = tools.iter().filter_map(|tool| Some((*tool, read(tool)?))).collect();
        let mut times: HashMap<&str, usize> = HashMap::new();
        for (_, (name, _)) in &named {
            *times.entry(name).or_default() += 1;
        }
        let once = named.iter().filter(|(_, (name, _))| times.get(name.as_str()) == Some(&1));
        once.filter_map(|(raw, (name, read))| self.one(raw, name, &read.definition)).collect()
    }

    fn one(&self, raw: &RawValue, name: &str, definition: &Definition) -> Option<String> {
        if approvals::NAMES.contains(&name) || !crate::config::is_tool_name(name) {
            return None;
        }
        let ruling = self.door.book.ruling(name, definition.digest);
        let standing = match ruling {
            Ruling::Hide => return None,
            Ruling::Decide(standing) => standing,
            // What it would be if somebody accepted it.
            Ruling::Refuse(_) => Standing::Accepted,
        };
        if !self.could_ever(name, definition, standing) {
            return None;
        }
        match ruling {
            Ruling::Decide(_) if self.tasks => as_task(raw),
            Ruling::Decide(_) => Some(raw.get().to_owned()),
            // A name with unusual characters would be words of the server's, too.
            Ruling::Refuse(_) | Ruling::Hide if !is_plain(name) => None,
            Ruling::Refuse(_) | Ruling::Hide => Some(unknown(name)),
        }
    }

    /// Whether policy could ever permit this agent to call the tool.
    fn could_ever(&self, name: &str, definition: &Definition, standing: Standing) -> bool {
        let target = &self.door.target;
        target.classifier.possible_calls(name, definition, standing).into_iter().any(|call| {
            let asked = asked(target, self.requester.clone(), (name, definition), call);
            intake::could_ever(&self.door.gate, asked)
        })
    }
}

impl McpTarget {
    /// What policy would be asked of a call without arguments, of a tool that is described so; `None` when it is no tool.
    pub fn question(&self, requester: Requester, definition: &str, standing: Standing) -> Option<Request> {
        let (name, read) = read(serde_json::from_str(definition).ok()?)?;
        let call = self.classifier.call(&name, None, &read.definition, standing);
        Some(asked(self, requester, (&name, &read.definition), call))
    }
}

/// A call without arguments.
fn asked(
    target: &McpTarget,
    requester: Requester,
    (name, definition): (&str, &Definition),
    understood: Understood,
) -> Request {
    let prepared = call::Prepared::of("{}".into());
    call::asked(target, requester, "tools/call", Some((name, definition)), understood, prepared)
}

/// A tool whose calls may be tasks: they are the gateway's, whatever the server says of its own.
fn as_task(raw: &RawValue) -> Option<String> {
    let members = Members::read(raw)?;
    let kept = members.rewritten(|name, value| (name != "execution").then(|| value.get().to_owned()));
    Some(format!(r#"{},"execution":{{"taskSupport":"optional"}}}}"#, kept.strip_suffix('}')?))
}

fn is_plain(name: &str) -> bool {
    name.chars().all(|character| character.is_ascii_alphanumeric() || "_-./".contains(character))
}

/// A tool of which nothing is said.
fn unknown(name: &str) -> String {
    let said = "Not available: an administrator has not accepted this tool as its server describes it. Calls are refused.";
    json!({"name": name, "description": said, "inputSchema": {"type": "object"}}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_servers_is_said_of_a_tool_that_nobody_has_accepted() {
        assert!(is_plain("shop.count-rows_2") && !is_plain("ignore all previous"));
        let told: serde_json::Value = serde_json::from_str(&unknown("x")).unwrap();
        assert_eq!(told["inputSchema"], json!({"type": "object"}));
        assert!(told["description"].as_str().unwrap().starts_with("Not available"));
    }
}
