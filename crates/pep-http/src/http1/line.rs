//! The state of a caller's connection: what was read of it, whose turn it is, and what waits to be written. Its bytes
//! pass the scanner before anybody sees them.

use super::write::{self, Ask, Pieces};
use crate::{
    config::LimitsSection,
    frame::{FrameRefusal, Scanner, Step},
    upstream::{said::SaidHead, send::BoxError},
    wire::{Outbox, Patience, Wire},
};
use bytes::{Buf as _, Bytes, BytesMut};
use countersign_core::Timestamp;
use parking_lot::Mutex;
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};
use tokio::{io::AsyncWrite as _, time::Instant};

/// Room for reading heads, and for reading bodies.
pub(crate) const ROOM: usize = 4 << 10;
const LARGE_ROOM: usize = 64 << 10;

/// A reply up to this size is written in one piece with its head.
const SMALL: usize = 16 << 10;

/// How long a caller may say nothing before a connection that is over is closed, how long it may go on saying what
/// nobody wants any more, and how much of that. Some callers read no answer before they have sent their whole body.
const QUIET: Duration = Duration::from_secs(1);
const LINGERS: Duration = Duration::from_secs(30);
const MOST_LINGERING: usize = 64 << 20;

/// The body of a request may be read by another task than the connection's.
pub(crate) type SharedLine = Arc<Mutex<Line>>;

/// A caller's connection.
#[derive(Debug)]
pub(crate) struct Line {
    wire: Option<Wire>,
    held: BytesMut,
    scanner: Scanner,
    out: Outbox,
    patience: Patience,
    idle: Duration,
    body: Inbound,
    /// Whether another request may follow.
    keeps: bool,
    /// Whether no new request is taken.
    closing: bool,
    /// Whether writing has had to wait.
    stuck: bool,
    /// The connection's task, while somebody else reads.
    watcher: Option<Waker>,
    /// When a connection that is over is closed whatever the caller does, once that is known.
    lingers: Option<Instant>,
    lingered: usize,
    date: write::Date,
}

/// Where the body of the present request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inbound {
    /// Read to its end, or there is none.
    Over,
    /// Still to be read, by whoever has it.
    Open,
    /// The caller waits for leave to send it.
    Expected,
}

/// What came of waiting for a head.
#[derive(Debug)]
pub(crate) enum Heard {
    Head(Bytes),
    Refused(FrameRefusal),
    Gone,
}

impl Line {
    /// `first` was read from the connection already.
    pub(crate) fn shared(wire: Wire, first: BytesMut, limits: &LimitsSection) -> SharedLine {
        Arc::new(Mutex::new(Self {
            wire: Some(wire),
            held: first,
            scanner: Scanner::new(limits.head_size.0),
            out: Outbox::default(),
            patience: Patience::new(limits.request_head.0),
            idle: limits.idle.0,
            body: Inbound::Over,
            keeps: true,
            closing: false,
            stuck: false,
            watcher: None,
            lingers: None,
            lingered: 0,
            date: write::Date::default(),
        }))
    }

    /// Takes no new request.
    pub(crate) fn close(&mut self) {
        self.closing = true;
    }

    /// Gives the caller so long for what comes next.
    pub(crate) fn wait(&mut self, span: Duration) {
        self.patience.give(span);
    }

    /// Reads the next head.
    pub(crate) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Heard> {
        loop {
            if !self.held.is_empty() {
                match self.scanner.next(&self.held) {
                    Ok(Step::Head(length)) => {
                        return Poll::Ready(Heard::Head(self.held.split_to(length).freeze()));
                    }
                    Ok(_) => {}
                    Err(why) => return Poll::Ready(Heard::Refused(why)),
                }
            }
            let resting = self.held.is_empty();
            if self.closing && resting {
                return Poll::Ready(Heard::Gone);
            }
            if resting && self.held.capacity() > LARGE_ROOM / 2 {
                self.held = BytesMut::new();
            }
            match self.poll_fill(cx, ROOM) {
                Poll::Ready(Ok(more)) if more > 0 => {}
                Poll::Ready(_) => return Poll::Ready(Heard::Gone),
                Poll::Pending => return self.patience.poll(cx).map(|()| Heard::Gone),
            }
        }
    }

    /// Begins the body of the head that was just read: its length, where it is known.
    pub(crate) fn begin_body(&mut self, expects: bool) -> Option<u64> {
        let length = self.scanner.body_length();
        self.body = match (length, expects) {
            (Some(0), _) => Inbound::Over,
            (_, true) => Inbound::Expected,
            (_, false) => Inbound::Open,
        };
        length
    }

    /// The next piece of the body; `None` at its end.
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        if self.body == Inbound::Expected {
            self.body = Inbound::Open;
            self.out.front.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        ready!(self.poll_out(cx))?;
        loop {
            let piece = self.take_body()?;
            if piece.is_some() || self.is_read() {
                return Poll::Ready(piece.map(Ok));
            }
            if ready!(self.poll_fill(cx, LARGE_ROOM))? == 0 {
                return Poll::Ready(Some(Err("the connection ended inside it".into())));
            }
        }
    }

