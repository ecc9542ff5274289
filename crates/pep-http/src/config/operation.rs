//! The `[[http.operations]]` sections, and the same words as `x-countersign` in an OpenAPI document.

use crate::{
    classify::{OperationSpec, ResourceSpec, Variant},
    decode,
    facts::{Fact, FactType, Source, Wrapping},
    template::{PathTemplate, TextTemplate, is_name},
};
use countersign_core::Class;
use countersign_pep::Fault;
use http::{HeaderName, Method};
use serde::Deserialize;
use std::collections::BTreeSet;

/// One operation, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperationSection {
    pub name: String,
    pub method: String,
    /// A template such as `/v1/customers/{customer}`.
    pub path: String,
    pub class: Class,
    #[serde(default)]
    pub resources: Vec<ResourceSection>,
    #[serde(default)]
    pub labels: BTreeSet<String>,
    #[serde(default)]
    pub facts: Vec<FactSection>,
    /// What it does, as a sentence: `Delete customer {customer} of {target}`.
    pub sentence: Option<String>,
    #[serde(default)]
    pub variants: Vec<VariantSection>,
}

/// One resource, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceSection {
    pub kind: String,
    /// A template such as `{customer}`.
    pub name: String,
    #[serde(default)]
    pub labels: BTreeSet<String>,
}

/// One fact, as written. Exactly one of `pointer`, `pointers`, `query` and `header` says where it stands.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactSection {
    pub name: String,
    #[serde(rename = "type", default = "text")]
    pub kind: FactType,
    /// A JSON pointer (RFC 6901) into the body.
    pub pointer: Option<String>,
    /// The spellings in which the target accepts the same member, such as `/range_end` and `/rangeEnd`.
    #[serde(default)]
    pub pointers: Vec<String>,
    pub query: Option<String>,
    pub header: Option<String>,
    #[serde(default = "plain")]
    pub decode: Wrapping,
}

/// What the operation is instead when a fact is set, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantSection {
    pub when: String,
    pub class: Option<Class>,
    pub sentence: Option<String>,
}

impl OperationSection {
    /// Checks the section; all its faults at once.
    pub fn check(&self, place: &str) -> Result<OperationSpec, Vec<Fault>> {
        let mut faults = Vec::new();
        let method = Method::try_from(self.method.as_str()).ok().filter(|_| is_method(&self.method));
        if method.is_none() {
            let why = format!("`{}` is not a method that is offered", self.method);
            faults.push(Fault::new(format!("{place}.method"), why, "write it in capitals, such as `POST`"));
        }
        let path = PathTemplate::parse(&self.path).map_err(|why| {
            faults.push(Fault::new(
                format!("{place}.path"),
                why,
                "write for example `/v1/customers/{customer}`",
            ));
        });
        if self.name.trim().is_empty() || self.name.len() > 128 {
            let why = format!("`{}` is not an operation name", self.name);
            faults.push(Fault::new(
                format!("{place}.name"),
                why,
                "give it a short name such as `exportCustomers`",
            ));
        }
        let mut sentence = |text: &String| {
            TextTemplate::parse(text)
                .map_err(|why| {
                    faults.push(Fault::new(format!("{place}.sentence"), why, "close each `{` around a name"));
                })
                .ok()
        };
        let spoken = self.sentence.as_ref().and_then(&mut sentence);
        let variants = self.variants.iter().map(|variant| Variant {
            when: variant.when.clone(),
            class: variant.class,
            sentence: variant.sentence.as_ref().and_then(&mut sentence),
        });
        let variants = variants.collect();
        let mut resources = Vec::new();
        for resource in &self.resources {
            match TextTemplate::parse(&resource.name) {
                Ok(name) => resources.push(ResourceSpec {
                    kind: resource.kind.clone(),
                    name,
                    labels: resource.labels.clone(),
                }),
                Err(why) => faults.push(Fault::new(
                    format!("{place}.resources"),
                    why,
                    "write for example `{customer}`",
                )),
            }
        }
        let mut facts = Vec::new();
        for fact in &self.facts {
            match fact.check(&format!("{place}.facts.{}", fact.name)) {
                Ok(fact) => facts.push(fact),
                Err(fault) => faults.push(fault),
            }
        }
        match (method, path) {
            (Some(method), Ok(path)) if faults.is_empty() => Ok(OperationSpec {
                name: self.name.clone(),
                method,
                path,
                class: self.class,
                resources,
                labels: self.labels.clone(),
                facts,
                sentence: spoken,
                variants,
            }),
            _ => Err(faults),
        }
    }
}

impl FactSection {
    fn check(&self, place: &str) -> Result<Fact, Fault> {
        if !is_name(&self.name) {
            let why = format!("`{}` is not a fact name", self.name);
            return Err(Fault::new(place, why, "use letters, digits and `_`, beginning with a letter"));
        }
        let mut sources = Vec::new();
        let pointers: Vec<&String> = self.pointer.iter().chain(&self.pointers).collect();
        if !pointers.is_empty() {
            let parsed = pointers.into_iter().map(|text| decode::pointer(text)).collect::<Result<_, _>>();
            sources.push(Source::Body(parsed.map_err(|why| Fault::new(place, why, "begin it with `/`"))?));
        }
        sources.extend(self.query.clone().map(Source::Query));
        if let Some(header) = &self.header {
            let name = HeaderName::try_from(header.as_str());
            let why = || {
                Fault::new(place, format!("`{header}` is not a header name"), "write for example `if-match`")
            };
            sources.push(Source::Header(name.map_err(|_| why())?));
        }
        let remedy = "name exactly one of `pointer` (or `pointers`), `query` and `header`";
        let (Some(source), true) = (sources.pop(), sources.is_empty()) else {
            return Err(Fault::new(place, "it is not clear where the fact stands", remedy));
        };
        Ok(Fact { name: self.name.clone(), source, kind: self.kind, wrapping: self.decode })
    }
}

fn is_method(text: &str) -> bool {
    !matches!(text, "CONNECT" | "TRACE") && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-')
}

fn text() -> FactType {
    FactType::Text
}

fn plain() -> Wrapping {
    Wrapping::Plain
}
