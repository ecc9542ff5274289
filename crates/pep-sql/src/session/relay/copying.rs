//! What a client copies into the database: its pieces go up as they come, and it may leave in the middle of one.
//!
//! Drivers that copy by the extended protocol send a `Sync` behind the `Execute`, and another behind the copy. A server that
//! is copying by then ignores the first. One whose copy failed just before does not, and nobody could tell which of the two
//! it answered. So the first is kept back where a pipeline is nothing but one copy: the server sees one `Sync` in all,
//! the client's second, or the first if no copy began.

use super::{Ends, FLUSH, Passage, Relay, SYNC};
use crate::{
    error::Ended,
    frame::{self, FrameError, HEADER},
    message::Frontend,
    reply::{message, put_text},
    session::line::Inbox,
    understand::Statement,
};
use bytes::BytesMut;
use std::io;

/// What is made up of a message that a client left unfinished.
const MADE_UP: usize = 1 << 20;

/// What a client's copy still has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copying {
    No,
    Data,
    /// The extended protocol wants a `Sync` of its own behind a copy.
    UntilSync,
}

/// What of the client's a server has not been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeptBack {
    Nothing,
    /// The `Sync` behind one copy, while nobody knows whether it will begin.
    Sync,
}

impl Passage {
    /// Keeps back the `Sync` behind one copy into the database.
    pub(in crate::session) fn copies_in(&mut self, statements: &[Statement]) {
        let alone = self.ends == Ends::Ready && self.before == 0 && self.after == 0;
        let [statement] = statements else { return };
        if alone
            && statement.copies_in()
            && let Some(rest) = self.up.strip_suffix(SYNC)
        {
            self.up = [rest, FLUSH].concat().into();
            self.copies_in = true;
        }
    }
}

impl Relay<'_> {
    /// Whether the `Sync` that was kept back is due: no copy has begun, and none will.
    pub(super) fn pays_sync(&mut self) -> bool {
        let due = self.kept_back == KeptBack::Sync && self.steps.is_empty();
        if due {
            self.kept_back = KeptBack::Nothing;
        }
        due
    }

    /// What of the client's bytes belongs to a copy under way, to be sent up.
    pub(super) fn copy(&mut self, buffer: &mut BytesMut, gone: bool) -> Result<BytesMut, Ended> {
        let mut up = BytesMut::new();
        let mut pass = 0;
        while self.copying != Copying::No || self.copy_skip > 0 {
            let rest = buffer.get(pass..).unwrap_or_default();
            if self.copy_skip > 0 {
                let here = self.copy_skip.min(rest.len());
                self.copied(rest.get(..here).unwrap_or_default());
                self.copy_skip -= here;
                pass += here;
                if here == 0 {
                    break;
                }
                continue;
            }
            if self.halt.is_some() && self.copying == Copying::Data {
                // Whatever the client goes on to send belongs to nothing any more.
                up.unsplit(buffer.split_to(pass));
                pass = 0;
                message(&mut up, b'f', |out| put_text(out, "it was to stop"));
                self.copying = if self.extended { Copying::UntilSync } else { Copying::No };
                continue;
            }
            let Some((tag, size)) = frame::head(rest).map_err(Ended::Client)? else { break };
            match Frontend::of(tag) {
                Some(Frontend::CopyData) => {
                    let here = rest.len().min(size);
                    self.copied(rest.get(HEADER..here).unwrap_or_default());
                    self.copy_skip = size - here;
                    pass += here;
                }
                Some(
                    message @ (Frontend::CopyDone | Frontend::CopyFail | Frontend::Sync | Frontend::Flush),
                ) => {
                    if rest.len() < size {
                        break;
                    }
                    if self.copying == Copying::Data && matches!(message, Frontend::Sync | Frontend::Flush) {
                        // Goes no further: a server that copies ignores it, and one that does not would answer it.
                        up.unsplit(buffer.split_to(pass));
                        drop(buffer.split_to(size));
                        pass = 0;
                        continue;
                    }
                    self.synced |= self.copying == Copying::UntilSync && message == Frontend::Sync;
                    pass += size;
                    self.copying = match (message, self.copying) {
                        (Frontend::CopyDone | Frontend::CopyFail, Copying::Data) if self.extended => {
                            Copying::UntilSync
                        }
                        (Frontend::CopyDone | Frontend::CopyFail, Copying::Data)
                        | (Frontend::Sync, Copying::UntilSync) => Copying::No,
                        (_, copying) => copying,
                    };
                }
                _ => return Err(Ended::Client(FrameError::Meaningless)),
            }
        }
        up.unsplit(buffer.split_to(pass));
        if gone { self.left(up) } else { Ok(up) }
    }

    /// What goes up once nobody is left to go on with a copy, so that the server takes back what it copied.
    fn left(&mut self, mut up: BytesMut) -> Result<BytesMut, Ended> {
        // Whoever never said that it should be done, or left most of a message out: a server that loses its connection
        // here undoes it.
        if self.copying == Copying::UntilSync || self.copy_skip > MADE_UP {
            return Err(Ended::ClientGone);
        }
        // It waits for the rest of the message, whatever that holds.
        up.resize(up.len() + std::mem::take(&mut self.copy_skip), 0);
        if self.copying == Copying::Data {
            message(&mut up, b'f', |out| put_text(out, "the client left"));
            if self.extended {
                message(&mut up, b'S', |_| {});
            }
            self.copying = Copying::No;
        }
        Ok(up)
    }

    fn copied(&mut self, data: &[u8]) {
        self.seen.copied += data.len() as u64;
        if let Some(hash) = &mut self.hash {
            hash.update(data);
        }
    }
}

/// Receives from the client: what it copies in large pieces.
pub(super) async fn receive(inbox: &mut Inbox, copying: Copying) -> io::Result<bool> {
    match copying {
        Copying::Data => inbox.fill_fast().await,
        Copying::No | Copying::UntilSync => inbox.fill().await,
    }
}
