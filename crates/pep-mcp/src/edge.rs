//! One HTTP request, from its head to its reply: the right host and origin, a known agent, one readable message, its own
//! session. Refuses at the first doubt; decides nothing.

use crate::{
    config::{McpTarget, Resource},
    era::{self, Mismatch},
    frame::{self, Message},
    legs::States,
    members::Members,
    method::{self, Note, Rule, VERSIONS},
    reply::{self, Shape, code},
    session::{Session, Sessions},
    stream::{self, Body},
    tools::{Book, Listing},
    upstream::{SESSION, VERSION, exchange::take_back},
};
use bytes::Bytes;
use countersign_core::{ClientCertificate, RefusalCode, Requester};
use countersign_engine::{Error, Gate, port::identity::Presented, record};
use countersign_pep::bearer;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::{Value, value::RawValue};
use std::sync::Arc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

mod act;
mod audience;
mod head;
mod later;
mod open;

pub(crate) use head::one;

/// A target with its sessions.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) gate: Arc<Gate>,
    pub(crate) target: McpTarget,
    pub(crate) book: Arc<Book>,
    pub(crate) sessions: Sessions,
    pub(crate) states: Arc<States>,
    /// Cancelled when the gateway stops.
    pub(crate) stopping: CancellationToken,
}

/// A response that ends the reading of a request.
type Ended = Response<Body>;

/// Messages of a server that wait to be written to its agent.
const AHEAD: usize = 256;

/// A message with who sent it, in which session.
struct Said<'m> {
    requester: Requester,
    session: Arc<Session>,
    id: &'m RawValue,
    method: &'m str,
    params: Option<&'m RawValue>,
    /// It is of the later era.
    later: bool,
}