    /// A piece out of what was read, and the framing behind it.
    fn take_body(&mut self) -> Result<Option<Bytes>, FrameRefusal> {
        let mut piece = None;
        while !self.is_read() {
            let Some(next) = Some(&self.held).filter(|held| !held.is_empty()) else { break };
            if piece.is_some() && !self.scanner.is_framing() {
                break;
            }
            match self.scanner.next(next)? {
                Step::Data(step) => piece = Some(self.held.split_to(step).freeze()),
                Step::Framing(step) => self.held.advance(step),
                Step::More | Step::Head(_) => break,
            }
            if self.scanner.is_between_requests() {
                self.body = Inbound::Over;
            }
        }
        if self.is_read() {
            self.wake();
        }
        Ok(piece)
    }

    /// Whether the body is read to its end.
    pub(crate) fn is_read(&self) -> bool {
        self.body == Inbound::Over
    }

    /// Has the connection's task look again.
    pub(crate) fn wake(&mut self) {
        if let Some(watcher) = self.watcher.take() {
            watcher.wake();
        }
    }

    /// Ready once the caller has left. What it says meanwhile is kept for its turn.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_read() {
            self.watcher = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if !self.held.is_empty() {
            return Poll::Pending;
        }
        match ready!(self.poll_fill(cx, ROOM)) {
            Ok(more) if more > 0 => Poll::Pending,
            Ok(_) | Err(_) => Poll::Ready(()),
        }
    }

    /// Puts the head of a reply into what waits, and says how its body follows.
    pub(crate) fn open_reply(
        &mut self,
        head: &SaidHead,
        exact: Option<u64>,
        mut ask: Ask,
        now: Timestamp,
    ) -> Pieces {
        ask.keeps &= self.is_read() && !self.closing;
        let pieces = write::head(&mut self.out.front, head, exact, &mut ask, self.date.at(now));
        self.keeps = ask.keeps;
        pieces
    }

    /// Adds to what waits.
    pub(crate) fn say(&mut self, say: impl FnOnce(&mut BytesMut)) {
        say(&mut self.out.front);
    }

    /// Adds a whole body to what waits.
    pub(crate) fn say_whole(&mut self, whole: Bytes) {
        if whole.len() <= SMALL {
            self.out.front.extend_from_slice(&whole);
        } else {
            self.out.put(whole, b"");
        }
    }

    /// Writes a piece of a body behind what waits. Takes it once there is room.
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        piece: &mut Option<Bytes>,
        pieces: Pieces,
    ) -> Poll<io::Result<()>> {
        if let Some(data) = piece.take() {
            match pieces {
                Pieces::Chunked => self.out.put_chunk(data),
                Pieces::None | Pieces::Plain => self.out.put(data, b""),
            }
        }
        self.poll_out(cx)
    }

    /// Writes all that waits. A caller who takes nothing for too long has left.
    pub(crate) fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(wire) = &mut self.wire else { return Poll::Ready(Err(gone())) };
        let before = self.out.left();
        let written = self.out.poll(wire, cx);
        if written.is_pending() {
            if !self.stuck || self.out.left() < before {
                self.patience.give(self.idle);
            }
            self.stuck = true;
            ready!(self.patience.poll(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.stuck = false;
        written
    }

    /// Whether another request may follow.
    pub(crate) fn goes_on(&self) -> bool {
        self.keeps && self.is_read() && !self.closing
    }

    /// The bare connection, and what was read of it and not used.
    pub(crate) fn take(&mut self) -> Option<(Wire, BytesMut)> {
        Some((self.wire.take()?, std::mem::take(&mut self.held)))
    }

    /// Says that nothing more comes, and reads over what is still on its way, so that the last reply is not lost to
    /// it (RFC 9112 section 9.6). Ready once the caller has closed its side too, or had time enough.
    pub(crate) fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(wire) = &mut self.wire else { return Poll::Ready(()) };
        // Once it is shut down, it only says so again.
        if ready!(Pin::new(wire).poll_shutdown(cx)).is_err() {
            return Poll::Ready(());
        }
        let until = *self.lingers.get_or_insert_with(|| {
            self.patience.give(QUIET);
            Instant::now() + LINGERS
        });
        while self.patience.poll(cx).is_pending() && self.lingered < MOST_LINGERING {
            self.held.clear();
            match ready!(self.poll_fill(cx, ROOM)) {
                Ok(more) if more > 0 => self.lingered += more,
                Ok(_) | Err(_) => break,
            }
            // A gateway that stops waits for nobody who goes on and on.
            if !self.closing {
                self.patience.give(QUIET.min(until.saturating_duration_since(Instant::now())));
            }
        }
        Poll::Ready(())
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        match &mut self.wire {
            Some(wire) => wire.poll_fill(cx, &mut self.held, room),
            None => Poll::Ready(Err(gone())),
        }
    }
}

fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
}
