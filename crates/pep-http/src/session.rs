//! One request, from its head to its reply: authenticated, read strictly, understood, handed to the engine. Refuses
//! at the first doubt; decides nothing.

use crate::{
    bodies::Bodies,
    classify::Shape,
    config::{HttpTarget, Upgrades},
    frame::FrameRefusal,
    head,
    http1::RequestBody,
    path::{self, Location},
    reply,
    upstream::{live::LiveExchange, relay::ReplyBody, said::Said},
    websocket::{self, Handshake},
};
use bytes::Bytes;
use countersign_core::{
    ApprovalId, Body as PayloadBody, ClientCertificate, Payload, Refusal, RefusalCode, Requester, TargetName,
};
use countersign_engine::{
    Error, Gate, Refused, Request as Asked, actor_of, flow,
    port::{identity::Presented, upstream::BindError},
    record, settle,
};
use countersign_pep::bearer;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header, request::Parts};
use http_body::Body as _;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// However long a caller wants to wait, this is the longest a response is held.
const LONGEST_WAIT: Duration = Duration::from_mins(10);

/// What every connection of a listener shares.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) gate: Arc<Gate>,
    pub(crate) bodies: Arc<Bodies>,
    /// The targets behind it; more than one only when each names its hosts.
    pub(crate) targets: Vec<Arc<HttpTarget>>,
    /// What the client of one connection has proven about itself.
    pub(crate) client: Option<Arc<ClientCertificate>>,
}

/// Never offered, whoever asks.
const REFUSED_METHOD: &str = "COUNTERSIGN-REFUSED-HEAD";

/// A reply of the gateway's own.
type Own = Response<ReplyBody>;

impl Listener {
    /// The same for a connection whose client came with a certificate.
    pub(crate) fn for_client(self: Arc<Self>, client: Option<Arc<ClientCertificate>>) -> Arc<Self> {
        if client.is_none() {
            return self;
        }
        let Self { gate, bodies, targets, client: _ } = &*self;
        Arc::new(Self {
            gate: Arc::clone(gate),
            bodies: Arc::clone(bodies),
            targets: targets.clone(),
            client,
        })
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, request: Request<RequestBody>) -> Said {
        self.read(request).await.unwrap_or_else(Said::from)
    }

    /// Answers a head that is not framed as it must be.
    pub(crate) async fn refuse(&self, why: FrameRefusal) -> Said {
        self.malformed(None, StatusCode::BAD_REQUEST, &why.to_string()).await.into()
    }

    async fn read(&self, request: Request<RequestBody>) -> Result<Said, Own> {
        if request.method().as_str() == REFUSED_METHOD {
            let why = "the method is not offered";
            return Err(self.malformed(None, StatusCode::BAD_REQUEST, why).await);
        }
        let authority = request.uri().authority().map(http::uri::Authority::as_str);
        let target = match head::host(request.headers(), authority) {
            Ok(host) => self.target_of(&host),
            Err(why) => return Err(self.malformed(None, StatusCode::BAD_REQUEST, &why.to_string()).await),
        };
        let Some(target) = target else {
            let why = "no target behind this listener answers to that host";
            return Err(self.malformed(None, StatusCode::MISDIRECTED_REQUEST, why).await);
        };
        let (parts, body) = request.into_parts();
        let requester = self.authenticate(&target, &parts.headers).await?;
        let name = target.classifier.surroundings().target.clone();
        if let Err(why) = head::check(&parts.method, &parts.headers) {
            let status = match why {
                head::HeadRefusal::Expectation => StatusCode::EXPECTATION_FAILED,
                head::HeadRefusal::Method => StatusCode::METHOD_NOT_ALLOWED,
                head::HeadRefusal::Override(_)
                | head::HeadRefusal::Twice(_)
                | head::HeadRefusal::Host
                | head::HeadRefusal::Trailer => StatusCode::BAD_REQUEST,
            };
            return Err(self.malformed(Some(&name), status, &why.to_string()).await);
        }
        let uri = parts.uri.clone();
        let text = uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
        let location = match path::read(text) {
            Ok(location) => location,
            Err(why) => {
                return Err(self.malformed(Some(&name), StatusCode::BAD_REQUEST, &why.to_string()).await);
            }
        };
        if location.path.strip_prefix(reply::OWN).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        {
            return self.own(&requester, &parts, location.path).await;
        }
        self.ask(&target, requester, parts, &location, body).await
    }

