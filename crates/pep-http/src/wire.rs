//! One stream of bytes to a caller or to a target, plain or in TLS, what waits to be written to it, and a deadline
//! that is cheap to move. Nothing here knows HTTP.

use bytes::{Buf as _, Bytes, BytesMut};
use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep},
};
use tokio_rustls::TlsStream;

/// A connection.
#[derive(Debug)]
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    /// Reads what there is behind what `held` has, with this much room for it: how much it was, 0 at the end.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        held: &mut BytesMut,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        if held.capacity() - held.len() < room / 2 {
            held.reserve(room);
        }
        tokio_util::io::poll_read_buf(Pin::new(self), cx, held)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }
}

/// What waits to be written: a front made here, data as it came, and the end of its framing.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) front: BytesMut,
    data: Bytes,
    back: &'static [u8],
    begun: bool,
    unflushed: bool,
}

impl Outbox {
    /// Only a front.
    pub(crate) fn of(front: BytesMut) -> Self {
        Self { front, ..Self::default() }
    }

    /// Adds data behind the front. There must be none yet.
    pub(crate) fn put(&mut self, data: Bytes, back: &'static [u8]) {
        (self.data, self.back) = (data, back);
    }

    /// Adds data as one chunk of a chunked body.
    pub(crate) fn put_chunk(&mut self, data: Bytes) {
        self.front.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
        self.put(data, b"\r\n");
    }

    /// Whether a byte of it may have left.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.front.is_empty() && self.data.is_empty() && self.back.is_empty()
    }

    /// How much waits.
    pub(crate) fn left(&self) -> usize {
        self.front.len() + self.data.len() + self.back.len()
    }

    /// Writes all of it.
    pub(crate) fn poll(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            // What is handed to TLS may leave in part even when that fails.
            self.begun |= matches!(wire, Wire::Tls(_));
            let written = if self.data.is_empty() && self.back.is_empty() {
                ready!(Pin::new(&mut *wire).poll_write(cx, &self.front))?
            } else {
                let slices = [IoSlice::new(&self.front), IoSlice::new(&self.data), IoSlice::new(self.back)];
                let filled = usize::from(self.front.is_empty());
                let slices = slices.get(filled..).unwrap_or_default();
                ready!(Pin::new(&mut *wire).poll_write_vectored(cx, slices))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            (self.begun, self.unflushed) = (true, true);
            self.advance(written);
        }
        if self.unflushed {
            ready!(Pin::new(wire).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, written: usize) {
        let front = written.min(self.front.len());
        self.front.advance(front);
        let data = (written - front).min(self.data.len());
        self.data.advance(data);
        self.back = self.back.get(written - front - data..).unwrap_or_default();
    }
}

/// A deadline that is moved with every step and seldom reached: its timer is set again only when it rings.
#[derive(Debug)]
pub(crate) struct Patience {
    until: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Patience {
    pub(crate) fn new(span: Duration) -> Self {
        let until = Instant::now() + span;
        Self { until, timer: Box::pin(tokio::time::sleep_until(until)) }
    }

    /// From now on, so long.
    pub(crate) fn give(&mut self, span: Duration) {
        self.until = Instant::now() + span;
        if self.until < self.timer.deadline() {
            self.timer.as_mut().reset(self.until);
        }
    }

    /// Ready once it is over.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            if self.timer.deadline() >= self.until {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(self.until);
        }
    }
}
