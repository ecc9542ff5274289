//! From an agent's request to an action: what of its parameters is fixed, what is volatile, and what the engine is asked.

use crate::{
    classify::Understood,
    config::McpTarget,
    era,
    members::{self, Members},
    method::{NEWEST, VERSIONS},
    tools::Definition,
    upstream::exchange::Form,
};
use bytes::Bytes;
use countersign_core::{Body, Payload, Requester};
use countersign_engine::Request;
use serde_json::value::RawValue;
use std::{collections::BTreeMap, fmt::Write as _};

/// The first line of every payload's head: how the rest is written.
const FORM: &str = "countersign-mcp/1\n";

/// Members of `_meta` that speak to the gateway and go no further.
const REASON: &str = "countersign/reason";
const TICKET: &str = "countersign/ticket";
const IDEMPOTENCY: &str = "countersign/idempotency-key";

/// What an action's head says: the method, and of a tool call the tool and its definition's digest. Where it holds an
/// answer to something that the server asked, also what that was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) tool: Option<(String, String)>,
    /// The whole message answers a question of the server's: with what it is known by here, and in which form.
    pub(crate) answers: Option<(String, Form)>,
    /// The call in which that was asked, as JSON on one line.
    pub(crate) during: Option<String>,
    /// What the server asked, as JSON on one line.
    pub(crate) asked: Option<String>,
}

impl Head {
    pub(crate) fn read(head: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(head).ok()?.strip_prefix(FORM)?.lines().peekable();
        let method = lines.next()?.to_owned();
        let mut own = |name: &str| {
            let line =
                lines.next_if(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')))?;
            line.get(name.len() + 1..).map(str::to_owned)
        };
        let tool = match own("tool") {
            Some(tool) => Some((tool, own("definition")?)),
            None => None,
        };
        let answers = match (own("result"), own("error")) {
            (Some(id), None) => Some((id, Form::Result)),
            (None, Some(id)) => Some((id, Form::Error)),
            (None, None) => None,
            (Some(_), Some(_)) => return None,
        };
        let (during, asked) = (own("during"), own("asked"));
        lines.next().is_none().then_some(Self { method, tool, answers, during, asked })
    }

    fn write(&self) -> Bytes {
        let mut out = format!("{FORM}{}\n", self.method);
        if let Some((tool, definition)) = &self.tool {
            // Writing to a String cannot fail.
            let _ = write!(out, "tool {tool}\ndefinition {definition}\n");
        }
        if let Some((id, form)) = &self.answers {
            let _ = writeln!(out, "{} {id}", form.as_str());
        }
        if let Some(during) = &self.during {
            let _ = writeln!(out, "during {during}");
        }
        if let Some(asked) = &self.asked {
            let _ = writeln!(out, "asked {asked}");
        }
        out.into()
    }
}

/// A request's parameters, ready to become a payload.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Prepared {
    /// What is decided on and sent: the agent's own bytes without what is volatile.
    pub(crate) params: String,
    /// Under which the agent wants to hear of progress, in its own bytes.
    pub(crate) progress_token: Option<String>,
    pub(crate) reason: Option<String>,
    /// Where it is said to be approved beforehand.
    pub(crate) ticket: Option<String>,
    pub(crate) idempotency_key: Option<String>,
    /// It wants a task of the call (2025-11-25, basic/utilities/tasks).
    pub(crate) wants_task: bool,
    /// What an agent sends back with a call that was held, or whose server wanted something first (2026-07-28,
    /// basic/patterns/mrtr).
    pub(crate) state: Option<String>,
    /// What it answers to that, as JSON.
    pub(crate) responses: Option<String>,
    /// What the head says of the server's question, where something here answers it.
    pub(crate) answers: Option<(String, Form)>,
    pub(crate) during: Option<String>,
    pub(crate) asked: Option<String>,
}

impl Prepared {
    /// Parameters of the gateway's own.
    pub(crate) fn of(params: String) -> Self {
        Self {
            params,
            progress_token: None,
            reason: None,
            ticket: None,
            idempotency_key: None,
            wants_task: false,
            state: None,
            responses: None,
            answers: None,
            during: None,
            asked: None,
        }
    }
}

/// Whether a call's parameters ask for a task.
pub(crate) fn wants_task(params: &Members<'_>) -> bool {
    params.find("task").is_some_and(|task| task.get().starts_with('{'))
}

