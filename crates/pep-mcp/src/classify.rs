//! What a message would do: operation, class, resource, facts and sentence, from its own bytes and the configuration.
//! A server's annotations can only raise scrutiny: they become facts, never a class.

use crate::{
    asks::{self, During},
    config::ToolSection,
    members::{self, Members},
    rounds::Answered,
    text::{self, Given, Text, Texts},
    tools::Definition,
    upstream::exchange::Form,
};
use countersign_core::{Class, EnvironmentName, Operation, Resource, TargetName, visible};
use countersign_engine::{definitions::Standing, port::text::TextReader};
use serde_json::{Map, Value, value::RawValue};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
};

/// The operations every server has beside its declared tools, each with its class. A test of the binary holds policy's
/// words to them.
pub const OPERATIONS: [(&str, Class); 8] = [
    ("mcp.session", Class::Connect),
    ("mcp.list", Class::Read),
    ("mcp.read", Class::Read),
    ("mcp.complete", Class::Read),
    ("mcp.subscribe", Class::Read),
    ("mcp.logging", Class::Configure),
    (ANSWER, Class::Write),
    (UNDECLARED, Class::Unknown),
];

/// The operation of an answer to something that the server asked.
pub(crate) const ANSWER: &str = "mcp.answer";

/// The operation of a tool that is not declared.
pub(crate) const UNDECLARED: &str = "mcp.tool";

/// The longest value a sentence spells out, in characters.
const LONGEST: usize = 120;

/// A target as sentences speak of it.
#[derive(Clone, Debug)]
pub struct Surroundings {
    pub target: TargetName,
    pub environment: EnvironmentName,
    pub labels: BTreeSet<String>,
}

/// Knows a target's tools as its configuration declares them.
#[derive(Clone, Debug)]
pub struct Classifier {
    around: Surroundings,
    tools: BTreeMap<String, ToolSection>,
    texts: Arc<Texts>,
}

/// What a message would do.
#[derive(Debug)]
pub(crate) struct Understood {
    pub(crate) operation: Operation,
    pub(crate) resources: Vec<Resource>,
    pub(crate) facts: Map<String, Value>,
    pub(crate) sentence: String,
}

impl Understood {
    /// The message, of this method, answers what its server asked before.
    pub(crate) fn answers(&mut self, method: &str, answered: &Answered) {
        if answered.methods.is_empty() {
            return;
        }
        let named: Vec<&str> = answered.methods.iter().map(String::as_str).collect();
        // Writing to a String cannot fail.
        let _ = write!(
            self.sentence,
            " It answers what the server asked first ({}). That was at {}",
            named.join(", "),
            answered.at
        );
        let _ = match &answered.definition {
            Some(definition) => write!(self.sentence, ", by the tool's definition {definition}."),
            None => write!(self.sentence, "."),
        };
        self.facts.insert(ANSWERS.into(), answered.methods.iter().cloned().collect());
        self.facts.insert(ASKED_DURING.into(), method.into());
    }
}

/// The facts that say which of the server's questions are answered, by their methods, and in what they were asked.
const ANSWERS: &str = "answers";
const ASKED_DURING: &str = "asked_during";

impl Classifier {
    pub(crate) fn new(around: Surroundings, tools: Vec<ToolSection>) -> Self {
        let mut texts = Texts::default();
        for tool in &tools {
            if let Some(sql) = &tool.sql {
                texts.expect(tool.name.clone(), Given::Argument(sql.argument.clone()), sql.beside.clone());
            }
            if let Some(http) = &tool.http {
                texts.expect(tool.name.clone(), Given::Request(http.clone()), http.beside.clone());
            }
            if let Some(shell) = &tool.shell {
                texts.expect(
                    tool.name.clone(),
                    Given::Argument(shell.argument.clone()),
                    shell.beside.clone(),
                );
                texts.read_by(&tool.name, text::shell_reader(&around, &tool.labels));
            }
            if let Some(objects) = &tool.kubernetes {
                texts.expect(tool.name.clone(), Given::Objects(objects.clone()), objects.beside.clone());
                texts.read_by(&tool.name, text::kubernetes_reader(&around, &tool.labels));
            }
        }
        let tools = tools.into_iter().map(|tool| (tool.name.clone(), tool)).collect();
        Self { around, tools, texts: Arc::new(texts) }
    }

    pub(crate) fn read_by(&mut self, tool: &str, reader: Arc<dyn TextReader>) {
        Arc::make_mut(&mut self.texts).read_by(tool, reader);
    }

    pub(crate) fn texts(&self) -> &Arc<Texts> {
        &self.texts
    }

    /// The text that a call of this tool is decided on by, where it is one that goes by its text.
    pub(crate) fn text_of(&self, name: &str, standing: Standing) -> Option<&Text> {
        self.texts.of(name).filter(|_| standing == Standing::Accepted)
    }

    pub fn surroundings(&self) -> &Surroundings {
        &self.around
    }

    /// The declared tools by name.
    pub fn tools(&self) -> impl Iterator<Item = &ToolSection> {
        self.tools.values()
    }

