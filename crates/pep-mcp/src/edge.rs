//! One HTTP request, from its head to its reply: the right host and origin, a known agent, one readable message, its own
//! session. Refuses at the first doubt; decides nothing.

use crate::{
    approvals, call,
    classify::Understood,
    config::McpTarget,
    frame::{self, Message},
    members::{self, Members},
    method::{self, Note, Rule, VERSIONS},
    reply::{self, Shape, code},
    session::{Place, Session, Sessions},
    stream::{self, Body, Flow, Waiting},
    upstream::{
        Peer, SESSION, VERSION,
        exchange::{Answer, Asking, Event},
    },
};
use bytes::Bytes;
use countersign_core::{PrincipalId, PrincipalKind, Refusal, RefusalCode, Requester};
use countersign_engine::{
    Error, Gate, Reply,
    port::identity::Presented,
    record,
    settle::{self, Claim},
};
use countersign_ledger::event::Actor;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json, value::RawValue};
use std::sync::Arc;
use tokio::{sync::mpsc, time::timeout};

mod head;

/// A target with its sessions.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) gate: Arc<Gate>,
    pub(crate) target: McpTarget,
    pub(crate) sessions: Sessions,
}

/// A response that ends the reading of a request.
type Ended = Response<Body>;

/// Messages of a server that wait to be written to its agent.
const AHEAD: usize = 256;

