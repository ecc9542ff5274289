//! What the story promised and what was observed, step by step.

use crate::DemoError;
use serde::Serialize;
use serde_json::{Value, json};

/// One promise and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// A stable short name, such as `owner-cannot-approve`.
    pub step: String,
    /// What must hold.
    pub promised: String,
    /// What was seen at the doors.
    pub observed: String,
    pub ok: bool,
    /// Ids, statuses and counts behind the sentence.
    pub detail: Value,
}

/// The whole story.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    pub steps: Vec<Step>,
    /// Every step was as promised, and none is missing.
    pub ok: bool,
}

/// Collects steps.
#[derive(Debug, Default)]
pub(crate) struct Log {
    steps: Vec<Step>,
}

impl Log {
    pub(crate) fn step(
        &mut self,
        step: &str,
        promised: &str,
        observed: impl Into<String>,
        ok: impl Into<Kept>,
        detail: Value,
    ) {
        let ok = ok.into() == Kept::Yes;
        let (step, promised) = (step.to_owned(), promised.to_owned());
        self.steps.push(Step { step, promised, observed: observed.into(), ok, detail });
    }

    /// A part of the story that could not be played to its end.
    pub(crate) fn broke_off(&mut self, part: &str, error: &DemoError) {
        let promised = "this part of the story can be played to its end";
        self.step(part, promised, error.to_string(), false, json!({ "cause": cause(error) }));
    }

    pub(crate) fn report(self) -> Report {
        let ok = !self.steps.is_empty() && self.steps.iter().all(|step| step.ok);
        Report { steps: self.steps, ok }
    }
}

/// Whether a promise was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Yes,
    No,
}

impl From<bool> for Kept {
    fn from(held: bool) -> Self {
        if held { Self::Yes } else { Self::No }
    }
}

fn cause(error: &DemoError) -> Option<String> {
    std::error::Error::source(error).map(ToString::to_string)
}