/// Takes the volatile members out of `_meta`; an `_meta` without any is left as it is, and so are all other members.
pub(crate) fn prepare(params: Option<&RawValue>, target: &McpTarget) -> Result<Prepared, &'static str> {
    let whole = params.map_or("{}", RawValue::get);
    let mut prepared = Prepared::of(whole.to_owned());
    let Some(params) = params else { return Ok(prepared) };
    let members = Members::read(params).ok_or("the parameters have a name that is written with escapes")?;
    let responses = members.find("inputResponses").map(RawValue::get);
    prepared.responses = responses.filter(|given| !["{}", "null"].contains(given)).map(str::to_owned);
    // The tasks of calls are the gateway's own: servers are asked for none.
    let is_state = |name: &str| ["requestState", "inputResponses", "task"].contains(&name);
    prepared.state = members.find("requestState").and_then(members::text);
    prepared.wants_task = wants_task(&members);
    if members.any(is_state) {
        let kept = members.rewritten(|name, value| (!is_state(name)).then(|| value.get().to_owned()));
        let kept: Box<RawValue> = serde_json::from_str(&kept).map_err(|_| "the parameters cannot be read")?;
        let Prepared { state, responses, wants_task, .. } = prepared;
        return Ok(Prepared { wants_task, state, responses, ..prepare(Some(&kept), target)? });
    }
    let Some(meta) = members.find("_meta") else { return Ok(prepared) };
    let meta = Members::read(meta).ok_or("`_meta` is no object whose names are written plainly")?;
    if let Some(token) = meta.find("progressToken") {
        let plain = token.get().starts_with('"')
            || token.get().bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        if !plain || token.get().len() > 128 {
            return Err("the progress token is no short text or whole number");
        }
        prepared.progress_token = Some(token.get().to_owned());
    }
    let text = |name| match meta.find(name) {
        Some(value) => members::text(value).map(Some).ok_or("what `_meta` tells the gateway is no text"),
        None => Ok(None),
    };
    prepared.reason = text(REASON)?;
    prepared.ticket = text(TICKET)?;
    prepared.idempotency_key = text(IDEMPOTENCY)?;
    let volatile = |name: &str| {
        ["progressToken", REASON, TICKET, IDEMPOTENCY].contains(&name)
            || era::is_envelope(name)
            || target.volatile_meta.contains(name)
    };
    if !meta.any(volatile) {
        return Ok(prepared);
    }
    let rest = meta.rewritten(|name, value| (!volatile(name)).then(|| value.get().to_owned()));
    let rest = Some(rest).filter(|rest| rest != "{}");
    prepared.params = members
        .rewritten(|name, value| if name == "_meta" { rest.clone() } else { Some(value.get().to_owned()) });
    Ok(prepared)
}