    fn target_of(&self, host: &str) -> Option<Arc<HttpTarget>> {
        let bare = host.rsplit_once(':').map_or(host, |(bare, _)| bare);
        let answers = |target: &&Arc<HttpTarget>| {
            target.hosts.is_empty() || target.hosts.contains(host) || target.hosts.contains(bare)
        };
        self.targets.iter().find(answers).cloned()
    }

    async fn authenticate(&self, target: &HttpTarget, headers: &HeaderMap) -> Result<Requester, Own> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let presented = match (values.next(), values.next()) {
            (Some(value), None) => {
                let token = value.to_str().ok().and_then(bearer);
                token.map_or(Presented::Nothing, Presented::Bearer)
            }
            // A token says more than the machine it comes from.
            (None, _) => self.client.as_deref().map_or(Presented::Nothing, Presented::Certificate),
            (Some(_), Some(_)) => Presented::Nothing,
        };
        match self.gate.authenticate(presented).await {
            Ok(requester) => Ok(requester),
            Err(refusal) => {
                let name = &target.classifier.surroundings().target;
                self.count(refusal.code, Some(name)).await?;
                Err(plain_refusal(refusal))
            }
        }
    }

    async fn ask(
        &self,
        target: &Arc<HttpTarget>,
        requester: Requester,
        mut parts: Parts,
        location: &Location<'_>,
        body: RequestBody,
    ) -> Result<Said, Own> {
        let name = target.classifier.surroundings().target.clone();
        let malformed =
            |why: String| async move { self.malformed(Some(&name), StatusCode::BAD_REQUEST, &why).await };
        // Held as if none had been named, nobody would know which of them was meant.
        if parts.headers.contains_key(TICKET) && one_text(&parts.headers, TICKET).is_none() {
            return Err(malformed("`Countersign-Ticket` has to be there once, as text".into()).await);
        }
        let protocol = match upgrade_of(&parts, target.upgrades) {
            Ok(protocol) => protocol,
            Err(why) => return Err(malformed(why.into()).await),
        };
        let handshake = match &protocol {
            Some(protocol) if protocol.eq_ignore_ascii_case(websocket::PROTOCOL) => {
                match Handshake::take(&mut parts.headers, self.gate.journal().random()) {
                    Ok(handshake) => Some(handshake),
                    Err(why) => return Err(malformed(why.to_string()).await),
                }
            }
            Some(_) | None => None,
        };
        let shape = protocol.as_deref().map_or(Shape::Exchange, Shape::Stream);
        let found = target.classifier.find(&parts.method, &location.segments);
        let reads_body =
            shape == Shape::Exchange && found.spec.is_some_and(crate::classify::OperationSpec::reads_body);
        let mut spilled = None;
        let (bound, live) = if protocol.is_some() && has_length(&parts.headers) {
            return Err(malformed("an upgrade has no body".into()).await);
        } else if body.is_end_stream() {
            (Some(Bytes::new()), None)
        } else if reads_body {
            match self.bodies.read(body, target.way.body_limit, target.limits.request_head.0).await {
                Ok(whole) => {
                    spilled = whole.spilled;
                    (Some(whole.bytes), None)
                }
                Err(why) => return Err(self.unreadable(target, &why).await),
            }
        } else {
            (None, Some(body))
        };
        let read = bound.as_deref().unwrap_or_default();
        let understood =
            target.classifier.understand(&found, shape, &parts.method, location, &parts.headers, read);
        let mut understood = match understood {
            Ok(understood) => understood,
            Err(why) => return Err(malformed(why.to_string()).await),
        };
        understood.facts.insert("host".into(), target.origin.authority.as_str().into());
        let text = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let head = head::encode(&parts.method, text, &parts.headers, &target.dropped, protocol.as_deref());
        let preference = Preference::of(&parts.headers, target.hold_limit);
        let asked = Asked {
            requester,
            target: target.classifier.surroundings().target.clone(),
            operation: understood.operation,
            resources: understood.resources,
            facts: understood.facts,
            session: BTreeMap::new(),
            payload: Payload { head, body: bound.map_or(PayloadBody::Unbound, PayloadBody::Bound) },
            idempotency_key: one_text(&parts.headers, "idempotency-key").map(str::to_owned),
            sentence: understood.sentence,
            claimed_reason: one_text(&parts.headers, "countersign-reason").map(str::to_owned),
            claimed_ticket: one_text(&parts.headers, TICKET).map(str::to_owned),
            patience: preference.patience,
        };
        let (target, bodies, switches) =
            (Arc::clone(&target.way), Arc::clone(&self.bodies), protocol.is_some());
        let exchange =
            LiveExchange { target, bodies, body: live, spilled, connection: None, switches, handshake };
        match flow::handle(&self.gate, asked, exchange).await {
            Ok(answer) => Ok(reply::of(answer, |live| live, preference.applied)),
            Err(error) => Err(not_recordable(&error)),
        }
    }

    /// Requests about the caller's own approvals. None of them ever runs anything.
    async fn own(&self, requester: &Requester, parts: &Parts, path: &str) -> Result<Said, Own> {
        let unknown = || {
            reply::edge(
                StatusCode::NOT_FOUND,
                "there is nothing here for you",
                "use the `Location` of a `202`",
            )
        };
        let id = path.strip_prefix(reply::APPROVALS).and_then(|id| id.parse::<ApprovalId>().ok());
        let id = id.ok_or_else(unknown)?;
        match parts.method {
            Method::GET => {
                // Whoever polls is answered at once, unless they ask to stay.
                let preference = Preference::of(&parts.headers, Duration::ZERO);
                let status = settle::status(&self.gate, requester, id, preference.patience).await;
                let status = status.map_err(|error| not_recordable(&error))?.ok_or_else(unknown)?;
                Ok(reply::of(status, |never| match never {}, preference.applied))
            }
            Method::DELETE => {
                let taken = settle::withdraw(&self.gate, requester, actor_of(requester), id).await;
                match taken.map_err(|error| not_recordable(&error))? {
                    None => Err(unknown()),
                    Some(Ok(())) => Ok(reply::withdrawn().into()),
                    Some(Err(why)) => {
                        Err(reply::edge(StatusCode::CONFLICT, &why.to_string(), "ask for its state first"))
                    }
                }
            }
            _ => Err(reply::edge(
                StatusCode::METHOD_NOT_ALLOWED,
                "use `GET` or `DELETE` here",
                "ask with `GET`",
            )),
        }
    }

    async fn unreadable(&self, target: &HttpTarget, why: &BindError) -> Own {
        let (code, remedy) = match why {
            BindError::TooLarge { .. } => (RefusalCode::TooLarge, "send it in smaller parts"),
            BindError::NoRoom { .. } => (RefusalCode::NoRoom, "repeat the request later; nothing ran"),
            BindError::Broken(_) => (RefusalCode::Malformed, "repeat the request whole"),
        };
        let name = &target.classifier.surroundings().target;
        if let Err(said) = self.count(code, Some(name)).await {
            return said;
        }
        let mut said =
            plain_refusal(Refusal { code, reason: why.to_string(), remedy: remedy.into(), basis: None });
        said.extensions_mut().insert(reply::Hangs);
        said
    }

    async fn malformed(&self, target: Option<&TargetName>, status: StatusCode, why: &str) -> Own {
        match self.count(RefusalCode::Malformed, target).await {
            Ok(()) => reply::edge(status, why, "send a request that every reader reads the same way"),
            Err(said) => said,
        }
    }

    async fn count(&self, code: RefusalCode, target: Option<&TargetName>) -> Result<(), Own> {
        record::count(&self.gate, code, target.cloned()).await.map_err(|error| not_recordable(&error))
    }
}

