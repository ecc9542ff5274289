//! A clearance's payload as a request on a connection: exactly the bytes that were decided on, the configured
//! credential and the framing. What of a live body has passed is counted and digested on the way.

use super::{
    answer::AnswerHead,
    http1::{Exchange, Http1, Upload, Written},
    pool::{Connection, Handed, Way},
};
use crate::{
    bodies::SpilledBody,
    head::{self, Exact},
    http1::RequestBody,
    websocket,
    wire::Outbox,
};
use bytes::{Bytes, BytesMut};
use countersign_core::{Body as PayloadBody, Digest, Payload};
use countersign_engine::port::upstream::{Failed, Sent};
use http::{Request, Response, StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep};

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body up to this size goes out in one piece with its head.
const SMALL: usize = 16 << 10;

/// The body of a request to a target.
pub(crate) enum UpBody {
    Whole(Option<Bytes>),
    Live(Box<LiveBody>),
    Spilled(Box<SpilledBody>),
}

/// A caller's body on its way to the target.
pub(crate) struct LiveBody {
    inner: RequestBody,
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
    pub(crate) fn live(inner: RequestBody, idle: Duration) -> (Self, Streamed) {
        let streamed = Streamed::default();
        let patience = Box::pin(tokio::time::sleep(idle));
        let live = LiveBody { inner, streamed: streamed.clone(), idle, patience };
        (Self::Live(Box::new(live)), streamed)
    }

    /// The next piece of it.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        match self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(Ok)),
            Self::Live(live) => live.poll(cx),
            Self::Spilled(spilled) => spilled.poll(cx),
        }
    }
}

impl Body for UpBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.get_mut().poll(cx).map_ok(Frame::data)
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
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
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
            Some(Err(error)) => self.broken(error),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    let mut passed = self.streamed.0.lock();
                    passed.hasher.update(&data);
                    passed.bytes += data.len() as u64;
                    Poll::Ready(Some(Ok(data)))
                }
                Err(_) => self.broken("trailers are not accepted".into()),
            },
        }
    }

    fn broken(&mut self, error: BoxError) -> Poll<Option<Result<Bytes, BoxError>>> {
        self.streamed.0.lock().ended = Some(Ended::Broken);
        Poll::Ready(Some(Err(error)))
    }
}

/// A request ready to go out.
pub(crate) struct Ready {
    form: Form,
    /// How long the form is that stands for its head.
    pub(crate) head_bytes: u64,
    pub(crate) upgrade: bool,
}

/// A request in the form its connection takes.
enum Form {
    Http1(Box<Written>),
    Http2(Box<Request<UpBody>>),
}

/// Builds the request from the payload alone. `live` is used only where the payload leaves its body unbound, `key` is
/// the gateway's own in a WebSocket's handshake.
pub(crate) fn build(
    target: &Way,
    payload: &Payload,
    live: Option<UpBody>,
    key: Option<&str>,
    connection: &Connection,
) -> Result<Ready, Failed> {
    let exact =
        Exact::read(&payload.head).ok_or_else(|| unsent("the stored request cannot be read".into()))?;
    let body = match (&payload.body, live) {
        (PayloadBody::Bound(bytes), _) => UpBody::Whole(Some(bytes.clone())),
        (PayloadBody::Unbound, Some(live)) => live,
        (PayloadBody::Unbound, None) => return Err(unsent("the request's body is not here".into())),
    };
    let upgrade = !exact.upgrade.is_empty();
    let form = match connection {
        Connection::Http1(_) => Form::Http1(Box::new(written(target, exact, body, key)?)),
        Connection::Http2(_) if upgrade => {
            return Err(unsent("the target speaks HTTP/2, which has no such upgrade".into()));
        }
        Connection::Http2(_) => Form::Http2(Box::new(request(target, &payload.head, body)?)),
    };
    Ok(Ready { form, head_bytes: payload.head.len() as u64, upgrade })
}

