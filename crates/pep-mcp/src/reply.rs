//! What the gateway itself says to an agent, as JSON-RPC messages. Of a tool call it is a result the model reads, with
//! `isError`: many clients end the turn at an error of the protocol. A server's own words are never touched here.

use crate::{
    call, era,
    members::Members,
    message::{Message, Raw},
    tools::Listing,
    upstream::exchange::{Answer, Form},
};
use countersign_core::{RefusalCode, visible};
use countersign_engine::{Error, Refused, Ticket, hold::Handover, record, reply::Reply};
use http::StatusCode;
use serde_json::{Value, json, value::RawValue};
use std::sync::Arc;

/// JSON-RPC's own codes, and those of MCP.
pub(crate) mod code {
    pub(crate) const INVALID_REQUEST: i64 = -32600;
    pub(crate) const NO_METHOD: i64 = -32601;
    pub(crate) const INVALID_PARAMS: i64 = -32602;
    pub(crate) const SERVER: i64 = -32000;
    /// The agent's user has to open a page first (2025-11-25 alone).
    pub(crate) const URL_ELICITATION: f64 = -32_042.0;
    pub(crate) const HEADER_MISMATCH: i64 = -32020;
    pub(crate) const MISSING_CAPABILITY: i64 = -32021;
    pub(crate) const UNSUPPORTED_VERSION: i64 = -32022;
    /// The gateway's own: the message does not go on, or waits.
    pub(crate) const REFUSED: i64 = -32080;
    pub(crate) const HELD: i64 = -32081;
}

/// What a request is answered with.
#[derive(Clone)]
pub(crate) enum Shape {
    /// A tool's result; what the gateway says is one, too.
    Tool,
    /// A list of tools, shown as its agent may see it.
    Tools(Arc<Listing>),
    /// What the server is and has, of which the gateway takes out what it does not offer.
    Discovery,
    /// Something else; what the gateway says is an error of the protocol.
    Other,
}

/// A message on its way out, and the kept answer it hands over, if it does.
pub(crate) struct Said {
    pub(crate) message: Message,
    pub(crate) handover: Option<Box<Handover>>,
}

