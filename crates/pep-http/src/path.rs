//! The strict reading of a request's path and query. What any normalisation would change is refused, so policy and
//! target cannot read two different paths. Nothing here repairs.

use std::{borrow::Cow, str};

/// A path and query that mean the same to everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location<'u> {
    /// As received, without the query.
    pub path: &'u str,
    pub query: Option<&'u str>,
    /// The decoded segments. A trailing slash is a last empty segment; the root path has none.
    pub segments: Vec<Cow<'u, str>>,
}

/// Why a path or a query is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathRefusal {
    #[error("the request target is not a path that begins with `/`")]
    NotAPath,
    #[error("the path holds the byte 0x{0:02X}, which has no place in a path")]
    Byte(u8),
    #[error("the path holds an empty segment (`//`)")]
    EmptySegment,
    #[error("the path holds a segment that ends in a dot")]
    Dots,
    #[error("the path holds a matrix parameter (`;`)")]
    Matrix,
    #[error("the path or query holds a `%` without two hexadecimal digits")]
    Escape,
    #[error("the path holds `%{0:02X}`, which decoders read in different ways")]
    Encoded(u8),
    #[error("the path holds an escape that normalisation would rewrite")]
    NotNormal,
    #[error("the path or query does not decode to UTF-8")]
    NotText,
    #[error("the query holds the byte 0x{0:02X}, which has no place in a query")]
    QueryByte(u8),
    #[error("the query asks for another method than the request's own")]
    MethodOverride,
    #[error("the query names `{0}` more than once, or in more than one spelling")]
    Duplicate(String),
    #[error("the query holds a `;`, which some targets read as a separator")]
    Separator,
}

/// Reads an origin-form request target (RFC 9112 section 3.2.1).
pub fn read(target: &str) -> Result<Location<'_>, PathRefusal> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let rest = path.strip_prefix('/').ok_or(PathRefusal::NotAPath)?;
    let mut segments = Vec::with_capacity(8);
    if !rest.is_empty() {
        let mut parts = rest.split('/').peekable();
        while let Some(part) = parts.next() {
            if part.is_empty() && parts.peek().is_some() {
                return Err(PathRefusal::EmptySegment);
            }
            segments.push(segment(part)?);
        }
    }
    if let Some(query) = query {
        check_query(query)?;
    }
    Ok(Location { path, query, segments })
}

/// The decoded pairs of a query, for operations that read some of them. Names that are the same to a careless
/// reader (`dryRun`, `dry_run`, `dry_run[]`) may stand there once.
pub fn pairs(query: &str) -> Result<Vec<(String, String)>, PathRefusal> {
    let mut found: Vec<(String, String)> = Vec::new();
    if query.contains(';') {
        return Err(PathRefusal::Separator);
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (form_decoded(name)?, form_decoded(value)?);
        if found.iter().any(|(other, _)| folded(other) == folded(&name)) {
            return Err(PathRefusal::Duplicate(name));
        }
        found.push((name, value));
    }
    Ok(found)
}

/// A name as the most careless reader would see it: letters and digits alone, in lower case.
pub(crate) fn folded(name: &str) -> String {
    name.chars().filter(|character| character.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn segment(part: &str) -> Result<Cow<'_, str>, PathRefusal> {
    let mut escaped = false;
    for byte in part.bytes() {
        match byte {
            b';' => return Err(PathRefusal::Matrix),
            b'%' => escaped = true,
            _ if is_path_byte(byte) => {}
            _ => return Err(PathRefusal::Byte(byte)),
        }
    }
    if part.ends_with('.') {
        return Err(PathRefusal::Dots);
    }
    if !escaped {
        return Ok(Cow::Borrowed(part));
    }
    let decoded = decode(part, |high, low, byte| {
        if high.is_ascii_lowercase() || low.is_ascii_lowercase() || is_unreserved(byte) && byte != b'.' {
            return Err(PathRefusal::NotNormal);
        }
        match byte {
            0..=0x1f | 0x7f | b'/' | b'\\' | b'.' | b'%' | b';' => Err(PathRefusal::Encoded(byte)),
            _ => Ok(()),
        }
    })?;
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| PathRefusal::NotText)
}

fn check_query(query: &str) -> Result<(), PathRefusal> {
    if let Some(byte) =
        query.bytes().find(|byte| !(0x21..=0x7e).contains(byte) || matches!(byte, b'#' | b'\\'))
    {
        return Err(PathRefusal::QueryByte(byte));
    }
    if !query.contains(['%', '_', 'm', 'M']) {
        return Ok(());
    }
    for pair in query.split(['&', ';']) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = form_decoded(name)?;
        form_decoded(value)?;
        let folded = folded(&name);
        if name.starts_with('_') && folded == "method"
            || ["xhttpmethodoverride", "xhttpmethod", "xmethodoverride", "httpmethod"]
                .contains(&folded.as_str())
        {
            return Err(PathRefusal::MethodOverride);
        }
    }
    Ok(())
}