/// A message with who sent it, in which session.
struct Said<'m> {
    requester: Requester,
    session: Arc<Session>,
    session_id: String,
    id: &'m RawValue,
    method: &'m str,
    params: Option<&'m RawValue>,
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
        let requester = self.authenticate(request.headers()).await?;
        let version = self.version(request.headers()).await?;
        let session = match head::one(request.headers(), &SESSION) {
            Ok(session) => session.map(str::to_owned),
            Err(why) => return Err(self.malformed(StatusCode::BAD_REQUEST, why).await),
        };
        match *request.method() {
            Method::POST => {}
            Method::DELETE => return self.end(&requester, session).await,
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
        let body = self.body(request.into_body()).await?;
        let message = match frame::read(&body) {
            Ok(message) => message,
            Err(why) => return Err(self.malformed(StatusCode::BAD_REQUEST, &why.to_string()).await),
        };
        match message {
            Message::Request { id, method, params } => {
                self.request(requester, (session, version), id, method, params).await
            }
            Message::Notification { method, params } => {
                let (session, _) = self.session(&requester, session, version).await?;
                self.noted(&requester, &session, method, params).await
            }
            Message::Response { .. } => {
                Err(self.malformed(StatusCode::BAD_REQUEST, "nothing was asked that this could answer").await)
            }
        }
    }

    async fn authenticate(&self, headers: &HeaderMap) -> Result<Requester, Ended> {
        let bearer = head::one(headers, &header::AUTHORIZATION).ok().flatten().and_then(head::bearer);
        let presented = bearer.map_or(Presented::Nothing, Presented::Bearer);
        match self.gate.authenticate(presented).await {
            Ok(requester) => Ok(requester),
            Err(refusal) => {
                self.count(refusal.code).await?;
                let why = format!("{}; {}", refusal.reason, refusal.remedy);
                let mut response = refused(StatusCode::UNAUTHORIZED, &why);
                let challenge = HeaderValue::from_static("Bearer realm=\"countersign\"");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
                Err(response)
            }
        }
    }

    /// The version the agent says it speaks; one that is not spoken here is refused in the words that make newer clients
    /// fall back.
    async fn version(&self, headers: &HeaderMap) -> Result<Option<&'static str>, Ended> {
        match head::one(headers, &VERSION) {
            Ok(None) => Ok(None),
            Ok(Some(asked)) => {
                let known = VERSIONS.into_iter().find(|known| *known == asked);
                if known.is_none() {
                    self.count(RefusalCode::Malformed).await?;
                    return Err(unsupported("null", Some(asked)));
                }
                Ok(known)
            }
            Err(why) => Err(self.malformed(StatusCode::BAD_REQUEST, why).await),
        }
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
        let Some(session) = self.sessions.find(&id, requester) else {
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
        if method == "server/discover" {
            return Err(unsupported(id.get(), None));
        }
        let (session, session_id) = self.session(&requester, session, version).await?;
        let said = Said { requester, session, session_id, id, method, params };
        match rule {
            Rule::Open | Rule::Own => Ok(stream::json(StatusCode::OK, reply::result(id.get(), "{}"))),
            Rule::Refused(why) => {
                self.count(RefusalCode::Malformed).await?;
                let told = reply::error(
                    id.get(),
                    code::NO_METHOD,
                    &format!("`{method}` is refused: {why}"),
                    &Value::Null,
                );
                Ok(stream::json(StatusCode::OK, told))
            }
            Rule::Tools(operation) => self.ask(said, operation, Shape::Tools).await,
            Rule::Ask(operation) => self.ask(said, operation, Shape::Other).await,
            Rule::Call => self.call(said).await,
        }
    }

    /// A tool call: one of the gateway's own, or an action.
    async fn call(self: &Arc<Self>, said: Said<'_>) -> Result<Response<Body>, Ended> {
        let params = said.params.and_then(Members::read);
        let name = params.as_ref().and_then(|params| members::text(params.find("name")?));
        let name = name.filter(|name| crate::config::is_tool_name(name));
        let Some(name) = name else {
            return self
                .invalid(said.id, "the call names no tool, or one with characters nobody can read")
                .await;
        };
        let arguments = params.as_ref().and_then(|params| params.find("arguments"));
        if arguments.is_some_and(|arguments| !arguments.get().starts_with('{')) {
            return self.invalid(said.id, "the arguments are no object").await;
        }
        if approvals::NAMES.contains(&name.as_str()) {
            return self.claim(said, &name, arguments).await;
        }
        let definition = match said.session.tools(&self.target.way).await {
            Ok(tools) => tools.get(&name).cloned(),
            Err(failed) => {
                let why = format!("the server's tools are not known, so nothing was called: {failed}");
                return Ok(stream::json(
                    StatusCode::OK,
                    reply::own(
                        said.id.get(),
                        Shape::Tool,
                        code::SERVER,
                        &why,
                        &json!({
                            "decision": "refused", "code": RefusalCode::Unreachable.as_str(), "what_to_do": "repeat",
                        }),
                    ),
                ));
            }
        };
        let Some(definition) = definition else {
            return self.invalid(said.id, "the server lists no such tool, or lists it twice").await;
        };
        let understood = self.target.classifier.call(&name, arguments, &definition);
        self.act(said, Some((&name, &definition)), understood, Shape::Tool).await
    }

    /// Any other request that is passed on.
    async fn ask(
        self: &Arc<Self>,
        said: Said<'_>,
        operation: &str,
        shape: Shape,
    ) -> Result<Response<Body>, Ended> {
        if shape == Shape::Tools {
            // What the agent sees from here on is what its calls are bound to.
            said.session.forget_tools().await;
        }
        let understood = self.target.classifier.other(operation, said.method, said.params);
        self.act(said, None, understood, shape).await
    }

    /// Hands an action to the engine, and waits for what becomes of it.
    async fn act(
        self: &Arc<Self>,
        said: Said<'_>,
        tool: Option<(&str, &crate::tools::Definition)>,
        understood: Understood,
        shape: Shape,
    ) -> Result<Response<Body>, Ended> {
        let mut prepared = match call::prepare(said.params, &self.target) {
            Ok(prepared) => prepared,
            Err(why) => return self.invalid(said.id, why).await,
        };
        let place = self.place(&said).await?;
        let (told, events) = mpsc::channel(AHEAD);
        let progress_token = prepared.progress_token.take();
        let exchange = self.exchange(&said.session, &place, progress_token.clone(), told, true);
        let asked =
            call::asked(&self.target, said.requester.clone(), said.method, tool, understood, prepared);
        let (door, session_id) = (Arc::clone(self), said.session_id);
        let flow: Flow = Box::pin(async move {
            let reply = countersign_engine::flow::handle(&door.gate, asked, exchange).await;
            door.seen(&session_id, &reply);
            reply
        });
        let id = said.id.get().to_owned();
        Ok(Waiting { id, shape, progress_token, flow, events, place }.respond().await)
    }

    /// The agent comes back for a call of its own that waited.
    async fn claim(
        self: &Arc<Self>,
        said: Said<'_>,
        tool: &str,
        arguments: Option<&RawValue>,
    ) -> Result<Response<Body>, Ended> {
        let Some(approval) = approvals::named(arguments) else {
            return self.invalid(said.id, "give the approval's id as `approval`, and nothing else").await;
        };
        let prepared = match call::prepare(said.params, &self.target) {
            Ok(prepared) => prepared,
            Err(why) => return self.invalid(said.id, why).await,
        };
        let place = self.place(&said).await?;
        let (told, events) = mpsc::channel(AHEAD);
        let exchange = self.exchange(&said.session, &place, prepared.progress_token.clone(), told, false);
        let (door, session_id, requester) = (Arc::clone(self), said.session_id, said.requester);
        let runs = tool == approvals::WAIT;
        let flow: Flow = Box::pin(async move {
            let target = &door.target.surroundings().target;
            let found = if runs {
                let claim =
                    Claim { requester: &requester, target, approval, patience: door.target.hold_limit };
                settle::claim(&door.gate, claim, exchange).await?
            } else {
                let stands = settle::look(&door.gate, &requester, target, approval).await?;
                stands.map(Reply::Pending)
            };
            let reply = Ok(found.unwrap_or_else(|| Reply::Refused(no_such_approval())));
            door.seen(&session_id, &reply);
            reply
        });
        let (id, shape) = (said.id.get().to_owned(), Shape::Tool);
        let progress_token = prepared.progress_token;
        Ok(Waiting { id, shape, progress_token, flow, events, place }.respond().await)
    }

    async fn place(&self, said: &Said<'_>) -> Result<Place, Ended> {
        if let Some(place) = said.session.enter(said.id.get()) {
            return Ok(place);
        }
        Err(self.malformed(StatusCode::BAD_REQUEST, "a request of this id is under way already").await)
    }

    fn exchange(
        &self,
        session: &Arc<Session>,
        place: &Place,
        progress_token: Option<String>,
        events: mpsc::Sender<Event>,
        withdraws: bool,
    ) -> Asking {
        Asking {
            way: Arc::clone(&self.target.way),
            peer: session.peer.clone(),
            session: Some(Arc::clone(session)),
            under_way: Arc::clone(&place.under_way),
            progress_token,
            events,
            withdraws,
            connection: None,
        }
    }

    /// A session that its server has forgotten ends here as well: the agent opens another.
    fn seen(&self, session: &str, reply: &Result<Reply<Answer>, Error>) {
        if let Ok(Reply::Live(answer)) = reply
            && answer.session_is_gone
        {
            self.sessions.remove(session);
        }
    }

    /// Opens a session at the server, and one of the agent's own here.
    async fn open(
        self: &Arc<Self>,
        requester: Requester,
        id: &RawValue,
        params: Option<&RawValue>,
    ) -> Result<Response<Body>, Ended> {
        for session in self.sessions.take_idle(self.target.limits.session_idle.0) {
            self.end_at_server(&session);
        }
        let principal = requester.principal;
        if self.sessions.is_full(principal, self.target.limits.sessions) {
            self.count(RefusalCode::TooMany).await?;
            let why = "you have as many sessions open as you may: end some";
            return Err(refused(StatusCode::TOO_MANY_REQUESTS, why));
        }
        let params = match call::opening(params) {
            Ok(params) => params,
            Err(why) => return self.invalid(id, why).await,
        };
        let opening = Arc::new(Session::new(&requester, method::NEWEST, Peer::default()));
        let Some(place) = opening.enter(id.get()) else { return self.invalid(id, "the id is taken").await };
        let (events, _) = mpsc::channel(1);
        let exchange = Asking { session: None, ..self.exchange(&opening, &place, None, events, true) };
        let understood = self.target.classifier.other("mcp.session", "initialize", None);
        let prepared = call::Prepared { params, progress_token: None, reason: None, idempotency_key: None };
        let asked = call::asked(&self.target, requester.clone(), "initialize", None, understood, prepared);
        let mut reply = countersign_engine::flow::handle(&self.gate, asked, exchange).await;
        let mut opened = None;
        if let Ok(Reply::Live(answer)) = &mut reply
            && answer.form == crate::upstream::exchange::Form::Result
        {
            let Some((version, told)) = call::opened(&answer.raw) else {
                let why = "the server speaks none of the protocol versions that are spoken here";
                return Ok(stream::json(
                    StatusCode::OK,
                    reply::error(id.get(), code::SERVER, why, &Value::Null),
                ));
            };
            let peer = Peer { session: answer.session.take(), version: Some(version) };
            answer.raw = told;
            opened = Some(Session::new(&requester, version, peer));
        }
        let message = reply::of(id.get(), Shape::Other, reply).message;
        let mut response = stream::json(StatusCode::OK, message);
        if let Some(session) = opened {
            let name: [u8; 16] = self.gate.journal().random();
            let name = format!("{:032x}", u128::from_be_bytes(name));
            if let Ok(value) = HeaderValue::from_str(&name) {
                response.headers_mut().insert(SESSION, value);
            }
            self.sessions.insert(name, Arc::new(session));
        }
        Ok(response)
    }

    async fn end(&self, requester: &Requester, session: Option<String>) -> Result<Response<Body>, Ended> {
        let (session, id) = self.session(requester, session, None).await?;
        self.sessions.remove(&id);
        self.end_at_server(&session);
        let mut response = Response::new(stream::whole(Bytes::new()));
        *response.status_mut() = StatusCode::NO_CONTENT;
        Ok(response)
    }

    fn end_at_server(&self, session: &Arc<Session>) {
        let (way, session) = (Arc::clone(&self.target.way), Arc::clone(session));
        tokio::spawn(async move {
            if let Err(error) = way.end(&session.peer).await {
                tracing::debug!(%error, "a session could not be ended at its server");
            }
        });
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
                if let Some(under_way) = id.and_then(|id| session.find(id.get())) {
                    let held = *under_way.held.lock();
                    if let Some(held) = held {
                        let taken =
                            settle::withdraw(&self.gate, requester.principal, actor(requester), held).await;
                        taken.map_err(|error| cannot_go_on(&error))?.map_or(Ok(()), Result::from).ok();
                    }
                    under_way.cancelled.cancel();
                }
            }
        }
        let mut response = Response::new(stream::whole(Bytes::new()));
        *response.status_mut() = StatusCode::ACCEPTED;
        Ok(response)
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

