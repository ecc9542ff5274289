//! Several servers behind one endpoint: their tools under their servers' names, and nothing else of them. Each server
//! stays what it is alone, with its own sessions, credential, policies and accepted tools: a call that comes through here is
//! the very action it would be at the server's own endpoint.

mod list;

use super::{
    Door, Ended, Entrance, Letter, Said, Told,
    entrance::{UNASKED, Wish, not_allowed},
    refused, taken,
};
use crate::{
    approvals::{self, NO_TASK},
    asks::Offer,
    call,
    era::Declared,
    frame,
    members::{self, Members},
    method::{self, NEWEST, Note, OTHER_ERA, Rule, TaskAsk, VERSIONS},
    mirror::Head,
    reply::{self, Shape},
    session::{Session, Sessions},
    stream::{self, Body},
    tasks::EXTENSION,
    upstream::{Peer, SESSION, exchange::Answer},
};
use countersign_core::{ApprovalId, RefusalCode, Requester, TargetName, visible};
use countersign_engine::{Error, Reply, settle};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json, value::RawValue};
use std::sync::Arc;

/// What stands between a server's name and its tool's.
pub(crate) const BETWEEN: &str = "__";

/// The endpoint's own tool beside the two for approvals.
const SERVERS: &str = "countersign_servers";

const TOOLS_ALONE: &str = "several servers are behind this endpoint, which offers their tools alone";

/// An endpoint with several servers.
#[derive(Debug)]
pub(crate) struct Joint {
    pub(crate) entrance: Entrance,
    pub(crate) name: TargetName,
    pub(crate) doors: Vec<Arc<Door>>,
    pub(crate) sessions: Sessions,
}

/// A message with who sent it.
struct Asked<'m> {
    requester: Requester,
    era: Era,
    id: &'m RawValue,
    method: &'m str,
    params: Option<&'m RawValue>,
}

/// How its sender speaks.
enum Era {
    /// In this session, which knows those at the servers.
    Earlier(Arc<Session>),
    Later(Declared),
}

impl Asked<'_> {
    fn is_later(&self) -> bool {
        matches!(self.era, Era::Later(_))
    }

    fn knows_tasks(&self) -> bool {
        match &self.era {
            Era::Earlier(session) => session.version == NEWEST,
            Era::Later(declared) => declared.tasks,
        }
    }

    fn mirrored(&self) -> Head {
        match &self.era {
            Era::Earlier(_) => Head::default(),
            Era::Later(declared) => declared.mirrored.clone(),
        }
    }

    /// What a server may ask before it answers, in the later era; in the earlier its session says that.
    fn offer(&self, door: &Door, session: &Session) -> Offer {
        match &self.era {
            Era::Earlier(_) => Offer::default(),
            Era::Later(declared) => door.offer(session, declared),
        }
    }

    /// A message of the gateway's own in the form of its sender's era.
    fn told(&self, said: reply::Said) -> Response<Body> {
        if !self.is_later() {
            return stream::json(StatusCode::OK, said.message);
        }
        let (said, status) = said.later(self.id.get(), self.method);
        stream::json(status, said.message)
    }
}

