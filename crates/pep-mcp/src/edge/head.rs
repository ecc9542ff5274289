//! What a request's head must say before anything else is looked at.

use crate::config::Front;
use http::{HeaderMap, HeaderName, StatusCode, header};

/// Why a head is refused.
type Refused = (StatusCode, &'static str);

/// This machine's own names, which no name service gives away.
const OWN: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// A header's only value; an error when it stands there twice or is no text.
pub(crate) fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, &'static str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| "a header is no text"),
        (Some(_), Some(_)) => Err("a header that means one thing stands there twice"),
    }
}

/// Whether the request is meant for this target, by the name its sender believes it speaks to (DNS rebinding), and
/// whether a page of another origin is behind it.
pub(super) fn here(front: &Front, headers: &HeaderMap, authority: Option<&str>) -> Result<(), Refused> {
    let twice = |why| (StatusCode::BAD_REQUEST, why);
    if headers.contains_key(header::TRANSFER_ENCODING) && headers.contains_key(header::CONTENT_LENGTH) {
        return Err((StatusCode::BAD_REQUEST, "the body has two lengths"));
    }
    let host = one(headers, &header::HOST).map_err(twice)?.or(authority);
    let host = host.ok_or((StatusCode::BAD_REQUEST, "there is no `Host`"))?.to_ascii_lowercase();
    if authority.is_some_and(|authority| !authority.eq_ignore_ascii_case(&host)) {
        return Err((StatusCode::BAD_REQUEST, "`Host` is not what the request line names"));
    }
    let bare = bare(&host);
    let known = OWN.contains(&bare) || front.hosts.contains(bare) || bare == front.listen.ip().to_string();
    if !known {
        return Err((StatusCode::FORBIDDEN, "this target does not answer to that host"));
    }
    let Some(origin) = one(headers, &header::ORIGIN).map_err(twice)? else { return Ok(()) };
    let own = origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(&host));
    if own || front.origins.contains(origin) {
        Ok(())
    } else {
        Err((StatusCode::FORBIDDEN, "pages of that origin may not ask here"))
    }
}

/// A host without its port.
fn bare(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Whether the request carries JSON and takes both forms of answer, as every client of the protocol must.
pub(super) fn speaks(headers: &HeaderMap) -> Result<(), Refused> {
    let twice = |why| (StatusCode::BAD_REQUEST, why);
    let kind = one(headers, &header::CONTENT_TYPE).map_err(twice)?.unwrap_or_default();
    let mut parts = kind.split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    let is_utf8 = |part: &str| {
        part.eq_ignore_ascii_case("charset=utf-8") || part.eq_ignore_ascii_case("charset=\"utf-8\"")
    };
    if !is_json || !parts.all(is_utf8) {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "send `Content-Type: application/json`"));
    }
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "send the body as it is, without a content coding"));
    }
    if takes(headers, "application/json") && takes(headers, "text/event-stream") {
        Ok(())
    } else {
        Err((StatusCode::NOT_ACCEPTABLE, "send `Accept: application/json, text/event-stream`"))
    }
}

/// Whether the request takes a stream of events.
pub(super) fn listens(headers: &HeaderMap) -> Result<(), Refused> {
    if takes(headers, "text/event-stream") {
        return Ok(());
    }
    Err((StatusCode::NOT_ACCEPTABLE, "send `Accept: text/event-stream`"))
}

fn takes(headers: &HeaderMap, wanted: &str) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (family, _) = wanted.split_once('/').unwrap_or((wanted, ""));
    accepted.flat_map(|value| value.split(',')).any(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case(wanted)
            || kind == "*/*"
            || kind.eq_ignore_ascii_case(&format!("{family}/*"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::McpSection;
    use serde_json::json;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    #[rustfmt::skip]
    fn only_who_means_this_target_is_let_in() {
        let section = json!({
            "name": "files", "environment": "prod", "listen": "127.0.0.1:0", "upstream": "http://127.0.0.1:1/mcp",
            "hosts": ["mcp.example.com"], "origins": ["https://app.example.com"],
        });
        let target = serde_json::from_value::<McpSection>(section).unwrap().check(std::path::Path::new(".")).unwrap();
        let (fine, status) = (Ok(()), |code: StatusCode| Err(code));
        for (pairs, want) in [
            (&[("host", "localhost:7201")][..], fine),
            (&[("host", "LOCALHOST")], fine),
            (&[("host", "[::1]:7201")], fine),
            (&[("host", "mcp.example.com")], fine),
            (&[("host", "attacker.example:7201")], status(StatusCode::FORBIDDEN)),
            (&[("host", "localhost.attacker.example")], status(StatusCode::FORBIDDEN)),
            (&[("host", "localhost:1@attacker.example")], status(StatusCode::FORBIDDEN)),
            (&[("host", "localhost"), ("host", "attacker.example")], status(StatusCode::BAD_REQUEST)),
            (&[], status(StatusCode::BAD_REQUEST)),
            (&[("host", "localhost"), ("content-length", "1"), ("transfer-encoding", "chunked")], status(StatusCode::BAD_REQUEST)),
            (&[("host", "localhost:7201"), ("origin", "http://localhost:7201")], fine),
            (&[("host", "localhost:7201"), ("origin", "http://localhost:3000")], status(StatusCode::FORBIDDEN)),
            (&[("host", "localhost:7201"), ("origin", "null")], status(StatusCode::FORBIDDEN)),
            (&[("host", "localhost"), ("origin", "https://app.example.com")], fine),
            (&[("host", "localhost"), ("origin", "https://app.example.com.attacker.example")], status(StatusCode::FORBIDDEN)),
        ] {
            assert_eq!(here(&target.front(), &headers(pairs), None).map_err(|(status, _)| status), want, "{pairs:?}");
        }
        assert!(here(&target.front(), &headers(&[("host", "localhost")]), Some("attacker.example")).is_err());
    }

    #[test]
    #[rustfmt::skip]
    fn bodies_are_json_and_both_answers_are_taken() {
        let both = ("accept", "application/json, text/event-stream;q=0.5");
        let json = ("content-type", "application/json");
        for (pairs, fine) in [
            (vec![json, both], true),
            (vec![("content-type", "Application/JSON; charset=UTF-8"), ("accept", "*/*")], true),
            (vec![json, ("accept", "text/event-stream"), ("accept", "application/*")], true),
            (vec![json, ("accept", "application/json")], false),
            (vec![json], false),
            (vec![("content-type", "text/plain"), both], false),
            (vec![("content-type", "application/json; charset=utf-16"), both], false),
            (vec![("content-type", "application/json, text/plain"), both], false),
            (vec![json, json, both], false),
            (vec![json, both, ("content-encoding", "gzip")], false),
        ] {
            assert_eq!(speaks(&headers(&pairs)).is_ok(), fine, "{pairs:?}");
        }
    }
}