/// How long the caller wants to stay (RFC 7240).
struct Preference {
    patience: Duration,
    applied: Option<String>,
}

impl Preference {
    fn of(headers: &HeaderMap, usual: Duration) -> Self {
        let mut found = Self { patience: usual, applied: None };
        let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
        for preference in values.flat_map(|value| value.split(',')).map(str::trim) {
            if preference.eq_ignore_ascii_case("respond-async") {
                return Self { patience: Duration::ZERO, applied: Some("respond-async".into()) };
            }
            let wait =
                preference.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("wait"));
            if let Some(seconds) = wait.and_then(|(_, seconds)| seconds.trim().parse().ok()) {
                let patience = Duration::from_secs(seconds).min(LONGEST_WAIT);
                found = Self { patience, applied: Some(format!("wait={}", patience.as_secs())) };
            }
        }
        found
    }
}

/// Names a ticket in which it was approved beforehand. Never sent on.
const TICKET: &str = "countersign-ticket";

/// A header's only value; none when it is missing, no text, or there more than once.
fn one_text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => std::str::from_utf8(value.as_bytes()).ok(),
        _ => None,
    }
}

/// The protocol a request wants to leave HTTP for, where the target lets that be decided.
fn upgrade_of(parts: &Parts, upgrades: Upgrades) -> Result<Option<String>, &'static str> {
    let Some(protocol) = parts.headers.get(header::UPGRADE) else { return Ok(None) };
    let protocol = protocol.to_str().ok().filter(|protocol| {
        !protocol.is_empty()
            && protocol.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-./".contains(&byte))
    });
    match (upgrades, protocol) {
        (Upgrades::Deny, _) => Err("this target does not take upgrades"),
        (Upgrades::Action, Some(protocol)) if parts.version == Version::HTTP_11 => Ok(Some(protocol.into())),
        (Upgrades::Action, _) => Err("the upgrade does not name one protocol"),
    }
}