/// What an agent opens a session with: its client, as JSON, the version to be spoken, and what the client can do.
pub(crate) fn opening(
    params: Option<&RawValue>,
) -> Result<(String, &'static str, Option<&RawValue>), &'static str> {
    let members = params.and_then(Members::read).ok_or("`initialize` has no readable parameters")?;
    let asked =
        members.find("protocolVersion").and_then(members::text).ok_or("it names no protocol version")?;
    let version = VERSIONS.into_iter().find(|known| *known == asked).unwrap_or(NEWEST);
    let client = members.find("clientInfo").map(RawValue::get).filter(|client| client.starts_with('{'));
    let client = client.ok_or("it does not say which client it is")?.to_owned();
    Ok((client, version, members.find("capabilities")))
}

/// What a session is opened with at a server: the agent's client, the version, and what the server may ask of the agent,
/// as JSON.
pub(crate) fn opening_with(version: &str, client: Option<&str>, capabilities: &str) -> String {
    let client = client.unwrap_or(r#"{"name":"countersign","version":"1"}"#);
    format!(r#"{{"protocolVersion":"{version}","capabilities":{capabilities},"clientInfo":{client}}}"#)
}

/// The version that the answer to `initialize` agrees to, if it is spoken here.
pub(crate) fn agreed(result: &RawValue) -> Option<&'static str> {
    let agreed = Members::read(result)?.find("protocolVersion").and_then(members::text)?;
    VERSIONS.into_iter().find(|known| *known == agreed)
}

/// The version a server has agreed to, and what the agent is told of it: its capabilities without those the gateway
/// does not offer.
pub(crate) fn opened(result: &str) -> Option<(&'static str, String)> {
    let raw: &RawValue = serde_json::from_str(result).ok()?;
    let (members, version) = (Members::read(raw)?, agreed(raw)?);
    let tasks = (version == NEWEST).then_some(EARLIER_TASKS);
    let capabilities = offered(&members, tasks, Subscriptions::AsTheServerHasThem)?;
    let told = members.rewritten(|name, value| {
        Some(if name == "capabilities" { capabilities.clone() } else { value.get().to_owned() })
    });
    Some((version, told))
}

/// What the gateway has itself, whatever the server has: calls as tasks, as each era says it.
const EARLIER_TASKS: &str = r#""tasks":{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}}"#;
const LATER_TASKS: &str = r#""extensions":{"io.modelcontextprotocol/tasks":{}}"#;

/// Whether an agent may subscribe to a server's resources.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Subscriptions {
    AsTheServerHasThem,
    /// Its form of them is another era's.
    None,
}

/// A server's capabilities without those the gateway does not offer, and with one of its own.
fn offered(result: &Members<'_>, own: Option<&str>, subscriptions: Subscriptions) -> Option<String> {
    let all = result.find("capabilities").and_then(Members::read)?;
    let told = all.rewritten(|name, value| match name {
        // What people accept changes the list, whatever the server does.
        "tools" => Some(r#"{"listChanged":true}"#.into()),
        "prompts" | "resources" => {
            let told = Members::read(value)?.rewritten(|name, value| {
                let is_told = name == "listChanged"
                    || name == "subscribe" && subscriptions == Subscriptions::AsTheServerHasThem;
                is_told.then(|| value.get().to_owned())
            });
            Some(told)
        }
        "completions" | "logging" => Some(value.get().to_owned()),
        _ => None,
    });
    let Some(own) = own else { return Some(told) };
    let rest = told.strip_prefix('{')?;
    let comma = if rest == "}" { "" } else { "," };
    Some(format!("{{{own}{comma}{rest}"))
}

/// Whether a server that says this speaks the later era's version that is spoken here.
pub(crate) fn speaks_later(result: &str) -> bool {
    let versions =
        serde_json::from_str::<&RawValue>(result).ok().and_then(Members::read).and_then(|members| {
            serde_json::from_str::<Vec<String>>(members.find("supportedVersions")?.get()).ok()
        });
    versions.is_some_and(|versions| versions.iter().any(|version| version == era::MODERN))
}

/// What an agent of the later era is told of a server, from the server's answer to `server/discover` or to
/// `initialize`.
pub(crate) fn discovered(result: &str) -> Option<String> {
    let raw: &RawValue = serde_json::from_str(result).ok()?;
    let members = Members::read(raw)?;
    let is_later = members.find("supportedVersions").is_some();
    let subscriptions = if is_later { Subscriptions::AsTheServerHasThem } else { Subscriptions::None };
    let (capabilities, versions) = (
        offered(&members, Some(LATER_TASKS), subscriptions)?,
        serde_json::to_string(&era::supported()).ok()?,
    );
    let server = members
        .find("serverInfo")
        .map(|server| format!(r#","_meta":{{"io.modelcontextprotocol/serverInfo":{}}}"#, server.get()));
    let meta = members.find("_meta").map(|meta| format!(r#","_meta":{}"#, meta.get()));
    let instructions = members.find("instructions").map(|text| format!(r#","instructions":{}"#, text.get()));
    Some(format!(
        r#"{{"resultType":"complete","supportedVersions":{versions},"capabilities":{capabilities}{}{},"ttlMs":0,"cacheScope":"private"}}"#,
        instructions.unwrap_or_default(),
        server.or(meta).unwrap_or_default(),
    ))
}

/// What an agent of the earlier era is told of a server, from the server's answer to `server/discover`.
pub(crate) fn opened_later(result: &str, version: &str) -> Option<String> {
    let raw: &RawValue = serde_json::from_str(result).ok()?;
    let members = Members::read(raw)?;
    let tasks = (version == NEWEST).then_some(EARLIER_TASKS);
    let capabilities = offered(&members, tasks, Subscriptions::None)?;
    let meta = members.find("_meta").and_then(Members::read);
    let server = meta.as_ref().and_then(|meta| meta.find("io.modelcontextprotocol/serverInfo"));
    let server = server.map_or(r#"{"name":"unknown","version":"unknown"}"#, RawValue::get);
    let instructions = members.find("instructions").map(|text| format!(r#","instructions":{}"#, text.get()));
    Some(format!(
        r#"{{"protocolVersion":"{version}","capabilities":{capabilities},"serverInfo":{server}{}}}"#,
        instructions.unwrap_or_default(),
    ))
}

/// What the engine is asked for one message.
pub(crate) fn asked(
    target: &McpTarget,
    requester: Requester,
    method: &str,
    tool: Option<(&str, &Definition)>,
    understood: Understood,
    prepared: Prepared,
) -> Request {
    let tool = tool.map(|(name, definition)| (name.to_owned(), definition.digest.to_string()));
    let Prepared { answers, during, asked, .. } = prepared;
    let head = Head { method: method.to_owned(), tool, answers, during, asked };
    Request {
        requester,
        target: target.surroundings().target.clone(),
        operation: understood.operation,
        resources: understood.resources,
        facts: understood.facts,
        session: BTreeMap::new(),
        payload: Payload { head: head.write(), body: Body::Bound(prepared.params.into()) },
        idempotency_key: prepared.idempotency_key,
        sentence: understood.sentence,
        claimed_reason: prepared.reason,
        claimed_ticket: prepared.ticket,
        patience: target.hold_limit,
    }
}

#[cfg(test)]
mod tests;
