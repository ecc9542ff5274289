//! The call in which a server asks something: what an answer is for, and how long anybody waits for one.

use countersign_core::{Action, ActionId, Resource};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

/// Why an answer goes nowhere whose call is over.
pub(crate) const OVER: &str = "the call that it was asked in is over";

/// Why a question goes to nobody.
pub(crate) const NOBODY: &str = "nobody is here who could be asked";

/// What policy knows of a tool, which an answer is told with as well.
const OF_THE_TOOL: [&str; 5] = ["definition", "flags", "hints", "standing", "tool"];

/// A call that its server has not answered yet.
#[derive(Clone, Debug)]
pub(crate) struct During {
    pub(crate) action: ActionId,
    pub(crate) method: String,
    /// The tool, the prompt or the resource that it is about, as policy knows it.
    pub(crate) about: Vec<Resource>,
    /// What policy knows of its tool.
    pub(crate) facts: Map<String, Value>,
    /// Cancelled once it is over, or must stop.
    pub(crate) over: CancellationToken,
}

impl During {
    /// `over` is cancelled when the action must stop, and by whoever sees to its end.
    pub(crate) fn new(action: &Action, over: CancellationToken) -> Self {
        let text = |name: &str| action.facts.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (method, tool) = (text("method"), text("tool"));
        // What a tool's text is about is not what asks.
        let asks = |resource: &&Resource| tool.is_empty() || resource.kind == "tool" && resource.name == tool;
        let about = action.resources.iter().filter(asks).cloned().collect();
        let facts = OF_THE_TOOL.into_iter().filter_map(|name| {
            let told = action.facts.get(name)?;
            Some((name.to_owned(), told.clone()))
        });
        Self { action: action.id, method, about, facts: facts.collect(), over }
    }

    /// As it stands in the head of an answer: JSON on one line.
    pub(crate) fn head(&self) -> String {
        let about = self.about.iter().map(|about| json!({"kind": about.kind, "name": about.name}));
        let about: Vec<Value> = about.collect();
        let definition = self.facts.get("definition");
        json!({"about": about, "action": self.action, "definition": definition, "method": self.method})
            .to_string()
    }
}
