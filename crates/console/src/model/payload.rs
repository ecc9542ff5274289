//! The exact bytes that will run, and readings of them that lose nothing.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use countersign_core::{Action, Body, visible};
use serde::Serialize;
use utoipa::ToSchema;

/// The bytes of a held action.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Payload {
    /// Everything but the body, one part to a line, with hidden characters written out.
    pub(crate) request: String,
    /// The body with hidden characters and bytes that are no text written out.
    pub(crate) body_text: String,
    pub(crate) body_base64: String,
    pub(crate) body_bytes: usize,
    /// The bytes or texts of this action hold characters that are not seen.
    pub(crate) hidden_characters: bool,
    #[serde(skip)]
    pub(crate) head: Bytes,
    #[serde(skip)]
    pub(crate) body: Bytes,
}

impl Payload {
    /// The bytes alone; [`Payload::written_out`] adds the texts that programs read.
    pub(crate) fn of(action: &Action, hidden_characters: bool) -> Self {
        let body = match &action.payload.body {
            Body::Bound(body) => body.clone(),
            Body::Unbound => Bytes::new(),
        };
        let head = action.payload.head.clone();
        Self {
            request: visible::escaped(&request_lines(&head)),
            body_text: String::new(),
            body_base64: String::new(),
            body_bytes: body.len(),
            hidden_characters,
            head,
            body,
        }
    }

    /// What is left of an action that was erased.
    pub(crate) fn erased() -> Self {
        Self {
            request: String::new(),
            body_text: String::new(),
            body_base64: String::new(),
            body_bytes: 0,
            hidden_characters: false,
            head: Bytes::new(),
            body: Bytes::new(),
        }
    }

    #[must_use]
    pub(crate) fn written_out(mut self) -> Self {
        self.body_text = body_text(&self.body);
        self.body_base64 = STANDARD.encode(&self.body);
        self
    }
}

/// A body with hidden characters and bytes that are no text written out, as [`visible::bytes`] does it, quickly where
/// there is nothing to write out.
pub(crate) fn body_text(body: &[u8]) -> String {
    let mut out = String::with_capacity(body.len());
    for chunk in body.utf8_chunks() {
        // Nothing that is written out depends on what stands in another line.
        for line in chunk.valid().split_inclusive('\n') {
            if is_plain(line) { out.push_str(line) } else { out.push_str(&visible::escaped(line)) }
        }
        out.push_str(&visible::bytes(chunk.invalid()));
    }
    out
}

/// Whether every character is seen as it is: printable ASCII, line feeds and tabs. Others may be, too.
pub(crate) fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'\n' | b'\t' | b' '..=b'~'))
}

/// The HTTP wire's form: a line of its own, then parts with their lengths in front (`4:POST`).
const HTTP_FORM: &[u8] = b"countersign-http/1\n";

/// The head of a request, one part to a line. Forms we do not know are shown as they are.
pub(crate) fn request_lines(head: &[u8]) -> String {
    let parts = head.strip_prefix(HTTP_FORM).and_then(parts);
    let Some([method, location, upgrade, headers @ ..]) = parts.as_deref() else {
        return String::from_utf8_lossy(head).into_owned();
    };
    let text = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect::<String>();
    let mut lines = vec![format!("{} {}", text(method), text(location))];
    if !upgrade.is_empty() {
        lines.push(format!("upgrade to {}", text(upgrade)));
    }
    let (pairs, _) = headers.as_chunks::<2>();
    lines.extend(pairs.iter().map(|[name, value]| format!("{}: {}", text(name), text(value))));
    lines.join("\n")
}

fn parts(mut form: &[u8]) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    while !form.is_empty() {
        let colon = form.iter().take(8).position(|byte| *byte == b':')?;
        let (digits, rest) = form.split_at(colon);
        let length: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let (part, rest) = rest.get(1..)?.split_at_checked(length)?;
        found.push(part);
        form = rest.strip_prefix(b"\n")?;
    }
    Some(found)
}

