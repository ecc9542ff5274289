//! What the gateway itself says to a caller: refusals as problems (RFC 9457), tickets for what waits, and kept
//! answers. A target's own answer is never touched here.

use crate::{
    head,
    upstream::{relay::ReplyBody, said::Said},
};
use bytes::Bytes;
use countersign_core::{RefusalCode, visible};
use countersign_engine::{Refused, Ticket, hold::Handover, reply::Reply};
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use std::time::Duration;

/// Where a caller finds what became of its request, on the same listener.
pub const APPROVALS: &str = "/.well-known/countersign/approvals/";

/// Everything below here is the gateway's own and never goes to a target.
pub const OWN: &str = "/.well-known/countersign";

/// Kept answers go out in pieces of this size.
const PIECE: usize = 64 << 10;

/// When to ask again while something waits.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// What the caller should do now, as one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhatToDo {
    /// Come back later; people are deciding, or there is too much waiting.
    Wait,
    /// The same request may be sent again: nothing ran.
    Repeat,
    /// Sending it again will not help.
    Stop,
    /// Another request may be allowed.
    Change,
}

/// The status and the advice for each kind of refusal.
pub const fn meaning(code: RefusalCode) -> (StatusCode, WhatToDo, &'static str) {
    match code {
        RefusalCode::Wall => (StatusCode::FORBIDDEN, WhatToDo::Stop, "Forbidden by policy"),
        RefusalCode::NotPermitted => (StatusCode::FORBIDDEN, WhatToDo::Stop, "Not permitted by policy"),
        RefusalCode::PolicyError => (StatusCode::FORBIDDEN, WhatToDo::Stop, "Policy could not be evaluated"),
        RefusalCode::Rejected => (StatusCode::FORBIDDEN, WhatToDo::Stop, "Rejected by a reviewer"),
        RefusalCode::Lapsed => (StatusCode::FORBIDDEN, WhatToDo::Repeat, "Not decided in time"),
        RefusalCode::Withdrawn => (StatusCode::FORBIDDEN, WhatToDo::Stop, "Withdrawn"),
        RefusalCode::Revoked => (StatusCode::FORBIDDEN, WhatToDo::Stop, "Approval revoked"),
        RefusalCode::Frozen => (StatusCode::FORBIDDEN, WhatToDo::Stop, "Frozen"),
        RefusalCode::TooMany => (StatusCode::TOO_MANY_REQUESTS, WhatToDo::Wait, "Too much is waiting"),
        RefusalCode::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, WhatToDo::Change, "Too large"),
        RefusalCode::NoRoom => (StatusCode::SERVICE_UNAVAILABLE, WhatToDo::Repeat, "No room for the body"),
        RefusalCode::Unauthenticated => (StatusCode::UNAUTHORIZED, WhatToDo::Stop, "Not authenticated"),
        RefusalCode::Malformed => (StatusCode::BAD_REQUEST, WhatToDo::Change, "Not readable without doubt"),
        RefusalCode::JustificationMissing => {
            (StatusCode::PRECONDITION_REQUIRED, WhatToDo::Change, "A reason is required")
        }
        RefusalCode::NotRecordable => (StatusCode::SERVICE_UNAVAILABLE, WhatToDo::Repeat, "Nothing ran"),
        RefusalCode::Spent => (StatusCode::CONFLICT, WhatToDo::Stop, "It ran, or may have run"),
        RefusalCode::Unreachable => (StatusCode::BAD_GATEWAY, WhatToDo::Repeat, "Target unreachable"),
    }
}

/// A problem as JSON.
#[derive(Debug, Serialize)]
struct Problem<'p> {
    #[serde(rename = "type")]
    kind: String,
    title: &'p str,
    status: u16,
    detail: &'p str,
    code: &'p str,
    what_to_do: WhatToDo,
    #[serde(skip_serializing_if = "str::is_empty")]
    remedy: &'p str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    policies: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<&'p str>,
}

/// A refusal by the engine.
pub fn refused(refused: &Refused) -> Response<ReplyBody> {
    let refusal = &refused.refusal;
    let policies = refusal.basis.iter().flat_map(|basis| &basis.policies).map(ToString::to_string);
    let (status, what_to_do, title) = meaning(refusal.code);
    let problem = Problem {
        kind: format!("urn:countersign:problem:{}", refusal.code.as_str()),
        title,
        status: status.as_u16(),
        detail: &visible::told(&refusal.reason),
        code: refusal.code.as_str(),
        what_to_do,
        remedy: &visible::told(&refusal.remedy),
        policies: policies.collect(),
        action: refused.action.map(|id| id.to_string()),
        approval: refused.approval.map(|id| id.to_string()),
        link: refused.link.as_deref(),
    };
    let mut response = own(status, "application/problem+json", &problem);
    let headers = response.headers_mut();
    if refusal.code == RefusalCode::Unauthenticated {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"countersign\""));
    }
    if matches!(what_to_do, WhatToDo::Wait | WhatToDo::Repeat) && refusal.code != RefusalCode::Lapsed {
        headers.insert(header::RETRY_AFTER, ASK_AGAIN.as_secs().into());
    }
    response
}

/// A refusal of the edge, before there is an action; the connection is not used again.
pub fn edge(status: StatusCode, detail: &str, remedy: &str) -> Response<ReplyBody> {
    let code = RefusalCode::Malformed;
    let (_, what_to_do, title) = meaning(code);
    let problem = Problem {
        kind: format!("urn:countersign:problem:{}", code.as_str()),
        title,
        status: status.as_u16(),
        detail: &visible::told(detail),
        code: code.as_str(),
        what_to_do,
        remedy,
        policies: Vec::new(),
        action: None,
        approval: None,
        link: None,
    };
    let mut response = own(status, "application/problem+json", &problem);
    if status != StatusCode::NOT_FOUND && status != StatusCode::METHOD_NOT_ALLOWED {
        response.extensions_mut().insert(Hangs);
    }
    response
}

