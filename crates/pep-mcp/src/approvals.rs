//! The tools every server has behind the gateway: an agent's way back to a call that waited. What they run is the call
//! that was approved, in the bytes it was approved in; nothing in their arguments can change it.

use crate::{members, members::Members};
use countersign_core::ApprovalId;
use serde_json::value::RawValue;

/// Their names. A server's own tools of these names are not shown and cannot be called.
pub(crate) const NAMES: [&str; 2] = [WAIT, STATUS];

pub(crate) const WAIT: &str = "approval_wait";
pub(crate) const STATUS: &str = "approval_status";

/// Why no call of them is a task.
pub(crate) const NO_TASK: &str = "this tool is the gateway's own, and no call of it is a task";

/// Their definitions, as they stand in a list of tools.
pub(crate) const DEFINITIONS: &str = r#"{"name":"approval_wait","title":"Wait for an approval","description":"Waits until people have decided about a call of yours that is held. Once it is approved, this runs it, exactly as you called it, and gives you its result. Still undecided, it says so: call it again.","inputSchema":{"type":"object","properties":{"approval":{"type":"string","description":"The approval id you were given, such as apr_01J..."}},"required":["approval"],"additionalProperties":false}},{"name":"approval_status","title":"Look at an approval","description":"Says at once where a held call of yours stands. Runs nothing.","inputSchema":{"type":"object","properties":{"approval":{"type":"string","description":"The approval id you were given, such as apr_01J..."}},"required":["approval"],"additionalProperties":false}}"#;

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
