//! A request's head (and body, where an operation declares that) to what it does. What is not declared is
//! [`Class::Unknown`]; nothing is guessed from a method alone.

use crate::{
    facts::{self, ALWAYS, Fact, FactRefusal, FactType, Source},
    path::Location,
    sentence,
    template::{PathTemplate, Segment, TextTemplate},
};
use countersign_core::{Class, EnvironmentName, Operation, Resource, TargetName};
use countersign_pep::Fault;
use http::{HeaderMap, Method};
use serde_json::{Map, Value};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
};

/// What is true of every request to a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    pub target: TargetName,
    pub environment: EnvironmentName,
    /// On every resource of the target.
    pub labels: BTreeSet<String>,
}

/// One operation a target declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationSpec {
    pub name: String,
    pub method: Method,
    pub path: PathTemplate,
    pub class: Class,
    pub resources: Vec<ResourceSpec>,
    /// On every resource of the operation, beside the target's.
    pub labels: BTreeSet<String>,
    pub facts: Vec<Fact>,
    pub sentence: Option<TextTemplate>,
    pub variants: Vec<Variant>,
}

/// A resource an operation acts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceSpec {
    pub kind: String,
    pub name: TextTemplate,
    pub labels: BTreeSet<String>,
}

/// What the operation is instead when a fact is set: there, not `false`, not empty and not zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    pub when: String,
    pub class: Option<Class>,
    pub sentence: Option<TextTemplate>,
}

impl OperationSpec {
    /// What policy calls it in this class: its own name, and the class behind it where a variant changed that, so
    /// that a rule about reads never speaks of the variant that deletes.
    pub fn named(&self, class: Class) -> String {
        if class == self.class { self.name.clone() } else { format!("{}.{}", self.name, class.as_str()) }
    }

    /// Whether the body has to be read before anything can be decided.
    pub fn reads_body(&self) -> bool {
        self.facts.iter().any(|fact| matches!(fact.source, Source::Body(_)))
    }
}

/// An operation as policy may speak of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredOperation {
    pub target: TargetName,
    pub name: String,
    pub class: Class,
    pub facts: BTreeMap<String, FactType>,
}

/// A request understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Understood {
    pub operation: Operation,
    pub resources: Vec<Resource>,
    pub facts: Map<String, Value>,
    pub sentence: String,
}

/// What a request was found to be, before its facts are read.
#[derive(Clone, Debug)]
pub struct Found<'c> {
    /// `None`: not declared.
    pub spec: Option<&'c OperationSpec>,
    captured: Vec<(&'c str, String)>,
}

/// How the request continues after its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape<'r> {
    /// A request and its response.
    Exchange,
    /// An upgrade to this protocol: a stream nobody reads here.
    Stream(&'r str),
}

/// The declared operations of one target, by path and method.
#[derive(Debug)]
pub struct Classifier {
    around: Surroundings,
    operations: Vec<OperationSpec>,
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<String, usize>,
    /// The more closely framed first.
    named: Vec<(Segment, usize)>,
    operations: Vec<usize>,
}

impl Classifier {
    /// Refuses operations that cannot be told apart, with all of them named.
    pub fn new(around: Surroundings, operations: Vec<OperationSpec>) -> Result<Self, Vec<Fault>> {
        let place = format!("http.{}", around.target);
        let faults = faults(&place, &operations);
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut classifier = Self { around, operations: Vec::new(), nodes: vec![Node::default()] };
        for operation in operations {
            classifier.add(operation);
        }
        Ok(classifier)
    }

    pub fn surroundings(&self) -> &Surroundings {
        &self.around
    }

    /// Every label a resource of this target may carry.
    pub fn labels(&self) -> BTreeSet<String> {
        let of_operation = |operation: &OperationSpec| {
            let of_resources = operation.resources.iter().flat_map(|resource| resource.labels.clone());
            operation.labels.iter().cloned().chain(of_resources).collect::<Vec<_>>()
        };
        self.operations.iter().flat_map(of_operation).chain(self.around.labels.iter().cloned()).collect()
    }

    /// Every operation and every variant of one, for the vocabulary policy is checked against.
    pub fn declared(&self) -> Vec<DeclaredOperation> {
        let one = |operation: &OperationSpec| -> Vec<DeclaredOperation> {
            let always = ALWAYS.iter().map(|(name, kind)| ((*name).to_owned(), *kind));
            let captured = operation.path.names().map(|name| (name.to_owned(), FactType::Text));
            let declared = operation.facts.iter().map(|fact| (fact.name.clone(), fact.kind));
            let facts: BTreeMap<_, _> = always.chain(captured).chain(declared).collect();
            let variants = operation.variants.iter().filter_map(|variant| variant.class);
            let classes: BTreeSet<_> = variants.chain([operation.class]).collect();
            let named = classes.into_iter().map(|class| DeclaredOperation {
                target: self.around.target.clone(),
                name: operation.named(class),
                class,
                facts: facts.clone(),
            });
            named.collect()
        };
        self.operations.iter().flat_map(one).collect()
    }

