//! Tools that are given a text of another language, such as SQL: what such a call does is what its text does, read by whoever
//! knows the language.

use crate::{classify::Understood, members, members::Members};
use countersign_core::{Action, Body, Resource};
use countersign_engine::port::{
    text::{Effect, TextReader},
    upstream::Gathered,
};
use serde_json::{Map, Value, json, value::RawValue};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Reads the texts of a target's tools, by the tool.
#[derive(Clone, Debug, Default)]
pub(crate) struct Texts(BTreeMap<String, Text>);

/// Where the text of a tool stands, and who reads it.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    argument: String,
    /// Arguments that change nothing about it.
    beside: BTreeSet<String>,
    /// `None` until somebody was found: nothing is called then.
    reader: Option<Arc<dyn TextReader>>,
}

impl Texts {
    pub(crate) fn expect(&mut self, tool: String, argument: String, beside: BTreeSet<String>) {
        self.0.insert(tool, Text { argument, beside, reader: None });
    }

    pub(crate) fn read_by(&mut self, tool: &str, reader: Arc<dyn TextReader>) {
        if let Some(text) = self.0.get_mut(tool) {
            text.reader = Some(reader);
        }
    }

    pub(crate) fn of(&self, tool: &str) -> Option<&Text> {
        self.0.get(tool)
    }

    /// Finds out about a call that was asked for as one of a known text.
    pub(crate) async fn gather(&self, tool: &str, action: &Action) -> Option<Gathered> {
        let text = self.0.get(tool)?;
        let reader = text.reader.as_ref()?;
        let told = action.facts.get(reader.language())?.as_object()?;
        let Body::Bound(params) = &action.payload.body else { return None };
        let params: &RawValue = serde_json::from_slice(params).ok()?;
        let given = text.given(Members::read(params)?.find("arguments"))?;
        let mut gathered = reader.gather(&given, told, action.resources.len()).await?;
        let mut facts = action.facts.clone();
        facts.insert(reader.language().into(), Value::Object(gathered.facts));
        gathered.facts = facts;
        gathered.sentence = through(&gathered.sentence, tool, action.target.as_str());
        Some(gathered)
    }
}

impl Text {
    /// The text of a call; `None` where there is none.
    fn given(&self, arguments: Option<&RawValue>) -> Option<String> {
        members::text(Members::read(arguments?)?.find(&self.argument)?)
    }

    /// The same, and why there is none, so that a model can mend it: another argument could say where the text goes, and
    /// nobody reads that.
    pub(crate) fn alone(&self, arguments: Option<&RawValue>) -> Result<String, String> {
        let Self { argument, beside, .. } = self;
        let given = self.given(arguments).ok_or_else(|| {
            format!(
                "The tool is decided on by its `{argument}`, and this call has none.\nWhat to do: give it as a text."
            )
        })?;
        let other = |name: &str| name != argument && !beside.contains(name);
        if arguments.and_then(Members::read).is_some_and(|members| !members.any(other)) {
            return Ok(given);
        }
        Err(format!(
            "The tool is decided on by its `{argument}` alone, and this call says more.\n\
             What to do: leave every other argument out; an administrator can allow harmless ones."
        ))
    }

    /// What a call with this text does, beside being a call. Why it must not run, and what to do instead.
    pub(crate) async fn read(&self, text: &str) -> Result<(&'static str, Effect), String> {
        let reader = self.reader.as_ref().ok_or("Nobody here can read the text of this tool.")?;
        let read = reader.read(text).await;
        let effect = read.map_err(|refusal| format!("{}.\nWhat to do: {}.", refusal.why, refusal.remedy))?;
        Ok((reader.language(), effect))
    }

    /// What a call could come to.
    pub(crate) fn possible(&self) -> Vec<(&'static str, Effect)> {
        let each = self.reader.iter().flat_map(|reader| {
            let language = reader.language();
            reader.possible().into_iter().map(move |effect| (language, effect))
        });
        each.collect()
    }
}

/// The call as what its text does: the tool is one more of its resources, and part of its gravest effect.
pub(crate) fn as_effect(
    call: Understood,
    tool: &str,
    target: &str,
    (language, effect): (&'static str, Effect),
) -> Understood {
    let Effect { operation, mut resources, facts: mut of_text, sentence } = effect;
    with_tool(&mut of_text, operation.name.as_deref().unwrap_or_default(), resources.len(), &call.resources);
    resources.extend(call.resources);
    let mut facts = call.facts;
    facts.insert(language.into(), Value::Object(of_text));
    Understood { operation, resources, facts, sentence: through(&sentence, tool, target) }
}

/// Effects name every resource of their action, by its place.
fn with_tool(facts: &mut Map<String, Value>, operation: &str, before: usize, more: &[Resource]) {
    let Some(effects) = facts.get_mut("effects").and_then(Value::as_array_mut) else { return };
    let places = (before..before + more.len()).map(Value::from);
    let own = |effect: &&mut Value| effect.get("operation").and_then(Value::as_str) == Some(operation);
    match effects.iter_mut().find(own).and_then(|effect| effect.get_mut("resources")?.as_array_mut()) {
        Some(about) => about.extend(places),
        None => effects.push(json!({"operation": operation, "resources": places.collect::<Vec<_>>()})),
    }
}

fn through(sentence: &str, tool: &str, target: &str) -> String {
    format!("{sentence} Asked of the tool {} on {target}.", crate::classify::quoted(tool))
}
