//! Requests of the later era (2026-07-28 on): each stands alone and says all of itself. Behind the gateway they may need a
//! session all the same; then every caller has one of its own, opened when it is first needed.

use super::{Door, Ended, Said, open::unreachable};
use crate::{
    asks::{Offer, ServerRequestsSection},
    call,
    era::Declared,
    method::{self, NEWEST, Rule},
    reply::{self, Shape, code},
    session::Session,
    stream::{self, Body},
    upstream::{Peer, exchange::Answer},
};
use countersign_core::Requester;
use countersign_engine::{Error, Reply};
use http::{Response, StatusCode};
use serde_json::{Value, value::RawValue};
use std::sync::Arc;

impl Door {
    pub(super) async fn later(
        self: &Arc<Self>,
        requester: Requester,
        declared: &Declared,
        id: &RawValue,
        method: &str,
        params: Option<&RawValue>,
    ) -> Result<Response<Body>, Ended> {
        let rule = method::later_request(method);
        let session = if matches!(rule, Rule::Refused(_)) {
            // Nothing of it reaches a server.
            Arc::new(Session::new(&requester, NEWEST, Peer::default()))
        } else {
            match self.serving(&requester, declared).await {
                Ok(session) => session,
                Err(reply) => {
                    let shape = if method == "tools/call" { Shape::Tool } else { Shape::Other };
                    let said = reply::of(id.get(), &shape, reply).later(id.get(), method);
                    return Ok(stream::json(said.1, said.0.message));
                }
            }
        };
        let mirrored = declared.mirrored.clone();
        let offer = self.offer(&session, declared);
        let said = Said {
            requester,
            session,
            id,
            method,
            params,
            later: true,
            mirrored,
            tasks: declared.tasks,
            offer,
        };
        self.follow(rule, said).await
    }

    /// What a server may ask by its answers. One of the earlier era is offered nothing, and leaves no room for questions.
    pub(super) fn offer(&self, session: &Session, declared: &Declared) -> Offer {
        let later = session.peer.is_later();
        let passes = if later { self.target.server_requests } else { ServerRequestsSection::default() };
        Offer::new(serde_json::from_str(&declared.capabilities).ok(), passes)
    }

    /// The session in which the server serves this caller.
    pub(super) async fn serving(
        &self,
        requester: &Requester,
        declared: &Declared,
    ) -> Result<Arc<Session>, Result<Reply<Answer>, Error>> {
        if let Some(session) = self.sessions.standing(requester) {
            return Ok(session);
        }
        for session in self.sessions.take_idle(self.target.limits.session_idle.0) {
            self.end_at_server(&session);
        }
        let is_later = self.target.way.is_later().await;
        let is_later = is_later.map_err(|failed| Ok(Reply::Refused(unreachable(&failed))))?;
        let mut session = if is_later {
            Session::new(requester, NEWEST, Peer::later())
        } else {
            let begun = self.begin(requester, declared.client.as_deref(), NEWEST, &Offer::default()).await?;
            self.initialized(&begun.peer).await?;
            let mut session = Session::new(requester, NEWEST, begun.peer);
            session.opened = Some(begun.result);
            session
        };
        session.client.clone_from(&declared.client);
        let session = Arc::new(session);
        if let Some(before) = self.sessions.stand(requester, Arc::clone(&session)) {
            self.end_at_server(&before);
        }
        Ok(session)
    }

    /// Tells a server of the earlier era that its session is used from now on.
    pub(super) async fn initialized(&self, peer: &Peer) -> Result<(), Result<Reply<Answer>, Error>> {
        if peer.is_later() {
            return Ok(());
        }
        let note = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        let noted = self.target.way.tell(peer, note.into()).await;
        noted.map_err(|failed| Ok(Reply::Refused(unreachable(&failed))))
    }

    /// What the server is and has.
    pub(super) async fn discover(self: &Arc<Self>, said: Said<'_>) -> Result<Response<Body>, Ended> {
        let Some(opened) = &said.session.opened else {
            return self.ask(said, "mcp.session", Shape::Discovery).await;
        };
        let id = said.id.get();
        let unreadable =
            || reply::error(id, code::SERVER, "the server's answer cannot be read", &Value::Null);
        let told = call::discovered(opened).map_or_else(unreadable, |told| reply::result(id, &told));
        Ok(stream::json(StatusCode::OK, told))
    }
}