    /// The operation a method and path ask for.
    pub fn find(&self, method: &Method, segments: &[Cow<'_, str>]) -> Found<'_> {
        let mut captured = Vec::new();
        let mut found = self.search(0, method, segments, &mut captured);
        if found.is_none() && method == Method::HEAD {
            captured.clear();
            found = self
                .search(0, &Method::GET, segments, &mut captured)
                .filter(|operation| operation.class == Class::Read);
        }
        if found.is_none() {
            captured.clear();
        }
        Found { spec: found, captured }
    }

    /// Reads the facts and says what the request does. `body` must be whole where the operation reads it.
    pub fn understand(
        &self,
        found: &Found<'_>,
        shape: Shape<'_>,
        method: &Method,
        location: &Location<'_>,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Understood, FactRefusal> {
        let mut facts = Map::new();
        facts.insert("method".into(), method.as_str().into());
        facts.insert("path".into(), location.path.into());
        facts.insert("query".into(), location.query.unwrap_or("").into());
        for (name, value) in &found.captured {
            facts.insert((*name).into(), value.as_str().into());
        }
        let whole = location.query.map_or_else(
            || Cow::Borrowed(location.path),
            |query| Cow::Owned(format!("{}?{query}", location.path)),
        );
        let Some(spec) = found.spec else {
            let class = if shape == Shape::Exchange { Class::Unknown } else { Class::Connect };
            return Ok(Understood {
                operation: Operation { name: None, class },
                resources: vec![self.path_resource(location, &BTreeSet::new())],
                facts,
                sentence: match shape {
                    Shape::Exchange => sentence::unrecognised(&self.around, method.as_str(), &whole),
                    Shape::Stream(protocol) => {
                        sentence::stream(&self.around, protocol, method.as_str(), &whole)
                    }
                },
            });
        };
        facts::read(&spec.facts, location.query, headers, body, &mut facts)?;
        let variant = spec.variants.iter().find(|variant| facts.get(&variant.when).is_some_and(is_set));
        let class = variant.and_then(|variant| variant.class).unwrap_or(spec.class);
        let template = variant.and_then(|variant| variant.sentence.as_ref()).or(spec.sentence.as_ref());
        let resources = self.resources(spec, &facts, location);
        let labels = resources.iter().flat_map(|resource| resource.labels.iter());
        let sentence = match (shape, template) {
            (Shape::Stream(protocol), _) => sentence::stream(&self.around, protocol, method.as_str(), &whole),
            (Shape::Exchange, Some(template)) => {
                sentence::from_template(&self.around, template, &facts, labels)
            }
            (Shape::Exchange, None) => {
                sentence::plain(&self.around, class, &spec.name, method.as_str(), &whole, labels)
            }
        };
        // A stream is none of the declared operations, whatever its path.
        let operation = match shape {
            Shape::Exchange => Operation { name: Some(spec.named(class)), class },
            Shape::Stream(_) => Operation { name: None, class: Class::Connect },
        };
        Ok(Understood { operation, resources, facts, sentence })
    }

    fn resources(
        &self,
        spec: &OperationSpec,
        facts: &Map<String, Value>,
        location: &Location<'_>,
    ) -> Vec<Resource> {
        if spec.resources.is_empty() {
            return vec![self.path_resource(location, &spec.labels)];
        }
        let one = |resource: &ResourceSpec| Resource {
            kind: resource.kind.clone(),
            name: resource.name.fill(|name| self.value(name, facts)),
            labels: [&self.around.labels, &spec.labels, &resource.labels]
                .into_iter()
                .flatten()
                .cloned()
                .collect(),
        };
        spec.resources.iter().map(one).collect()
    }

    fn path_resource(&self, location: &Location<'_>, labels: &BTreeSet<String>) -> Resource {
        Resource {
            kind: "path".into(),
            name: location.path.into(),
            labels: self.around.labels.union(labels).cloned().collect(),
        }
    }

    fn value<'f>(&'f self, name: &str, facts: &'f Map<String, Value>) -> Cow<'f, str> {
        match name {
            "target" => self.around.target.as_str().into(),
            "environment" => self.around.environment.as_str().into(),
            _ => facts.get(name).map_or(Cow::Borrowed(""), sentence::text),
        }
    }

    fn search<'c>(
        &'c self,
        node: usize,
        method: &Method,
        segments: &[Cow<'_, str>],
        captured: &mut Vec<(&'c str, String)>,
    ) -> Option<&'c OperationSpec> {
        let node = self.nodes.get(node)?;
        let Some((first, rest)) = segments.split_first() else {
            let mut here = node.operations.iter().filter_map(|index| self.operations.get(*index));
            return here.find(|operation| operation.method == *method);
        };
        if let Some(next) = node.literals.get(first.as_ref())
            && let Some(found) = self.search(*next, method, rest, captured)
        {
            return Some(found);
        }
        for (segment, next) in &node.named {
            let Some(inner) = segment.captured(first) else { continue };
            let before = captured.len();
            captured.extend(inner.zip(segment.name()).map(|(value, name)| (name, value.to_owned())));
            if let Some(found) = self.search(*next, method, rest, captured) {
                return Some(found);
            }
            captured.truncate(before);
        }
        None
    }

    fn add(&mut self, operation: OperationSpec) {
        let mut at = 0;
        for segment in &operation.path.segments {
            let fresh = self.nodes.len();
            let Some(node) = self.nodes.get_mut(at) else { return };
            at = match segment {
                Segment::Literal(text) => *node.literals.entry(text.clone()).or_insert(fresh),
                Segment::Named { .. } => {
                    let known = node.named.iter().find(|(known, _)| known == segment).map(|(_, next)| *next);
                    if known.is_none() {
                        node.named.push((segment.clone(), fresh));
                        node.named.sort_by_key(|(segment, _)| std::cmp::Reverse(framing(segment)));
                    }
                    known.unwrap_or(fresh)
                }
            };
            if at == fresh {
                self.nodes.push(Node::default());
            }
        }
        let index = self.operations.len();
        if let Some(node) = self.nodes.get_mut(at) {
            node.operations.push(index);
        }
        self.operations.push(operation);
    }
}

fn framing(segment: &Segment) -> usize {
    match segment {
        Segment::Literal(text) => text.len(),
        Segment::Named { before, after, .. } => before.len() + after.len(),
    }
}

fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_i64() != Some(0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

/// What keeps these operations from being told apart or spoken of.
pub(crate) fn faults(place: &str, operations: &[OperationSpec]) -> Vec<Fault> {
    let names = operations.iter().flat_map(|operation| unknown_names(place, operation));
    ambiguous(place, operations).into_iter().chain(names).collect()
}

fn ambiguous(place: &str, operations: &[OperationSpec]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut names = BTreeSet::new();
    let mut by_shape: BTreeMap<(&str, usize), Vec<&OperationSpec>> = BTreeMap::new();
    for operation in operations {
        if !names.insert(operation.name.as_str()) {
            let why = format!("two operations are named `{}`", operation.name);
            faults.push(Fault::new(
                format!("{place}.operations"),
                why,
                "give each operation a name of its own",
            ));
        }
        let shape = (operation.method.as_str(), operation.path.segments.len());
        let alike = by_shape.entry(shape).or_default();
        for other in alike.iter() {
            let (one, two) = (&operation.path, &other.path);
            if one.overlaps(two) && one.is_within(two) == two.is_within(one) {
                let why = format!("a request could be either `{}` or `{}`", other.name, operation.name);
                let remedy = "make one path template more concrete than the other, or drop one";
                faults.push(Fault::new(format!("{place}.operations"), why, remedy));
            }
        }
        alike.push(operation);
    }
    faults
}

fn unknown_names(place: &str, operation: &OperationSpec) -> Vec<Fault> {
    let place = format!("{place}.operations.{}", operation.name);
    let mut faults = Vec::new();
    let mut known: BTreeSet<&str> = ALWAYS.iter().map(|(name, _)| *name).collect();
    let captured = operation.path.names().chain(operation.facts.iter().map(|fact| fact.name.as_str()));
    for name in captured {
        if matches!(name, "target" | "environment") || !known.insert(name) {
            let why = format!("`{name}` is a fact twice, or a name that is taken");
            faults.push(Fault::new(&place, why, "give each fact and path place a name of its own"));
        }
    }
    let templates =
        operation.sentence.iter().chain(operation.variants.iter().flat_map(|v| v.sentence.iter()));
    let templates = templates.chain(operation.resources.iter().map(|resource| &resource.name));
    let whens = operation.variants.iter().map(|variant| variant.when.as_str());
    for name in templates.flat_map(TextTemplate::names).chain(whens) {
        if !known.contains(name) && !matches!(name, "target" | "environment") {
            let names = known.iter().copied().collect::<Vec<_>>().join("`, `");
            let remedy = format!("use one of `{names}`, `target`, `environment`");
            faults.push(Fault::new(&place, format!("`{name}` is no fact of this operation"), remedy));
        }
    }
    faults
}

#[cfg(test)]
mod tests;
