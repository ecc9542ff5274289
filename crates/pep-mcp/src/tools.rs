//! The tools a server says it has: each definition's digest, which stands in the digest of every call, what its
//! annotations warn of, and what in it a person should look at twice.

mod arguments;
mod book;
mod listing;
mod look;

pub use book::Unreviewed;
pub(crate) use book::{Book, Ruling};
pub(crate) use listing::Listing;
pub(crate) use look::look;

use crate::{
    config::ArgumentType,
    era,
    frame::{self, Answer, Message},
    members::{self, Members},
    mirror::{self, Mirrored},
    upstream::{Peer, Way, talk::lost},
};
use countersign_core::{Digest, definition};
use countersign_engine::{definitions, port::upstream::Failed};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A server that lists more is not asked on.
pub(crate) const MOST_PAGES: usize = 64;

/// What a server says about one tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Definition {
    /// Over its canonical form (RFC 8785): name, description, schemas, annotations and whatever else stands there.
    pub(crate) digest: Digest,
    /// What its annotations warn of. That it be harmless is never taken from them.
    pub(crate) hints: Vec<&'static str>,
    /// The rules that found something in it.
    pub(crate) flags: BTreeSet<&'static str>,
    /// Its arguments of plain types, by its own schema.
    pub(crate) arguments: BTreeMap<String, ArgumentType>,
    /// Those that stand in the head of a call as well; `None` where its schema asks for that in a way it must not.
    pub(crate) mirrored: Option<Vec<Mirrored>>,
}

/// The arguments that a definition in canonical form gives a plain type: what policies may look at once it is accepted.
pub fn argument_types(definition: &str) -> BTreeMap<String, ArgumentType> {
    serde_json::from_str(definition).map_or_else(|_| BTreeMap::new(), |definition| arguments_of(&definition))
}

fn arguments_of(definition: &Value) -> BTreeMap<String, ArgumentType> {
    let properties = definition.pointer("/inputSchema/properties").and_then(Value::as_object);
    let kind = |schema: &Value| {
        let says = |at: &str| schema.pointer(at).and_then(Value::as_str);
        match (says("/type")?, says("/items/type")) {
            ("string", _) => Some(ArgumentType::Text),
            ("integer", _) => Some(ArgumentType::Number),
            ("boolean", _) => Some(ArgumentType::Flag),
            ("array", Some("string")) => Some(ArgumentType::TextSet),
            _ => None,
        }
    };
    let named = properties.into_iter().flatten().filter(|(name, _)| crate::config::is_tool_name(name));
    named.filter_map(|(name, schema)| Some((name.clone(), kind(schema)?))).collect()
}

/// The tools of a server by name. One that is listed twice is not there: nobody knows which would run.
pub(crate) type Tools = HashMap<String, Definition>;

/// One page of a list.
#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    tools: Vec<&'a RawValue>,
    #[serde(default, rename = "nextCursor", borrow)]
    next: Option<&'a RawValue>,
}

/// One tool as read.
struct Read {
    definition: Definition,
    text: String,
}

