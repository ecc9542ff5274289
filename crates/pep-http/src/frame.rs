//! The strict edge in front of the HTTP/1.1 parser: reads the raw bytes of a connection, and lets through only
//! what every reader frames the same way (RFC 9112 sections 2 to 7). It never repairs, and it knows no policy.
//!
//! hyper forgives what a gateway must not: it drops a `Content-Length` beside a `Transfer-Encoding`, merges equal
//! duplicates, accepts bare line feeds and cuts fragments off. None of that gets past here.

use hyper::rt::{Read, ReadBufCursor, Write};
use parking_lot::Mutex;
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

/// Header lines in one head, at most.
const MAX_HEADERS: usize = 100;

/// The method put in the place of a head that was refused. A client that sends it is refused just the same.
pub(crate) const REFUSED_METHOD: &str = "COUNTERSIGN-REFUSED-HEAD";

/// Why bytes on a connection are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameRefusal {
    #[error("the request's head is longer than what is read")]
    TooLong,
    #[error("the request's head has too many lines")]
    TooMany,
    #[error("a line ends in something else than CR LF")]
    LineEnd,
    #[error("the request line is not a method, a path and `HTTP/1.1`")]
    RequestLine,
    #[error("the request target is not a plain path")]
    Target,
    #[error("`CONNECT` and `TRACE` are not offered")]
    Method,
    #[error("a header line is not a name, a colon and a value")]
    HeaderLine,
    #[error("a header is folded over several lines")]
    Folded,
    #[error("`Content-Length` stands there more than once, or is not a number")]
    ContentLength,
    #[error("`Transfer-Encoding` is something else than one `chunked`")]
    TransferEncoding,
    #[error("both `Content-Length` and `Transfer-Encoding` say how long the body is")]
    TwoLengths,
    #[error("`Host` is missing, or stands there more than once")]
    Host,
    #[error("trailers are not accepted")]
    Trailer,
    #[error("the chunked body is not framed exactly")]
    Chunk,
}

/// Follows one connection's bytes from head to body to the next head.
#[derive(Debug)]
pub struct Scanner {
    state: State,
    max_head: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes of the head were looked at for its end.
    Head {
        seen: usize,
    },
    Sized(u64),
    Chunk(Chunk),
    /// An upgrade was asked for: nothing after its head is HTTP.
    Tunnel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunk {
    Size { digits: u8, size: u64 },
    SizeLf(u64),
    Data(u64),
    DataCr,
    DataLf,
    LastCr,
    LastLf,
}

impl Scanner {
    pub fn new(max_head: usize) -> Self {
        Self { state: State::Head { seen: 0 }, max_head }
    }

    /// How many of these bytes may pass. The bytes that may not are given again with what follows them.
    pub fn vet(&mut self, bytes: &[u8]) -> Result<usize, FrameRefusal> {
        let mut passed = 0;
        while let Some(rest) = bytes.get(passed..).filter(|rest| !rest.is_empty()) {
            let step = match self.state {
                State::Head { seen } => self.head(rest, seen)?,
                State::Sized(left) => {
                    let step = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    self.state = after_sized(left - step as u64);
                    step
                }
                State::Chunk(chunk) => self.chunk(chunk, rest)?,
                State::Tunnel => rest.len(),
            };
            if step == 0 {
                break;
            }
            passed += step;
        }
        Ok(passed)
    }

    /// Whether the next byte begins a head.
    pub fn is_between_requests(&self) -> bool {
        self.state == State::Head { seen: 0 }
    }

    fn head(&mut self, rest: &[u8], seen: usize) -> Result<usize, FrameRefusal> {
        let from = seen.saturating_sub(3);
        let tail = rest.get(from..).unwrap_or_default();
        let end = tail.windows(4).position(|four| four == b"\r\n\r\n").map(|at| from + at + 4);
        match end {
            Some(end) if end <= self.max_head => {
                let head = rest.get(..end).unwrap_or_default();
                early(head, seen)?;
                self.state = read_head(head)?;
                Ok(end)
            }
            None if rest.len() <= self.max_head => {
                early(rest, seen)?;
                self.state = State::Head { seen: rest.len() };
                Ok(0)
            }
            _ => Err(FrameRefusal::TooLong),
        }
    }

