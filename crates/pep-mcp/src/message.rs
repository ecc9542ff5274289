//! A message on its way to an agent, in pieces: what a server wrote in it is shared with the bytes it came in, not copied.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use memchr::memchr2;
use serde_json::value::RawValue;
use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

/// A JSON value in the bytes it was written in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Raw(Bytes);

impl Raw {
    /// A value within a message.
    pub(crate) fn within(message: &Bytes, raw: &RawValue) -> Self {
        Self(message.slice_ref(raw.get().as_bytes()))
    }

    pub(crate) fn text(&self) -> &str {
        // Everything it is made of is text.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl From<String> for Raw {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

/// A message: what the gateway writes around the words of a server's, if there are any in it.
#[derive(Debug)]
pub(crate) struct Message {
    before: String,
    raw: Bytes,
    after: &'static str,
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self { before: text, raw: Bytes::new(), after: "" }
    }
}

impl Message {
    pub(crate) fn around(before: String, raw: &Raw, after: &'static str) -> Self {
        Self { before, raw: raw.0.clone(), after }
    }

    pub(crate) fn into_text(self) -> String {
        let mut out = self.before;
        out.push_str(std::str::from_utf8(&self.raw).unwrap_or_default());
        out.push_str(self.after);
        out
    }

    pub(crate) fn into_pieces(self) -> VecDeque<Bytes> {
        let pieces = [self.before.into(), self.raw, Bytes::from_static(self.after.as_bytes())];
        pieces.into_iter().filter(|piece| !piece.is_empty()).collect()
    }

    /// The same as one event of a stream.
    pub(crate) fn into_event(self) -> VecDeque<Bytes> {
        let breaks = |bytes: &[u8]| memchr2(b'\n', b'\r', bytes).is_some();
        if breaks(self.before.as_bytes()) || breaks(&self.raw) {
            return [event(self.into_text().as_bytes())].into();
        }
        let mut pieces = VecDeque::from([Bytes::from_static(b"event: message\ndata: ")]);
        pieces.extend(self.into_pieces());
        pieces.push_back(Bytes::from_static(b"\n\n"));
        pieces
    }
}

/// An event with this message. Line ends between its tokens begin a new line of data each.
pub(crate) fn event(message: &[u8]) -> Bytes {
    let mut out = b"event: message\n".to_vec();
    for line in message.split(|byte| matches!(byte, b'\n' | b'\r')) {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.push(b'\n');
    out.into()
}

pub(crate) fn comment(text: &str) -> Bytes {
    format!(": {text}\n\n").into()
}

/// A body of these pieces, whose length is known.
#[derive(Debug)]
pub(crate) struct Pieces(pub(crate) VecDeque<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|piece| piece.len() as u64).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_over_several_lines_stays_one_event() {
        assert_eq!(event(b"{\n\"a\":1}"), "event: message\ndata: {\ndata: \"a\":1}\n\n");
    }

    #[test]
    fn pieces_are_the_message_and_its_event_whatever_lines_it_has() {
        for raw in ["{\"a\":1}", "{\n\"a\":1}", ""] {
            let message = || Message::around("{\"id\":1,\"result\":".into(), &Raw::from(raw.to_owned()), "}");
            let whole = message().into_text();
            assert_eq!(whole, format!("{{\"id\":1,\"result\":{raw}}}"));
            assert_eq!(message().into_pieces().into_iter().collect::<Vec<_>>().concat(), whole.as_bytes());
            assert_eq!(
                message().into_event().into_iter().collect::<Vec<_>>().concat(),
                event(whole.as_bytes())
            );
        }
    }
}