impl Joint {
    /// Answers one request to this endpoint's path.
    pub(crate) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        match self.read(request).await {
            Ok(response) | Err(response) => response,
        }
    }

    async fn read(&self, request: Request<Incoming>) -> Result<Response<Body>, Ended> {
        let Letter { requester, version, session, headers, wish, .. } = self.entrance.read(request).await?;
        let body = match wish {
            Wish::Says(body) => body,
            Wish::Ends => return self.end(&requester, session).await,
            // Each server's own endpoint has such a stream.
            Wish::Listens => return Err(not_allowed()),
        };
        match self.entrance.message(&headers, version.as_deref(), &body).await? {
            Told::Request { id, method: "initialize", params, declared: None, .. } => {
                self.open(&requester, session, id, params).await
            }
            Told::Request { id, method, params, declared, version } => {
                let (rule, era) = match declared {
                    None => {
                        let (session, _) = self.session(&requester, session, version).await?;
                        (method::request(method), Era::Earlier(session))
                    }
                    Some(declared) => (method::later_request(method), Era::Later(declared)),
                };
                self.follow(rule, Asked { requester, era, id, method, params }).await
            }
            Told::Nothing => Ok(taken()),
            Told::Answer { id, answer, version } => {
                let (session, _) = self.session(&requester, session, version).await?;
                self.answered(requester, &session, id, answer).await
            }
            Told::Notification { method, params, version } => {
                let (session, _) = self.session(&requester, session, version).await?;
                if method::note(method) == Note::Cancelled {
                    for (door, part) in self.doors.iter().zip(&session.parts) {
                        let part = part.lock().await.clone();
                        if let Some(part) = part {
                            door.noted(&requester, &part, method, params).await?;
                        }
                    }
                }
                Ok(taken())
            }
        }
    }

    /// An answer to what one of the servers asks: its ids are no other's.
    async fn answered(
        &self,
        requester: Requester,
        session: &Session,
        id: &RawValue,
        answer: frame::Answer<'_>,
    ) -> Result<Response<Body>, Ended> {
        let own = members::text(id).unwrap_or_default();
        for (door, part) in self.doors.iter().zip(&session.parts) {
            let part = part.lock().await.clone();
            if let Some(part) = part.filter(|part| part.asks.asks(&own)) {
                return door.answered(requester, part, id, answer).await;
            }
        }
        Err(self.entrance.malformed(StatusCode::BAD_REQUEST, UNASKED).await)
    }

    async fn follow(&self, rule: Rule, asked: Asked<'_>) -> Result<Response<Body>, Ended> {
        match rule {
            Rule::Open | Rule::Own => Ok(stream::json(StatusCode::OK, reply::result(asked.id.get(), "{}"))),
            Rule::Tools(_) => self.list(asked).await,
            Rule::Call => self.call(asked).await,
            Rule::Task(ask) => self.task(ask, asked).await,
            Rule::Discover => Ok(asked.told(reply::result(asked.id.get(), &self.discovered()).into())),
            Rule::Ask(_) | Rule::Subscribe(_) | Rule::Listen(_) => {
                self.entrance.no_method(asked.id, asked.method, TOOLS_ALONE, asked.is_later()).await
            }
            Rule::Refused(why) => {
                self.entrance.no_method(asked.id, asked.method, why, asked.is_later()).await
            }
        }
    }

    /// Opens a session here. The servers hear of it when something is asked of them, each as an action of its own.
    async fn open(
        &self,
        requester: &Requester,
        session: Option<String>,
        id: &RawValue,
        params: Option<&RawValue>,
    ) -> Result<Response<Body>, Ended> {
        if session.is_some() {
            let why = "a session is opened without naming one";
            return Err(self.entrance.malformed(StatusCode::BAD_REQUEST, why).await);
        }
        let limits = &self.entrance.front.limits;
        for session in self.sessions.take_idle(limits.session_idle.0) {
            self.end_parts(&session).await;
        }
        if self.sessions.is_full(requester.principal, limits.sessions) {
            self.entrance.count(RefusalCode::TooMany).await?;
            let why = "you have as many sessions open as you may: end some";
            return Err(refused(StatusCode::TOO_MANY_REQUESTS, why));
        }
        let (client, version, declared) = match call::opening(params) {
            Ok(opening) => opening,
            Err(why) => return self.entrance.invalid(id, why).await,
        };
        let tasks = json!({"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}});
        let own = if version == NEWEST { json!({"tools": {}, "tasks": tasks}) } else { json!({"tools": {}}) };
        let told = json!({
            "protocolVersion": version, "capabilities": own, "serverInfo": self.is_what(),
            "instructions": self.instructions(),
        });
        let mut response = stream::json(StatusCode::OK, reply::result(id.get(), &told.to_string()));
        let name: [u8; 16] = self.entrance.gate.journal().random();
        let name = format!("{:032x}", u128::from_be_bytes(name));
        if let Ok(value) = HeaderValue::from_str(&name) {
            response.headers_mut().insert(SESSION, value);
        }
        let mut session = Session::new(requester, version, Peer::default());
        session.client = Some(client);
        session.declared = declared.map(|declared| declared.get().to_owned());
        session.parts = self.doors.iter().map(|_| tokio::sync::Mutex::default()).collect();
        self.sessions.insert(name, Arc::new(session));
        Ok(response)
    }

    async fn end(&self, requester: &Requester, session: Option<String>) -> Result<Response<Body>, Ended> {
        let (session, id) = self.session(requester, session, None).await?;
        self.sessions.remove(&id);
        self.end_parts(&session).await;
        let mut response = taken();
        *response.status_mut() = StatusCode::NO_CONTENT;
        Ok(response)
    }

    async fn end_parts(&self, session: &Session) {
        for (door, part) in self.doors.iter().zip(&session.parts) {
            if let Some(part) = part.lock().await.take() {
                door.end_at_server(&part);
            }
        }
    }

    async fn session(
        &self,
        requester: &Requester,
        id: Option<String>,
        version: Option<&'static str>,
    ) -> Result<(Arc<Session>, String), Ended> {
        self.entrance.session(&self.sessions, requester, id, version).await
    }

    /// The caller's session at one of the servers, opened when it is first needed or was lost.
    async fn part(
        &self,
        at: usize,
        requester: &Requester,
        era: &Era,
    ) -> Result<(Arc<Door>, Arc<Session>), Result<Reply<Answer>, Error>> {
        let lost =
            || Ok(Reply::Refused(super::open::unreachable(&crate::upstream::talk::lost("it is not there"))));
        let door = Arc::clone(self.doors.get(at).ok_or_else(lost)?);
        let session = match era {
            Era::Later(declared) => door.serving(requester, declared).await?,
            Era::Earlier(session) => {
                let mut part = session.parts.get(at).ok_or_else(lost)?.lock().await;
                let known = part.as_ref().filter(|part| !part.is_gone()).map(Arc::clone);
                if let Some(known) = known {
                    known
                } else {
                    let opened = Arc::new(door.joined(requester, session).await?);
                    *part = Some(Arc::clone(&opened));
                    opened
                }
            }
        };
        Ok((door, session))
    }

    /// The server that a tool's name begins with, and the tool's own name.
    fn find<'n>(&self, name: &'n str) -> Option<(usize, &'n str)> {
        self.doors.iter().enumerate().find_map(|(at, door)| {
            let rest = name.strip_prefix(door.target.surroundings().target.as_str())?;
            Some((at, rest.strip_prefix(BETWEEN)?))
        })
    }

    /// A tool call: one of the endpoint's own, or an action at one of the servers.
    async fn call(&self, asked: Asked<'_>) -> Result<Response<Body>, Ended> {
        let params = asked.params.and_then(Members::read);
        let name = params.as_ref().and_then(|params| members::text(params.find("name")?));
        let (Some(params), Some(name)) = (params, name) else {
            return self.entrance.invalid(asked.id, "the call names no tool").await;
        };
        if name == SERVERS {
            if !asked.is_later() && asked.knows_tasks() && call::wants_task(&params) {
                return self.entrance.no_method(asked.id, asked.method, NO_TASK, false).await;
            }
            return self.servers(asked).await;
        }
        let (at, own) = if approvals::NAMES.contains(&name.as_str()) {
            (self.server_of(&asked, approvals::named(params.find("arguments"))).await?, name.as_str())
        } else {
            let Some(found) = self.find(&name) else {
                let why = "there is no such tool: a name here begins with a server's and `__`";
                return self.entrance.invalid(asked.id, why).await;
            };
            found
        };
        let own = Value::from(own).to_string();
        let params = params.rewritten(|member, value| {
            Some(if member == "name" { own.clone() } else { value.get().to_owned() })
        });
        let Ok(params) = RawValue::from_string(params) else {
            return self.entrance.invalid(asked.id, "the parameters cannot be read").await;
        };
        let (door, session) = match self.part(at, &asked.requester, &asked.era).await {
            Ok(part) => part,
            Err(why) => return Ok(asked.told(reply::of(asked.id.get(), &Shape::Tool, why))),
        };
        let (later, tasks) = (asked.is_later(), asked.knows_tasks());
        let (mirrored, offer) = (asked.mirrored(), asked.offer(&door, &session));
        let Asked { requester, id, method, .. } = asked;
        door.call(Said {
            requester,
            session,
            id,
            method,
            params: Some(&params),
            later,
            mirrored,
            tasks,
            offer,
        })
        .await
    }

    /// What an agent asks of its tasks, which are those of the servers.
    async fn task(&self, ask: TaskAsk, asked: Asked<'_>) -> Result<Response<Body>, Ended> {
        if !asked.is_later() && !asked.knows_tasks() {
            return self.entrance.no_method(asked.id, asked.method, OTHER_ERA, false).await;
        }
        if ask == TaskAsk::List {
            let tasks = self.doors.iter().flat_map(|door| door.tasks.of(&asked.requester));
            let tasks: Vec<Value> = tasks.map(|task| task.earlier()).collect();
            return Ok(asked.told(reply::result(asked.id.get(), &json!({"tasks": tasks}).to_string()).into()));
        }
        let id = asked.params.and_then(Members::read).and_then(|params| params.find("taskId"));
        let id = id.and_then(members::text).unwrap_or_default();
        let known = self.doors.iter().position(|door| door.tasks.find(&id, &asked.requester).is_some());
        let at = match known {
            Some(at) => at,
            None => self.server_of(&asked, id.parse().ok()).await?,
        };
        let (door, session) = match self.part(at, &asked.requester, &asked.era).await {
            Ok(part) => part,
            Err(why) => return Ok(asked.told(reply::of(asked.id.get(), &Shape::Other, why))),
        };
        let (later, tasks) = (asked.is_later(), asked.knows_tasks());
        let (mirrored, offer) = (asked.mirrored(), asked.offer(&door, &session));
        let Asked { requester, id, method, params, .. } = asked;
        door.task(ask, Said { requester, session, id, method, params, later, mirrored, tasks, offer }).await
    }

    /// Which server an approval of this caller's is about; the first one where there is none, which says so.
    async fn server_of(&self, asked: &Asked<'_>, approval: Option<ApprovalId>) -> Result<usize, Ended> {
        let Some(approval) = approval else { return Ok(0) };
        for (at, door) in self.doors.iter().enumerate() {
            let target = &door.target.surroundings().target;
            let found = settle::look(&door.gate, &asked.requester, target, approval).await;
            if found.map_err(|error| super::cannot_go_on(&error))?.is_some() {
                return Ok(at);
            }
        }
        Ok(0)
    }

    fn is_what(&self) -> Value {
        json!({"name": self.name, "version": env!("CARGO_PKG_VERSION")})
    }

    fn instructions(&self) -> String {
        let names = self.doors.iter().map(|door| door.target.surroundings().target.to_string());
        format!(
            "Several servers are behind this endpoint: {}. A tool's name begins with its server's and `{BETWEEN}`. \
             `{SERVERS}` says which of them answer.",
            visible::one_line(&names.collect::<Vec<_>>().join(", "))
        )
    }

    fn discovered(&self) -> String {
        let versions: Vec<&str> =
            std::iter::once(crate::era::MODERN).chain(VERSIONS.into_iter().rev()).collect();
        json!({
            "supportedVersions": versions, "capabilities": {"tools": {}, "extensions": {EXTENSION: {}}}, "instructions": self.instructions(),
            "_meta": {"io.modelcontextprotocol/serverInfo": self.is_what()}, "ttlMs": 0, "cacheScope": "private",
        })
        .to_string()
    }
}

impl Door {
    /// A session at the server for an agent that has one here with several servers.
    async fn joined(
        &self,
        requester: &Requester,
        joint: &Session,
    ) -> Result<Session, Result<Reply<Answer>, Error>> {
        let declared = joint.declared.as_deref().and_then(|declared| serde_json::from_str(declared).ok());
        let offer = Offer::new(declared, self.target.server_requests);
        let begun = self.begin(requester, joint.client.as_deref(), joint.version, &offer).await?;
        self.initialized(&begun.peer).await?;
        let mut session = Session::new(requester, NEWEST, begun.peer);
        session.client.clone_from(&joint.client);
        session.opened = Some(begun.result);
        self.may_ask(&mut session, offer);
        Ok(session)
    }
}
