//! The exchange of a caller who is here with the target: streams both ways, and is recorded before the caller has
//! the whole answer.

use super::{
    pool::{Connection, Way},
    relay::{Duty, Relay, ReplyBody},
    said::{Coming, Said},
    send::{self, Answer, STOPPED, Streamed, UpBody},
    tunnel::Tunnel,
};
use crate::http1::RequestBody;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use countersign_core::Body as PayloadBody;
use countersign_engine::{
    execute::{Clearance, Ending},
    port::upstream::{BindError, Exchange, Failed, Sent},
};
use http::StatusCode;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};

/// Answers up to this size are read whole before the caller gets the first byte: one step instead of many.
const SMALL: u64 = 64 << 10;

/// One request of a caller who waits for the answer.
pub(crate) struct LiveExchange {
    pub(crate) target: Arc<Way>,
    pub(crate) body: Option<RequestBody>,
    pub(crate) connection: Option<Connection>,
}

/// Reads a body whole, up to the target's limit, without waiting for a caller who stops sending.
pub(crate) async fn whole(mut body: RequestBody, limit: usize, idle: Duration) -> Result<Bytes, BindError> {
    let too_large = || BindError::TooLarge { limit_bytes: limit as u64 };
    let broken = |why: &str| BindError::Broken(why.into());
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let mut out = BytesMut::new();
    loop {
        let frame = tokio::time::timeout(idle, body.frame()).await;
        let frame = match frame.map_err(|_| broken("the caller stopped sending"))? {
            None => return Ok(out.freeze()),
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Err(BindError::Broken(error.to_string())),
        };
        let data = frame.into_data().map_err(|_| broken("trailers are not accepted"))?;
        if out.len() + data.len() > limit {
            return Err(too_large());
        }
        out.extend_from_slice(&data);
    }
}

#[async_trait]
impl Exchange for LiveExchange {
    type Reply = Said;

    async fn bind(&mut self) -> Result<Bytes, BindError> {
        match self.body.take() {
            Some(body) => whole(body, self.target.body_limit, self.target.limits.request_head.0).await,
            None => Ok(Bytes::new()),
        }
    }

    async fn connect(&mut self) -> Result<(), Failed> {
        self.connection = Some(self.target.pool.take(&self.target).await?);
        Ok(())
    }

    async fn send(mut self, clearance: Clearance, ending: Ending) -> Result<Self::Reply, Failed> {
        let mut streamed = None;
        let live = match (&clearance.payload().body, self.body.take()) {
            (PayloadBody::Unbound, Some(body)) => {
                let (body, passing) = UpBody::live(body, self.target.limits.idle.0);
                streamed = Some(passing);
                Some(body)
            }
            _ => None,
        };
        let Some(connection) = self.connection.take() else {
            let failed = Failed { sent: Sent::No, why: "there is no connection".into() };
            return Err(close(ending, failed).await);
        };
        let ready = match send::build(&self.target, clearance.payload(), live, &connection) {
            Ok(ready) => ready,
            Err(failed) => {
                self.target.pool.put(connection);
                return Err(close(ending, failed).await);
            }
        };
        let bound = match &clearance.payload().body {
            PayloadBody::Bound(bytes) => bytes.len() as u64,
            PayloadBody::Unbound => 0,
        };
        let upgrade = ready.upgrade;
        let mut duty = Duty::new(ending, ready.head_bytes + bound, streamed.clone());
        let stop = clearance.cancelled();
        match send::exchange(&self.target, connection, ready, stop).await {
            Ok(answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => match answer {
                Answer::Http1(head, exchange) if upgrade => {
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
        let read = read_small(&mut coming, &clearance, target.limits.idle.0).await;
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

/// Reads a small body. Most came with their head, and nothing has to be waited for.
async fn read_small(coming: &mut Coming, clearance: &Clearance, idle: Duration) -> Result<Bytes, Failed> {
    let maybe = |why: &str| Failed { sent: Sent::Maybe, why: why.into() };
    if clearance.is_cancelled() {
        return Err(maybe(STOPPED));
    }
    let mut read = std::pin::pin!(first_or_all(coming));
    let at_once = poll_fn(|cx| match read.as_mut().poll(cx) {
        Poll::Ready(read) => Poll::Ready(Some(read)),
        Poll::Pending => Poll::Ready(None),
    });
    if let Some(read) = at_once.await {
        return read;
    }
    tokio::select! {
        biased;
        () = clearance.cancelled() => Err(maybe(STOPPED)),
        read = tokio::time::timeout(idle, read) => {
            read.unwrap_or_else(|_| Err(maybe("the target stopped in the middle of its answer")))
        }
    }
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
