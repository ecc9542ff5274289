//! The head of a reply as bytes, with the framing this connection needs. A target's own lines are not touched.

use crate::upstream::said::SaidHead;
use bytes::BytesMut;
use countersign_core::Timestamp;
use http::{StatusCode, header};
use std::time::{Duration, UNIX_EPOCH};

/// What the request means for its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) version_11: bool,
    /// It was a `HEAD`.
    pub(crate) bodiless: bool,
    /// Whether the connection may go on.
    pub(crate) keeps: bool,
}

/// How a body follows its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pieces {
    /// Not at all.
    None,
    /// As it is, to its announced length or the end of the connection.
    Plain,
    Chunked,
}

impl Pieces {
    /// What ends the body.
    pub(crate) fn end(self, out: &mut BytesMut) {
        if self == Self::Chunked {
            out.extend_from_slice(b"0\r\n\r\n");
        }
    }
}

/// The text of a moment, made once for each second.
#[derive(Debug, Default)]
pub(crate) struct Date {
    second: i64,
    text: String,
}

impl Date {
    pub(crate) fn at(&mut self, now: Timestamp) -> &str {
        let second = now.0.div_euclid(1_000_000);
        if self.second != second || self.text.is_empty() {
            let since = Duration::from_secs(u64::try_from(second).unwrap_or_default());
            (self.second, self.text) = (second, httpdate::fmt_http_date(UNIX_EPOCH + since));
        }
        &self.text
    }
}

/// Writes a head; `exact` is how long its body is, where that is known. The connection ends behind a body whose end
/// shows in no other way.
pub(crate) fn head(
    out: &mut BytesMut,
    head: &SaidHead,
    exact: Option<u64>,
    ask: &mut Ask,
    date: &str,
) -> Pieces {
    let (status, has_length, has_date) = match head {
        SaidHead::Target(head) => {
            out.extend_from_slice(&head.lines);
            (head.status, head.has_length, head.has_date)
        }
        SaidHead::Made(parts) => made(out, parts, ask.bodiless),
    };
    let without = ask.bodiless || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let pieces = match exact {
        _ if without => {
            if ask.bodiless && !has_length && exact.is_some_and(|exact| exact > 0) {
                length(out, exact.unwrap_or_default());
            }
            Pieces::None
        }
        Some(exact) => {
            if !has_length {
                length(out, exact);
            }
            Pieces::Plain
        }
        None if ask.version_11 => {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
            Pieces::Chunked
        }
        None => {
            ask.keeps = false;
            Pieces::Plain
        }
    };
    if !has_date {
        line(out, b"date", date.as_bytes());
    }
    match (ask.keeps, ask.version_11) {
        (false, _) => line(out, b"connection", b"close"),
        (true, false) => line(out, b"connection", b"keep-alive"),
        (true, true) => {}
    }
    out.extend_from_slice(b"\r\n");
    pieces
}

/// Writes the head behind which HTTP ends.
pub(crate) fn switching(out: &mut BytesMut, head: &SaidHead) {
    match head {
        SaidHead::Target(head) => out.extend_from_slice(&head.lines),
        SaidHead::Made(parts) => drop(made(out, parts, false)),
    }
    out.extend_from_slice(b"\r\n");
}

/// The status line and the headers of a reply that no target wrote as lines. How long it is, the body knows.
fn made(out: &mut BytesMut, parts: &http::response::Parts, bodiless: bool) -> (StatusCode, bool, bool) {
    let reason = parts.status.canonical_reason().unwrap_or_default();
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(parts.status.as_str().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
    let keeps_length = bodiless || parts.status == StatusCode::NOT_MODIFIED;
    for (name, value) in &parts.headers {
        if *name != header::CONTENT_LENGTH || keeps_length {
            line(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    let has = |name| parts.headers.contains_key(name);
    (parts.status, keeps_length && has(header::CONTENT_LENGTH), has(header::DATE))
}

fn length(out: &mut BytesMut, exact: u64) {
    line(out, b"content-length", exact.to_string().as_bytes());
}

fn line(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