/// Whether a body is announced that is not empty.
fn has_length(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH);
    headers.contains_key(header::TRANSFER_ENCODING)
        || length.is_some_and(|length| length.as_bytes().iter().any(|digit| *digit != b'0'))
}

fn plain_refusal(refusal: Refusal) -> Own {
    reply::refused(&Refused { refusal, action: None, approval: None, link: None })
}

fn not_recordable(error: &Error) -> Own {
    tracing::error!(error = %record::chain(error), "a request was refused because the gateway could not go on");
    plain_refusal(Refusal {
        code: RefusalCode::NotRecordable,
        reason: "the gateway could not record the request, so nothing ran".into(),
        remedy: "repeat the request later".into(),
        basis: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_move_the_waiting_time_within_limits() {
        let usual = Duration::from_secs(55);
        for (prefer, seconds, applied) in [
            ("", 55, None),
            ("wait=10", 10, Some("wait=10")),
            ("Wait = 3", 3, Some("wait=3")),
            ("wait=99999", 600, Some("wait=600")),
            ("wait=-1", 55, None),
            ("respond-async, wait=10", 0, Some("respond-async")),
            ("return=minimal", 55, None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("prefer", prefer.parse().unwrap());
            let found = Preference::of(&headers, usual);
            assert_eq!((found.patience.as_secs(), found.applied.as_deref()), (seconds, applied), "{prefer}");
        }
    }
}
