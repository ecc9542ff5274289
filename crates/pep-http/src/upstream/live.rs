//! The exchange of a caller who is here with the target: streams both ways, and is recorded before the caller has
//! the whole answer.

use super::{
    pool::{Connection, Way},
    relay::{Duty, Relay, ReplyBody},
    said::{Coming, Said},
    send::{self, Answer, STOPPED, Streamed, UpBody},
    tunnel::Tunnel,
};
use crate::{
    bodies::{Bodies, Spilled, Whole},
    http1::RequestBody,
    websocket::Handshake,
};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use countersign_core::{Body as PayloadBody, Payload};
use countersign_engine::{
    execute::{Clearance, Ending},
    port::upstream::{BindError, Exchange, Failed, Passage, Sent},
};
use http::StatusCode;
use std::{future::poll_fn, sync::Arc};

/// Answers up to this size are read whole before the caller gets the first byte: one step instead of many.
const SMALL: u64 = 64 << 10;

/// One request of a caller who waits for the answer.
pub(crate) struct LiveExchange {
    pub(crate) target: Arc<Way>,
    pub(crate) bodies: Arc<Bodies>,
    pub(crate) body: Option<RequestBody>,
    /// The body, read whole and kept outside memory.
    pub(crate) spilled: Option<Spilled>,
    pub(crate) connection: Option<Connection>,
    /// Whether the request asks to leave HTTP.
    pub(crate) switches: bool,
    /// The keys, where the upgrade is to a WebSocket.
    pub(crate) handshake: Option<Handshake>,
}

#[async_trait]
impl Exchange for LiveExchange {
    type Reply = Said;

    /// What an upgrade opens is of use to its caller alone: it runs through the connection it was asked on.
    fn passage(&self) -> Passage {
        if self.switches { Passage::Own } else { Passage::Fresh }
    }

    async fn bind(&mut self) -> Result<Bytes, BindError> {
        match self.body.take() {
            Some(body) => {
                let (limit, idle) = (self.target.body_limit, self.target.limits.request_head.0);
                let Whole { bytes, spilled } = self.bodies.read(body, limit, idle).await?;
                self.spilled = spilled;
                Ok(bytes)
            }
            None => Ok(Bytes::new()),
        }
    }

    async fn connect(&mut self) -> Result<(), Failed> {
        self.connection = Some(self.target.pool.take(&self.target).await?);
        Ok(())
    }

    fn unload(&mut self, payload: &mut Payload) {
        if self.spilled.is_some() {
            payload.body = PayloadBody::Unbound;
        }
    }