    fn chunk(&mut self, chunk: Chunk, rest: &[u8]) -> Result<usize, FrameRefusal> {
        let first = rest.first().copied().unwrap_or_default();
        let (next, step) = match (chunk, first) {
            (Chunk::Data(left), _) => {
                let step = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let left = left - step as u64;
                (if left == 0 { Chunk::DataCr } else { Chunk::Data(left) }, step)
            }
            (Chunk::Size { digits, size }, b'\r') if digits > 0 => (Chunk::SizeLf(size), 1),
            (Chunk::Size { digits, size }, digit) if digits < 15 => {
                let value = char::from(digit).to_digit(16).ok_or(FrameRefusal::Chunk)?;
                (Chunk::Size { digits: digits + 1, size: size << 4 | u64::from(value) }, 1)
            }
            (Chunk::SizeLf(0), b'\n') => (Chunk::LastCr, 1),
            (Chunk::SizeLf(size), b'\n') => (Chunk::Data(size), 1),
            (Chunk::DataCr, b'\r') => (Chunk::DataLf, 1),
            (Chunk::DataLf, b'\n') => (Chunk::Size { digits: 0, size: 0 }, 1),
            (Chunk::LastCr, b'\r') => (Chunk::LastLf, 1),
            (Chunk::LastLf, b'\n') => {
                self.state = State::Head { seen: 0 };
                return Ok(1);
            }
            (Chunk::LastCr, _) => return Err(FrameRefusal::Trailer),
            _ => return Err(FrameRefusal::Chunk),
        };
        self.state = State::Chunk(next);
        Ok(step)
    }
}

fn after_sized(left: u64) -> State {
    if left == 0 { State::Head { seen: 0 } } else { State::Sized(left) }
}

/// What can be refused before a head is whole, so that nobody waits for an end that may never come.
fn early(part: &[u8], seen: usize) -> Result<(), FrameRefusal> {
    if part.first().is_some_and(|first| !is_token(*first)) {
        return Err(FrameRefusal::RequestLine);
    }
    let fresh = part.get(seen.saturating_sub(1)..).unwrap_or_default();
    let torn = |pair: &[u8]| {
        matches!(pair, [b'\r', after] if *after != b'\n')
            || matches!(pair, [before, b'\n'] if *before != b'\r')
    };
    if fresh.contains(&0) || fresh.windows(2).any(torn) {
        return Err(FrameRefusal::LineEnd);
    }
    Ok(())
}

fn read_head(head: &[u8]) -> Result<State, FrameRefusal> {
    let head = head.strip_suffix(b"\r\n\r\n").ok_or(FrameRefusal::LineEnd)?;
    let mut lines = Lines(Some(head));
    let version_11 = request_line(lines.next().ok_or(FrameRefusal::RequestLine)??)?;
    let (mut length, mut chunked, mut hosts, mut upgrade) = (None, false, 0, false);
    for (count, line) in lines.enumerate() {
        if count >= MAX_HEADERS {
            return Err(FrameRefusal::TooMany);
        }
        let (name, value) = header_line(line?)?;
        if name.eq_ignore_ascii_case(b"content-length") {
            if length.replace(number(value)?).is_some() {
                return Err(FrameRefusal::ContentLength);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if chunked || !value.eq_ignore_ascii_case(b"chunked") || !version_11 {
                return Err(FrameRefusal::TransferEncoding);
            }
            chunked = true;
        } else if name.eq_ignore_ascii_case(b"host") {
            hosts += 1;
        } else if name.eq_ignore_ascii_case(b"trailer") {
            return Err(FrameRefusal::Trailer);
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            upgrade = true;
        }
    }
    if hosts != 1 {
        return Err(FrameRefusal::Host);
    }
    match (length, chunked) {
        (Some(_), true) => Err(FrameRefusal::TwoLengths),
        _ if upgrade => Ok(State::Tunnel),
        (None, true) => Ok(State::Chunk(Chunk::Size { digits: 0, size: 0 })),
        (length, false) => Ok(after_sized(length.unwrap_or(0))),
    }
}

/// The lines of a head, each ended by CR LF and free of either inside.
struct Lines<'h>(Option<&'h [u8]>);

impl<'h> Iterator for Lines<'h> {
    type Item = Result<&'h [u8], FrameRefusal>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.0.take()?;
        let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n' | 0));
        let Some(end) = end else { return Some(Ok(rest)) };
        let (line, tail) = rest.split_at(end);
        match tail.strip_prefix(b"\r\n") {
            Some(next) => {
                self.0 = Some(next);
                Some(Ok(line))
            }
            None => Some(Err(FrameRefusal::LineEnd)),
        }
    }
}

fn request_line(line: &[u8]) -> Result<bool, FrameRefusal> {
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(FrameRefusal::RequestLine);
    };
    let version_11 = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        _ => return Err(FrameRefusal::RequestLine),
    };
    if method.is_empty() || !method.iter().copied().all(is_token) {
        return Err(FrameRefusal::RequestLine);
    }
    if method.eq_ignore_ascii_case(b"CONNECT") || method.eq_ignore_ascii_case(b"TRACE") {
        return Err(FrameRefusal::Method);
    }
    let plain = |byte: &u8| (0x21..=0x7e).contains(byte) && *byte != b'#' && *byte != b'\\';
    if target.first() != Some(&b'/') || !target.iter().all(plain) {
        return Err(FrameRefusal::Target);
    }
    Ok(version_11)
}

