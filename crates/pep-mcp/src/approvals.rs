//! The tools every server has behind the gateway: an agent's way back to a call that waited. What they run is the call
//! that was approved, in the bytes it was approved in; nothing in their arguments can change it.

use crate::{members, members::Members};
use countersign_core::ApprovalId;
use serde_json::value::RawValue;

/// Their names. A server's own tools of these names are not shown and cannot be called.
pub(crate) const NAMES: [&str; 2] = [WAIT, STATUS];

pub(crate) const WAIT: &str = "approval_wait";
pub(crate) const STATUS: &str = "approval_status";

/// Their definitions, as they stand in a list of tools.
const DEFINITIONS: &str = r#"{"name":"approval_wait","title":"Wait for an approval","description":"Waits until people have decided about a call of yours that is held. Once it is approved, this runs it, exactly as you called it, and gives you its result. Still undecided, it says so: call it again.","inputSchema":{"type":"object","properties":{"approval":{"type":"string","description":"The approval id you were given, such as apr_01J..."}},"required":["approval"],"additionalProperties":false}},{"name":"approval_status","title":"Look at an approval","description":"Says at once where a held call of yours stands. Runs nothing.","inputSchema":{"type":"object","properties":{"approval":{"type":"string","description":"The approval id you were given, such as apr_01J..."}},"required":["approval"],"additionalProperties":false}}"#;

/// A list of tools as the agent sees it: every definition in the server's own bytes, without those that have the
/// gateway's names, and at the end of the list the gateway's own. `None` when it is no list of tools.
pub(crate) fn listed(result: &str) -> Option<String> {
    let raw: &RawValue = serde_json::from_str(result).ok()?;
    let page = Members::read(raw)?;
    let tools: Vec<&RawValue> = serde_json::from_str(page.find("tools")?.get()).ok()?;
    let is_last = page.find("nextCursor").is_none_or(|next| next.get() == "null");
    let foreign = |tool: &&RawValue| {
        let name = Members::read(tool).and_then(|tool| members::text(tool.find("name")?));
        name.is_some_and(|name| !NAMES.contains(&name.as_str()))
    };
    let shown = tools.into_iter().filter(foreign).map(RawValue::get).chain(is_last.then_some(DEFINITIONS));
    let shown = shown.collect::<Vec<_>>().join(",");
    Some(page.rewritten(|name, value| {
        Some(if name == "tools" { format!("[{shown}]") } else { value.get().to_owned() })
    }))
}

/// The approval a call of these tools is about.
pub(crate) fn named(arguments: Option<&RawValue>) -> Option<ApprovalId> {
    let arguments = Members::read(arguments?)?;
    if arguments.any(|name| name != "approval") {
        return None;
    }
    members::text(arguments.find("approval")?)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_the_servers_bytes_and_gains_the_gateways_tools_at_its_end() {
        let first = r#"{"tools":[{"name" : "a","n":1.0},{"name":"approval_wait"}],"nextCursor":"2","x":1}"#;
        assert_eq!(listed(first).unwrap(), r#"{"tools":[{"name" : "a","n":1.0}],"nextCursor":"2","x":1}"#);
        let last = listed(r#"{"tools":[]}"#).unwrap();
        let last: serde_json::Value = serde_json::from_str(&last).unwrap();
        let names: Vec<_> =
            last["tools"].as_array().unwrap().iter().map(|tool| tool["name"].clone()).collect();
        assert_eq!(names, NAMES);
        assert!(listed(r#"{"tools":{}}"#).is_none());
    }

    #[test]
    fn only_an_approvals_id_is_an_argument() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let id = ApprovalId::from_parts(1, 2);
        assert_eq!(named(Some(&raw(&format!(r#"{{"approval":"{id}"}}"#)))), Some(id));
        for bad in [format!(r#"{{"approval":"{id}","tool":"x"}}"#), "{}".into(), r#"{"approval":"x"}"#.into()]
        {
            assert_eq!(named(Some(&raw(&bad))), None, "{bad}");
        }
    }
}
