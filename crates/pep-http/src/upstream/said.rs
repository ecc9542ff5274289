//! A reply on its way to a caller: a target's answer with its head as it was written, or one made here.

use super::{
    answer::AnswerHead,
    http1::Exchange,
    pool::{Connection, Pool},
    relay::ReplyBody,
    send::{self, Answer},
    tunnel::Tunnel,
};
use crate::head;
use bytes::Bytes;
use countersign_engine::port::upstream::Failed;
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

/// A reply on its way out: refusals and answers alike.
pub(crate) struct Said {
    pub(crate) head: SaidHead,
    pub(crate) body: ReplyBody,
}

/// Everything of a reply but its body.
pub(crate) enum SaidHead {
    /// As an HTTP/1.1 target wrote it.
    Target(AnswerHead),
    Made(Box<http::response::Parts>),
}

impl SaidHead {
    /// The status and the headers.
    pub(crate) fn parts(&self) -> (StatusCode, HeaderMap) {
        match self {
            Self::Target(head) => head.parts(),
            Self::Made(parts) => (parts.status, parts.headers.clone()),
        }
    }
}

impl From<Response<ReplyBody>> for Said {
    fn from(response: Response<ReplyBody>) -> Self {
        let (parts, body) = response.into_parts();
        Self { head: SaidHead::Made(Box::new(parts)), body }
    }
}

impl Said {
    pub(crate) fn new(head: SaidHead, body: ReplyBody) -> Self {
        Self { head, body }
    }

    /// The answer to an upgrade; what follows it is no HTTP.
    pub(crate) fn switched(mut head: AnswerHead, tunnel: Tunnel) -> Self {
        head.lines.extend_from_slice(b"connection: upgrade\r\n");
        if let Some(protocol) = &head.upgrade {
            head.lines.extend_from_slice(&[b"upgrade: ", &**protocol, b"\r\n"].concat());
        }
        Self { head: SaidHead::Target(head), body: ReplyBody::Tunnel(Box::new(tunnel)) }
    }

    /// For a wire on which heads are not written as lines.
    pub(crate) fn into_response(self) -> Response<ReplyBody> {
        match self.head {
            SaidHead::Made(parts) => Response::from_parts(*parts, self.body),
            SaidHead::Target(head) => {
                let mut response = Response::new(self.body);
                (*response.status_mut(), *response.headers_mut()) = head.parts();
                response
            }
        }
    }
}

/// The body of a target's answer as it comes.
pub(crate) enum Coming {
    Http1(Box<Exchange>),
    Http2(Box<Incoming>),
}

impl Answer {
    pub(crate) fn split(self) -> (SaidHead, Coming) {
        match self {
            Self::Http1(head, exchange) => (SaidHead::Target(head), Coming::Http1(exchange)),
            Self::Http2(response) => {
                let (mut parts, body) = response.into_parts();
                head::strip_hops(&mut parts.headers);
                (SaidHead::Made(Box::new(parts)), Coming::Http2(Box::new(body)))
            }
        }
    }
}

impl Coming {
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failed>>> {
        Poll::Ready(match self {
            Self::Http1(exchange) => {
                let data = ready!(exchange.poll_data(cx));
                data.map(|data| data.map(Frame::data).map_err(|broken| send::lost(&broken)))
            }
            Self::Http2(body) => {
                let frame = ready!(Pin::new(&mut **body).poll_frame(cx));
                frame.map(|frame| frame.map_err(|error| send::lost(&error)))
            }
        })
    }

    /// Whether nothing more comes.
    pub(crate) fn is_over(&self) -> bool {
        match self {
            Self::Http1(exchange) => exchange.is_over(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    /// How much is still to come, where that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        match self {
            Self::Http1(exchange) => exchange.left(),
            Self::Http2(body) => body.size_hint().exact(),
        }
    }

    /// Goes on with a request that is not through, while its answer waits for the caller.
    pub(crate) fn poll_upload(&mut self, cx: &mut Context<'_>) {
        if let Self::Http1(exchange) = self {
            exchange.poll_upload(cx);
        }
    }

    /// Gives the connection back where it can be used again.
    pub(crate) fn rest(self, pool: &Pool) {
        if let Self::Http1(exchange) = self
            && let Some(line) = exchange.rested()
        {
            pool.put(Connection::Http1(Box::new(line)));
        }
    }
}
