//! The tools a server says it has: each definition's digest, which stands in the digest of every call, and what its
//! annotations warn of.

use crate::{
    era,
    frame::{self, Answer, Message},
    members::{self, Members},
    upstream::{Peer, Way, talk::lost},
};
use countersign_core::Digest;
use countersign_engine::port::upstream::Failed;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use std::collections::HashMap;

/// A server that lists more is not asked on.
const MOST_PAGES: usize = 64;

/// What a server says about one tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Definition {
    /// Over its canonical form (RFC 8785): name, description, schemas, annotations and whatever else stands there.
    pub(crate) digest: Digest,
    /// What its annotations warn of. That it be harmless is never taken from them.
    pub(crate) hints: Vec<&'static str>,
}

/// The tools of a server by name. One that is listed twice is not there: nobody knows which would run.
pub(crate) type Tools = HashMap<String, Definition>;

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    tools: Vec<&'a RawValue>,
    #[serde(default, rename = "nextCursor", borrow)]
    next: Option<&'a RawValue>,
}

/// Asks a server which tools it has. `id` gives each question its own.
pub(crate) async fn fetch(
    way: &Way,
    peer: &Peer,
    client: Option<&str>,
    id: impl Fn() -> u64,
) -> Result<Tools, Failed> {
    let mut found: HashMap<String, Option<Definition>> = HashMap::new();
    let meta =
        if peer.is_later() { format!(r#""_meta":{{{}}}"#, era::envelope(client)) } else { String::new() };
    let (mut params, mut size) = (format!("{{{meta}}}"), 0);
    for _ in 0..MOST_PAGES {
        let own = id();
        let ask = format!(r#"{{"jsonrpc":"2.0","id":{own},"method":"tools/list","params":{params}}}"#);
        let mut talk = way.post(way.take(peer).await?, peer, ask.into()).await?;
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
            return Ok(found
                .into_iter()
                .filter_map(|(name, definition)| Some((name, definition?)))
                .collect());
        };
        if size > way.answer_limit {
            break;
        }
        let comma = if meta.is_empty() { "" } else { "," };
        params = format!(r#"{{"cursor":{}{comma}{meta}}}"#, next.get());
    }
    Err(lost("the server's list of tools is longer than is read"))
}

fn read(tool: &RawValue) -> Option<(String, Definition)> {
    let name = members::text(Members::read(tool)?.find("name")?)?;
    let value: Value = serde_json::from_str(tool.get()).ok()?;
    let canonical = serde_json_canonicalizer::to_vec(&value).ok()?;
    let warns = |hint: &str| {
        value.pointer("/annotations").and_then(|hints| hints.get(hint)) == Some(&Value::Bool(true))
    };
    let hints = [("destructiveHint", "destructive"), ("openWorldHint", "open-world")];
    let hints = hints.into_iter().filter(|(hint, _)| warns(hint)).map(|(_, word)| word).collect();
    Some((name, Definition { digest: Digest::of_parts("countersign/mcp-tool/v1", &[&canonical]), hints }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(text: &str) -> Definition {
        read(&RawValue::from_string(text.to_owned()).unwrap()).unwrap().1
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
    fn annotations_warn_and_never_reassure() {
        let hints =
            |annotations: &str| definition(&format!(r#"{{"name":"x","annotations":{annotations}}}"#)).hints;
        assert_eq!(hints(r#"{"destructiveHint":true,"openWorldHint":true}"#), ["destructive", "open-world"]);
        assert_eq!(hints(r#"{"readOnlyHint":true,"destructiveHint":"yes"}"#), [""; 0]);
    }
}
