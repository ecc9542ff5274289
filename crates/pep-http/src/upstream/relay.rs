//! A target's answer on its way to the caller, piece by piece. The last of it is held back until the record of its
//! end is durable; whoever lets go early is named in that record.

use super::{
    pool::Way,
    said::Coming,
    send::{BoxError, STOPPED, Streamed},
    tunnel::Tunnel,
};
use bytes::Bytes;
use countersign_core::approval::Outcome;
use countersign_engine::{
    Error,
    execute::{Clearance, EndFacts, Ending},
    port::upstream::{Failed, Sent},
};
use futures_util::future::BoxFuture;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::time::{Instant, Sleep};

/// The duty to record how an exchange ended, with what is known so far. Let go early, it names the caller.
pub(crate) struct Duty {
    ending: Option<Ending>,
    status: String,
    sent: u64,
    received: u64,
    streamed: Option<Streamed>,
}

impl Duty {
    pub(crate) fn new(ending: Ending, sent: u64, streamed: Option<Streamed>) -> Self {
        Self { ending: Some(ending), status: String::new(), sent, received: 0, streamed }
    }

    pub(crate) fn status(&mut self, status: StatusCode) {
        self.status = status.as_str().into();
    }

    pub(crate) fn received(&mut self, bytes: u64) {
        self.received += bytes;
    }

    /// A stream ended, with so much in either direction.
    pub(crate) fn passed(&mut self, sent: u64, received: u64) {
        (self.sent, self.received) = (self.sent + sent, self.received + received);
    }

    /// What of the caller's body has passed, where it streams.
    pub(crate) fn streamed(&self) -> Option<Streamed> {
        self.streamed.clone()
    }

    /// Whether it was the caller's body that broke off.
    fn is_callers(&self) -> bool {
        self.streamed.as_ref().is_some_and(Streamed::is_broken)
    }

    /// The target answered to the end.
    pub(crate) async fn done(self) -> Result<(), Error> {
        self.finish(Outcome::Done, None).await
    }

    /// Somebody ended it early.
    pub(crate) async fn cancelled(self, by: &'static str) -> Result<(), Error> {
        self.finish(Outcome::Cancelled, Some(by)).await
    }

    /// It failed; handed back when that is recorded.
    pub(crate) async fn failed(mut self, failed: Failed) -> Failed {
        if let Some(ending) = self.ending.take()
            && let Err(error) = ending.failed(&failed).await
        {
            tracing::error!(%error, "the end of an exchange could not be recorded");
        }
        failed
    }

    async fn finish(mut self, outcome: Outcome, by: Option<&'static str>) -> Result<(), Error> {
        let facts = self.facts(outcome, by);
        match self.ending.take() {
            Some(ending) => ending.finish(facts).await,
            None => Ok(()),
        }
    }

    fn facts(&self, outcome: Outcome, by: Option<&'static str>) -> EndFacts {
        EndFacts {
            outcome,
            status: self.status.clone(),
            bytes_sent: self.sent + self.streamed.as_ref().map_or(0, Streamed::bytes),
            bytes_received: self.received,
            ended_by: by.map(str::to_owned),
            streamed_body: self.streamed.as_ref().map(Streamed::digest),
            results: None,
        }
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        let Some(ending) = self.ending.take() else { return };
        let facts = self.facts(Outcome::Cancelled, Some("client"));
        // Outside a runtime the ending itself records that nobody knows.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = ending.finish(facts).await {
                    tracing::error!(%error, "the end of an exchange could not be recorded");
                }
            });
        }
    }
}

/// The body of a reply to a caller.
#[derive(Debug)]
#[expect(private_interfaces, reason = "a tunnel is joined by the wires of this crate alone")]
pub enum ReplyBody {
    /// Known whole.
    Whole(Option<Bytes>),
    /// A target's answer as it arrives.
    Relay(Box<Relay>),
    /// The kept answer of an approved action.
    Kept(Box<crate::reply::KeptBody>),
    /// No body: caller and target have left HTTP. For the wire it came on to join.
    Tunnel(Box<Tunnel>),
}

/// A target's answer as it arrives.
pub struct Relay {
    coming: Option<Coming>,
    target: Arc<Way>,
    stop: BoxFuture<'static, ()>,
    patience: Pin<Box<Sleep>>,
    phase: Phase,
    _clearance: Clearance,
}

enum Phase {
    Streaming(Duty),
    /// The end is being recorded; this is what the caller still lacks.
    Closing(BoxFuture<'static, Result<(), BoxError>>, Option<Frame<Bytes>>),
    Over,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Relay")
    }
}

