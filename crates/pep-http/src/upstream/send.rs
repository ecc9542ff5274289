//! A clearance's payload as a request on a connection: exactly the bytes that were decided on, the configured
//! credential and the framing. What of a live body has passed is counted and digested on the way.

use super::pool::{Connection, Handed, Way};
use crate::{bodies::SpilledBody, head};
use bytes::Bytes;
use countersign_core::{Body as PayloadBody, Digest, Payload};
use countersign_engine::port::upstream::{Failed, Sent};
use http::{HeaderMap, HeaderValue, Request, Response, Uri, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep};

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request to a target.
pub(crate) enum UpBody {
    Whole(Option<Bytes>),
    Live(Box<LiveBody>),
    Spilled(Box<SpilledBody>),
}

/// A caller's body on its way to the target.
pub(crate) struct LiveBody {
    inner: Incoming,
    streamed: Streamed,
    idle: Duration,
    patience: Pin<Box<Sleep>>,
}

/// What of a live body has passed so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streamed(Arc<Mutex<Passed>>);

#[derive(Debug, Default)]
struct Passed {
    hasher: Sha256,
    bytes: u64,
    ended: Option<Ended>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Whole,
    Broken,
}

impl Streamed {
    pub(crate) fn bytes(&self) -> u64 {
        self.0.lock().bytes
    }

    /// The digest of all that passed.
    pub(crate) fn digest(&self) -> Digest {
        Digest(self.0.lock().hasher.clone().finalize().into())
    }

    /// Whether it was the caller's body that broke the exchange.
    pub(crate) fn is_broken(&self) -> bool {
        self.0.lock().ended == Some(Ended::Broken)
    }
}

impl UpBody {
    /// A caller's body, and where to read what of it has passed.
    pub(crate) fn live(inner: Incoming, idle: Duration) -> (Self, Streamed) {
        let streamed = Streamed::default();
        let patience = Box::pin(tokio::time::sleep(idle));
        let live = LiveBody { inner, streamed: streamed.clone(), idle, patience };
        (Self::Live(Box::new(live)), streamed)
    }
}

impl Body for UpBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Live(live) => live.poll(cx),
            Self::Spilled(spilled) => spilled.poll(cx).map(|piece| piece.map(|piece| piece.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Live(live) => live.inner.is_end_stream(),
            Self::Spilled(spilled) => spilled.left() == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Live(live) => live.inner.size_hint(),
            Self::Spilled(spilled) => SizeHint::with_exact(spilled.left()),
        }
    }
}

impl LiveBody {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                ready!(self.patience.as_mut().poll(cx));
                return self.broken("the caller stopped sending".into());
            }
        };
        self.patience.as_mut().reset(Instant::now() + self.idle);
        match frame {
            None => {
                self.streamed.0.lock().ended = Some(Ended::Whole);
                Poll::Ready(None)
            }
            Some(Err(error)) => self.broken(error.into()),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    let mut passed = self.streamed.0.lock();
                    passed.hasher.update(&data);
                    passed.bytes += data.len() as u64;
                    Poll::Ready(Some(Ok(Frame::data(data))))
                }
                Err(_) => self.broken("trailers are not accepted".into()),
            },
        }
    }

    fn broken(&mut self, error: BoxError) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.streamed.0.lock().ended = Some(Ended::Broken);
        Poll::Ready(Some(Err(error)))
    }
}

/// A request ready to go out.
pub(crate) struct Ready {
    request: Request<UpBody>,
    /// How long the form is that stands for its head.
    pub(crate) head_bytes: u64,
    pub(crate) upgrade: bool,
}

impl Ready {
    /// The headers as they go out.
    pub(crate) fn headers(&mut self) -> &mut HeaderMap {
        self.request.headers_mut()
    }
}