impl Door {
    /// Answers one request to this target's path.
    pub(crate) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        match self.read(request).await {
            Ok(response) | Err(response) => response,
        }
    }

    async fn read(self: &Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Ended> {
        let authority = request.uri().authority().map(http::uri::Authority::as_str);
        if let Err((status, why)) = head::here(&self.target, request.headers(), authority) {
            return Err(self.malformed(status, why).await);
        }
        if request.uri().query().is_some() {
            return Err(self.malformed(StatusCode::BAD_REQUEST, "the endpoint takes no query").await);
        }
        if let Some(resource) = &self.target.resource
            && request.uri().path() == resource.path
        {
            return Ok(metadata(request.method(), resource));
        }
        let client = request.extensions().get::<Arc<ClientCertificate>>();
        let requester = self.authenticate(request.headers(), client.map(Arc::as_ref)).await?;
        let version = match one(request.headers(), &VERSION) {
            Ok(version) => version.map(str::to_owned),
            Err(why) => return Err(self.malformed(StatusCode::BAD_REQUEST, why).await),
        };
        let session = match one(request.headers(), &SESSION) {
            Ok(session) => session.map(str::to_owned),
            Err(why) => return Err(self.malformed(StatusCode::BAD_REQUEST, why).await),
        };
        match *request.method() {
            Method::POST => {}
            Method::DELETE if !era::is_modern(version.as_deref()) => {
                return self.end(&requester, session).await;
            }
            _ => {
                let mut response =
                    refused(StatusCode::METHOD_NOT_ALLOWED, "use `POST`; no stream is offered by `GET`");
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST, DELETE"));
                return Err(response);
            }
        }
        if let Err((status, why)) = head::speaks(request.headers()) {
            return Err(self.malformed(status, why).await);
        }
        let (parts, body) = request.into_parts();
        let body = self.body(body).await?;
        let message = match frame::read(&body) {
            Ok(message) => message,
            Err(why) => return Err(self.malformed(StatusCode::BAD_REQUEST, &why.to_string()).await),
        };
        match message {
            Message::Request { id, method, params } => {
                match era::read(&parts.headers, version.as_deref(), method, params) {
                    Ok(None) => {
                        let known =
                            version.and_then(|said| VERSIONS.into_iter().find(|known| *known == said));
                        self.request(requester, (session, known), id, method, params).await
                    }
                    Ok(Some(declared)) => self.later(requester, &declared, id, method, params).await,
                    Err(mismatch) => Err(self.mismatch(id.get(), &mismatch).await),
                }
            }
            Message::Notification { .. } if version.as_deref() == Some(era::MODERN) => Ok(taken()),
            Message::Notification { method, params } => {
                let known = match &version {
                    None => None,
                    Some(said) => match VERSIONS.into_iter().find(|known| known == said) {
                        Some(known) => Some(known),
                        None => return Err(self.mismatch("null", &Mismatch::unsupported(Some(said))).await),
                    },
                };
                let (session, _) = self.session(&requester, session, known).await?;
                self.noted(&requester, &session, method, params).await
            }
            Message::Response { .. } => {
                Err(self.malformed(StatusCode::BAD_REQUEST, "nothing was asked that this could answer").await)
            }
        }
    }

    async fn authenticate(
        &self,
        headers: &HeaderMap,
        client: Option<&ClientCertificate>,
    ) -> Result<Requester, Ended> {
        let bearer = one(headers, &header::AUTHORIZATION).ok().flatten().and_then(bearer);
        let presented = match (bearer, client) {
            (Some(token), _) => Presented::Bearer(token),
            // A token says more than the machine it comes from, and one that cannot be read is none.
            (None, Some(client)) if !headers.contains_key(header::AUTHORIZATION) => {
                Presented::Certificate(client)
            }
            (None, _) => Presented::Nothing,
        };
        let resource = self.target.resource.as_ref();
        let (code, why) = match self.gate.authenticate(presented).await {
            Ok(requester) => match (bearer, resource) {
                (Some(token), Some(resource)) if !audience::admits(token, &resource.uri) => {
                    let why =
                        format!("the token is not for `{}`; ask its issuer for one that is", resource.uri);
                    (RefusalCode::Unauthenticated, why)
                }
                _ => return Ok(requester),
            },
            Err(refusal) => (refusal.code, format!("{}; {}", refusal.reason, refusal.remedy)),
        };
        self.count(code).await?;
        let mut response = refused(StatusCode::UNAUTHORIZED, &why);
        let challenge = audience::challenge(resource, bearer.is_some());
        if let Ok(challenge) = HeaderValue::from_str(&challenge) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        Err(response)
    }

    async fn body(&self, body: Incoming) -> Result<Bytes, Ended> {
        let whole = Limited::new(body, self.target.message_limit).collect();
        match timeout(self.target.limits.request_head.0, whole).await {
            Ok(Ok(whole)) => Ok(whole.to_bytes()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                self.count(RefusalCode::TooLarge).await?;
                let why = format!("the message is larger than {} bytes", self.target.message_limit);
                Err(refused(StatusCode::PAYLOAD_TOO_LARGE, &why))
            }
            Ok(Err(_)) => Err(self.malformed(StatusCode::BAD_REQUEST, "the body ended early").await),
            Err(_) => Err(self.malformed(StatusCode::REQUEST_TIMEOUT, "the body took too long").await),
        }
    }

    /// The agent's own session of this id. Somebody else's is as unknown as one that never was.
    async fn session(
        &self,
        requester: &Requester,
        id: Option<String>,
        version: Option<&'static str>,
    ) -> Result<(Arc<Session>, String), Ended> {
        let Some(id) = id else {
            return Err(self
                .malformed(StatusCode::BAD_REQUEST, "the message names no session: send `initialize`")
                .await);
        };
        let found = self.sessions.find(&id, requester);
        if found.as_ref().is_some_and(|session| session.peer.is_gone()) {
            self.sessions.remove(&id);
        }
        let Some(session) = found.filter(|session| !session.peer.is_gone()) else {
            self.count(RefusalCode::Malformed).await?;
            return Err(refused(StatusCode::NOT_FOUND, "there is no such session: send `initialize`"));
        };
        if version.is_some_and(|version| version != session.version) {
            let why = "the protocol version is not the one this session agreed on";
            return Err(self.malformed(StatusCode::BAD_REQUEST, why).await);
        }
        Ok((session, id))
    }

    async fn request(
        self: &Arc<Self>,
        requester: Requester,
        (session, version): (Option<String>, Option<&'static str>),
        id: &RawValue,
        method: &str,
        params: Option<&RawValue>,
    ) -> Result<Response<Body>, Ended> {
        let rule = method::request(method);
        if rule == Rule::Open {
            if session.is_some() {
                let why = "a session is opened without naming one";
                return Err(self.malformed(StatusCode::BAD_REQUEST, why).await);
            }
            return self.open(requester, id, params).await;
        }
        let (session, _) = self.session(&requester, session, version).await?;
        let said = Said { requester, session, id, method, params, later: false };
        self.follow(rule, said).await
    }

    /// Does what the method's rule says.
    async fn follow(self: &Arc<Self>, rule: Rule, said: Said<'_>) -> Result<Response<Body>, Ended> {
        let id = said.id;
        match rule {
            Rule::Open | Rule::Own => Ok(stream::json(StatusCode::OK, reply::result(id.get(), "{}"))),
            Rule::Refused(why) => {
                self.count(RefusalCode::Malformed).await?;
                let why = format!("`{}` is refused: {why}", said.method);
                let told = reply::error(id.get(), code::NO_METHOD, &why, &Value::Null);
                let status = if said.later { StatusCode::NOT_FOUND } else { StatusCode::OK };
                Ok(stream::json(status, told))
            }
            Rule::Discover => self.discover(said).await,
            Rule::Tools(operation) => {
                let requester = said.requester.clone();
                let listing = Listing { door: Arc::clone(self), requester };
                self.ask(said, operation, Shape::Tools(Arc::new(listing))).await
            }
            Rule::Ask(operation) => self.ask(said, operation, Shape::Other).await,
            Rule::Call => self.call(said).await,
        }
    }

    async fn noted(
        &self,
        requester: &Requester,
        session: &Session,
        method: &str,
        params: Option<&RawValue>,
    ) -> Result<Response<Body>, Ended> {
        match method::note(method) {
            Note::Dropped(_) => {}
            Note::Initialized => {
                let message = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
                if let Err(failed) = self.target.way.tell(&session.peer, message.into()).await {
                    return Err(refused(StatusCode::BAD_GATEWAY, &failed.to_string()));
                }
            }
            Note::Cancelled => {
                let id = params.and_then(Members::read).and_then(|params| params.find("requestId"));
                if let Some(under_way) = id.and_then(|id| session.find(id.get()))
                    && let Some(held) = under_way.cancel()
                {
                    take_back(&self.gate, requester, held).await;
                }
            }
        }
        Ok(taken())
    }

    async fn mismatch(&self, id: &str, mismatch: &Mismatch) -> Ended {
        match self.count(RefusalCode::Malformed).await {
            Ok(()) => {
                let told = reply::error(id, mismatch.code, &mismatch.why, &mismatch.data);
                stream::json(StatusCode::BAD_REQUEST, told)
            }
            Err(ended) => ended,
        }
    }

    /// A request that is a message, and cannot be what it says it is.
    async fn invalid(&self, id: &RawValue, why: &str) -> Result<Response<Body>, Ended> {
        self.count(RefusalCode::Malformed).await?;
        Ok(stream::json(StatusCode::OK, reply::error(id.get(), code::INVALID_PARAMS, why, &Value::Null)))
    }

    async fn malformed(&self, status: StatusCode, why: &str) -> Ended {
        match self.count(RefusalCode::Malformed).await {
            Ok(()) => refused(status, why),
            Err(ended) => ended,
        }
    }

    async fn count(&self, code: RefusalCode) -> Result<(), Ended> {
        let target = Some(self.target.surroundings().target.clone());
        record::count(&self.gate, code, target).await.map_err(|error| cannot_go_on(&error))
    }
}

/// A refusal before there is a request to answer.
fn refused(status: StatusCode, why: &str) -> Response<Body> {
    stream::json(status, reply::error("null", code::INVALID_REQUEST, why, &Value::Null))
}

/// Where clients get tokens for this target (RFC 9728). Nobody has to be known to be told.
fn metadata(method: &Method, resource: &Resource) -> Response<Body> {
    if method != Method::GET {
        return refused(StatusCode::METHOD_NOT_ALLOWED, "use `GET`");
    }
    stream::json(StatusCode::OK, resource.metadata.to_string())
}

/// A message that wants no answer was taken.
fn taken() -> Response<Body> {
    let mut response = Response::new(stream::whole(Bytes::new()));
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

fn cannot_go_on(error: &Error) -> Ended {
    tracing::error!(error = %record::chain(error), "a message was refused because the gateway could not go on");
    refused(StatusCode::SERVICE_UNAVAILABLE, "the gateway could not record the message, so nothing ran")
}
