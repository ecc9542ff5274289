//! Which headers go upstream, and the exact form of everything but the body that the digest is taken over. What is
//! not in that form never reaches a target, the configured credential and the framing excepted.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{self, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, UPGRADE},
};
use std::collections::{BTreeSet, HashSet};

/// What every form begins with.
const MAGIC: &[u8] = b"countersign-http/1\n";

/// Never sent on: about this connection, about who calls, or ours. `-*` ends a prefix. Names are compared with `_`
/// taken for `-`, as some targets do.
const STRIPPED: [&str; 45] = [
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "proxy-*",
    "expect",
    "host",
    "content-length",
    "authorization",
    "cookie",
    "cookie2",
    "prefer",
    "countersign-*",
    "forwarded",
    "x-forwarded-*",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-original-forwarded-for",
    "x-originating-ip",
    "x-remote-*",
    "x-proxyuser-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
    "client-ip",
    "via",
    "impersonate-*",
    "remote-user",
    "remote-*",
    "x-user",
    "x-authenticated-*",
    "x-auth-*",
    "x-webauth-*",
    "x-ssl-*",
    "x-client-cert",
    "x-client-verify",
    "ssl-client-*",
    "x-goog-authenticated-*",
    "x-ms-client-principal",
    "x-amzn-oidc-*",
    "tailscale-*",
    "x-envoy-*",
];

/// Different with every repetition of the same request, so kept out of the digest and not sent on, unless the
/// target's configuration says otherwise.
const VOLATILE: [&str; 9] = [
    "date",
    "traceparent",
    "tracestate",
    "baggage",
    "b3",
    "x-b3-*",
    "x-request-id",
    "x-correlation-id",
    "x-amzn-trace-id",
];

/// Make some targets run something else than the request line says.
const OVERRIDES: [&str; 7] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
    "x-original-uri",
    "x-original-method",
];

/// Why a head is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadRefusal {
    #[error("`CONNECT` and `TRACE` are not offered")]
    Method,
    #[error("the header `{0}` asks for something else than the request line does")]
    Override(HeaderName),
    #[error("the header `{0}` stands there more than once")]
    Twice(HeaderName),
    #[error("`Host` is missing, is not a host, or is not the one the request is for")]
    Host,
    #[error("trailers are not accepted")]
    Trailer,
    #[error("the expectation is not `100-continue`")]
    Expectation,
}

/// Refuses heads that mean different things to different readers.
pub fn check(method: &Method, headers: &HeaderMap) -> Result<(), HeadRefusal> {
    if *method == Method::CONNECT || *method == Method::TRACE {
        return Err(HeadRefusal::Method);
    }
    for name in headers.keys() {
        let text = dashed(name.as_str());
        if OVERRIDES.contains(&text.as_ref()) {
            return Err(HeadRefusal::Override(name.clone()));
        }
    }
    // Nearly every head has each of its headers once.
    if headers.len() > headers.keys_len() {
        for name in [CONTENT_LENGTH, AUTHORIZATION, HOST, CONTENT_TYPE, UPGRADE] {
            if headers.get_all(&name).iter().nth(1).is_some() {
                return Err(HeadRefusal::Twice(name));
            }
        }
    }
    if headers.contains_key(header::TRAILER) {
        return Err(HeadRefusal::Trailer);
    }
    match headers.get(header::EXPECT) {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
            Err(HeadRefusal::Expectation)
        }
        _ => Ok(()),
    }
}

/// The one host a request is for, in lower case.
pub fn host(headers: &HeaderMap, authority: Option<&str>) -> Result<String, HeadRefusal> {
    let written = match headers.get(HOST) {
        Some(value) => Some(value.to_str().map_err(|_| HeadRefusal::Host)?),
        None => None,
    };
    let host = match (written, authority) {
        (Some(host), Some(authority)) if !host.eq_ignore_ascii_case(authority) => {
            return Err(HeadRefusal::Host);
        }
        (Some(host), _) | (None, Some(host)) => host,
        (None, None) => return Err(HeadRefusal::Host),
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    if host.is_empty() || !host.bytes().all(plain) {
        return Err(HeadRefusal::Host);
    }
    Ok(host.to_ascii_lowercase())
}

/// The headers of a target that stay behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    names: HashSet<String>,
    prefixes: Vec<String>,
}