    async fn send(mut self, clearance: Clearance, ending: Ending) -> Result<Self::Reply, Failed> {
        let (mut streamed, mut bound) = (None, 0);
        let live = match (&clearance.payload().body, self.spilled.take(), self.body.take()) {
            (PayloadBody::Unbound, Some(spilled), _) => {
                bound = spilled.length() as u64;
                match spilled.body().await {
                    Ok(body) => Some(UpBody::Spilled(Box::new(body))),
                    Err(error) => {
                        let why = format!("the body could not be read back from disk: {error}");
                        return Err(close(ending, Failed { sent: Sent::No, why }).await);
                    }
                }
            }
            (PayloadBody::Unbound, None, Some(body)) => {
                let (body, passing) = UpBody::live(body, self.target.limits.idle.0);
                streamed = Some(passing);
                Some(body)
            }
            (PayloadBody::Bound(bytes), _, _) => {
                bound = bytes.len() as u64;
                None
            }
            (PayloadBody::Unbound, None, None) => None,
        };
        let Some(connection) = self.connection.take() else {
            let failed = Failed { sent: Sent::No, why: "there is no connection".into() };
            return Err(close(ending, failed).await);
        };
        let key = self.handshake.as_ref().map(Handshake::own_key);
        let ready = match send::build(&self.target, clearance.payload(), live, key, &connection) {
            Ok(ready) => ready,
            Err(failed) => {
                self.target.pool.put(connection);
                return Err(close(ending, failed).await);
            }
        };
        let upgrade = ready.upgrade;
        let mut duty = Duty::new(ending, ready.head_bytes + bound, streamed.clone());
        let stop = clearance.cancelled();
        match send::exchange(&self.target, connection, ready, stop).await {
            Ok(answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => match answer {
                Answer::Http1(mut head, exchange) if upgrade => {
                    let shaken = |handshake: &Handshake| handshake.answer(&mut head.lines);
                    if !self.handshake.as_ref().is_none_or(shaken) {
                        let why = "the target did not answer the WebSocket handshake as it must".into();
                        return Err(duty.failed(Failed { sent: Sent::Maybe, why }).await);
                    }
                    duty.status(head.status);
                    Ok(Said::switched(head, Tunnel::new(*exchange, clearance, duty)))
                }
                Answer::Http1(..) | Answer::Http2(_) => {
                    let why = "the target left HTTP without being asked to".into();
                    Err(duty.failed(Failed { sent: Sent::Maybe, why }).await)
                }
            },
            Ok(answer) => {
                duty.status(answer.status());
                answered(&self.target, answer, clearance, duty).await
            }
            Err(failed) => Err(not_answered(failed, &clearance, duty, streamed.as_ref()).await),
        }
    }
}

async fn not_answered(
    failed: Failed,
    clearance: &Clearance,
    duty: Duty,
    streamed: Option<&Streamed>,
) -> Failed {
    if clearance.is_cancelled() {
        let _ = duty.cancelled("revoked").await;
        return failed;
    }
    if streamed.is_some_and(Streamed::is_broken) {
        let _ = duty.cancelled("client").await;
        return failed;
    }
    duty.failed(failed).await
}

async fn answered(
    target: &Arc<Way>,
    answer: Answer,
    clearance: Clearance,
    mut duty: Duty,
) -> Result<Said, Failed> {
    let (head, mut coming) = answer.split();
    let small = coming.left().is_some_and(|size| size <= SMALL);
    if !small {
        let relay = Relay::new(coming, Arc::clone(target), clearance, duty);
        return Ok(Said::new(head, ReplyBody::Relay(Box::new(relay))));
    }
    let mut whole = None;
    if !coming.is_over() {
        let read = first_or_all(&mut coming);
        let stop = clearance.cancelled();
        let idle = target.limits.idle.0;
        let read = tokio::select! {
            biased;
            () = stop => Err(Failed { sent: Sent::Maybe, why: STOPPED.into() }),
            read = tokio::time::timeout(idle, read) => read.unwrap_or_else(|_| {
                Err(Failed { sent: Sent::Maybe, why: "the target stopped in the middle of its answer".into() })
            }),
        };
        match read {
            Ok(bytes) => {
                duty.received(bytes.len() as u64);
                whole = Some(bytes);
            }
            Err(failed) => {
                let streamed = duty.streamed();
                return Err(not_answered(failed, &clearance, duty, streamed.as_ref()).await);
            }
        }
    }
    coming.rest(&target.pool);
    if duty.done().await.is_err() {
        let why = "it ran, and its end could not be recorded".into();
        return Err(Failed { sent: Sent::Maybe, why });
    }
    Ok(Said::new(head, ReplyBody::Whole(whole)))
}

/// A small body, without copying where it comes in one piece.
async fn first_or_all(coming: &mut Coming) -> Result<Bytes, Failed> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while !coming.is_over() {
        let Some(frame) = poll_fn(|cx| coming.poll(cx)).await else { break };
        let Ok(data) = frame?.into_data() else { continue };
        if first.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
    }
    if rest.is_empty() { Ok(first) } else { Ok([first, rest.freeze()].concat().into()) }
}

async fn close(ending: Ending, failed: Failed) -> Failed {
    if let Err(error) = ending.failed(&failed).await {
        tracing::error!(%error, "the end of an exchange could not be recorded");
    }
    failed
}
