//! The strict edge: reads the raw bytes of an HTTP/1.1 connection, and lets through only what every reader frames the
//! same way (RFC 9112 sections 2 to 7). It never repairs, and it knows no policy.
//!
//! Most readers forgive what a gateway must not: they drop a `Content-Length` beside a `Transfer-Encoding`, merge equal
//! duplicates, accept bare line feeds and cut fragments off. None of that gets past here.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, Version, header};
use memchr::{memchr, memchr3, memchr3_iter};

/// Header lines in one head, at most.
const MAX_HEADERS: usize = 100;

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

/// What comes next on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The head is not whole yet.
    More,
    /// A whole head of so many bytes.
    Head(usize),
    /// So many bytes of a body.
    Data(usize),
    /// So many bytes that frame a body.
    Framing(usize),
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
            match self.next(rest)? {
                Step::More => break,
                Step::Head(step) | Step::Data(step) | Step::Framing(step) => passed += step,
            }
        }
        Ok(passed)
    }

    /// What these bytes, at least one, begin with.
    pub(crate) fn next(&mut self, bytes: &[u8]) -> Result<Step, FrameRefusal> {
        match self.state {
            State::Head { seen } => match self.head(bytes, seen)? {
                0 => Ok(Step::More),
                step => Ok(Step::Head(step)),
            },
            State::Sized(left) => {
                let step = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                self.state = after_sized(left - step as u64);
                Ok(Step::Data(step))
            }
            State::Chunk(chunk) => {
                let step = self.chunk(chunk, bytes)?;
                Ok(if matches!(chunk, Chunk::Data(_)) { Step::Data(step) } else { Step::Framing(step) })
            }
            State::Tunnel => Ok(Step::Data(bytes.len())),
        }
    }

    /// How long the body of the head that was just read is: `None` when that is not known before its end.
    pub(crate) fn body_length(&self) -> Option<u64> {
        match self.state {
            State::Head { .. } | State::Tunnel => Some(0),
            State::Sized(left) => Some(left),
            State::Chunk(_) => None,
        }
    }

    /// Whether the next byte begins a head.
    pub fn is_between_requests(&self) -> bool {
        self.state == State::Head { seen: 0 }
    }

    /// Whether what comes next frames a body.
    pub(crate) fn is_framing(&self) -> bool {
        matches!(&self.state, State::Chunk(chunk) if !matches!(chunk, Chunk::Data(_)))
    }

    fn head(&mut self, rest: &[u8], seen: usize) -> Result<usize, FrameRefusal> {
        // What can be refused before a head is whole is: nobody waits for an end that may never come.
        if rest.first().is_some_and(|first| !is_token(*first)) {
            return Err(FrameRefusal::RequestLine);
        }
        let readable = rest.get(..self.max_head).unwrap_or(rest);
        match end_of_head(readable, seen)? {
            Some(head) => {
                self.state = read_head(head)?;
                Ok(head.len())
            }
            None if rest.len() <= self.max_head => {
                self.state = State::Head { seen: rest.len() };
                Ok(0)
            }
            None => Err(FrameRefusal::TooLong),
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

/// The head that these bytes begin with, once it is whole; `seen` of them were looked at before. Every line in it ends
/// in CR LF, with neither of these, nor a NUL, anywhere else.
fn end_of_head(bytes: &[u8], seen: usize) -> Result<Option<&[u8]>, FrameRefusal> {
    let from = seen.saturating_sub(1);
    let fresh = bytes.get(from..).unwrap_or_default();
    for at in memchr3_iter(b'\r', b'\n', 0, fresh).map(|at| from + at) {
        let (so_far, rest) = bytes.split_at(at + 1);
        match (so_far, rest) {
            ([.., b'\r', b'\n', b'\r', b'\n'], _) => return Ok(Some(so_far)),
            ([.., b'\r', b'\n'], _) | ([.., b'\r'], [] | [b'\n', ..]) => {}
            _ => return Err(FrameRefusal::LineEnd),
        }
    }
    Ok(None)
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

/// The request in a head that was let through; `None` when its target is no path that can be named.
pub(crate) fn request<B>(head: &Bytes, body: B) -> Option<Request<B>> {
    let mut lines = Lines(Some(head.strip_suffix(b"\r\n\r\n")?));
    let mut words = lines.next()?.ok()?.split(|byte| *byte == b' ');
    let mut request = Request::new(body);
    *request.method_mut() = Method::from_bytes(words.next()?).ok()?;
    *request.uri_mut() = Uri::from_maybe_shared(head.slice_ref(words.next()?)).ok()?;
    *request.version_mut() = if words.next()? == b"HTTP/1.1" { Version::HTTP_11 } else { Version::HTTP_10 };
    for line in lines {
        let (name, value) = name_and_value(line.ok()?)?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(value)).ok()?;
        request.headers_mut().append(HeaderName::from_bytes(name).ok()?, value);
    }
    Some(request)
}

/// Whether the caller wants the connection to go on.
pub(crate) fn keeps<B>(request: &Request<B>) -> bool {
    let values = request.headers().get_all(header::CONNECTION).iter();
    let mut tokens = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    if request.version() == Version::HTTP_11 {
        !tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"close"))
    } else {
        tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"keep-alive"))
    }
}

/// The lines of a head, each ended by CR LF and free of either inside.
struct Lines<'h>(Option<&'h [u8]>);

impl<'h> Iterator for Lines<'h> {
    type Item = Result<&'h [u8], FrameRefusal>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.0.take()?;
        let Some(end) = memchr3(b'\r', b'\n', 0, rest) else { return Some(Ok(rest)) };
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
    let (name, value) = name_and_value(line).ok_or(FrameRefusal::HeaderLine)?;
    // Without an early end: the loop takes many bytes at once.
    let clean = |byte: &u8| *byte == b'\t' || (*byte >= 0x20 && *byte != 0x7f);
    let clean = value.iter().fold(true, |all, byte| all & clean(byte));
    if name.is_empty() || !name.iter().copied().all(is_token) || !clean {
        return Err(FrameRefusal::HeaderLine);
    }
    Ok((name, value))
}

/// What stands before and behind a header line's colon.
fn name_and_value(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = line.split_at(memchr(b':', line)?);
    Some((name, value.get(1..).unwrap_or_default().trim_ascii()))
}

fn number(value: &[u8]) -> Result<u64, FrameRefusal> {
    let digits = !value.is_empty() && value.len() <= 18 && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| digits);
    text.and_then(|text| text.parse().ok()).ok_or(FrameRefusal::ContentLength)
}

/// RFC 9110 `tchar`.
fn is_token(byte: u8) -> bool {
    const TOKENS: u128 = {
        let all = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let (mut tokens, mut rest) = (0, all.as_slice());
        while let Some((token, more)) = rest.split_first() {
            (tokens, rest) = (tokens | 1 << *token, more);
        }
        tokens
    };
    byte.is_ascii() && TOKENS >> byte & 1 == 1
}

#[cfg(test)]
mod tests;
