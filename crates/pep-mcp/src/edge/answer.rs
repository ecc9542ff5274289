//! What an agent of the earlier era answers to something that its server asked: an action as any other of its messages, which
//! goes on to the very question it answers and to nothing else. It approves nothing.

use super::{Door, Ended, entrance::UNASKED, taken};
use crate::{
    asks::{self, Pending},
    call::{self, Head, Prepared},
    frame,
    members::{self, Members},
    method,
    session::Session,
    stream::Body,
    upstream::{
        Connection, Way,
        exchange::{Form, take_back},
        process::on_one_line,
        talk::lost,
    },
};
use async_trait::async_trait;
use bytes::Bytes;
use countersign_core::{Requester, approval::Outcome};
use countersign_engine::{
    Reply,
    execute::{Clearance, EndFacts, Ending},
    flow,
    port::upstream::{BindError, Exchange, Failed, Passage, Sent},
    record::chain,
};
use http::{Response, StatusCode};
use serde_json::value::RawValue;
use std::sync::Arc;

impl Door {
    /// Takes an answer in, and hands it to the engine. Its sender is not told what becomes of it: the server is.
    pub(super) async fn answered(
        self: &Arc<Self>,
        requester: Requester,
        session: Arc<Session>,
        id: &RawValue,
        answer: frame::Answer<'_>,
    ) -> Result<Response<Body>, Ended> {
        let (form, raw) = match answer {
            frame::Answer::Result(raw) => (Form::Result, raw),
            frame::Answer::Error(raw) => (Form::Error, raw),
        };
        if Members::read(raw).is_none() {
            return Err(self.malformed(StatusCode::BAD_REQUEST, "the answer cannot be read").await);
        }
        let own = members::text(id).unwrap_or_default();
        let Some(waits) = session.asks.take(&own) else {
            return Err(self.malformed(StatusCode::BAD_REQUEST, UNASKED).await);
        };
        let asked = String::from_utf8(on_one_line(waits.asked.as_bytes())).unwrap_or_default();
        let prepared =
            Prepared { answers: Some((own, form)), asked: Some(asked), ..Prepared::of(raw.get().to_owned()) };
        let understood = self.target.classifier.answer(waits.method, form);
        let mut request =
            call::asked(&self.target, requester.clone(), waits.method, None, understood, prepared);
        request.patience = asks::PATIENCE;
        let door = Arc::clone(self);
        tokio::spawn(async move { door.gives(requester, session, waits, request).await });
        Ok(taken())
    }

    async fn gives(
        self: Arc<Self>,
        requester: Requester,
        session: Arc<Session>,
        waits: Pending,
        request: countersign_engine::Request,
    ) {
        let way = Arc::clone(&self.target.way);
        let giving = Giving {
            way: Arc::clone(&way),
            session: Arc::clone(&session),
            id: waits.id.clone(),
            connection: None,
        };
        let refused = match flow::handle(&self.gate, request, giving).await {
            Ok(Reply::Live(()) | Reply::Kept(_)) => return,
            Ok(Reply::Pending(ticket)) => {
                // The server does not wait for as long as people may.
                take_back(&self.gate, &requester, ticket.approval).await;
                "the agent's answer waited for people, and nobody has approved it in time"
            }
            Ok(Reply::Refused(_)) => "the agent's answer was refused",
            Err(error) => {
                tracing::error!(error = %chain(&error), "an agent's answer was refused because the gateway could not go on");
                "the agent's answer could not be recorded"
            }
        };
        if let Err(error) = way.tell(&session.peer, method::refusal(&waits.id, refused)).await {
            tracing::debug!(%error, "a server was not told that an answer is refused");
        }
    }
}

/// An answer on its way through the engine.
struct Giving {
    way: Arc<Way>,
    session: Arc<Session>,
    /// The server's id for what it asked, as JSON.
    id: String,
    connection: Option<Connection>,
}

#[async_trait]
impl Exchange for Giving {
    type Reply = ();

    /// It answers what is asked in its agent's session, and is good for nothing else.
    fn passage(&self) -> Passage {
        Passage::Own
    }

    async fn bind(&mut self) -> Result<Bytes, BindError> {
        Err(BindError::Broken("a message is always whole".into()))
    }

    async fn connect(&mut self) -> Result<(), Failed> {
        if self.session.ended.is_cancelled() {
            return Err(Failed { sent: Sent::No, why: "the session has ended".into() });
        }
        self.connection = Some(self.way.take(&self.session.peer).await?);
        Ok(())
    }

    async fn send(mut self, clearance: Clearance, ending: Ending) -> Result<(), Failed> {
        let sent = self.sent(&clearance).await;
        let recorded = match &sent {
            Ok(bytes_sent) => {
                let facts = EndFacts {
                    outcome: Outcome::Done,
                    status: "answered".into(),
                    bytes_sent: *bytes_sent,
                    bytes_received: 0,
                    ended_by: None,
                    streamed_body: None,
                    results: None,
                };
                ending.finish(facts).await
            }
            Err(failed) => ending.failed(failed).await,
        };
        recorded.map_err(|error| {
            tracing::error!(error = %chain(&error), "the end of an answer was not recorded");
            lost("it was sent, and its end could not be recorded")
        })?;
        sent.map(drop)
    }
}

impl Giving {
    /// Sends the clearance's bytes as the answer that they are.
    async fn sent(&mut self, clearance: &Clearance) -> Result<u64, Failed> {
        let unsent = |why: &str| Failed { sent: Sent::No, why: why.into() };
        let head = Head::read(&clearance.payload().head).and_then(|head| head.answers);
        let (_, form) = head.ok_or_else(|| unsent("the stored answer cannot be read"))?;
        let countersign_core::Body::Bound(answer) = &clearance.payload().body else {
            return Err(unsent("the answer is not whole"));
        };
        let answer = std::str::from_utf8(answer).map_err(|_| unsent("the stored answer cannot be read"))?;
        let message = format!(r#"{{"jsonrpc":"2.0","id":{},"{}":{answer}}}"#, self.id, form.as_str());
        let (length, peer) = (message.len() as u64, &self.session.peer);
        match self.connection.take().ok_or_else(|| unsent("there is no connection"))? {
            Connection::Process(process) => process.tell(message.into()).await?,
            connection @ Connection::Http(_) => {
                let talk = self.way.post(connection, peer, message).await?;
                let status = talk.status;
                self.way.finish(talk).await;
                if !status.is_success() {
                    return Err(lost(&format!("the server took the answer with HTTP {}", status.as_u16())));
                }
            }
        }
        Ok(length)
    }
}
