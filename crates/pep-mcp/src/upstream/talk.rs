//! A server's answer to one message, as it comes: whole, or as a stream of messages of which the last is the answer.

use super::{
    Link,
    http::Line,
    process::{Process, Replies},
    sse::Events,
};
use bytes::{Bytes, BytesMut};
use countersign_engine::port::upstream::{Failed, Sent};
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// What is read of an answer that is none.
const LEFTOVER: usize = 64 << 10;

/// An answer under way.
pub(crate) struct Talk {
    pub(crate) status: StatusCode,
    /// The session that the server opened with it.
    pub(crate) link: Option<Link>,
    /// Bytes of the answer so far.
    pub(crate) received: u64,
    form: Form,
    limit: usize,
}

enum Form {
    Json(Coming),
    Events(Coming, Box<Events>),
    /// Read to its end, or of no form that is read.
    Over(Option<Coming>),
    Process(Replies),
}

/// What comes over a connection.
struct Coming {
    line: Line,
    body: Incoming,
}

impl Talk {
    pub(super) fn over_http(response: Response<Incoming>, line: Line, limit: usize) -> Self {
        let (head, body) = response.into_parts();
        let kind =
            head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let coming = Coming { line, body };
        let form = if kind.eq_ignore_ascii_case("application/json") {
            Form::Json(coming)
        } else if kind.eq_ignore_ascii_case("text/event-stream") {
            Form::Events(coming, Box::default())
        } else {
            Form::Over(Some(coming))
        };
        let link = head.headers.get(super::SESSION).cloned().map(Link::Named);
        Self { status: head.status, link, received: 0, form, limit }
    }

    pub(super) fn with_process(process: Arc<Process>, replies: Replies) -> Self {
        let (status, link) = (StatusCode::OK, Some(Link::Process(process)));
        Self { status, link, received: 0, form: Form::Process(replies), limit: usize::MAX }
    }

    /// The next message; `None` when there is no more.
    pub(crate) async fn next(&mut self, idle: Duration) -> Result<Option<Bytes>, Failed> {
        let (received, limit) = (&mut self.received, self.limit);
        let found = match &mut self.form {
            Form::Over(_) => return Ok(None),
            Form::Process(replies) => {
                let message = replies.next(idle).await?;
                *received += message.as_ref().map_or(0, |message| message.len() as u64);
                return Ok(message);
            }
            Form::Json(coming) => Some(coming.whole(idle, limit, received).await?),
            Form::Events(coming, events) => loop {
                if let Some(event) = events.next() {
                    return Ok(Some(event));
                }
                check(events.kept(), limit)?;
                let Some(piece) = coming.piece(idle).await? else { break None };
                *received += piece.len() as u64;
                events.push(&piece);
            },
        };
        if let Form::Json(_) = &self.form
            && let Form::Json(coming) = std::mem::replace(&mut self.form, Form::Over(None))
        {
            self.form = Form::Over(Some(coming));
        }
        Ok(found)
    }

    /// The id of the last event, by which its server can take the stream up again.
    pub(crate) fn last_event_id(&self) -> Option<HeaderValue> {
        match &self.form {
            Form::Events(_, events) => HeaderValue::from_bytes(events.last_id()?).ok(),
            Form::Json(_) | Form::Over(_) | Form::Process(_) => None,
        }
    }

    /// No message that comes is larger than this from now on.
    pub(crate) fn reads_at_most(&mut self, limit: usize) {
        self.limit = self.limit.min(limit);
    }

    /// Whether more than one message may come.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.form, Form::Events(..))
    }

    /// Reads over what is left, if that is little: the connection, free for the next message.
    pub(super) async fn left(self, idle: Duration) -> Option<Line> {
        let mut coming = match self.form {
            Form::Json(coming) | Form::Events(coming, _) | Form::Over(Some(coming)) => coming,
            Form::Over(None) | Form::Process(_) => return None,
        };
        let mut read = 0;
        while let Some(piece) = coming.piece(idle).await.ok()? {
            read += piece.len();
            if read > LEFTOVER {
                return None;
            }
        }
        Some(coming.line)
    }
}

impl Coming {
    /// All of it; what comes in one piece is not copied.
    async fn whole(&mut self, idle: Duration, limit: usize, received: &mut u64) -> Result<Bytes, Failed> {
        let length = self.body.size_hint().exact().and_then(|length| usize::try_from(length).ok());
        let mut whole = BytesMut::new();
        while let Some(piece) = self.piece(idle).await? {
            *received += piece.len() as u64;
            check(whole.len() + piece.len(), limit)?;
            if whole.is_empty() {
                if self.body.is_end_stream() {
                    return Ok(piece);
                }
                whole.reserve(length.unwrap_or(0).clamp(piece.len(), limit));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    async fn piece(&mut self, idle: Duration) -> Result<Option<Bytes>, Failed> {
        loop {
            let frame = timeout(idle, self.body.frame()).await;
            let frame = frame.map_err(|_| lost("the server stopped in the middle of its answer"))?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| lost(&format!("the server was lost from sight: {error}")))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
    }
}

fn check(size: usize, limit: usize) -> Result<(), Failed> {
    if size <= limit {
        return Ok(());
    }
    Err(lost(&format!("the server's answer is larger than the {limit} bytes that are read")))
}

/// The message went out, and what became of it is not known.
pub(crate) fn lost(why: &str) -> Failed {
    Failed { sent: Sent::Maybe, why: why.into() }
}