/// Asks a server which tools it has. `id` gives each question its own. The definitions go to whoever keeps them; what
/// stays with a session is what they come to.
async fn fetch(
    way: &Way,
    peer: &Peer,
    client: Option<&str>,
    id: impl Fn() -> u64,
) -> Result<(Tools, Vec<definitions::Definition>), Failed> {
    let mut found: HashMap<String, Option<Read>> = HashMap::new();
    let meta = if peer.is_later() {
        format!(r#""_meta":{{{}}}"#, era::envelope(client, "{}"))
    } else {
        String::new()
    };
    let (mut params, mut size) = (format!("{{{meta}}}"), 0);
    for _ in 0..MOST_PAGES {
        let own = id();
        let ask = format!(r#"{{"jsonrpc":"2.0","id":{own},"method":"tools/list","params":{params}}}"#);
        let mut talk = way.post(way.take(peer).await?, peer, ask).await?;
        let result = loop {
            let Some(message) = talk.next(way.idle).await? else {
                return Err(lost(&format!(
                    "the server does not list its tools: HTTP {}",
                    talk.status.as_u16()
                )));
            };
            size += message.len();
            match frame::read(&message) {
                Ok(Message::Response { id, answer: Answer::Result(result) })
                    if id.get() == own.to_string() =>
                {
                    break result.get().to_owned();
                }
                Ok(Message::Notification { .. }) => {}
                Ok(Message::Response { .. } | Message::Request { .. }) | Err(_) => {
                    return Err(lost("the server does not list its tools"));
                }
            }
        };
        way.finish(talk).await;
        let page: Page<'_> =
            serde_json::from_str(&result).map_err(|_| lost("the server's list of tools cannot be read"))?;
        for tool in page.tools {
            let Some((name, definition)) = read(tool) else { continue };
            found.entry(name).and_modify(|known| *known = None).or_insert(Some(definition));
        }
        let Some(next) = page.next.filter(|next| next.get() != "null") else {
            return Ok(apart(found));
        };
        if size > way.answer_limit {
            break;
        }
        let comma = if meta.is_empty() { "" } else { "," };
        params = format!(r#"{{"cursor":{}{comma}{meta}}}"#, next.get());
    }
    Err(lost("the server's list of tools is longer than is read"))
}

/// What the tools on one page of a list want in the head of a call, by their names.
pub(crate) fn mirrored(result: &str) -> Vec<(String, Vec<Mirrored>)> {
    let page: Option<Page<'_>> = serde_json::from_str(result).ok();
    let read = page.into_iter().flat_map(|page| page.tools).filter_map(read);
    read.filter_map(|(name, Read { definition, .. })| Some((name, definition.mirrored?))).collect()
}

/// What one page of a list says of the tools on it.
fn described(result: &str) -> Vec<definitions::Definition> {
    let page: Option<Page<'_>> = serde_json::from_str(result).ok();
    let read = page.into_iter().flat_map(|page| page.tools).filter_map(read);
    read.map(|(tool, Read { definition, text })| definitions::Definition {
        tool,
        digest: definition.digest,
        text,
    })
    .collect()
}

fn apart(found: HashMap<String, Option<Read>>) -> (Tools, Vec<definitions::Definition>) {
    let found = found.into_iter().filter_map(|(name, read)| Some((name, read?)));
    found
        .map(|(tool, Read { definition, text })| {
            let kept = definitions::Definition { tool: tool.clone(), digest: definition.digest, text };
            ((tool, definition), kept)
        })
        .unzip()
}

fn read(tool: &RawValue) -> Option<(String, Read)> {
    let name = members::text(Members::read(tool)?.find("name")?)?;
    let value: Value = serde_json::from_str(tool.get()).ok()?;
    let text = serde_json_canonicalizer::to_string(&value).ok()?;
    let warns = |hint: &str| {
        value.pointer("/annotations").and_then(|hints| hints.get(hint)) == Some(&Value::Bool(true))
    };
    let hints = [("destructiveHint", "destructive"), ("openWorldHint", "open-world")];
    let hints = hints.into_iter().filter(|(hint, _)| warns(hint)).map(|(_, word)| word).collect();
    let flags = definition::flags(&name, &value).into_iter().map(|flag| flag.rule.as_str()).collect();
    let digest = Digest::of_parts("countersign/mcp-tool/v1", &[text.as_bytes()]);
    let arguments = arguments_of(&value);
    let mirrored = value.get("inputSchema").map_or_else(|| Some(Vec::new()), mirror::of);
    Some((name, Read { definition: Definition { digest, hints, flags, arguments, mirrored }, text }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(text: &str) -> Definition {
        read(&RawValue::from_string(text.to_owned()).unwrap()).unwrap().1.definition
    }

    #[test]
    fn a_definition_is_what_it_says_not_how_it_is_written() {
        let one = definition(r#"{"name":"x","description":"d","inputSchema":{"type":"object","a":1}}"#);
        let same =
            definition(r#"{ "inputSchema":{"a":1,"type":"object"},"description":"\u0064","name":"x"}"#);
        assert_eq!(one, same);
        for other in [
            r#"{"name":"x","description":"e","inputSchema":{"type":"object","a":1}}"#,
            r#"{"name":"x","description":"d","inputSchema":{"type":"object","a":2}}"#,
            r#"{"name":"x","description":"d","inputSchema":{"type":"object","a":1},"_meta":{}}"#,
        ] {
            assert_ne!(one.digest, definition(other).digest, "{other}");
        }
    }

    #[test]
    fn arguments_of_plain_types_are_told() {
        let schema = r#"{"name":"x","inputSchema":{"properties":{"a":{"type":"string"},"b":{"type":"integer"},"c":{"type":"boolean"},
            "d":{"type":"array","items":{"type":"string"}},"e":{"type":"number"},"f":{"type":["string","null"]},"g":true}}}"#;
        let told: Vec<_> = argument_types(schema).into_iter().collect();
        let kinds = [ArgumentType::Text, ArgumentType::Number, ArgumentType::Flag, ArgumentType::TextSet];
        let named: Vec<_> = ["a", "b", "c", "d"].map(str::to_owned).into_iter().zip(kinds).collect();
        assert_eq!(told, named);
    }

    #[test]
    fn annotations_warn_and_never_reassure() {
        let hints =
            |annotations: &str| definition(&format!(r#"{{"name":"x","annotations":{annotations}}}"#)).hints;
        assert_eq!(hints(r#"{"destructiveHint":true,"openWorldHint":true}"#), ["destructive", "open-world"]);
        assert_eq!(hints(r#"{"readOnlyHint":true,"destructiveHint":"yes"}"#), [""; 0]);
    }
}
