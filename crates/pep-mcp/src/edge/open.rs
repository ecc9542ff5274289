//! How a session begins, here and at its server, and how it ends.

use super::{Door, Ended, refused};
use crate::{
    asks::{Asks, Offer},
    call, method,
    reply::{self, Shape, code},
    session::Session,
    stream::{self, Body},
    upstream::{
        Peer, SESSION,
        exchange::{Answer, Asking, Form, MayAsk, MayBeTask},
    },
};
use bytes::Bytes;
use countersign_core::{Refusal, RefusalCode, Requester};
use countersign_engine::{Error, Refused, Reply, port::upstream::Failed};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, value::RawValue};
use std::sync::Arc;
use tokio::sync::mpsc;

/// A session that the server has opened.
pub(super) struct Begun {
    pub(super) peer: Peer,
    /// What the server said of itself, as JSON.
    pub(super) result: String,
}

impl Door {
    /// Opens a session at the server, and one of the agent's own here.
    pub(super) async fn open(
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
        let (client, version, capabilities) = match call::opening(params) {
            Ok(opening) => opening,
            Err(why) => return self.invalid(id, why).await,
        };
        let offer = Offer::new(capabilities, self.target.server_requests);
        let begun = match self.begin(&requester, Some(&client), version, &offer).await {
            Ok(begun) => begun,
            Err(reply) => {
                return Ok(stream::json(StatusCode::OK, reply::of(id.get(), &Shape::Other, reply).message));
            }
        };
        let told = if begun.peer.is_later() {
            call::opened_later(&begun.result, version).map(|told| (version, told))
        } else {
            call::opened(&begun.result)
        };
        let Some((version, told)) = told else {
            let why = "the server speaks none of the protocol versions that are spoken here";
            return Ok(stream::json(StatusCode::OK, reply::error(id.get(), code::SERVER, why, &Value::Null)));
        };
        let mut response = stream::json(StatusCode::OK, reply::result(id.get(), &told));
        let name: [u8; 16] = self.gate.journal().random();
        let name = format!("{:032x}", u128::from_be_bytes(name));
        if let Ok(value) = HeaderValue::from_str(&name) {
            response.headers_mut().insert(SESSION, value);
        }
        let mut session = Session::new(&requester, version, begun.peer);
        session.client = Some(client);
        self.may_ask(&mut session, offer);
        self.sessions.insert(name, Arc::new(session));
        Ok(response)
    }

    /// What a session's server may ask while it answers, where it is of the earlier era.
    pub(super) fn may_ask(&self, session: &mut Session, offer: Offer) {
        if !session.peer.is_later() {
            let own: [u8; 16] = self.gate.journal().random();
            let own = format!("ask-{:032x}", u128::from_be_bytes(own));
            session.asks = Asks::new(own, self.target.surroundings().target.to_string(), offer);
        }
    }

    /// Opens a session at the server, or asks one of the later era what it is: an action as any other.
    pub(super) async fn begin(
        &self,
        requester: &Requester,
        client: Option<&str>,
        version: &str,
        offer: &Offer,
    ) -> Result<Begun, Result<Reply<Answer>, Error>> {
        let is_later = match self.target.way.is_later().await {
            Ok(is_later) => is_later,
            Err(failed) => return Err(Ok(Reply::Refused(unreachable(&failed)))),
        };
        let (method, params, peer) = if is_later {
            ("server/discover", "{}".to_owned(), Peer::later())
        } else {
            ("initialize", call::opening_with(version, client, &offer.declared(None)), Peer::default())
        };
        let mut opening = Session::new(requester, method::NEWEST, peer.clone());
        opening.client = client.map(str::to_owned);
        let opening = Arc::new(opening);
        let place = opening.enter_any();
        let (events, _) = mpsc::channel(1);
        let exchange = Asking {
            way: Arc::clone(&self.target.way),
            book: Arc::clone(&self.book),
            texts: Arc::clone(self.target.classifier.texts()),
            peer: peer.clone(),
            session: is_later.then(|| Arc::clone(&opening)),
            under_way: Arc::clone(&place.under_way),
            progress_token: None,
            events,
            takes_back: Some((Arc::clone(&self.gate), requester.clone())),
            connection: None,
            listens: None,
            mirrored: Vec::new(),
            subscribes: None,
            asks: MayAsk::Nothing,
            asked: Vec::new(),
            during: None,
            tasks: MayBeTask::No,
            served: None,
        };
        let understood = self.target.classifier.other("mcp.session", method, None);
        let prepared = call::Prepared::of(params);
        let asked = call::asked(&self.target, requester.clone(), method, None, understood, prepared);
        match countersign_engine::flow::handle(&self.gate, asked, exchange).await {
            Ok(Reply::Live(answer)) if answer.form == Form::Result => {
                let version = serde_json::from_str(answer.raw.text()).ok().and_then(call::agreed);
                let peer = if is_later { peer } else { Peer { link: answer.link, version } };
                Ok(Begun { peer, result: answer.raw.text().to_owned() })
            }
            other => Err(other),
        }
    }

    pub(super) async fn end(
        &self,
        requester: &Requester,
        session: Option<String>,
    ) -> Result<Response<Body>, Ended> {
        let (session, id) = self.session(requester, session, None).await?;
        self.sessions.remove(&id);
        self.end_at_server(&session);
        let mut response = Response::new(stream::whole(Bytes::new()));
        *response.status_mut() = StatusCode::NO_CONTENT;
        Ok(response)
    }

    pub(super) fn end_at_server(&self, session: &Arc<Session>) {
        session.ended.cancel();
        let (way, session) = (Arc::clone(&self.target.way), Arc::clone(session));
        tokio::spawn(async move {
            if let Err(error) = way.end(&session.peer).await {
                tracing::debug!(%error, "a session could not be ended at its server");
            }
        });
    }
}

/// The server could not be asked which versions it speaks.
pub(super) fn unreachable(failed: &Failed) -> Refused {
    let reason = format!("the server could not be reached: {failed}");
    let refusal =
        Refusal { code: RefusalCode::Unreachable, reason, remedy: "repeat it later".into(), basis: None };
    Refused { refusal, action: None, approval: None, link: None }
}