fn header_line(line: &[u8]) -> Result<(&[u8], &[u8]), FrameRefusal> {
    if line.first().is_some_and(|first| matches!(first, b' ' | b'\t')) {
        return Err(FrameRefusal::Folded);
    }
    let colon = line.iter().position(|byte| *byte == b':').ok_or(FrameRefusal::HeaderLine)?;
    let (name, value) = line.split_at(colon);
    let value = value.get(1..).unwrap_or_default().trim_ascii();
    let clean = value.iter().all(|byte| *byte == b'\t' || (*byte >= 0x20 && *byte != 0x7f));
    if name.is_empty() || !name.iter().copied().all(is_token) || !clean {
        return Err(FrameRefusal::HeaderLine);
    }
    Ok((name, value))
}

fn number(value: &[u8]) -> Result<u64, FrameRefusal> {
    let digits = !value.is_empty() && value.len() <= 18 && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| digits);
    text.and_then(|text| text.parse().ok()).ok_or(FrameRefusal::ContentLength)
}

/// RFC 9110 `tchar`.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What the edge of a connection has to tell the session behind it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings(Arc<Mutex<Option<FrameRefusal>>>);

impl Findings {
    pub(crate) fn refusal(&self) -> Option<FrameRefusal> {
        *self.0.lock()
    }
}

/// A connection whose incoming bytes pass the [`Scanner`] first.
#[derive(Debug)]
pub(crate) struct Edge<T> {
    inner: T,
    scanner: Scanner,
    findings: Findings,
    held: Vec<u8>,
    /// How much of `held` may be read.
    vetted: usize,
    taken: usize,
    over: Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    No,
    /// A refused head: what stands in for it is handed over, then nothing more comes.
    Refused,
}

impl<T> Edge<T> {
    /// `first` was read from the connection already.
    pub(crate) fn new(inner: T, max_head: usize, first: &[u8]) -> (Self, Findings) {
        let findings = Findings::default();
        let mut edge = Self {
            inner,
            scanner: Scanner::new(max_head),
            findings: findings.clone(),
            held: Vec::with_capacity(first.len().max(4096)),
            vetted: 0,
            taken: 0,
            over: Over::No,
        };
        edge.held.extend_from_slice(first);
        (edge, findings)
    }

    /// A connection that speaks HTTP/2, whose framing has one reading.
    pub(crate) fn passing(inner: T, first: &[u8]) -> Self {
        let (mut edge, _) = Self::new(inner, usize::MAX, first);
        edge.scanner.state = State::Tunnel;
        edge.vetted = first.len();
        edge
    }

    fn vet(&mut self) -> io::Result<()> {
        let fresh = self.held.get(self.vetted..).unwrap_or_default();
        match self.scanner.vet(fresh) {
            Ok(more) => self.vetted += more,
            Err(refusal) => {
                let in_head = matches!(self.scanner.state, State::Head { .. });
                *self.findings.0.lock() = Some(refusal);
                if !in_head {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, refusal));
                }
                self.held.truncate(self.vetted);
                self.held.extend_from_slice(REFUSED_METHOD.as_bytes());
                self.held.extend_from_slice(b" / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n");
                self.vetted = self.held.len();
                self.over = Over::Refused;
            }
        }
        Ok(())
    }

    fn hand_over(&mut self, out: &mut ReadBufCursor<'_>) -> bool {
        let ready = self.held.get(self.taken..self.vetted).unwrap_or_default();
        let step = ready.len().min(out.remaining());
        out.put_slice(ready.get(..step).unwrap_or_default());
        self.taken += step;
        if self.taken == self.vetted {
            self.held.drain(..self.vetted);
            (self.taken, self.vetted) = (0, 0);
        }
        step > 0
    }
}

impl<T: tokio::io::AsyncRead + Unpin> Read for Edge<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut out: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let edge = self.get_mut();
        loop {
            if edge.hand_over(&mut out) {
                return Poll::Ready(Ok(()));
            }
            if edge.over == Over::Refused {
                return Poll::Pending;
            }
            let before = edge.held.len();
            if before > 0 && edge.scanner.is_between_requests() {
                edge.vet()?;
                if edge.vetted > 0 {
                    continue;
                }
            }
            let mut chunk = [0_u8; 8192];
            let mut buffer = tokio::io::ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut edge.inner).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            edge.held.extend_from_slice(buffer.filled());
            edge.vet()?;
        }
    }
}

impl<T: tokio::io::AsyncWrite + Unpin> Write for Edge<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, slices)
    }
}

#[cfg(test)]
mod tests;
