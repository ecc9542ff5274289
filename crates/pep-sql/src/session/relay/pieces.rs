//! Bytes on their way, in the pieces they come in.

use crate::{frame, upstream::Stream};
use aws_lc_rs::digest;
use bytes::{Buf, Bytes, BytesMut};
use countersign_core::Digest;
use std::io;
use tokio::{
    io::{AsyncWriteExt as _, WriteHalf},
    time::Interval,
};

/// Resolves with each tick, where there is a clock.
pub(super) async fn passes(clock: &mut Option<Interval>) {
    match clock {
        Some(clock) => drop(clock.tick().await),
        None => std::future::pending().await,
    }
}

/// Whole rows, or pieces of a copy, one behind the other.
pub(super) struct Run {
    pub(super) rows: u64,
    pub(super) bytes: usize,
}

/// How much of what was received is rows or pieces of a copy: nothing is looked at but where each begins and ends.
pub(super) fn run(received: &[u8]) -> Run {
    let mut run = Run { rows: 0, bytes: 0 };
    loop {
        let rest = received.get(run.bytes..).unwrap_or_default();
        match frame::head(rest) {
            Ok(Some((tag @ (b'D' | b'd'), size))) if size <= rest.len() => {
                run.rows += u64::from(tag == b'D');
                run.bytes += size;
            }
            _ => return run,
        }
    }
}

/// Writes all and flushes it. Nothing is lost when it is let go: what was written is taken out of the bytes.
pub(super) async fn push<B: Buf>(write: &mut WriteHalf<Box<dyn Stream>>, bytes: &mut B) -> io::Result<()> {
    while bytes.has_remaining() {
        write.write_buf(bytes).await?;
    }
    write.flush().await
}

pub(super) fn finished(hash: digest::Context) -> Digest {
    let mut out = [0; 32];
    for (place, byte) in out.iter_mut().zip(hash.finish().as_ref()) {
        *place = *byte;
    }
    Digest(out)
}

/// One behind the other.
pub(super) fn behind(first: Bytes, second: Bytes) -> Bytes {
    if first.is_empty() { second } else { [first, second].concat().into() }
}

/// Moves the first bytes of the buffer behind what is on its way to the client.
pub(super) fn take_over(buffer: &mut BytesMut, count: usize, out: &mut BytesMut) {
    if count == 0 {
        return;
    }
    let part = buffer.split_to(count);
    if out.is_empty() { *out = part } else { out.extend_from_slice(&part) }
}
