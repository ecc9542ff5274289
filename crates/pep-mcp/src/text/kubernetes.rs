//! Objects of Kubernetes in the arguments of a tool, or their names, with what is to be done to them. What an object is follows
//! from its group and kind; a kind that is not listed, and an object that two readers could read differently, is
//! `kubernetes.unknown`, never a read.

mod node;
mod object;

use super::parts::{Found, Part, Place, possible};
use crate::classify::quoted;
use async_trait::async_trait;
use countersign_core::Class;
use countersign_engine::port::{
    text::{Effect, TextReader, TextRefusal},
    upstream::Gathered,
};
use object::{Object, Sort};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, fmt};

/// The language of these texts, as policy calls it.
pub(crate) const LANGUAGE: &str = "kubernetes";

/// The most objects that a sentence names one by one.
const MOST: usize = 4;

/// What is done, and to what: the parts of a call as one text, so that none of them can be taken for another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KubernetesText {
    pub(super) verb: String,
    /// Where the call says so beside the object.
    pub(super) namespace: Option<String>,
    pub(super) about: About,
}

/// To what something is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum About {
    /// One or more objects, as JSON or YAML.
    Object(String),
    /// What is called that; without a name all of them.
    Named { api_version: Option<String>, kind: String, name: Option<String> },
}

impl fmt::Display for KubernetesText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// What a verb comes to, whatever it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Reads,
    Changes,
    /// Changes how much there is of it, or what is said about it: nothing new is run.
    Adjusts,
    Deletes,
    /// Runs something in what is there already.
    Runs,
    /// Opens a stream to it.
    Reaches,
}

const VERBS: [(&str, Doing); 22] = [
    ("get", Doing::Reads),
    ("list", Doing::Reads),
    ("watch", Doing::Reads),
    ("describe", Doing::Reads),
    ("logs", Doing::Reads),
    ("create", Doing::Changes),
    ("apply", Doing::Changes),
    ("update", Doing::Changes),
    ("replace", Doing::Changes),
    ("patch", Doing::Changes),
    ("edit", Doing::Changes),
    ("scale", Doing::Adjusts),
    ("label", Doing::Adjusts),
    ("annotate", Doing::Adjusts),
    ("restart", Doing::Changes),
    ("delete", Doing::Deletes),
    ("deletecollection", Doing::Deletes),
    ("evict", Doing::Deletes),
    ("exec", Doing::Runs),
    ("attach", Doing::Runs),
    ("port-forward", Doing::Reaches),
    ("proxy", Doing::Reaches),
];

/// What is changed by these says the object, so that its name alone does not tell.
const BY_CONTENT: [&str; 6] = ["create", "apply", "update", "replace", "patch", "edit"];

/// Whether it is known what this does.
pub(crate) fn is_verb(verb: &str) -> bool {
    VERBS.iter().any(|(known, _)| *known == verb)
}

/// Reads the objects that a tool is given.
#[derive(Clone, Debug)]
pub(crate) struct KubernetesTexts {
    place: Place,
}

impl KubernetesTexts {
    pub(super) fn new(place: Place) -> Self {
        Self { place }
    }
}

fn found(text: &str) -> Found {
    let Ok(text) = serde_json::from_str::<KubernetesText>(text) else { return unread("text", "") };
    let Some((verb, doing)) = VERBS.iter().find(|(verb, _)| *verb == text.verb) else {
        return unread("verb", "");
    };
    let objects = match &text.about {
        About::Object(objects) => object::read(objects, text.namespace.as_deref()),
        About::Named { .. } if BY_CONTENT.contains(verb) => Err("content"),
        About::Named { api_version, kind, name } => {
            let names = (text.namespace.as_deref(), name.as_deref());
            object::named(api_version.as_deref(), kind, names).map(|object| vec![object])
        }
    };
    let objects = match objects {
        Ok(objects) if !objects.is_empty() => objects,
        Ok(_) => return unread("nothing", verb),
        Err(why) => return unread(why, verb),
    };
    let mut reasons = BTreeSet::new();
    let mut parts = Vec::new();
    for object in &objects {
        let class = class(*doing, object, &mut reasons);
        parts.push(Part { class, about: vec![(object.kind.clone(), object.full_name())] });
    }
    // What a pod is given can be read in it.
    for object in objects.iter().filter(|_| matches!(doing, Doing::Changes | Doing::Adjusts)) {
        let about: Vec<_> =
            object.secrets.iter().map(|name| ("Secret".to_owned(), object.beside(name))).collect();
        if !about.is_empty() {
            reasons.insert("secret");
            parts.push(Part { class: Class::Export, about });
        }
    }
    let texts = |each: &dyn Fn(&Object) -> Option<String>| -> Value {
        objects.iter().filter_map(each).collect::<BTreeSet<_>>().into_iter().collect()
    };
    let facts = Map::from_iter([
        ("verb".to_owned(), json!(verb)),
        ("objects".to_owned(), json!(objects.len())),
        ("kinds".to_owned(), texts(&|object| Some(object.full_kind()))),
        ("names".to_owned(), texts(&|object| object.name.clone())),
        ("namespaces".to_owned(), texts(&|object| object.namespace.clone())),
    ]);
    let sentence = sentence(verb, &objects, &parts, &reasons);
    Found { parts, facts, reasons, sentence }
}