    /// Every label it may give.
    pub fn labels(&self) -> BTreeSet<String> {
        self.around.labels.iter().chain(self.tools.values().flat_map(|tool| &tool.labels)).cloned().collect()
    }

    /// A tool call. What the configuration says of a tool holds for the definition that people have accepted: any other is
    /// of a tool that is not declared.
    pub(crate) fn call(
        &self,
        name: &str,
        arguments: Option<&RawValue>,
        definition: &Definition,
        standing: Standing,
    ) -> Understood {
        let tool = self.tools.get(name).filter(|_| standing == Standing::Accepted);
        let whole: Value = arguments
            .and_then(|arguments| serde_json::from_str(arguments.get()).ok())
            .unwrap_or_else(|| Value::Object(Map::new()));
        let given = |argument: &str| whole.get(argument).filter(|value| !value.is_null());
        let declared =
            tool.into_iter().flat_map(|tool| tool.arguments.keys().chain(definition.arguments.keys()));
        let input: Map<String, Value> =
            declared.filter_map(|argument| Some((argument.clone(), given(argument)?.clone()))).collect();
        let labels = self.around.labels.iter().chain(tool.into_iter().flat_map(|tool| &tool.labels));
        let labels: BTreeSet<String> = labels.cloned().collect();
        let class = tool.and_then(|tool| tool.class).unwrap_or(Class::Unknown);
        let mut facts = self.facts("tools/call");
        facts.insert("tool".into(), name.into());
        facts.insert("definition".into(), definition.digest.to_string().into());
        facts.insert("flags".into(), definition.flags.iter().copied().collect());
        facts.insert("hints".into(), definition.hints.iter().copied().collect());
        facts.insert("standing".into(), standing.as_str().into());
        facts.insert("input".into(), Value::Object(input));
        Understood {
            operation: Operation { name: Some(tool.map_or(UNDECLARED, |_| name).to_owned()), class },
            sentence: self.call_sentence((name, standing), tool, arguments, &labels),
            resources: vec![Resource { kind: "tool".into(), name: name.into(), labels }],
            facts,
        }
    }

    /// Everything that a call could come to, before its arguments are known.
    pub(crate) fn possible_calls(
        &self,
        name: &str,
        definition: &Definition,
        standing: Standing,
    ) -> Vec<Understood> {
        let call = || self.call(name, None, definition, standing);
        let Some(text) = self.text_of(name, standing) else { return vec![call()] };
        let target = self.around.target.as_str();
        text.possible().into_iter().map(|effect| text::as_effect(call(), name, target, effect)).collect()
    }

    /// Any other message: `operation` is one of [`OPERATIONS`].
    pub(crate) fn other(&self, operation: &str, method: &str, params: Option<&RawValue>) -> Understood {
        let class = OPERATIONS
            .iter()
            .find(|(name, _)| *name == operation)
            .map_or(Class::Unknown, |(_, class)| *class);
        let named = params.and_then(Members::read).and_then(|params| {
            let member = |name| params.find(name).and_then(members::text);
            let resource = member("uri").map(|uri| ("resource", uri));
            resource.or_else(|| member("name").map(|name| ("prompt", name)))
        });
        let about =
            named.as_ref().map_or_else(String::new, |(kind, name)| format!(" with {kind} {}", quoted(name)));
        let does = match operation {
            "mcp.session" => "Open a session".to_owned(),
            _ => format!("Ask {method}{about}"),
        };
        let resources = named.into_iter().map(|(kind, name)| Resource {
            kind: kind.into(),
            name,
            labels: self.around.labels.clone(),
        });
        Understood {
            operation: Operation { name: Some(operation.into()), class },
            sentence: format!("{does} {}.", self.context(&self.around.labels)),
            resources: resources.collect(),
            facts: self.facts(method),
        }
    }

    /// Hearing of the changes of these resources, or of whole lists alone.
    pub(crate) fn subscription(&self, method: &str, uris: &BTreeSet<String>) -> Understood {
        let understood = self.other("mcp.subscribe", method, None);
        let about = match (uris.first(), uris.len()) {
            (None, _) => "lists".to_owned(),
            (Some(uri), 1) => quoted(uri),
            (Some(_), count) => format!("{count} resources"),
        };
        let named = uris.iter().map(|uri| Resource {
            kind: "resource".into(),
            name: uri.clone(),
            labels: self.around.labels.clone(),
        });
        let sentence = format!("Listen to changes of {about} {}.", self.context(&self.around.labels));
        Understood { resources: named.collect(), sentence, ..understood }
    }

