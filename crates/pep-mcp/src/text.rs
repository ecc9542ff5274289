//! Tools that are given a text of another language, such as SQL: what such a call does is what its text does, read by whoever
//! knows the language. Lines for a shell and objects of Kubernetes are read here; no wire speaks them yet.

mod kubernetes;
mod parts;
mod shell;

pub(crate) use kubernetes::{LANGUAGE as KUBERNETES, is_verb as is_kubernetes_verb};
pub(crate) use parts::operations;
pub(crate) use shell::LANGUAGE as SHELL;

use crate::{
    classify::{Surroundings, UNDECLARED, Understood},
    config::{KubernetesSection, RequestSection},
    members,
    members::Members,
};
use countersign_core::{Action, Body, Resource};
use countersign_engine::port::{
    text::{Effect, RequestText, TextReader},
    upstream::Gathered,
};
use kubernetes::{About, KubernetesText, KubernetesTexts};
use parts::Place;
use serde_json::{Map, Value, json, value::RawValue};
use shell::ShellTexts;
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
    given: Given,
    /// Arguments that change nothing about it.
    beside: BTreeSet<String>,
    /// `None` until somebody was found: nothing is called then.
    reader: Option<Arc<dyn TextReader>>,
}

/// How an argument is given that holds one or more objects, or a text.
const OBJECTS: &str = "a text, an object or a list";

/// Which arguments are the text.
#[derive(Clone, Debug)]
pub(crate) enum Given {
    /// This one is.
    Argument(String),
    /// Several are the parts of a request.
    Request(RequestSection),
    /// Several say what is done to which objects.
    Objects(KubernetesSection),
}

/// Reads the lines of a tool with these labels.
pub(crate) fn shell_reader(around: &Surroundings, labels: &BTreeSet<String>) -> Arc<dyn TextReader> {
    Arc::new(ShellTexts::new(Place::new(around, labels)))
}

/// Reads the objects of a tool with these labels.
pub(crate) fn kubernetes_reader(around: &Surroundings, labels: &BTreeSet<String>) -> Arc<dyn TextReader> {
    Arc::new(KubernetesTexts::new(Place::new(around, labels)))
}

impl Texts {
    pub(crate) fn expect(&mut self, tool: String, given: Given, beside: BTreeSet<String>) {
        self.0.insert(tool, Text { given, beside, reader: None });
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
        let given = text.given(Members::read(params)?.find("arguments")).ok()?;
        let mut gathered = reader.gather(&given, told, action.resources.len()).await?;
        let mut facts = action.facts.clone();
        facts.insert(reader.language().into(), Value::Object(gathered.facts));
        gathered.facts = facts;
        gathered.sentence = through(&gathered.sentence, tool, action.target.as_str());
        Some(gathered)
    }
}

impl Given {
    /// The arguments it is made of.
    pub(crate) fn names(&self) -> Vec<&str> {
        match self {
            Self::Argument(argument) => vec![argument],
            Self::Request(RequestSection { url, method, headers, body, .. }) => {
                let more = [method, headers, body].into_iter().flatten();
                std::iter::once(url).chain(more).map(String::as_str).collect()
            }
            Self::Objects(KubernetesSection { object, kind, api_version, name, namespace, verb, .. }) => {
                let all = [object, kind, api_version, name, namespace, verb];
                all.into_iter().flatten().map(String::as_str).collect()
            }
        }
    }

    /// The text, or what is wrong with this argument.
    fn text<'n>(&'n self, arguments: &Members<'_>) -> Result<String, (&'n str, &'static str)> {
        let there = |name: &str| arguments.find(name).filter(|value| value.get() != "null");
        let text = |name: &'n str| there(name).and_then(members::text).ok_or((name, "a text"));
        // A text, or what is one when it is written out.
        let written = |name: &'n str, given: &RawValue, kind| match given.get().as_bytes().first() {
            Some(b'{' | b'[') => Ok(given.get().to_owned()),
            _ => members::text(given).ok_or((name, kind)),
        };
        match self {
            Self::Argument(argument) => text(argument),
            Self::Objects(objects) => {
                let maybe = |name: &'n Option<String>| match name.as_deref() {
                    Some(name) if there(name).is_some() => text(name).map(Some),
                    Some(_) | None => Ok(None),
                };
                let about = match (&objects.object, &objects.kind) {
                    (Some(object), _) => {
                        let given = there(object).ok_or((object.as_str(), OBJECTS))?;
                        About::Object(written(object, given, OBJECTS)?)
                    }
                    (None, kind) => About::Named {
                        api_version: maybe(&objects.api_version)?,
                        kind: text(kind.as_deref().unwrap_or_default())?,
                        name: maybe(&objects.name)?,
                    },
                };
                let verb = match (&objects.verb, &objects.always) {
                    (Some(argument), _) => text(argument)?,
                    (None, always) => always.clone().unwrap_or_default(),
                };
                Ok(KubernetesText { verb, namespace: maybe(&objects.namespace)?, about }.to_string())
            }
            Self::Request(request) => {
                let method = match (&request.method, &request.always) {
                    (Some(argument), _) => text(argument)?,
                    (None, always) => always.clone().unwrap_or_default(),
                };
                let mut headers = Vec::new();
                if let Some((name, given)) =
                    request.headers.as_deref().and_then(|name| Some((name, there(name)?)))
                {
                    let given = Members::read(given).ok_or((name, "an object of texts"))?;
                    for (header, value) in given.iter() {
                        let value = members::text(value).ok_or((name, "an object of texts"))?;
                        headers.push((header.to_owned(), value));
                    }
                }
                let body = match request.body.as_deref().and_then(|name| Some((name, there(name)?))) {
                    None => String::new(),
                    Some((name, given)) => written(name, given, OBJECTS)?,
                };
                Ok(RequestText { method, url: text(&request.url)?, headers, body }.to_string())
            }
        }
    }
}

impl Text {
    /// The arguments it stands in, as people read them.
    pub(crate) fn names(&self) -> String {
        let names: Vec<String> = self.given.names().iter().map(|name| format!("`{name}`")).collect();
        names.join(", ")
    }

    /// The text of a call; what to give where there is none.
    fn given(&self, arguments: Option<&RawValue>) -> Result<String, String> {
        let nothing = || (self.given.names().first().copied().unwrap_or_default(), "a text");
        let text = arguments.and_then(Members::read).ok_or_else(nothing);
        text.and_then(|arguments| self.given.text(&arguments)).map_err(|(name, kind)| {
            format!(
                "The tool is decided on by its `{name}`, and this call has none that can be read.\n\
                 What to do: give it as {kind}."
            )
        })
    }

    /// The same, where the call says nothing else: another argument could say where the text goes, and nobody reads that.
    pub(crate) fn alone(&self, arguments: Option<&RawValue>) -> Result<String, String> {
        let given = self.given(arguments)?;
        let names = self.given.names();
        let other = |name: &str| !names.contains(&name) && !self.beside.contains(name);
        if arguments.and_then(Members::read).is_some_and(|members| !members.any(other)) {
            return Ok(given);
        }
        Err(format!(
            "The tool is decided on by its {} alone, and this call says more.\n\
             What to do: leave every other argument out; an administrator can allow harmless ones.",
            self.names()
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
    let Effect { mut operation, mut resources, facts: mut of_text, sentence } = effect;
    // What its reader has no name for is a tool that nobody has declared.
    operation.name.get_or_insert_with(|| UNDECLARED.into());
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