impl Dropped {
    /// `volatile` replaces the usual list; `more` and the header of the target's own credential are added to it.
    pub fn new(
        volatile: Option<&BTreeSet<String>>,
        more: &BTreeSet<String>,
        credential: Option<&HeaderName>,
    ) -> Self {
        let mut dropped = Self::default();
        let volatile: Vec<&str> = match volatile {
            Some(names) => names.iter().map(String::as_str).collect(),
            None => VOLATILE.into(),
        };
        let more = more.iter().map(String::as_str).chain(credential.map(HeaderName::as_str));
        for name in STRIPPED.into_iter().chain(volatile).chain(more) {
            dropped.add(name);
        }
        dropped
    }

    fn add(&mut self, name: &str) {
        let name = name.to_ascii_lowercase().replace('_', "-");
        match name.strip_suffix('*') {
            Some(prefix) => self.prefixes.push(prefix.into()),
            None => drop(self.names.insert(name)),
        }
    }

    /// Whether the header stays behind.
    pub fn holds(&self, name: &HeaderName) -> bool {
        let name = dashed(name.as_str());
        self.names.contains(name.as_ref())
            || self.prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()))
    }
}

/// A head as it goes upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    pub method: Method,
    /// Path and query.
    pub location: String,
    pub headers: HeaderMap,
    /// The protocol to upgrade to.
    pub upgrade: Option<String>,
}

/// The exact form of a request's head: each part after its length, headers sorted by name. Equal requests have
/// equal forms, and no two different ones do.
pub fn encode(
    method: &Method,
    location: &str,
    headers: &HeaderMap,
    dropped: &Dropped,
    upgrade: Option<&str>,
) -> Bytes {
    let nominated = nominated(headers);
    let mut kept: Vec<(&HeaderName, &HeaderValue)> = headers
        .iter()
        .filter(|(name, _)| !dropped.holds(name) && !nominated.iter().any(|other| other == name.as_str()))
        .collect();
    kept.sort_by_key(|(name, _)| name.as_str());
    let mut out = Vec::with_capacity(MAGIC.len() + location.len() + 64 + kept.len() * 48);
    out.extend_from_slice(MAGIC);
    part(&mut out, method.as_str().as_bytes());
    part(&mut out, location.as_bytes());
    part(&mut out, upgrade.unwrap_or("").as_bytes());
    for (name, value) in kept {
        part(&mut out, name.as_str().as_bytes());
        part(&mut out, value.as_bytes());
    }
    out.into()
}

/// Reads an exact form back; `None` when it is not one.
pub fn decode(form: &[u8]) -> Option<Outgoing> {
    let mut parts = Parts(form.strip_prefix(MAGIC)?);
    let method = Method::from_bytes(parts.next()?).ok()?;
    let location = String::from_utf8(parts.next()?.to_vec()).ok()?;
    let upgrade =
        Some(String::from_utf8(parts.next()?.to_vec()).ok()?).filter(|protocol| !protocol.is_empty());
    Some(Outgoing { method, location, headers: parts.headers()?, upgrade })
}

/// What is written for each connection anew, whatever a stored form says.
pub(crate) const FRAMING: [&str; 4] = ["host", "connection", "content-length", "transfer-encoding"];

/// An exact form read in place, part by part, with nothing in it that would end a line.
pub(crate) struct Exact<'f> {
    pub(crate) method: &'f [u8],
    /// Path and query.
    pub(crate) location: &'f [u8],
    /// The protocol to upgrade to; empty where there is none.
    pub(crate) upgrade: &'f [u8],
    fields: Parts<'f>,
}

impl<'f> Exact<'f> {
    /// `None` when it is not one.
    pub(crate) fn read(form: &'f [u8]) -> Option<Self> {
        let mut fields = Parts(form.strip_prefix(MAGIC)?);
        let word = |part: &&[u8]| part.iter().all(|byte| (0x21..=0x7e).contains(byte));
        let (method, location) = (fields.next().filter(word)?, fields.next().filter(word)?);
        Some(Self { method, location, upgrade: fields.next().filter(word)?, fields })
    }

