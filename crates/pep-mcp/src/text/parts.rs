//! What the languages share that this wire reads itself: a text does several things, each of a class and to some resources,
//! and is called by the gravest of them.

use crate::classify::Surroundings;
use countersign_core::{Class, Operation, Resource, visible};
use countersign_engine::port::text::Effect;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The most resources of one text. One that names more is read by nobody.
const MOST: usize = 200;

/// One thing that a text does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) class: Class,
    /// To what, as kind and name.
    pub(super) about: Vec<(String, String)>,
}

/// What stands around a text: where it goes, and what policy knows about that.
#[derive(Clone, Debug)]
pub(super) struct Place {
    around: Surroundings,
    labels: BTreeSet<String>,
}

/// What its reader found in a text.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) parts: Vec<Part>,
    /// All but `classes`, `reasons` and `understood`, which are told here.
    pub(super) facts: Map<String, Value>,
    pub(super) reasons: BTreeSet<&'static str>,
    /// Without where, and without a full stop.
    pub(super) sentence: String,
}

impl Place {
    pub(super) fn new(around: &Surroundings, labels: &BTreeSet<String>) -> Self {
        let labels = around.labels.union(labels).cloned().collect();
        Self { around: around.clone(), labels }
    }

    /// What policy is asked about, under the operation's name for the gravest part.
    pub(super) fn effect(&self, language: &'static str, found: Found) -> Effect {
        let Found { mut parts, mut facts, mut reasons, mut sentence } = found;
        let count: usize = parts.iter().map(|part| part.about.len()).sum();
        if parts.is_empty() || count > MOST {
            reasons.insert(if count > MOST { "too-long" } else { "nothing" });
            parts = vec![Part { class: Class::Unknown, about: vec![("text".into(), language.into())] }];
            sentence = "Run a text that names more than anybody would read".into();
        }
        let mut resources: Vec<Resource> = Vec::new();
        let mut effects: BTreeMap<Class, BTreeSet<usize>> = BTreeMap::new();
        for Part { class, about } in parts {
            let of_class = effects.entry(class).or_default();
            for (kind, name) in about {
                let known = resources.iter().position(|known| known.kind == kind && known.name == name);
                of_class.insert(known.unwrap_or(resources.len()));
                if known.is_none() {
                    resources.push(Resource { kind, name, labels: self.labels.clone() });
                }
            }
        }
        let gravest = effects.keys().next_back().copied().unwrap_or(Class::Unknown);
        facts.insert("classes".into(), effects.keys().map(|class| class.as_str()).collect());
        facts.insert("reasons".into(), reasons.into_iter().collect());
        facts.insert("understood".into(), (gravest != Class::Unknown).into());
        let each = effects.iter().rev().map(
            |(class, about)| json!({"operation": named(language, *class), "resources": about.iter().collect::<Vec<_>>()}),
        );
        facts.insert("effects".into(), each.collect());
        let operation = Operation { name: Some(named(language, gravest)), class: gravest };
        let sentence = format!("{sentence} ({}{}).", self.around.environment, labelled(&self.labels));
        Effect { operation, resources, facts, sentence }
    }
}

/// What a text of a language could come to: every operation, with facts that say nothing.
pub(super) fn possible(language: &'static str, nothing: &[(&'static str, Value)]) -> Vec<Effect> {
    let none = [("classes", json!([])), ("reasons", json!([])), ("understood", json!(false))];
    let facts: Map<String, Value> =
        nothing.iter().chain(&none).map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let effect = |(name, class)| Effect {
        operation: Operation { name: Some(name), class },
        resources: Vec::new(),
        facts: facts.clone(),
        sentence: String::new(),
    };
    operations(language).map(effect).collect()
}

/// The operations of a language, each with its class.
pub(crate) fn operations(language: &str) -> impl Iterator<Item = (String, Class)> {
    Class::ALL.into_iter().map(move |class| (named(language, class), class))
}

fn named(language: &str, class: Class) -> String {
    format!("{language}.{}", class.as_str())
}

fn labelled(labels: &BTreeSet<String>) -> String {
    let all: Vec<String> = labels.iter().map(|label| visible::one_line(label)).collect();
    if all.is_empty() { String::new() } else { format!(", labelled {}", all.join(", ")) }
}