/// How deep JSON may be nested to be laid out.
const DEEPEST: usize = 64;

/// JSON laid out for reading: every member in its place and order, numbers as they are written, strings with their
/// escapes resolved. `None` when the bytes are not JSON, or nested too deeply to be read by anyone.
pub(crate) fn laid_out(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    let (mut out, mut depth, mut rest) = (String::with_capacity(text.len() * 2), 0_usize, text);
    while let Some(first) = rest.chars().next() {
        let token = token(rest);
        rest = rest.get(token.len()..)?;
        match first {
            '{' | '[' => {
                let closes = rest.trim_start().starts_with(['}', ']']);
                out.push(first);
                depth += 1;
                if depth > DEEPEST {
                    return None;
                }
                if !closes {
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                if !out.ends_with(['{', '[']) {
                    line(&mut out, depth);
                }
                out.push(first);
            }
            ',' => {
                out.push(',');
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            '"' => {
                let resolved: String = serde_json::from_str(token).ok()?;
                out.push('"');
                out.push_str(&resolved);
                out.push('"');
            }
            ' ' | '\t' | '\r' | '\n' => {}
            _ => out.push_str(token),
        }
    }
    Some(out)
}

fn line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

/// The JSON token a text begins with. The text is known to be JSON.
fn token(text: &str) -> &str {
    let end = match text.chars().next() {
        Some('"') => string_end(text),
        Some('{' | '}' | '[' | ']' | ',' | ':' | ' ' | '\t' | '\r' | '\n') | None => 1,
        Some(_) => text.find(['{', '}', '[', ']', ',', ':', ' ', '\t', '\r', '\n']).unwrap_or(text.len()),
    };
    text.get(..end).unwrap_or(text)
}

fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return at + 1,
            _ => escaped = false,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_laid_out_without_losing_a_member_or_a_digit() {
        for (raw, shown) in [
            (r#"{"a":1.50,"a":[ ],"b":{}}"#, "{\n  \"a\": 1.50,\n  \"a\": [],\n  \"b\": {}\n}"),
            (r#"{"drop":"\u0064rop \"it\""}"#, "{\n  \"drop\": \"drop \"it\"\"\n}"),
            ("[12345678901234567890123,1e3]", "[\n  12345678901234567890123,\n  1e3\n]"),
            ("\"a,b:{}\"", "\"a,b:{}\""),
        ] {
            assert_eq!(laid_out(raw.as_bytes()).as_deref(), Some(shown), "{raw}");
        }
        for bad in ["{", "{} x", "\u{feff}{}", ""] {
            assert_eq!(laid_out(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(laid_out(&[b'"', 0xff, b'"']), None);
        assert_eq!(laid_out("[".repeat(100_000).as_bytes()), None);
        assert_eq!(laid_out(format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)).as_bytes()), None);
    }

    #[test]
    fn the_quick_way_writes_out_the_same() {
        for raw in [
            "a\r\nb\rc",
            "e\u{301}\u{301}\n\u{301}\u{301}\u{301}\u{301}",
            "x\0y\u{7f}\u{202e}\n\nplain\n",
            "⟨",
        ] {
            assert_eq!(body_text(raw.as_bytes()), visible::bytes(raw.as_bytes()), "{raw:?}");
        }
        assert_eq!(body_text(b"a\xff\n\r\xfe"), visible::bytes(b"a\xff\n\r\xfe"));
    }

    #[test]
    fn the_http_form_reads_as_a_request() {
        let form = b"countersign-http/1\n4:POST\n6:/v1/x?\n";
        let whole = b"countersign-http/1\n4:POST\n5:/v1/x\n0:\n6:accept\n3:*/*\n";
        assert_eq!(request_lines(whole), "POST /v1/x\naccept: */*");
        assert_eq!(request_lines(form), String::from_utf8_lossy(form));
        assert_eq!(request_lines(b"SELECT 1"), "SELECT 1");
    }
}
