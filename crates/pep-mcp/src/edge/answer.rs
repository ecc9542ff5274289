//! What an agent of the earlier era answers to something that its server asked: an action as any other of its messages, which
//! goes on to the very question it answers and to nothing else. It approves nothing.

use super::{Door, Ended, entrance::UNASKED, taken};
use crate::{
    asks::{self, During, OVER},
    call::{self, Head, Prepared},
    frame,
    members::{self, Members},
    session::{Session, UnderWay},
    stream::Body,
    upstream::{Connection, Outgoing, Way, exchange::Form, process::on_one_line, talk::lost},
};
use async_trait::async_trait;
use bytes::Bytes;
use countersign_core::{ApprovalId, Requester, approval::Outcome};
use countersign_engine::{
    Gate, Reply, Ticket,
    execute::{Clearance, EndFacts, Ending},
    flow,
    port::upstream::{BindError, Exchange, Failed, Passage, Sent},
    record::chain,
    settle,
};
use http::{Response, StatusCode};
use serde_json::value::RawValue;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

impl Door {
    /// Takes an answer in, and hands it to the engine. Its sender is not told what becomes of it: the server is. It ends with
    /// the call in which it was asked for.
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
        let Some((waits, taken_back)) = session.asks.answers(&own) else {
            return Err(self.malformed(StatusCode::BAD_REQUEST, UNASKED).await);
        };
        let call = Call {
            over: waits.during.as_ref().map(|during| during.over.clone()),
            taken_back,
            session: session.ended.clone(),
            stopping: self.stopping.clone(),
        };
        let asked = String::from_utf8(on_one_line(waits.asked.as_bytes())).unwrap_or_default();
        let during = waits.during.as_deref();
        let prepared = Prepared {
            answers: Some((own, form)),
            during: during.map(During::head),
            asked: Some(asked),
            ..Prepared::of(raw.get().to_owned())
        };
        let understood = self.target.classifier.answer(waits.method, form, during);
        let mut request = call::asked(&self.target, requester, waits.method, None, understood, prepared);
        request.patience = asks::PATIENCE;
        let door = Arc::clone(self);
        tokio::spawn(async move { door.gives(request, session, waits.id, call).await });
        Ok(taken())
    }

    async fn gives(
        self: Arc<Self>,
        request: countersign_engine::Request,
        session: Arc<Session>,
        id: String,
        call: Call,
    ) {
        let (gate, requester) = (&self.gate, request.requester.clone());
        let under_way = Arc::new(UnderWay::new(0));
        let giving = Giving {
            way: Arc::clone(&self.target.way),
            session: Arc::clone(&session),
            id: id.clone(),
            call: call.clone(),
            under_way: Arc::clone(&under_way),
            held_by: (Arc::clone(gate), requester.clone()),
            connection: None,
        };
        let mut flow = Box::pin(flow::handle(gate, request, giving));
        let reply = tokio::select! {
            reply = &mut flow => reply,
            () = call.is_over() => {
                if let Some(approval) = under_way.cancel() {
                    let_go(gate, &requester, approval, OVER).await;
                }
                // What is on its way is followed to its end; nothing else goes out any more.
                flow.await
            }
        };
        let (approval, refused) = match reply {
            Ok(Reply::Live(()) | Reply::Kept(_)) => return session.asks.answered(&id),
            // The server does not wait for as long as people may.
            Ok(Reply::Pending(ticket)) => (
                Some(ticket.approval),
                "the agent's answer waited for people, and nobody has approved it in time",
            ),
            Ok(Reply::Refused(refused)) => (refused.approval, "the agent's answer was refused"),
            Err(error) => {
                tracing::error!(error = %chain(&error), "an agent's answer was refused because the gateway could not go on");
                (under_way.approval(), "the agent's answer could not be recorded")
            }
        };
        let refused = if call.ended() { OVER } else { refused };
        if let Some(approval) = approval {
            let_go(gate, &requester, approval, refused).await;
        }
        session.asks.answered(&id);
        session.refuses(&self.target.way, &id, refused);
    }
}

/// Closes the approval of an answer that goes nowhere any more.
pub(super) async fn let_go(gate: &Arc<Gate>, requester: &Requester, approval: ApprovalId, why: &str) {
    if let Err(error) = settle::let_go(gate, requester, approval, why).await {
        tracing::error!(%approval, error = %chain(&error), "the approval of an answer could not be closed");
    }
}

/// What an answer ends with: the call in which it was asked for, where that is known, the server's wish for it, its
/// session, and the gateway.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) over: Option<CancellationToken>,
    pub(super) taken_back: CancellationToken,
    pub(super) session: CancellationToken,
    pub(super) stopping: CancellationToken,
}

impl Call {
    pub(super) fn ended(&self) -> bool {
        let mut over = self.over.iter().chain([&self.taken_back, &self.session, &self.stopping]);
        over.any(CancellationToken::is_cancelled)
    }

    pub(super) async fn is_over(&self) {
        let over = async {
            match &self.over {
                Some(over) => over.cancelled().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = over => {}
            () = self.taken_back.cancelled() => {}
            () = self.session.cancelled() => {}
            () = self.stopping.cancelled() => {}
        }
    }
}

/// An answer on its way through the engine.
struct Giving {
    way: Arc<Way>,
    session: Arc<Session>,
    /// The server's id for what it asked, as JSON.
    id: String,
    call: Call,
    /// Tells of the approval that it waits for.
    under_way: Arc<UnderWay>,
    held_by: (Arc<Gate>, Requester),
    connection: Option<Connection>,
}

#[async_trait]
impl Exchange for Giving {
    type Reply = ();

    /// It answers what is asked in its agent's session, and is good for nothing else.
    fn passage(&self) -> Passage {
        Passage::Own
    }

    async fn held(&mut self, ticket: &Ticket) {
        if self.under_way.waits_for(ticket.approval) {
            let (gate, requester) = &self.held_by;
            let_go(gate, requester, ticket.approval, OVER).await;
        }
    }

    async fn bind(&mut self) -> Result<Bytes, BindError> {
        Err(BindError::Broken("a message is always whole".into()))
    }

    async fn connect(&mut self) -> Result<(), Failed> {
        if self.call.ended() {
            return Err(Failed { sent: Sent::No, why: OVER.into() });
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
        let connection = self.connection.take().ok_or_else(|| unsent("there is no connection"))?;
        if self.call.ended() || clearance.is_cancelled() {
            self.way.put(connection);
            return Err(unsent(OVER));
        }
        let over = async {
            tokio::select! {
                () = self.call.is_over() => {}
                () = clearance.cancelled() => {}
            }
        };
        tokio::pin!(over);
        match connection {
            Connection::Process(process) => tokio::select! {
                biased;
                () = &mut over => return Err(unsent(OVER)),
                told = process.tell(message.into()) => told?,
            },
            connection @ Connection::Http(_) => {
                // Looked at once more when everything is ready for it to go out.
                let unless = CancellationToken::new();
                let message = Outgoing { unless: Some(unless.clone()), ..message.into() };
                let post = self.way.post(connection, peer, message);
                tokio::pin!(post);
                let talk = tokio::select! {
                    biased;
                    () = &mut over => {
                        unless.cancel();
                        post.await
                    }
                    talk = &mut post => talk,
                }?;
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

#[cfg(test)]
mod tests;