    /// An answer to something that the server asked of the agent, in this call where that is known.
    pub(crate) fn answer(&self, method: &str, form: Form, during: Option<&During>) -> Understood {
        let mut understood = self.other(ANSWER, method, None);
        let what = match (method, form) {
            (asks::ELICITATION, Form::Result) => "what was asked of the agent's user",
            (asks::SAMPLING, Form::Result) => "what was asked of the agent's model",
            (asks::ROOTS, Form::Result) => "in which folders the agent works",
            _ => "that the agent does not answer it",
        };
        let labels = during.and_then(|during| Some(&during.about.first()?.labels));
        let context = self.context(labels.unwrap_or(&self.around.labels));
        let asked = during.map_or_else(|| ", which it asked in no call that is known,".to_owned(), in_words);
        understood.sentence = format!("Tell the server {what}{asked} {context}.");
        understood.facts.insert(ANSWERS.into(), Value::Array(vec![method.into()]));
        if let Some(during) = during {
            understood.facts.insert(ASKED_DURING.into(), during.method.clone().into());
            understood.facts.extend(during.facts.clone());
            understood.resources.clone_from(&during.about);
        }
        understood
    }

    fn facts(&self, method: &str) -> Map<String, Value> {
        let text = |value: &str| Value::String(value.to_owned());
        Map::from_iter([
            ("method".to_owned(), text(method)),
            ("server".to_owned(), text(self.around.target.as_str())),
            ("tool".to_owned(), text("")),
            ("definition".to_owned(), text("")),
            ("standing".to_owned(), text("")),
            (ANSWERS.to_owned(), Value::Array(Vec::new())),
            (ASKED_DURING.to_owned(), text("")),
            ("flags".to_owned(), Value::Array(Vec::new())),
            ("hints".to_owned(), Value::Array(Vec::new())),
            ("input".to_owned(), Value::Object(Map::new())),
        ])
    }

    fn call_sentence(
        &self,
        (name, standing): (&str, Standing),
        tool: Option<&ToolSection>,
        arguments: Option<&RawValue>,
        labels: &BTreeSet<String>,
    ) -> String {
        let given = arguments.and_then(Members::read);
        let value = |argument: &str| {
            let given = given.as_ref().and_then(|given| given.find(argument));
            given.map_or_else(|| "(nothing)".to_owned(), shown)
        };
        let context = self.context(labels);
        if let Some(sentence) = tool.and_then(|tool| tool.sentence.as_deref()) {
            return format!("{} {context}.", filled(sentence, value).trim_end_matches('.'));
        }
        let with = match &given {
            Some(given) => listed(given),
            None if arguments.is_some() => " with arguments that are shown below".into(),
            None => String::new(),
        };
        let does = match (tool, standing) {
            (Some(tool), _) => {
                format!("Call {} ({})", quoted(name), tool.class.unwrap_or(Class::Unknown).as_str())
            }
            (None, Standing::Accepted) => format!("Call the undeclared tool {}", quoted(name)),
            (None, Standing::Changed) => format!("Call {}, which its server describes anew", quoted(name)),
            (None, Standing::New | Standing::Refused) => {
                format!("Call {}, which nobody has accepted", quoted(name))
            }
        };
        format!("{does}{with} {context}.")
    }

    fn context(&self, labels: &BTreeSet<String>) -> String {
        let labelled = labels.iter().map(|label| visible::one_line(label)).collect::<Vec<_>>().join(", ");
        let labelled = if labelled.is_empty() { String::new() } else { format!(", labelled {labelled}") };
        format!("on {} ({}{labelled})", self.around.target, self.around.environment)
    }
}

/// The call in which something was asked.
fn in_words(during: &During) -> String {
    let During { action, method, about, .. } = during;
    match about.first() {
        Some(about) if about.kind == "tool" => {
            format!(" during its call of {} ({action})", quoted(&about.name))
        }
        Some(about) => format!(" during {method} of {} {} ({action})", about.kind, quoted(&about.name)),
        None => format!(" during {method} ({action})"),
    }
}

/// Arguments in their order; many of them are counted instead, and stand whole below the sentence.
fn listed(given: &Members<'_>) -> String {
    const MOST: usize = 6;
    let all: Vec<String> =
        given.iter().map(|(name, value)| format!("{} = {}", quoted(name), shown(value))).collect();
    match all.len() {
        0 => String::new(),
        1..=MOST => format!(" with {}", all.join(", ")),
        count => format!(" with {count} arguments"),
    }
}

fn filled(template: &str, value: impl Fn(&str) -> String) -> String {
    let (mut out, mut rest) = (String::new(), template);
    while let Some((before, behind)) = rest.split_once('{') {
        let Some((name, behind)) = behind.split_once('}') else { break };
        out.push_str(before);
        out.push_str(&value(name));
        rest = behind;
    }
    out + rest
}

/// A value as a sentence names it. One that is too long, or has parts, is named by what it is and never cut.
fn shown(value: &RawValue) -> String {
    if let Some(text) = members::text(value) {
        return quoted(&text);
    }
    match value.get().as_bytes().first() {
        Some(b'{') => "an object".into(),
        Some(b'[') => "a list".into(),
        _ if value.get().len() <= LONGEST => visible::one_line(value.get()),
        _ => format!("a number of {} digits", value.get().len()),
    }
}

/// In quotation marks it cannot leave.
pub(crate) fn quoted(text: &str) -> String {
    let count = text.chars().count();
    if count > LONGEST {
        return format!("a text of {count} characters");
    }
    format!("“{}”", visible::one_line(text).replace(['“', '”'], "\""))
}

#[cfg(test)]
mod tests;