    /// The next header: `Some(None)` when there is none left, `None` when what is there is no header.
    #[expect(clippy::option_option, reason = "an end and a fault are two things")]
    pub(crate) fn field(&mut self) -> Option<Option<(&'f [u8], &'f [u8])>> {
        if self.fields.0.is_empty() {
            return Some(None);
        }
        let line = |part: &&[u8]| !part.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
        Some(Some((self.fields.next().filter(line)?, self.fields.next().filter(line)?)))
    }

    /// How long what is left of it is.
    pub(crate) fn length(&self) -> usize {
        self.location.len() + self.fields.0.len()
    }
}

/// The same form for the head of a response: a status and its headers.
pub fn encode_response(status: http::StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    part(&mut out, status.as_str().as_bytes());
    for (name, value) in headers {
        part(&mut out, name.as_str().as_bytes());
        part(&mut out, value.as_bytes());
    }
    out
}

/// Reads the head of a kept response back.
pub fn decode_response(form: &[u8]) -> Option<(http::StatusCode, HeaderMap)> {
    let mut parts = Parts(form.strip_prefix(MAGIC)?);
    let status = http::StatusCode::from_bytes(parts.next()?).ok()?;
    Some((status, parts.headers()?))
}

/// Takes out of a response what is about the connection to the target and not about the answer.
pub fn strip_hops(headers: &mut HeaderMap) {
    for name in nominated(headers) {
        headers.remove(name);
    }
    for name in
        ["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"]
    {
        headers.remove(name);
    }
}

/// The headers that `Connection` names as being about this connection.
fn nominated(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let names = values.flat_map(|value| value.split(',')).map(|name| name.trim().to_ascii_lowercase());
    names.filter(|name| !name.is_empty()).collect()
}

fn dashed(name: &str) -> std::borrow::Cow<'_, str> {
    if name.contains('_') { name.replace('_', "-").into() } else { name.into() }
}

fn part(out: &mut Vec<u8>, bytes: &[u8]) {
    // Nearly every part is this short.
    match u8::try_from(bytes.len()) {
        Ok(short) if short < 10 => out.push(b'0' + short),
        Ok(short) if short < 100 => out.extend_from_slice(&[b'0' + short / 10, b'0' + short % 10]),
        Ok(_) | Err(_) => out.extend_from_slice(bytes.len().to_string().as_bytes()),
    }
    out.push(b':');
    out.extend_from_slice(bytes);
    out.push(b'\n');
}

struct Parts<'f>(&'f [u8]);

