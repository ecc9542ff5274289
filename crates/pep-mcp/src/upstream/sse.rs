//! Server-sent events (WHATWG HTML, section 9.2.6) as far as MCP uses them: the data of each event, one message.

use bytes::{Buf as _, Bytes, BytesMut};
use memchr::{memchr, memchr2};

/// The longest id that a stream is taken up behind, in bytes.
const LONGEST_ID: usize = 1_024;

/// Puts events together from the pieces a stream comes in.
#[derive(Debug, Default)]
pub(super) struct Events {
    coming: BytesMut,
    /// How much of it was looked through for the end of a line.
    looked: usize,
    data: BytesMut,
    has_data: bool,
    /// A line ended with a carriage return, and a line feed right behind it belongs to it.
    after_return: bool,
    foreign: bool,
    id: Option<Bytes>,
    last_id: Option<Bytes>,
}

impl Events {
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.coming.extend_from_slice(piece);
    }

    /// How much is kept back because an event is not whole yet.
    pub(super) fn kept(&self) -> usize {
        self.coming.len() + self.data.len()
    }

    /// The id that the stream can be taken up behind, if it has given one.
    pub(super) fn last_id(&self) -> Option<&Bytes> {
        self.last_id.as_ref()
    }

    /// The data of the next whole event. Events of other kinds than `message` and those without data are passed over.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.after_return && self.coming.first() == Some(&b'\n') {
                self.coming.advance(1);
            }
            if !self.coming.is_empty() {
                self.after_return = false;
            }
            let fresh = self.coming.get(self.looked..).unwrap_or_default();
            let Some(found) = memchr2(b'\n', b'\r', fresh) else {
                self.looked = self.coming.len();
                return None;
            };
            let end = self.looked + found;
            self.looked = 0;
            let line = self.coming.split_to(end);
            self.after_return = self.coming.first() == Some(&b'\r');
            self.coming.advance(1);
            if let Some(event) = self.line(line) {
                return Some(event);
            }
        }
    }

    fn line(&mut self, mut line: BytesMut) -> Option<Bytes> {
        if line.is_empty() {
            let (data, whole) = (std::mem::take(&mut self.data), self.has_data && !self.foreign);
            (self.has_data, self.foreign) = (false, false);
            self.last_id = self.id.take().or(self.last_id.take());
            return Some(data.freeze()).filter(|data| whole && !data.is_empty());
        }
        let end = memchr(b':', &line).unwrap_or(line.len());
        let name = line.split_to(end);
        if line.first() == Some(&b':') {
            line.advance(1);
        }
        if line.first() == Some(&b' ') {
            line.advance(1);
        }
        match name.as_ref() {
            b"data" if self.has_data => {
                self.data.extend_from_slice(b"\n");
                self.data.extend_from_slice(&line);
            }
            // Most events have one line, which is taken as it is.
            b"data" => (self.data, self.has_data) = (line, true),
            b"id" if !line.contains(&0) && (1..=LONGEST_ID).contains(&line.len()) => {
                self.id = Some(line.freeze());
            }
            b"event" => self.foreign = line.as_ref() != b"message" && !line.is_empty(),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pieces: &[&str]) -> Vec<String> {
        let (mut events, mut found) = (Events::default(), Vec::new());
        for piece in pieces {
            events.push(piece.as_bytes());
            while let Some(event) = events.next() {
                found.push(String::from_utf8(event.to_vec()).unwrap());
            }
        }
        found
    }

    #[test]
    fn events_are_the_same_however_the_stream_is_cut() {
        let stream = ": hello\r\nid: 1\ndata:\n\nevent: message\ndata: {\"a\":1}\r\n\r\ndata: x\rdata:  y\r\r\nevent: other\ndata: z\n\ndata: end\n\n";
        let want = ["{\"a\":1}", "x\n y", "end"];
        assert_eq!(all(&[stream]), want);
        for at in 1..stream.len() {
            let (left, right) = stream.split_at(at);
            assert_eq!(all(&[left, right]), want, "cut at {at}");
        }
        assert_eq!(all(&["data: unfinished\n"]), [""; 0]);
    }

    #[test]
    fn an_id_counts_once_its_event_is_whole() {
        let mut events = Events::default();
        events.push(b"id: 7\ndata: {}\n\nid: 8\ndata: {}\n");
        while events.next().is_some() {}
        assert_eq!(events.last_id().map(Bytes::as_ref), Some(&b"7"[..]));
        events.push(
            format!("\nid:\ndata: {{}}\n\nid: {}\ndata: {{}}\n\n", "9".repeat(LONGEST_ID + 1)).as_bytes(),
        );
        while events.next().is_some() {}
        assert_eq!(events.last_id().map(Bytes::as_ref), Some(&b"8"[..]), "none that is empty or too long");
    }
}
