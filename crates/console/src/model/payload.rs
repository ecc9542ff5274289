//! The exact bytes that will run, and readings of them that lose nothing.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use countersign_core::{Action, Body, visible};
use countersign_engine::shown::{body_text, request_lines};
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
}
