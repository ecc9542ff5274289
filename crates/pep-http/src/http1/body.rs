//! The body of a caller's request, read off its connection as it is asked for.

use super::line::SharedLine;
use crate::upstream::send::BoxError;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

/// A caller's body.
pub(crate) enum RequestBody {
    None,
    Http1(Http1Body),
    Http2(Box<Incoming>),
}

/// A body on an HTTP/1.1 connection.
pub(crate) struct Http1Body {
    line: SharedLine,
    /// What is still to come, where that is known.
    left: Option<u64>,
    over: bool,
}

impl RequestBody {
    /// The body that comes next on this connection.
    pub(crate) fn http1(line: SharedLine, length: Option<u64>) -> Self {
        Self::Http1(Http1Body { line, left: length, over: false })
    }
}

impl Drop for Http1Body {
    fn drop(&mut self) {
        self.line.lock().wake();
    }
}

impl Http1Body {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let mut line = self.line.lock();
        let piece = ready!(line.poll_body(cx));
        self.over = line.is_read() || !matches!(piece, Some(Ok(_)));
        if let (Some(left), Some(Ok(data))) = (&mut self.left, &piece) {
            *left = left.saturating_sub(data.len() as u64);
        }
        Poll::Ready(piece)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::None => Poll::Ready(None),
            Self::Http1(body) => body.poll(cx).map_ok(Frame::data),
            Self::Http2(body) => Pin::new(&mut **body).poll_frame(cx).map_err(BoxError::from),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::None => true,
            Self::Http1(body) => body.over,
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::None => SizeHint::with_exact(0),
            Self::Http1(body) => body.left.map_or_else(SizeHint::default, SizeHint::with_exact),
            Self::Http2(body) => body.size_hint(),
        }
    }
}