/// Builds the request from the payload alone. `live` is used only where the payload leaves its body unbound.
pub(crate) fn build(
    target: &Way,
    payload: &Payload,
    live: Option<UpBody>,
    connection: &Connection,
) -> Result<Ready, Failed> {
    let nothing_sent = |why: String| Failed { sent: Sent::No, why };
    let outgoing = head::decode(&payload.head)
        .ok_or_else(|| nothing_sent("the stored request cannot be read".into()))?;
    let body = match (&payload.body, live) {
        (PayloadBody::Bound(bytes), _) => UpBody::Whole(Some(bytes.clone())),
        (PayloadBody::Unbound, Some(live)) => live,
        (PayloadBody::Unbound, None) => return Err(nothing_sent("the request's body is not here".into())),
    };
    let uri = if connection.is_http2() {
        let scheme = if target.origin.tls { "https" } else { "http" };
        format!("{scheme}://{}{}", target.origin.authority, outgoing.location).parse::<Uri>()
    } else {
        outgoing.location.parse::<Uri>()
    };
    let uri = uri.map_err(|error| nothing_sent(format!("the stored path cannot be read: {error}")))?;
    let mut request = Request::new(body);
    *request.method_mut() = outgoing.method;
    *request.uri_mut() = uri;
    *request.headers_mut() = outgoing.headers;
    if !connection.is_http2() {
        let host = HeaderValue::from_str(&target.origin.authority);
        let host = host.map_err(|_| nothing_sent("the target's name cannot stand in `Host`".into()))?;
        request.headers_mut().insert(header::HOST, host);
    }
    if let Some(credential) = &target.credential {
        let value = credential.value().map_err(|error| nothing_sent(error.to_string()))?;
        request.headers_mut().insert(credential.header(), value);
    }
    let upgrade = outgoing.upgrade.is_some();
    if let Some(protocol) = outgoing.upgrade {
        if connection.is_http2() {
            return Err(nothing_sent("the target speaks HTTP/2, which has no such upgrade".into()));
        }
        let protocol =
            HeaderValue::from_str(&protocol).map_err(|_| nothing_sent("no such protocol".into()))?;
        request.headers_mut().insert(header::UPGRADE, protocol);
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    Ok(Ready { request, head_bytes: payload.head.len() as u64, upgrade })
}

/// Sends the request and waits for the head of the answer. A connection that gave the request back unsent, because
/// it was closed while it rested, is replaced once: nothing had been sent.
pub(crate) async fn exchange(
    target: &Way,
    connection: &mut Connection,
    ready: Ready,
    stop: impl Future<Output = ()>,
) -> Result<Response<Incoming>, Failed> {
    let limit = target.limits.response_head.0;
    let answered = async {
        let back = match connection.send(ready.request).await {
            Handed::Answered(response) => return Ok(response),
            Handed::Broken(error) => return Err(lost(&error)),
            Handed::Back(request) => *request,
        };
        let unsent = |why: &str| Failed { sent: Sent::No, why: why.into() };
        let fresh = target.pool.dial(target).await?;
        if fresh.is_http2() != connection.is_http2() {
            return Err(unsent("the target changed its protocol"));
        }
        *connection = fresh;
        match connection.send(back).await {
            Handed::Answered(response) => Ok(response),
            Handed::Broken(error) => Err(lost(&error)),
            Handed::Back(_) => Err(unsent("the target closes connections at once")),
        }
    };
    let late = || Failed { sent: Sent::Maybe, why: format!("the target did not answer within {limit:?}") };
    tokio::select! {
        biased;
        () = stop => Err(Failed { sent: Sent::Maybe, why: STOPPED.into() }),
        answered = tokio::time::timeout(limit, answered) => answered.unwrap_or_else(|_| Err(late())),
    }
}

/// Why work that was cancelled failed.
pub(crate) const STOPPED: &str = "it was cancelled while it ran";

pub(crate) fn lost(error: &hyper::Error) -> Failed {
    Failed { sent: Sent::Maybe, why: format!("the exchange with the target broke off: {error}") }
}