fn no_such_approval() -> countersign_engine::Refused {
    let refusal = Refusal {
        code: RefusalCode::NotPermitted,
        reason: "you have no such approval on this server".into(),
        remedy: "use the id you were given when the call was held".into(),
        basis: None,
    };
    countersign_engine::Refused { refusal, action: None, approval: None, link: None }
}

/// A refusal before there is a request to answer.
fn refused(status: StatusCode, why: &str) -> Response<Body> {
    stream::json(status, reply::error("null", code::INVALID_REQUEST, why, &Value::Null))
}

/// The error that makes clients of later versions fall back to `initialize`.
fn unsupported(id: &str, asked: Option<&str>) -> Response<Body> {
    let data = json!({"supported": VERSIONS, "requested": asked});
    let why = "this protocol version is not spoken here";
    stream::json(StatusCode::BAD_REQUEST, reply::error(id, code::UNSUPPORTED_VERSION, why, &data))
}

fn cannot_go_on(error: &Error) -> Ended {
    tracing::error!(error = %record::chain(error), "a message was refused because the gateway could not go on");
    refused(StatusCode::SERVICE_UNAVAILABLE, "the gateway could not record the message, so nothing ran")
}

fn actor(requester: &Requester) -> Actor {
    let credential = requester.credential;
    match (requester.principal, requester.kind) {
        (PrincipalId::Person(id), _) => Actor::Person { id },
        (PrincipalId::Agent(id), PrincipalKind::Service) => Actor::Service { id, credential },
        (PrincipalId::Agent(id), PrincipalKind::Agent | PrincipalKind::Person) => {
            Actor::Agent { id, credential }
        }
    }
}