impl Said {
    /// The message as the later era has it, and the status it comes with.
    pub(crate) fn later(mut self, id: &str, method: &str) -> (Self, StatusCode) {
        // Both beginnings are written here and nowhere else.
        let text = self.message.into_text();
        let result = text.strip_prefix(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"#));
        if let Some(result) = result.and_then(|rest| rest.strip_suffix('}')) {
            let why = "the server's answer is not passed on: it asks for something where it may not, or cannot be read for certain";
            let own = era::modern(result, method).map(|own| self::result(id, &own));
            self.message = own.unwrap_or_else(|| error(id, code::SERVER, why, &Value::Null)).into();
            return (self, StatusCode::OK);
        }
        let error = text.strip_prefix(&format!(r#"{{"jsonrpc":"2.0","id":{id},"error":"#));
        let error = error.and_then(|rest| serde_json::from_str::<&RawValue>(rest.strip_suffix('}')?).ok());
        let code = error.and_then(|error| Members::read(error)?.find("code")?.get().parse().ok());
        let status = era::status(code);
        self.message = text.into();
        (self, status)
    }
}

impl From<String> for Said {
    fn from(message: String) -> Self {
        Self { message: message.into(), handover: None }
    }
}

impl From<Message> for Said {
    fn from(message: Message) -> Self {
        Self { message, handover: None }
    }
}

/// A response with this result, given as JSON.
pub(crate) fn result(id: &str, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

/// A response with an error of the gateway's own. `id` is JSON; `null` where there is none.
pub(crate) fn error(id: &str, code: i64, message: &str, data: &Value) -> String {
    let mut error = json!({"code": code, "message": visible::told(message)});
    if let (Some(error), false) = (error.as_object_mut(), data.is_null()) {
        error.insert("data".into(), data.clone());
    }
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#)
}

/// What the engine answered, as a response.
pub(crate) fn of(id: &str, shape: &Shape, reply: Result<Reply<Answer>, Error>) -> Said {
    match reply {
        Ok(Reply::Live(answer)) => server(id, shape, answer.form, &answer.raw).into(),
        Ok(Reply::Kept(handover)) => kept(id, shape, handover),
        Ok(Reply::Pending(ticket)) => pending(id, shape, &ticket).into(),
        Ok(Reply::Refused(why)) => refused(id, shape, &why).into(),
        Err(error) => not_recordable(id, shape, &error).into(),
    }
}

/// A server's own words under the agent's id.
fn server(id: &str, shape: &Shape, form: Form, raw: &Raw) -> Message {
    if form == Form::Asks {
        // Where it can be answered it was told before it came here.
        let text = "The server wants to ask something before it answers, and this request has no way to answer that.\n\
                    What to do: make the call itself again, with the same arguments.";
        let told = json!({"decision": "spent", "what_to_do": "repeat"});
        return own(id, shape, code::SERVER, text, &told).into();
    }
    let own = match (shape, form) {
        (Shape::Tools(listing), Form::Result) => Some(listing.shown(raw.text())),
        (Shape::Discovery, Form::Result) => Some(call::discovered(raw.text())),
        (Shape::Tool | Shape::Tools(_) | Shape::Discovery | Shape::Other, _) => None,
    };
    if let Some(own) = own {
        return Message::from(match own {
            Some(own) => result(id, &own),
            None => error(id, code::SERVER, "the server's answer cannot be read", &Value::Null),
        });
    }
    Message::around(format!(r#"{{"jsonrpc":"2.0","id":{id},"{}":"#, form.as_str()), raw, "}")
}

fn kept(id: &str, shape: &Shape, handover: Box<Handover>) -> Said {
    let form = match handover.kept().head.as_slice() {
        b"result" => Some(Form::Result),
        b"error" => Some(Form::Error),
        b"asks" => Some(Form::Asks),
        _ => None,
    };
    let body = handover.kept().body.clone().and_then(|body| String::from_utf8(body).ok());
    let message = match form.zip(body) {
        Some((form, raw)) => server(id, shape, form, &raw.into()),
        None => own(
            id,
            shape,
            code::REFUSED,
            "It ran, and its answer was not kept. Look at what it changed.",
            &json!({
                "decision": "spent", "what_to_do": "stop",
            }),
        )
        .into(),
    };
    Said { message, handover: Some(handover) }
}

/// The handle of a call that waits.
fn pending(id: &str, shape: &Shape, ticket: &Ticket) -> String {
    let approval = ticket.approval;
    let text = match ticket.state.as_str() {
        "pending" => format!(
            "This call waits for people and has not run.\n\
             What: {}\nWaits for: {}\n{}Approval: {approval} (people decide at {})\n\
             What to do: call `approval_wait` with {{\"approval\":\"{approval}\"}}; it waits on, and once the call is \
             approved it runs it and gives you its result. Repeating the identical call does the same, and nobody is \
             asked twice. Do not change the arguments: a changed call is a new request.",
            ticket.sentence,
            waits_for(ticket),
            named(ticket),
            ticket.link,
        ),
        "granted" => format!(
            "This call is approved and has not run yet.\nWhat: {}\nApproval: {approval}\n\
             What to do: call `approval_wait` with {{\"approval\":\"{approval}\"}} to run it now.",
            ticket.sentence
        ),
        "executing" => format!(
            "This call is approved and runs.\nWhat: {}\nApproval: {approval}\n\
             What to do: call `approval_wait` with {{\"approval\":\"{approval}\"}} for its result.",
            ticket.sentence
        ),
        over => format!(
            "This call does not wait any more: {over}.\nWhat: {}\nApproval: {approval}\n\
             What to do: call `approval_wait` with {{\"approval\":\"{approval}\"}} to be told what came of it.",
            ticket.sentence
        ),
    };
    let told = json!({
        "decision": "held", "what_to_do": "wait", "approval": approval, "state": ticket.state, "code": ticket.code,
        "link": ticket.link, "deadline": ticket.deadline, "waits_for": ticket.waits_for,
        "named": ticket.named, "scope": ticket.scope,
    });
    own(id, shape, code::HELD, &text, &told)
}

/// What became of the tickets that were named, a line each, and what one would have to say.
fn named(ticket: &Ticket) -> String {
    let mut lines: Vec<String> =
        ticket.named.iter().map(|named| format!("Named: {}\n", named.line())).collect();
    if let Some(scope) = &ticket.scope {
        lines.push(format!(
            "A ticket that says the following and is approved may be named as `countersign/ticket` in `_meta`:\n{scope}"
        ));
    }
    lines.concat()
}

/// Who is still to approve, on one line.
pub(crate) fn waits_for(ticket: &Ticket) -> String {
    let gates = ticket.waits_for.iter();
    let gates: Vec<String> = gates
        .map(|gate| format!("{} ({} of {} so far: {})", gate.approvers, gate.votes, gate.quorum, gate.reason))
        .collect();
    gates.join("; ")
}

/// A refusal by the engine.
fn refused(id: &str, shape: &Shape, refused: &Refused) -> String {
    let refusal = &refused.refusal;
    let next = match refusal.code {
        RefusalCode::TooMany => "wait",
        RefusalCode::Lapsed | RefusalCode::NoRoom | RefusalCode::NotRecordable | RefusalCode::Unreachable => {
            "repeat"
        }
        RefusalCode::TooLarge | RefusalCode::Malformed | RefusalCode::JustificationMissing => "change",
        RefusalCode::Wall
        | RefusalCode::NotPermitted
        | RefusalCode::PolicyError
        | RefusalCode::Rejected
        | RefusalCode::Withdrawn
        | RefusalCode::Revoked
        | RefusalCode::Frozen
        | RefusalCode::Unauthenticated
        | RefusalCode::Spent => "stop",
    };
    let policies = refusal.basis.iter().flat_map(|basis| &basis.policies).map(ToString::to_string);
    let told = json!({
        "decision": "refused", "code": refusal.code.as_str(), "what_to_do": next,
        "policies": policies.collect::<Vec<_>>(), "action": refused.action, "approval": refused.approval,
        "link": refused.link,
    });
    let remedy = match (refusal.code, refusal.remedy.as_str()) {
        (RefusalCode::JustificationMissing, _) => {
            "repeat the call with the reason as `countersign/reason` in `_meta`"
        }
        (_, "") => "nothing: repeating it will not help",
        (_, remedy) => remedy,
    };
    let text = format!("This call was refused: {}.\nWhat to do: {remedy}.", refusal.reason);
    own(id, shape, code::REFUSED, &text, &told)
}

/// The gateway could not go on; nothing ran that is not recorded.
fn not_recordable(id: &str, shape: &Shape, error: &Error) -> String {
    tracing::error!(error = %record::chain(error), "a call was refused because the gateway could not go on");
    let text = "The gateway could not record the call, so nothing ran. Repeat it later.";
    let told =
        json!({"decision": "refused", "code": RefusalCode::NotRecordable.as_str(), "what_to_do": "repeat"});
    own(id, shape, code::REFUSED, text, &told)
}

/// Words of the gateway's own, with the same for programs.
pub(crate) fn own(id: &str, shape: &Shape, code: i64, text: &str, told: &Value) -> String {
    match shape {
        Shape::Tools(_) | Shape::Discovery | Shape::Other => error(id, code, text, told),
        Shape::Tool => {
            let text = visible::told(text);
            let said = json!({
                "content": [{"type": "text", "text": text}], "isError": true, "_meta": {"countersign/decision": told},
            });
            result(id, &said.to_string())
        }
    }
}