fn form_decoded(text: &str) -> Result<String, PathRefusal> {
    let bytes = decode(text, |_, _, byte| if byte == 0 { Err(PathRefusal::QueryByte(0)) } else { Ok(()) })?;
    let spaced = bytes_with_spaces(text, bytes);
    String::from_utf8(spaced).map_err(|_| PathRefusal::NotText)
}

/// A plus that was written as a plus is a space in a form.
fn bytes_with_spaces(text: &str, decoded: Vec<u8>) -> Vec<u8> {
    if !text.contains('+') {
        return decoded;
    }
    let spaced = text.replace('+', " ");
    decode(&spaced, |_, _, _| Ok(())).unwrap_or(decoded)
}

fn decode(
    text: &str,
    mut check: impl FnMut(u8, u8, u8) -> Result<(), PathRefusal>,
) -> Result<Vec<u8>, PathRefusal> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let (Some(high), Some(low)) = (bytes.next(), bytes.next()) else { return Err(PathRefusal::Escape) };
        let (Some(tens), Some(ones)) = (nibble(high), nibble(low)) else { return Err(PathRefusal::Escape) };
        let value = tens << 4 | ones;
        check(high, low, value)?;
        out.push(value);
    }
    Ok(out)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// RFC 3986 `pchar` without `%` and without `;`.
fn is_path_byte(byte: u8) -> bool {
    is_unreserved(byte) || b"!$&'()*+,=:@".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_are_read_as_they_stand() {
        for (target, segments) in [
            ("/", vec![]),
            ("/v1/customers", vec!["v1", "customers"]),
            ("/v1/customers/", vec!["v1", "customers", ""]),
            ("/v1/a%20b/c@d:e", vec!["v1", "a b", "c@d:e"]),
            ("/%C3%A9t%C3%A9", vec!["été"]),
            ("/a.b/.well-known", vec!["a.b", ".well-known"]),
            ("/x?y=%2F%25", vec!["x"]),
        ] {
            assert_eq!(read(target).unwrap().segments, segments, "{target}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn path_tricks_are_refused() {
        for (target, want) in [
            ("", PathRefusal::NotAPath),
            ("*", PathRefusal::NotAPath),
            ("http://other/x", PathRefusal::NotAPath),
            ("/a/../b", PathRefusal::Dots),
            ("/a/./b", PathRefusal::Dots),
            ("/a/..", PathRefusal::Dots),
            ("/a/...", PathRefusal::Dots),
            ("/a/secret.", PathRefusal::Dots),
            ("/a/%2e%2e/b", PathRefusal::NotNormal),
            ("/a/%2E%2E/b", PathRefusal::Encoded(b'.')),
            ("/a%2Fb", PathRefusal::Encoded(b'/')),
            ("/a%5Cb", PathRefusal::Encoded(b'\\')),
            ("/a%00b", PathRefusal::Encoded(0)),
            ("/a%0D%0Ab", PathRefusal::Encoded(0x0d)),
            ("/a%252Fb", PathRefusal::Encoded(b'%')),
            ("/a%3Bb", PathRefusal::Encoded(b';')),
            ("/a%41b", PathRefusal::NotNormal),
            ("/a%c3%a9", PathRefusal::NotNormal),
            ("/a%C0%AEb", PathRefusal::NotText),
            ("/a%FFb", PathRefusal::NotText),
            ("/a%4", PathRefusal::Escape),
            ("/a%zz", PathRefusal::Escape),
            ("//a", PathRefusal::EmptySegment),
            ("/a//b", PathRefusal::EmptySegment),
            ("/a//", PathRefusal::EmptySegment),
            ("/a;v=1/b", PathRefusal::Matrix),
            ("/a\\b", PathRefusal::Byte(b'\\')),
            ("/a b", PathRefusal::Byte(b' ')),
            ("/a#b", PathRefusal::Byte(b'#')),
            ("/a\"b", PathRefusal::Byte(b'"')),
            ("/é", PathRefusal::Byte(0xc3)),
            ("/a?_method=DELETE", PathRefusal::MethodOverride),
            ("/a?%5Fmethod=DELETE", PathRefusal::MethodOverride),
            ("/a?_Method=DELETE", PathRefusal::MethodOverride),
            ("/a?x-http-method-override=PUT", PathRefusal::MethodOverride),
            ("/a?q=%", PathRefusal::Escape),
            ("/a?q=%00", PathRefusal::QueryByte(0)),
            ("/a?q=\\", PathRefusal::QueryByte(b'\\')),
            ("/a?q=%FF", PathRefusal::NotText),
        ] {
            assert_eq!(read(target).unwrap_err(), want, "{target}");
        }
    }

    #[test]
    fn a_query_key_a_fact_reads_stands_once() {
        let read = |query| pairs(query);
        assert_eq!(read("a=1&b=x+y%2B").unwrap(), [("a".into(), "1".into()), ("b".into(), "x y+".into())]);
        for twice in ["a=1&a=2", "dryRun=1&dry_run=0", "a=1&A=2", "a[]=1&a=2", "a=1&%61=2"] {
            assert!(matches!(read(twice), Err(PathRefusal::Duplicate(_))), "{twice}");
        }
        assert_eq!(read("a=1;b=2"), Err(PathRefusal::Separator));
    }
}