impl<'f> Parts<'f> {
    fn headers(&mut self) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        while !self.0.is_empty() {
            let name = HeaderName::from_bytes(self.next()?).ok()?;
            headers.append(name, HeaderValue::from_bytes(self.next()?).ok()?);
        }
        Some(headers)
    }

    fn next(&mut self) -> Option<&'f [u8]> {
        let colon = self.0.iter().position(|byte| *byte == b':')?;
        let (digits, rest) = self.0.split_at(colon);
        let length: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let rest = rest.get(1..)?;
        let (part, rest) = rest.split_at_checked(length)?;
        self.0 = rest.strip_prefix(b"\n")?;
        Some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair =
            |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        pairs.iter().map(pair).collect()
    }

    fn sent(pairs: &[(&str, &str)]) -> Vec<String> {
        let dropped =
            Dropped::new(None, &["x-team-*".to_owned()].into(), Some(&HeaderName::from_static("x-api-key")));
        let form = encode(&Method::GET, "/", &map(pairs), &dropped, None);
        decode(&form).unwrap().headers.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn credentials_and_impersonation_of_the_caller_stay_behind() {
        for name in [
            "authorization",
            "cookie",
            "proxy-authorization",
            "x-forwarded-for",
            "x-forwarded-host",
            "forwarded",
            "x-real-ip",
            "impersonate-user",
            "impersonate-group",
            "x-remote-user",
            "remote-user",
            "x-api-key",
            "countersign-reason",
            "countersign-ticket",
            "prefer",
            "host",
            "te",
            "upgrade",
            "keep-alive",
            "x-team-lead",
            "date",
            "traceparent",
            "x-webauth-user",
            "x_forwarded_for",
            "x_remote_user",
            "impersonate_user",
            "expect",
        ] {
            assert_eq!(sent(&[(name, "x"), ("accept", "*/*")]), ["accept"], "{name}");
        }
        assert_eq!(sent(&[("connection", "close, X-Hop"), ("x-hop", "1"), ("accept", "*/*")]), ["accept"]);
    }

    #[test]
    fn heads_that_ask_for_something_else_are_refused() {
        for name in [
            "x-http-method-override",
            "X-Method-Override",
            "x_http_method",
            "x-original-url",
            "x-rewrite-url",
        ] {
            assert!(
                matches!(check(&Method::GET, &map(&[(name, "DELETE")])), Err(HeadRefusal::Override(_))),
                "{name}"
            );
        }
        for name in ["content-length", "authorization", "host", "content-type"] {
            assert!(matches!(
                check(&Method::GET, &map(&[(name, "1"), (name, "1")])),
                Err(HeadRefusal::Twice(_))
            ));
        }
        assert_eq!(check(&Method::TRACE, &map(&[])), Err(HeadRefusal::Method));
        assert_eq!(check(&Method::CONNECT, &map(&[])), Err(HeadRefusal::Method));
        assert_eq!(check(&Method::GET, &map(&[("trailer", "x")])), Err(HeadRefusal::Trailer));
        assert_eq!(check(&Method::GET, &map(&[("expect", "magic")])), Err(HeadRefusal::Expectation));
        assert_eq!(check(&Method::GET, &map(&[("expect", "100-Continue")])), Ok(()));
    }

    #[test]
    fn a_host_is_one_plain_host() {
        assert_eq!(host(&map(&[("host", "A:1")]), None), Ok("a:1".into()));
        assert_eq!(host(&map(&[]), Some("a")), Ok("a".into()));
        assert_eq!(host(&map(&[("host", "a")]), Some("A")), Ok("a".into()));
        for (pairs, authority) in [
            (vec![], None),
            (vec![("host", "a")], Some("b")),
            (vec![("host", "a/b")], None),
            (vec![("host", "u@a")], None),
        ] {
            assert_eq!(host(&map(&pairs), authority), Err(HeadRefusal::Host), "{pairs:?}");
        }
    }

    #[test]
    fn the_order_of_headers_and_what_is_volatile_do_not_change_the_form() {
        let dropped = Dropped::new(None, &BTreeSet::new(), None);
        let form = |pairs: &[(&str, &str)]| encode(&Method::POST, "/a?b", &map(pairs), &dropped, None);
        let one = form(&[("a", "1"), ("b", "2"), ("b", "3"), ("x-request-id", "7")]);
        assert_eq!(one, form(&[("b", "2"), ("a", "1"), ("b", "3"), ("date", "now")]));
        assert_ne!(one, form(&[("b", "3"), ("a", "1"), ("b", "2")]));
        insta::assert_snapshot!(String::from_utf8(one.to_vec()).unwrap(), @r"
        countersign-http/1
        4:POST
        4:/a?b
        0:
        1:a
        1:1
        1:b
        1:2
        1:b
        1:3
        ");
    }

    proptest! {
        #[test]
        fn forms_read_back_and_nothing_else_does(
            location in "/[ -~]{0,20}",
            pairs in prop::collection::vec(("[a-z]{1,8}", "[!-~]{0,8}"), 0..6),
            noise in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let headers = map(&pairs);
            let form = encode(&Method::PUT, &location, &headers, &Dropped::default(), Some("websocket"));
            let back = decode(&form).unwrap();
            prop_assert_eq!(&back.location, &location);
            prop_assert_eq!(&back.headers, &headers);
            prop_assert_eq!(encode(&back.method, &back.location, &back.headers, &Dropped::default(), back.upgrade.as_deref()), form.clone());
            let _ = decode(&noise);
            let _ = decode(&[MAGIC, noise.as_slice()].concat());
            prop_assert_eq!(decode(form.get(..form.len() - 1).unwrap()), None);
        }
    }
}
