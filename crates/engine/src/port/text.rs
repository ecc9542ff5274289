//! What a text does that reaches its target as part of something else, such as SQL in an argument of a tool: one wire reads
//! it for another, which knows nothing of its language.

use super::upstream::Gathered;
use async_trait::async_trait;
use countersign_core::{Operation, Resource};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;

/// What a text would do.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    pub operation: Operation,
    pub resources: Vec<Resource>,
    /// As policy knows them of the wire that reads the text, its effects with their resources among them.
    pub facts: Map<String, Value>,
    pub sentence: String,
}

/// A request of HTTP as a text: its parts, so that none of them can be taken for another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestText {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl fmt::Display for RequestText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// Reads the texts that go to one place.
#[async_trait]
pub trait TextReader: Send + Sync + fmt::Debug {
    /// Under which name policy knows the facts of these texts, as `context.<language>`.
    fn language(&self) -> &'static str;

    /// What the text would do. Never fails: what cannot be read is said to be that. An error is a text that must not run,
    /// whatever policy says: why not, and what to do instead.
    async fn read(&self, text: &str) -> Result<Effect, TextRefusal>;

    /// Finds out about it what can be found out without running anything, as [`super::upstream::Exchange::gather`] does.
    /// `facts` are those of the action so far, and `resources` is how many it names.
    async fn gather(&self, text: &str, facts: &Map<String, Value>, resources: usize) -> Option<Gathered>;

    /// What a text could come to: every operation, with facts that say nothing.
    fn possible(&self) -> Vec<Effect>;
}

/// Why a text does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextRefusal {
    pub why: String,
    pub remedy: String,
}
