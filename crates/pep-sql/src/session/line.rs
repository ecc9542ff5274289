//! The two lines of a session: what was received and not read yet, and the way out. Idle lines keep next to no memory.

use crate::{
    frame::{self, Frame, FrameError},
    upstream::Stream,
};
use bytes::BytesMut;
use std::io;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};

/// Read at once, while much is on its way.
const CHUNK: usize = 64 << 10;
/// Kept by a line on which nothing is on its way.
const IDLE: usize = 4 << 10;

/// One side of a session.
pub(super) struct Line {
    pub(super) inbox: Inbox,
    pub(super) write: WriteHalf<Box<dyn Stream>>,
}

/// What was received and not read yet.
pub(super) struct Inbox {
    half: ReadHalf<Box<dyn Stream>>,
    pub(super) buffer: BytesMut,
    /// All the room there was has been used: there is more to come.
    full: bool,
}

impl Line {
    pub(super) fn new(stream: Box<dyn Stream>, buffer: BytesMut) -> Self {
        let (half, write) = tokio::io::split(stream);
        Self { inbox: Inbox { half, buffer, full: false }, write }
    }

    /// Sends all of it.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write.write_all(bytes).await?;
        self.write.flush().await
    }
}

impl Inbox {
    /// Receives some more; `false` when the other side has closed. Nothing is lost when it is let go.
    pub(super) async fn fill(&mut self) -> io::Result<bool> {
        if self.buffer.capacity() - self.buffer.len() < IDLE {
            // What needs more than an idle line has is worth a large piece.
            self.buffer.reserve(if self.buffer.is_empty() { IDLE } else { CHUNK });
        }
        Ok(self.half.read_buf(&mut self.buffer).await? > 0)
    }

    /// Receives in large pieces, as while results or copies arrive; the first piece is small, since most are.
    pub(super) async fn fill_fast(&mut self) -> io::Result<bool> {
        let (least, piece) = if self.full { (CHUNK / 4, CHUNK) } else { (IDLE, IDLE) };
        if self.buffer.capacity() - self.buffer.len() < least {
            self.buffer.reserve(piece);
        }
        let room = self.buffer.capacity() - self.buffer.len();
        let got = self.half.read_buf(&mut self.buffer).await?;
        self.full = got == room || (self.full && got > IDLE);
        Ok(got > 0)
    }

    pub(super) fn take(&mut self, limit: usize) -> Result<Option<Frame>, FrameError> {
        frame::take(&mut self.buffer, limit)
    }

    /// Gives back the memory of the last exchange.
    pub(super) fn rest(&mut self) {
        self.full = false;
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }
}
