//! The words of MCP: what every server offers beside its tools, how its operations stand in each other, and the facts of
//! `context.mcp`. The arguments of a declared tool are `context.input`. A test of the binary holds the MCP wire to them.

use crate::{FactType, Vocabulary};
use countersign_core::{Class, TargetName};

/// The operations of every server, each with its class. `mcp.tool` is a tool that is not declared.
pub const MCP_OPERATIONS: [(&str, Class); 8] = [
    ("mcp.session", Class::Connect),
    ("mcp.list", Class::Read),
    ("mcp.read", Class::Read),
    ("mcp.complete", Class::Read),
    ("mcp.subscribe", Class::Read),
    ("mcp.logging", Class::Configure),
    ("mcp.answer", Class::Write),
    ("mcp.tool", Class::Unknown),
];

/// The facts of `context.mcp`. All of them are there every time; those of a tool are empty where none is called.
/// `answers` holds the methods of the server's questions that a message answers, and `asked_during` the method of the call in which they were
/// asked, whose tool the others then are of. `standing` is `accepted`, `new`, `changed` or `refused`: what people made of the tool's definition.
pub const MCP_FACTS: [(&str, FactType); 9] = [
    (ANSWERS, FactType::SetOfString),
    (ASKED_DURING, FactType::String),
    ("definition", FactType::String),
    ("flags", FactType::SetOfString),
    ("hints", FactType::SetOfString),
    ("method", FactType::String),
    ("server", FactType::String),
    ("standing", FactType::String),
    ("tool", FactType::String),
];

/// Facts that actions did not have before servers' questions were passed on: without the first nothing is answered, and without
/// the second it is not known during which call it was asked.
pub(crate) const ANSWERS: &str = "answers";
pub(crate) const ASKED_DURING: &str = "asked_during";

/// The fact that holds the arguments of a tool.
pub(crate) const INPUT: &str = "input";

/// The wire whose facts these are.
pub(crate) const WIRE: &str = "mcp";

/// The action all others of all servers stand in.
const ROOT: &str = "mcp";
/// The action every tool of every server stands in, declared or not.
const TOOL: &str = "mcp.tool";

/// The class of an operation that every server has; `None` for any other name.
pub(crate) fn class_of(operation: &str) -> Option<Class> {
    MCP_OPERATIONS.iter().find(|(name, _)| *name == operation).map(|(_, class)| *class)
}

/// The action everything of one server stands in.
pub(crate) fn server(target: &TargetName) -> String {
    format!("{ROOT}/{target}")
}

/// The actions an operation of a server stands in, beside its class.
pub(crate) fn lineage(target: &TargetName, operation: &str) -> [String; 3] {
    let kind = if class_of(operation).is_some() { operation } else { TOOL };
    [kind.to_owned(), server(target), ROOT.to_owned()]
}

/// Every action that only gathers others, with those it stands in.
pub(crate) fn actions(vocabulary: &Vocabulary) -> Vec<(String, Vec<&'static str>)> {
    if vocabulary.mcp.is_empty() {
        return Vec::new();
    }
    let root = (ROOT.to_owned(), Vec::new());
    let servers = vocabulary.mcp.iter().map(|target| (server(target), vec![ROOT]));
    let kinds = MCP_OPERATIONS.into_iter().map(|(name, class)| {
        // What only gathers others may gather several classes.
        (name.to_owned(), if name == TOOL { vec![ROOT] } else { vec![class.as_str(), ROOT] })
    });
    std::iter::once(root).chain(servers).chain(kinds).collect()
}
