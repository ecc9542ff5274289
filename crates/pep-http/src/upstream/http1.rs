//! One HTTP/1.1 exchange with a target, in the caller's own task: a request out, an answer in, at the same time where
//! the target does not wait for the whole body. A byte that may have left is never sent again.

use super::{
    answer::{self, AnswerHead, AnswerRefusal, Framing},
    chunks::{ChunkError, Step},
    send::UpBody,
};
use crate::wire::{Outbox, Patience, Wire};
use bytes::{Buf as _, Bytes, BytesMut};
use http::StatusCode;
use std::{
    io,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

/// Room for reading: heads and small answers, then large ones.
const ROOM: usize = 4 << 10;
const LARGE_ROOM: usize = 64 << 10;

/// Why an exchange broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the connection failed: {0}")]
    Wire(#[from] io::Error),
    #[error("the connection was closed before the end of its answer")]
    Closed,
    #[error("the caller's body broke off: {0}")]
    Caller(String),
    #[error(transparent)]
    Head(#[from] AnswerRefusal),
    #[error(transparent)]
    Chunk(#[from] ChunkError),
}

/// A connection to a target that can take a request.
#[derive(Debug)]
pub(crate) struct Http1 {
    wire: Wire,
    held: BytesMut,
    patience: Patience,
}

/// A request as it will be written.
pub(crate) struct Written {
    /// The head, and a small body behind it.
    pub(crate) out: Outbox,
    pub(crate) upload: Option<Upload>,
    /// Whether it is a `HEAD`, whose answer has no body.
    pub(crate) bodiless: bool,
}

/// A caller's body that follows the head.
pub(crate) struct Upload {
    pub(crate) body: UpBody,
    /// What is left of a body of known length; others go out in chunks.
    pub(crate) left: Option<u64>,
}

/// An exchange under way.
pub(crate) struct Exchange {
    line: Http1,
    written: Written,
    /// Why the rest of the request cannot be sent, while an answer may still come.
    deaf: Option<io::Error>,
    status: StatusCode,
    framing: Framing,
    keeps: bool,
    /// The last of the answer, while the request is not through.
    last: Option<Bytes>,
}

impl Http1 {
    pub(crate) fn new(wire: Wire, head_limit: Duration) -> Self {
        Self { wire, held: BytesMut::new(), patience: Patience::new(head_limit) }
    }

    /// Whether the target has neither closed it nor said anything unasked.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.held.is_empty() && self.wire.poll_fill(&mut cx, &mut self.held, ROOM).is_pending()
    }

    /// Puts a request on it. Nothing is written yet.
    pub(crate) fn begin(mut self, written: Written, limit: Duration) -> Exchange {
        self.patience.give(limit);
        Exchange {
            line: self,
            written,
            deaf: None,
            status: StatusCode::OK,
            framing: Framing::Over,
            keeps: false,
            last: None,
        }
    }
}

impl Exchange {
    /// The request, when not a byte of it can have left.
    pub(crate) fn untouched(self) -> Option<Written> {
        (!self.written.out.has_begun()).then_some(self.written)
    }

    /// Ready once the time for the answer's head is over.
    pub(crate) fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.line.patience.poll(cx)
    }

    /// Sends, and reads until there is the head of the final answer.
    pub(crate) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<AnswerHead, Broken>> {
        self.send(cx)?;
        if !self.written.out.has_begun()
            && let Some(error) = self.deaf.take()
        {
            return Poll::Ready(Err(error.into()));
        }
        loop {
            ready!(self.fill(cx, ROOM))?;
            while let Some(headed) = answer::read(&self.line.held, self.written.bodiless)? {
                self.line.held.advance(headed.took);
                let status = headed.head.status;
                if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
                    continue;
                }
                (self.status, self.framing, self.keeps) = (status, headed.framing, headed.keeps);
                return Poll::Ready(Ok(headed.head));
            }
        }
    }

    /// The next piece of the answer's body. The last one comes only when the request is through as well.
    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        self.send(cx)?;
        if self.framing != Framing::Over {
            let Some(data) = ready!(self.piece(cx))? else { return self.ended() };
            if self.framing != Framing::Over || self.is_over() {
                return Poll::Ready(Some(Ok(data)));
            }
            self.last = Some(data);
        }
        self.ended()
    }

    /// Goes on with the request alone, where the caller does not take the answer just now.
    pub(crate) fn poll_upload(&mut self, cx: &mut Context<'_>) {
        // What breaks here is met again by whoever reads the answer.
        let _ = self.send(cx);
    }

    /// Whether there is nothing left to read or to send.
    pub(crate) fn is_over(&self) -> bool {
        self.framing == Framing::Over && self.last.is_none() && !self.is_sending()
    }

    /// How much is still to come, where that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        let last = self.last.as_ref().map_or(0, |last| last.len() as u64);
        match self.framing {
            Framing::Over => Some(last),
            Framing::Sized(left) => Some(left),
            Framing::Chunked(_) | Framing::UntilClose => None,
        }
    }

    /// The connection, where it can take another request.
    pub(crate) fn rested(self) -> Option<Http1> {
        let clean = self.is_over() && self.keeps && self.deaf.is_none();
        let mut line = self.line;
        if line.held.capacity() > LARGE_ROOM / 2 {
            line.held = BytesMut::new();
        }
        (clean && line.held.is_empty()).then_some(line)
    }

    /// The connection after an upgrade, and what came on it already.
    pub(crate) fn switched(self) -> (Wire, BytesMut) {
        (self.line.wire, self.line.held)
    }

    fn is_sending(&self) -> bool {
        self.deaf.is_none() && (self.written.upload.is_some() || !self.written.out.is_empty())
    }

    /// The answer is read; an accepted request is still sent to its end, a refused one is left there.
    fn ended(&mut self) -> Poll<Option<Result<Bytes, Broken>>> {
        if self.is_sending() {
            if !self.status.is_client_error() && !self.status.is_server_error() {
                return Poll::Pending;
            }
            self.keeps = false;
            self.written.upload = None;
            self.written.out = Outbox::default();
        }
        Poll::Ready(self.last.take().map(Ok))
    }

    /// Sends what can be sent now. A target that takes no more may still answer.
    fn send(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        while self.deaf.is_none() {
            match self.written.out.poll(&mut self.line.wire, cx) {
                Poll::Pending => break,
                Poll::Ready(Err(error)) => self.deaf = Some(error),
                Poll::Ready(Ok(())) => {
                    let Some(upload) = &mut self.written.upload else { break };
                    let Poll::Ready(data) = upload.body.poll(cx) else { break };
                    let data = data.transpose().map_err(|error| Broken::Caller(error.to_string()))?;
                    self.upload(data)?;
                }
            }
        }
        Ok(())
    }

    fn upload(&mut self, data: Option<Bytes>) -> Result<(), Broken> {
        let Some(upload) = &mut self.written.upload else { return Ok(()) };
        let out = &mut self.written.out;
        match (data, &mut upload.left) {
            (Some(data), _) if data.is_empty() => {}
            (Some(data), Some(left)) => {
                let wrong = || Broken::Caller("it is longer than it said".into());
                *left = left.checked_sub(data.len() as u64).ok_or_else(wrong)?;
                out.put(data, b"");
            }
            (Some(data), None) => out.put_chunk(data),
            (None, Some(0)) => self.written.upload = None,
            (None, Some(_)) => return Err(Broken::Caller("it is shorter than it said".into())),
            (None, None) => {
                out.front.extend_from_slice(b"0\r\n\r\n");
                self.written.upload = None;
            }
        }
        Ok(())
    }

    /// Reads more; the end of the connection is an error here.
    fn fill(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<Result<(), Broken>> {
        let read = ready!(self.line.wire.poll_fill(cx, &mut self.line.held, room));
        let until_close = self.framing == Framing::UntilClose;
        match (read, self.deaf.take().filter(|_| !until_close)) {
            (Ok(0), None) => Poll::Ready(Err(Broken::Closed)),
            (Ok(0), Some(error)) | (Err(error), _) => Poll::Ready(Err(error.into())),
            (Ok(_), deaf) => {
                self.deaf = deaf;
                Poll::Ready(Ok(()))
            }
        }
    }

    /// The next piece as it stands in the answer; `None` at its end.
    fn piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Broken>> {
        loop {
            if !self.line.held.is_empty()
                && let Some(piece) = self.take()?
            {
                return Poll::Ready(Ok(Some(piece)));
            }
            if self.framing == Framing::Over {
                return Poll::Ready(Ok(None));
            }
            match ready!(self.fill(cx, LARGE_ROOM)) {
                Err(Broken::Closed) if self.framing == Framing::UntilClose => self.framing = Framing::Over,
                filled => filled?,
            }
        }
    }

    /// A piece out of what was read, and the framing behind it.
    fn take(&mut self) -> Result<Option<Bytes>, Broken> {
        let held = &mut self.line.held;
        let mut piece = None;
        match &mut self.framing {
            Framing::Over => {}
            Framing::UntilClose => piece = Some(held.split().freeze()),
            Framing::Sized(left) => {
                let step = held.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= step as u64;
                if *left == 0 {
                    self.framing = Framing::Over;
                }
                piece = Some(held.split_to(step).freeze());
            }
            Framing::Chunked(chunks) => {
                while !held.is_empty() {
                    let before = *chunks;
                    match chunks.step(held)? {
                        Step::Framing(step) => held.advance(step),
                        Step::Data(_) if piece.is_some() => {
                            *chunks = before;
                            break;
                        }
                        Step::Data(step) => piece = Some(held.split_to(step).freeze()),
                        Step::Over(step) => {
                            held.advance(step);
                            self.framing = Framing::Over;
                            break;
                        }
                    }
                }
            }
        }
        Ok(piece)
    }
}

#[cfg(test)]
mod tests;