/// The bytes that go out on HTTP/1.1.
fn written(target: &Way, mut exact: Exact<'_>, body: UpBody, key: Option<&str>) -> Result<Written, Failed> {
    let unreadable = || unsent("the stored request cannot be read".into());
    let credential = target.credential.as_ref().map(|credential| {
        let value = credential.value().map_err(|error| unsent(error.to_string()))?;
        Ok((credential.header().as_str(), value))
    });
    let credential = credential.transpose()?;
    let mut out = BytesMut::with_capacity(exact.length() + 256);
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
    put(&[exact.method, b" ", exact.location, b" HTTP/1.1\r\nhost: "]);
    put(&[target.origin.authority.as_bytes(), b"\r\n"]);
    while let Some((name, value)) = exact.field().ok_or_else(unreadable)? {
        let own = credential.as_ref().is_some_and(|(header, _)| header.as_bytes() == name);
        if !own && !head::FRAMING.iter().any(|framing| framing.as_bytes() == name) {
            put(&[name, b": ", value, b"\r\n"]);
        }
    }
    if let Some((name, value)) = &credential {
        put(&[name.as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
    }
    if !exact.upgrade.is_empty() {
        put(&[b"upgrade: ", exact.upgrade, b"\r\nconnection: upgrade\r\n"]);
    }
    if let Some(key) = key {
        put(&[websocket::KEY.as_bytes(), b": ", key.as_bytes(), b"\r\n"]);
    }
    let length = body.size_hint().exact();
    match length {
        None => put(&[b"transfer-encoding: chunked\r\n"]),
        Some(0) if !matches!(exact.method, b"POST" | b"PUT" | b"PATCH") => {}
        Some(length) => put(&[b"content-length: ", length.to_string().as_bytes(), b"\r\n"]),
    }
    put(&[b"\r\n"]);
    let bodiless = exact.method == b"HEAD";
    let (whole, upload) = match body {
        UpBody::Whole(bytes) => (bytes.unwrap_or_default(), None),
        body @ (UpBody::Live(_) | UpBody::Spilled(_)) => (Bytes::new(), Some(Upload { body, left: length })),
    };
    if whole.len() <= SMALL {
        out.extend_from_slice(&whole);
        return Ok(Written { out: Outbox::of(out), upload, bodiless });
    }
    let mut out = Outbox::of(out);
    out.put(whole, b"");
    Ok(Written { out, upload, bodiless })
}

/// The request that goes out on HTTP/2.
fn request(target: &Way, head: &[u8], body: UpBody) -> Result<Request<UpBody>, Failed> {
    let outgoing = head::decode(head).ok_or_else(|| unsent("the stored request cannot be read".into()))?;
    let scheme = if target.origin.tls { "https" } else { "http" };
    let uri = format!("{scheme}://{}{}", target.origin.authority, outgoing.location).parse::<Uri>();
    let uri = uri.map_err(|error| unsent(format!("the stored path cannot be read: {error}")))?;
    let mut request = Request::new(body);
    *request.method_mut() = outgoing.method;
    *request.uri_mut() = uri;
    *request.headers_mut() = outgoing.headers;
    if let Some(credential) = &target.credential {
        let value = credential.value().map_err(|error| unsent(error.to_string()))?;
        request.headers_mut().insert(credential.header(), value);
    }
    Ok(request)
}

/// A target's answer, its body still on the way.
pub(crate) enum Answer {
    Http1(AnswerHead, Box<Exchange>),
    Http2(Response<Incoming>),
}

impl Answer {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Http1(head, _) => head.status,
            Self::Http2(response) => response.status(),
        }
    }
}

/// Sends the request and waits for the head of the answer. A connection that was closed while it rested, so that
/// nothing could be sent on it, is replaced once.
pub(crate) async fn exchange(
    target: &Way,
    connection: Connection,
    ready: Ready,
    stop: impl Future<Output = ()>,
) -> Result<Answer, Failed> {
    let answered = async {
        match (connection, ready.form) {
            (Connection::Http1(line), Form::Http1(written)) => http1(target, line, *written).await,
            (connection @ Connection::Http2(_), Form::Http2(request)) => {
                http2(target, connection, request).await
            }
            _ => Err(unsent("the request is written for another protocol".into())),
        }
    };
    tokio::select! {
        biased;
        () = stop => Err(Failed { sent: Sent::Maybe, why: STOPPED.into() }),
        answered = answered => answered,
    }
}

async fn http1(target: &Way, mut line: Box<Http1>, mut written: Written) -> Result<Answer, Failed> {
    let limit = target.limits.response_head.0;
    let mut replaced = false;
    loop {
        if !line.is_quiet() {
            if replaced {
                return Err(unsent("the target closes connections at once".into()));
            }
            (line, replaced) = (redial(target).await?, true);
        }
        let mut exchange = line.begin(written, limit);
        let head = poll_fn(|cx| match exchange.poll_head(cx) {
            Poll::Ready(head) => Poll::Ready(Some(head)),
            Poll::Pending => exchange.poll_late(cx).map(|()| None),
        });
        match head.await {
            Some(Ok(head)) => return Ok(Answer::Http1(head, Box::new(exchange))),
            None => return Err(late(limit)),
            Some(Err(broken)) => match exchange.untouched() {
                Some(_) if replaced => return Err(unsent(format!("nothing could be sent: {broken}"))),
                Some(back) => (line, written, replaced) = (redial(target).await?, back, true),
                None => return Err(lost(&broken)),
            },
        }
    }
}

async fn redial(target: &Way) -> Result<Box<Http1>, Failed> {
    match target.pool.dial(target).await? {
        Connection::Http1(line) => Ok(line),
        Connection::Http2(_) => Err(unsent("the target changed its protocol".into())),
    }
}

async fn http2(
    target: &Way,
    mut connection: Connection,
    request: Box<Request<UpBody>>,
) -> Result<Answer, Failed> {
    let limit = target.limits.response_head.0;
    let answered = async {
        let back = match connection.send(*request).await {
            Handed::Answered(response) => return Ok(response),
            Handed::Broken(error) => return Err(lost(&error)),
            Handed::Back(request) => *request,
        };
        match target.pool.dial(target).await?.send(back).await {
            Handed::Answered(response) => Ok(response),
            Handed::Broken(error) => Err(lost(&error)),
            Handed::Back(_) => Err(unsent("the target closes connections at once".into())),
        }
    };
    let answered = tokio::time::timeout(limit, answered).await;
    answered.unwrap_or_else(|_| Err(late(limit))).map(Answer::Http2)
}

/// Why work that was cancelled failed.
pub(crate) const STOPPED: &str = "it was cancelled while it ran";

fn unsent(why: String) -> Failed {
    Failed { sent: Sent::No, why }
}

fn late(limit: Duration) -> Failed {
    Failed { sent: Sent::Maybe, why: format!("the target did not answer within {limit:?}") }
}

pub(crate) fn lost(error: &impl std::fmt::Display) -> Failed {
    Failed { sent: Sent::Maybe, why: format!("the exchange with the target broke off: {error}") }
}
