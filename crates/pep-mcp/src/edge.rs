//! One HTTP request, from its head to its reply: the right host and origin, a known agent, one readable message, its own
//! session. Refuses at the first doubt; decides nothing.

use crate::{
    asks::Offer,
    config::McpTarget,
    legs::States,
    members::Members,
    method::{self, Note, OTHER_ERA, Rule},
    mirror::Head,
    reply::{self, Shape, code},
    session::{Session, Sessions},
    stream::{self, Body},
    tasks::Tasks,
    tools::{Book, Listing},
    upstream::exchange::take_back,
};
use bytes::Bytes;
use countersign_core::{RefusalCode, Requester};
use countersign_engine::{Error, Gate, record};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, value::RawValue};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

mod act;
mod answer;
mod audience;
mod entrance;
mod feed;
mod head;
mod joint;
mod later;
mod open;
#[cfg(test)]
pub(crate) mod stage;
mod task;
mod update;

pub(crate) use entrance::Entrance;
use entrance::{Letter, Told, Wish};
pub(crate) use head::one;
pub(crate) use joint::{BETWEEN, Joint};

/// A target with its sessions.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) gate: Arc<Gate>,
    pub(crate) entrance: Entrance,
    pub(crate) target: McpTarget,
    pub(crate) book: Arc<Book>,
    pub(crate) sessions: Sessions,
    pub(crate) states: Arc<States>,
    pub(crate) tasks: Tasks,
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
    /// Arguments that its head says as well.
    mirrored: Head,
    /// Its agent may have tasks: by the version that was agreed on or, in the later era, as it says.
    tasks: bool,
    /// What its server may ask before it answers (later era).
    offer: Offer,
}

impl Door {
    /// Answers one request to this target's path.
    pub(crate) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        match self.read(request).await {
            Ok(response) | Err(response) => response,
        }
    }

    async fn read(self: &Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Ended> {
        let letter = self.entrance.read(request).await?;
        if let Wish::Listens = letter.wish {
            return self.listen(letter).await;
        }
        let Letter { requester, version, session, headers, shown, wish } = letter;
        let Wish::Says(body) = wish else { return self.end(&requester, session).await };
        match self.entrance.message(&headers, version.as_deref(), &body).await? {
            Told::Request { id, method, params, declared: None, version } => {
                self.request(requester, (session, version), id, method, params).await
            }
            Told::Request {
                id, method: "subscriptions/listen", params, declared: Some(declared), ..
            } => self.listen_later((requester, shown), &declared, id, params).await,
            Told::Request { id, method, params, declared: Some(declared), .. } => {
                self.later(requester, &declared, id, method, params).await
            }
            Told::Nothing => Ok(taken()),
            Told::Answer { id, answer, version } => {
                let (session, _) = self.session(&requester, session, version).await?;
                self.answered(requester, session, id, answer).await
            }
            Told::Notification { method, params, version } => {
                let (session, _) = self.session(&requester, session, version).await?;
                self.noted(&requester, &session, method, params).await
            }
        }
    }

    /// The agent's own session of this id. Somebody else's is as unknown as one that never was.
    async fn session(
        &self,
        requester: &Requester,
        id: Option<String>,
        version: Option<&'static str>,
    ) -> Result<(Arc<Session>, String), Ended> {
        self.entrance.session(&self.sessions, requester, id, version).await
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
        let tasks = session.version == method::NEWEST;
        let mirrored = Head::default();
        let offer = Offer::default();
        let said = Said { requester, session, id, method, params, later: false, mirrored, tasks, offer };
        self.follow(rule, said).await
    }

    /// Does what the method's rule says.
    async fn follow(self: &Arc<Self>, rule: Rule, said: Said<'_>) -> Result<Response<Body>, Ended> {
        let id = said.id;
        match rule {
            Rule::Open | Rule::Own => Ok(stream::json(StatusCode::OK, reply::result(id.get(), "{}"))),
            Rule::Refused(why) => self.entrance.no_method(id, said.method, why, said.later).await,
            Rule::Discover => self.discover(said).await,
            Rule::Tools(operation) => {
                let requester = said.requester.clone();
                let tasks = said.tasks && !said.later;
                let listing = Listing { door: Arc::clone(self), requester, tasks };
                self.ask(said, operation, Shape::Tools(Arc::new(listing))).await
            }
            Rule::Ask(operation) => self.ask(said, operation, Shape::Other).await,
            Rule::Subscribe(operation) => self.subscribe(said, operation).await,
            Rule::Listen(_) => self.entrance.no_method(id, said.method, OTHER_ERA, said.later).await,
            Rule::Call => self.call(said).await,
            Rule::Task(ask) => self.task(ask, said).await,
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

    /// A request that is a message, and cannot be what it says it is.
    async fn invalid(&self, id: &RawValue, why: &str) -> Result<Response<Body>, Ended> {
        self.entrance.invalid(id, why).await
    }

    async fn malformed(&self, status: StatusCode, why: &str) -> Ended {
        self.entrance.malformed(status, why).await
    }

    async fn count(&self, code: RefusalCode) -> Result<(), Ended> {
        self.entrance.count(code).await
    }
}

/// A refusal before there is a request to answer.
fn refused(status: StatusCode, why: &str) -> Response<Body> {
    stream::json(status, reply::error("null", code::INVALID_REQUEST, why, &Value::Null))
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
