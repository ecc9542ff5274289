//! A server's answer to one message, as it comes: whole, or as a stream of messages of which the last is the answer.

use super::{Connection, sse::Events};
use bytes::{Bytes, BytesMut};
use countersign_engine::port::upstream::{Failed, Sent};
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::time::Duration;
use tokio::time::timeout;

/// What is read of an answer that is none.
const LEFTOVER: usize = 64 << 10;

/// An answer under way.
pub(crate) struct Talk {
    pub(crate) status: StatusCode,
    pub(crate) session: Option<HeaderValue>,
    pub(crate) connection: Connection,
    /// Bytes of the body so far.
    pub(crate) received: u64,
    form: Form,
    body: Incoming,
    limit: usize,
}

enum Form {
    Json,
    Events(Box<Events>),
    Neither,
    Over,
}

impl Talk {
    pub(super) fn new(response: Response<Incoming>, connection: Connection, limit: usize) -> Self {
        let (head, body) = response.into_parts();
        let kind =
            head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let form = if kind.eq_ignore_ascii_case("application/json") {
            Form::Json
        } else if kind.eq_ignore_ascii_case("text/event-stream") {
            Form::Events(Box::default())
        } else {
            Form::Neither
        };
        let session = head.headers.get(super::SESSION).cloned();
        Self { status: head.status, session, connection, received: 0, form, body, limit }
    }

    /// The next message; `None` when there is no more.
    pub(crate) async fn next(&mut self, idle: Duration) -> Result<Option<Bytes>, Failed> {
        match &mut self.form {
            Form::Over | Form::Neither => Ok(None),
            Form::Json => {
                self.form = Form::Over;
                let mut whole = BytesMut::new();
                while let Some(piece) = self.piece(idle).await? {
                    whole.extend_from_slice(&piece);
                    self.check(whole.len())?;
                }
                Ok(Some(whole.freeze()))
            }
            Form::Events(_) => loop {
                let Form::Events(events) = &mut self.form else { return Ok(None) };
                if let Some(event) = events.next() {
                    return Ok(Some(event));
                }
                let kept = events.kept();
                self.check(kept)?;
                match self.piece(idle).await? {
                    Some(piece) => {
                        if let Form::Events(events) = &mut self.form {
                            events.push(&piece);
                        }
                    }
                    None => self.form = Form::Over,
                }
            },
        }
    }

    /// Reads over what is left, if that is little.
    pub(super) async fn drain(&mut self, idle: Duration) -> Result<(), Failed> {
        let before = self.received;
        while self.piece(idle).await?.is_some() {
            if self.received - before > LEFTOVER as u64 {
                return Err(lost("it goes on"));
            }
        }
        Ok(())
    }

    async fn piece(&mut self, idle: Duration) -> Result<Option<Bytes>, Failed> {
        loop {
            let frame = timeout(idle, self.body.frame()).await;
            let frame = frame.map_err(|_| lost("the server stopped in the middle of its answer"))?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| lost(&format!("the server was lost from sight: {error}")))?;
            if let Ok(data) = frame.into_data() {
                self.received += data.len() as u64;
                return Ok(Some(data));
            }
        }
    }

    fn check(&self, size: usize) -> Result<(), Failed> {
        if size <= self.limit {
            return Ok(());
        }
        Err(lost(&format!("the server's answer is larger than the {} bytes that are read", self.limit)))
    }
}

/// The message went out, and what became of it is not known.
pub(crate) fn lost(why: &str) -> Failed {
    Failed { sent: Sent::Maybe, why: why.into() }
}