fn class(doing: Doing, object: &Object, reasons: &mut BTreeSet<&'static str>) -> Class {
    if object.sort == Sort::Unlisted {
        reasons.insert("kind");
        return Class::Unknown;
    }
    if object.name.is_none() && doing != Doing::Reads {
        reasons.insert("without-name");
    }
    match doing {
        Doing::Reads if object.sort == Sort::Secret => Class::Export,
        Doing::Reads => Class::Read,
        Doing::Runs => Class::Execute,
        // Behind a node's proxy is what runs its pods.
        Doing::Reaches if object.sort == Sort::Node => Class::Administer,
        Doing::Reaches => Class::Connect,
        Doing::Deletes => {
            if object.sort == Sort::Namespace {
                reasons.insert("everything-in-it");
            }
            if matches!(object.sort, Sort::Access | Sort::Node) { Class::Administer } else { Class::Delete }
        }
        Doing::Changes | Doing::Adjusts => {
            reasons.extend(&object.risks);
            match object.sort {
                Sort::Unlisted => Class::Unknown,
                Sort::Access | Sort::Secret | Sort::Namespace | Sort::Node => Class::Administer,
                Sort::Workload | Sort::Volume | Sort::Settings if !object.risks.is_empty() => {
                    Class::Administer
                }
                Sort::Workload if doing == Doing::Changes => Class::Execute,
                Sort::Workload | Sort::Volume | Sort::Settings => Class::Configure,
            }
        }
    }
}

fn sentence(verb: &str, objects: &[Object], parts: &[Part], reasons: &BTreeSet<&'static str>) -> String {
    let mut letters = verb.chars();
    let verb: String =
        letters.next().into_iter().map(|first| first.to_ascii_uppercase()).chain(letters).collect();
    let shown = |object: &Object| format!("{} {}", object.kind, quoted(&object.full_name()));
    let about = if objects.len() <= MOST {
        objects.iter().map(shown).collect::<Vec<_>>().join(", ")
    } else {
        let gravest = parts.iter().zip(objects).max_by_key(|(part, _)| part.class);
        let gravest = gravest.map_or_else(String::new, |(_, object)| shown(object));
        format!("{} objects, of which the gravest is {gravest}", objects.len())
    };
    let more = if reasons.is_empty() {
        String::new()
    } else {
        format!(" ({})", reasons.iter().copied().collect::<Vec<_>>().join(", "))
    };
    format!("{verb} {about}{more} in Kubernetes")
}

fn unread(why: &'static str, verb: &str) -> Found {
    let none = || json!([]);
    let facts = Map::from_iter([
        ("verb".to_owned(), json!(verb)),
        ("objects".to_owned(), json!(0)),
        ("kinds".to_owned(), none()),
        ("names".to_owned(), none()),
        ("namespaces".to_owned(), none()),
    ]);
    let parts = vec![Part { class: Class::Unknown, about: vec![("object".into(), "unread".into())] }];
    let sentence = format!("Do something in Kubernetes that nobody can be certain of ({why})");
    Found { parts, facts, reasons: [why].into(), sentence }
}

#[async_trait]
impl TextReader for KubernetesTexts {
    fn language(&self) -> &'static str {
        LANGUAGE
    }

    async fn read(&self, text: &str) -> Result<Effect, TextRefusal> {
        Ok(self.place.effect(LANGUAGE, found(text)))
    }

    async fn gather(&self, _: &str, _: &Map<String, Value>, _: usize) -> Option<Gathered> {
        None
    }

    fn possible(&self) -> Vec<Effect> {
        let none = || json!([]);
        let nothing = [
            ("verb", json!("")),
            ("objects", json!(0)),
            ("kinds", none()),
            ("names", none()),
            ("namespaces", none()),
        ];
        possible(LANGUAGE, &nothing)
    }
}

#[cfg(test)]
mod tests;