/// Marks a response after which an HTTP/1.1 connection is closed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hangs;

/// What a waiting caller is told, beside the ticket itself.
#[derive(Debug, Serialize)]
struct Waiting<'t> {
    title: &'static str,
    detail: String,
    what_to_do: WhatToDo,
    location: String,
    retry_after_seconds: u64,
    #[serde(flatten)]
    ticket: &'t Ticket,
}

/// The handle of an action that waits. `preference` is what the caller asked for and got.
pub fn pending(ticket: &Ticket, preference: Option<String>) -> Response<ReplyBody> {
    let location = format!("{APPROVALS}{}", ticket.approval);
    let who = ticket.waits_for.iter().map(|gate| gate.approvers.as_str()).collect::<Vec<_>>().join("; ");
    let named: Vec<String> = ticket.named.iter().map(|named| format!(" The {}.", named.line())).collect();
    let named = named.concat();
    let detail = match ticket.state.as_str() {
        "pending" => format!(
            "This request waits for approval by {who}. Ask `location` again later, or repeat the same request: \
             nobody is asked twice.{named}"
        ),
        _ => "This request is approved and runs. Ask `location` again for its answer.".to_owned(),
    };
    let waiting = Waiting {
        title: "Waiting for approval",
        detail,
        what_to_do: WhatToDo::Wait,
        location: location.clone(),
        retry_after_seconds: ASK_AGAIN.as_secs(),
        ticket,
    };
    let mut response = own(StatusCode::ACCEPTED, "application/json", &waiting);
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, ASK_AGAIN.as_secs().into());
    if let Ok(location) = HeaderValue::from_str(&location) {
        headers.insert(header::LOCATION, location);
    }
    if let Some(applied) = preference.and_then(|applied| HeaderValue::from_str(&applied).ok()) {
        headers.insert("preference-applied", applied);
    }
    response
}

/// The answer that was kept for the caller, as the target gave it.
pub fn kept(handover: Handover) -> Response<ReplyBody> {
    let ran = |detail: &str, remedy: &str| {
        let code = RefusalCode::Spent;
        let (status, what_to_do, title) = meaning(code);
        let problem = Problem {
            kind: format!("urn:countersign:problem:{}", code.as_str()),
            title,
            status: status.as_u16(),
            detail,
            code: code.as_str(),
            what_to_do,
            remedy,
            policies: Vec::new(),
            action: None,
            approval: Some(handover.approval().to_string()),
            link: None,
        };
        own(status, "application/problem+json", &problem)
    };
    let Some((status, headers)) = head::decode_response(&handover.kept().head) else {
        return ran("it ran, and its answer cannot be read any more", "look at the target");
    };
    let Some(body) = handover.kept().body.clone() else {
        let detail = format!("it ran; the target answered {status} with more than is kept");
        let response = ran(&detail, "look at the target for what it changed, and ask for less at once");
        return with_body(response, handover, None);
    };
    let mut response = Response::new(ReplyBody::Whole(None));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    with_body(response, handover, Some(body.into()))
}

/// Lets the handover end when the body is through.
fn with_body(response: Response<ReplyBody>, handover: Handover, body: Option<Bytes>) -> Response<ReplyBody> {
    let (parts, own) = response.into_parts();
    let left = match (body, own) {
        (Some(body), _) | (None, ReplyBody::Whole(Some(body))) => body,
        (None, ReplyBody::Whole(None) | ReplyBody::Relay(_) | ReplyBody::Kept(_) | ReplyBody::Tunnel(_)) => {
            Bytes::new()
        }
    };
    Response::from_parts(parts, ReplyBody::Kept(Box::new(KeptBody { left, handover: Some(handover) })))
}

/// The bytes of a kept answer. Once the last of them was taken, the answer counts as handed over.
#[derive(Debug)]
pub struct KeptBody {
    left: Bytes,
    handover: Option<Handover>,
}

impl KeptBody {
    pub(crate) fn left(&self) -> u64 {
        self.left.len() as u64
    }

    pub(crate) fn next(&mut self) -> Option<Bytes> {
        let piece = self.left.split_to(self.left.len().min(PIECE));
        (!piece.is_empty()).then_some(piece)
    }
}

impl Drop for KeptBody {
    fn drop(&mut self) {
        let Some(handover) = self.handover.take().filter(|_| self.left.is_empty()) else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = handover.done().await {
                    tracing::error!(%error, "a handover could not be recorded");
                }
            });
        }
    }
}

/// What the engine answered, as a response. `live` is the target's own.
pub(crate) fn of<R>(reply: Reply<R>, live: impl FnOnce(R) -> Said, preference: Option<String>) -> Said {
    match reply {
        Reply::Live(answer) => live(answer),
        Reply::Kept(handover) => kept(*handover).into(),
        Reply::Pending(ticket) => pending(&ticket, preference).into(),
        Reply::Refused(why) => refused(&why).into(),
    }
}

/// A request was taken back.
pub fn withdrawn() -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::Whole(None));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn own(status: StatusCode, kind: &'static str, body: &impl Serialize) -> Response<ReplyBody> {
    // Every type here is plain data with text keys, which always has a JSON form.
    let body = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(ReplyBody::Whole(Some(body.into())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