impl Relay {
    pub(crate) fn new(coming: Coming, target: Arc<Way>, clearance: Clearance, duty: Duty) -> Self {
        let patience = Box::pin(tokio::time::sleep(target.limits.idle.0));
        let stop = Box::pin(clearance.cancelled());
        let phase = Phase::Streaming(duty);
        Self { coming: Some(coming), target, stop, patience, phase, _clearance: clearance }
    }

    fn stream(
        &mut self,
        cx: &mut Context<'_>,
        mut duty: Duty,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.stop.as_mut().poll(cx).is_ready() {
            self.close_broken(async move { drop(duty.cancelled("revoked").await) }, STOPPED);
            return self.poll(cx);
        }
        let Some(coming) = &mut self.coming else { return Poll::Ready(None) };
        match coming.poll(cx) {
            Poll::Pending if self.patience.as_mut().poll(cx).is_ready() => {
                let why = "the target stopped in the middle of its answer";
                let failed = Failed { sent: Sent::Maybe, why: why.into() };
                self.close_broken(async move { drop(duty.failed(failed).await) }, why);
                self.poll(cx)
            }
            Poll::Pending => {
                self.phase = Phase::Streaming(duty);
                Poll::Pending
            }
            Poll::Ready(Some(Ok(frame))) => {
                self.patience.as_mut().reset(Instant::now() + self.target.limits.idle.0);
                duty.received(frame.data_ref().map_or(0, |data| data.len() as u64));
                if frame.is_trailers() || coming.is_over() {
                    self.close(duty, Some(frame));
                    return self.poll(cx);
                }
                self.phase = Phase::Streaming(duty);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(failed))) => {
                let why = "the target broke off its answer";
                if duty.is_callers() {
                    self.close_broken(async move { drop(duty.cancelled("client").await) }, why);
                } else {
                    self.close_broken(async move { drop(duty.failed(failed).await) }, why);
                }
                self.poll(cx)
            }
            Poll::Ready(None) => {
                self.close(duty, None);
                self.poll(cx)
            }
        }
    }

    fn close(&mut self, duty: Duty, last: Option<Frame<Bytes>>) {
        if let Some(coming) = self.coming.take() {
            coming.rest(&self.target.pool);
        }
        let recorded = async move { duty.done().await.map_err(BoxError::from) };
        self.phase = Phase::Closing(Box::pin(recorded), last);
    }

    fn close_broken(&mut self, recording: impl Future<Output = ()> + Send + 'static, why: &'static str) {
        self.coming = None;
        let recorded = async move {
            recording.await;
            Err(BoxError::from(why))
        };
        self.phase = Phase::Closing(Box::pin(recorded), None);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Streaming(duty) => self.stream(cx, duty),
            Phase::Closing(mut recorded, last) => match recorded.as_mut().poll(cx) {
                Poll::Pending => {
                    self.phase = Phase::Closing(recorded, last);
                    Poll::Pending
                }
                Poll::Ready(Ok(())) => Poll::Ready(last.map(Ok)),
                Poll::Ready(Err(error)) => Poll::Ready(Some(Err(error))),
            },
            Phase::Over => Poll::Ready(None),
        }
    }
}

impl Drop for Relay {
    /// What is being recorded is recorded, whoever leaves.
    fn drop(&mut self) {
        if let Phase::Closing(recorded, _) = std::mem::replace(&mut self.phase, Phase::Over)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(recorded);
        }
    }
}

impl ReplyBody {
    /// Goes on with a request that is not through, while the caller does not take its answer.
    pub(crate) fn poll_upload(&mut self, cx: &mut Context<'_>) {
        if let Self::Relay(relay) = self
            && let Some(coming) = &mut relay.coming
        {
            coming.poll_upload(cx);
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Relay(relay) => relay.poll(cx),
            Self::Kept(kept) => Poll::Ready(kept.next().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Tunnel(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Relay(relay) => matches!(relay.phase, Phase::Over),
            Self::Kept(kept) => kept.left() == 0,
            Self::Tunnel(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Relay(relay) => relay.size_hint(),
            Self::Kept(kept) => SizeHint::with_exact(kept.left()),
            Self::Tunnel(_) => SizeHint::with_exact(0),
        }
    }
}

impl Relay {
    fn size_hint(&self) -> SizeHint {
        let held = match &self.phase {
            Phase::Closing(_, Some(last)) => last.data_ref().map_or(0, |data| data.len() as u64),
            Phase::Closing(_, None) | Phase::Streaming(_) | Phase::Over => 0,
        };
        let mut hint = SizeHint::default();
        match self.coming.as_ref().map_or(Some(0), Coming::left) {
            Some(exact) => hint.set_exact(exact + held),
            None => hint.set_lower(held),
        }
        hint
    }
}
