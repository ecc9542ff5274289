//! The head of a target's answer: strict where its framing hangs on it, and passed on as it was written elsewhere.

use super::chunks::Chunks;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::mem::MaybeUninit;

/// The longest head that is read, and its most lines.
pub(crate) const MAX_HEAD: usize = 64 << 10;
const MAX_HEADERS: usize = 200;

/// Why an answer is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AnswerRefusal {
    #[error("its answer is not HTTP: {0}")]
    NotHttp(httparse::Error),
    #[error("the head of its answer is longer than what is read")]
    TooLong,
    #[error("its answer says in different ways how long it is")]
    Lengths,
    #[error("its answer has a `Transfer-Encoding` other than `chunked`")]
    TransferEncoding,
}

/// How the end of an answer is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is nothing (more).
    Over,
    Sized(u64),
    Chunked(Chunks),
    UntilClose,
}

/// A head on its way to the caller: the status line and the header lines that are not about the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AnswerHead {
    pub(crate) status: StatusCode,
    /// Each line ends in CR LF; the empty one that ends a head is missing.
    pub(crate) lines: Vec<u8>,
    pub(crate) has_length: bool,
    pub(crate) has_date: bool,
    /// What the target switches to.
    pub(crate) upgrade: Option<Vec<u8>>,
}

/// A head that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Headed {
    pub(crate) head: AnswerHead,
    pub(crate) framing: Framing,
    /// Whether the connection may be used again.
    pub(crate) keeps: bool,
    /// How many bytes it was.
    pub(crate) took: usize,
}

impl AnswerHead {
    /// The status and the headers, for whoever needs them apart.
    pub(crate) fn parts(&self) -> (StatusCode, HeaderMap) {
        let mut headers = HeaderMap::new();
        for line in self.lines.split(|byte| *byte == b'\n').skip(1) {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let (name, value) = line.split_at(colon);
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                headers.append(name, value);
            }
        }
        (self.status, headers)
    }
}

/// Reads a head off the beginning of these bytes; `None` while there is no whole one. `bodiless` answers a `HEAD`.
pub(crate) fn read(bytes: &[u8], bodiless: bool) -> Result<Option<Headed>, AnswerRefusal> {
    let mut room = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut read = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut read, bytes, &mut room)
        .map_err(AnswerRefusal::NotHttp)?;
    let httparse::Status::Complete(took) = parsed else {
        return if bytes.len() > MAX_HEAD { Err(AnswerRefusal::TooLong) } else { Ok(None) };
    };
    if took > MAX_HEAD {
        return Err(AnswerRefusal::TooLong);
    }
    let not_http = AnswerRefusal::NotHttp(httparse::Error::Status);
    let status = StatusCode::from_u16(read.code.unwrap_or_default()).map_err(|_| not_http)?;
    let hops = Hops::of(read.headers)?;
    let version_11 = read.version == Some(1);
    let switches = status == StatusCode::SWITCHING_PROTOCOLS;
    let without = bodiless || status.is_informational() || matches!(status.as_u16(), 204 | 304);
    let framing = match (hops.chunked, hops.length) {
        (true, Some(_)) => return Err(AnswerRefusal::Lengths),
        (true, None) if !version_11 => return Err(AnswerRefusal::TransferEncoding),
        _ if without => Framing::Over,
        (true, None) => Framing::Chunked(Chunks::default()),
        (false, Some(0)) => Framing::Over,
        (false, Some(length)) => Framing::Sized(length),
        (false, None) => Framing::UntilClose,
    };
    let keeps = !switches
        && framing != Framing::UntilClose
        && if version_11 { !hops.names("close") } else { hops.names("keep-alive") };
    let mut head = AnswerHead {
        status,
        lines: Vec::with_capacity(took + 128),
        has_length: false,
        has_date: false,
        upgrade: hops.upgrade.filter(|_| switches).map(<[u8]>::to_vec),
    };
    head.lines.extend_from_slice(b"HTTP/1.1 ");
    head.lines.extend_from_slice(status.as_str().as_bytes());
    head.lines.push(b' ');
    head.lines.extend_from_slice(read.reason.unwrap_or_default().as_bytes());
    head.lines.extend_from_slice(b"\r\n");
    for header in read.headers.iter() {
        let length = header.name.eq_ignore_ascii_case("content-length");
        // Nothing follows a 204, whatever it says.
        let moot = length && status == StatusCode::NO_CONTENT;
        if moot || is_hop(header.name) || hops.names(header.name) {
            continue;
        }
        head.has_length |= length;
        head.has_date |= header.name.eq_ignore_ascii_case("date");
        head.lines.extend_from_slice(header.name.as_bytes());
        head.lines.extend_from_slice(b": ");
        head.lines.extend_from_slice(header.value);
        head.lines.extend_from_slice(b"\r\n");
    }
    Ok(Some(Headed { head, framing, keeps, took }))
}

/// What the header lines say about the connection and the framing.
struct Hops<'h> {
    length: Option<u64>,
    chunked: bool,
    upgrade: Option<&'h [u8]>,
    /// Every word of `Connection`.
    connection: Vec<&'h [u8]>,
}

impl<'h> Hops<'h> {
    fn of(headers: &[httparse::Header<'h>]) -> Result<Self, AnswerRefusal> {
        let mut hops = Self { length: None, chunked: false, upgrade: None, connection: Vec::new() };
        for header in headers {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            match header.name.len() {
                14 if is("content-length") => match hops.length {
                    Some(_) => return Err(AnswerRefusal::Lengths),
                    None => hops.length = Some(number(header.value)?),
                },
                17 if is("transfer-encoding") => {
                    if hops.chunked || !header.value.eq_ignore_ascii_case(b"chunked") {
                        return Err(AnswerRefusal::TransferEncoding);
                    }
                    hops.chunked = true;
                }
                10 if is("connection") => {
                    let tokens = header.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                    hops.connection.extend(tokens.filter(|token| !token.is_empty()));
                }
                7 if is("upgrade") => hops.upgrade = Some(header.value),
                _ => {}
            }
        }
        Ok(hops)
    }

    /// Whether `Connection` names this.
    fn names(&self, name: &str) -> bool {
        self.connection.iter().any(|token| token.eq_ignore_ascii_case(name.as_bytes()))
    }
}

fn is_hop(name: &str) -> bool {
    let hop = match name.len() {
        2 => "te",
        7 => return name.eq_ignore_ascii_case("trailer") || name.eq_ignore_ascii_case("upgrade"),
        10 => return name.eq_ignore_ascii_case("connection") || name.eq_ignore_ascii_case("keep-alive"),
        16 => "proxy-connection",
        17 => "transfer-encoding",
        _ => return false,
    };
    name.eq_ignore_ascii_case(hop)
}

fn number(value: &[u8]) -> Result<u64, AnswerRefusal> {
    let digits = !value.is_empty() && value.len() <= 18 && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| digits);
    text.and_then(|text| text.parse().ok()).ok_or(AnswerRefusal::Lengths)
}

#[cfg(test)]
mod tests;
