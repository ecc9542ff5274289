//! Canonical JSON (RFC 8785, JCS) of the values we sign and hash: I-JSON without fractions.
//!
//! Two doors to the same bytes: [`to_vec`] for any value, and [`Object`], which writes members in the order
//! they are given, for the hot path where that order is known to be sorted.

use serde_json::Value;
use std::collections::BTreeMap;

/// A value has no canonical form here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CanonicalError {
    #[error("the number `{0}` is not an integer within ±2^53; use a string")]
    Number(String),
    #[error("the value nests deeper than {MAX_DEPTH} levels")]
    Depth,
    #[error("the value cannot be written as JSON: {0}")]
    Shape(String),
}

/// Deeper values are refused rather than recursed into.
pub const MAX_DEPTH: usize = 64;
const MAX_INTEGER: i64 = 1 << 53;

/// The canonical bytes of anything that serializes.
pub fn to_vec<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    let value = serde_json::to_value(value).map_err(|error| CanonicalError::Shape(error.to_string()))?;
    let mut out = Vec::with_capacity(512);
    write_value(&mut out, &value, 0)?;
    Ok(out)
}

/// Appends the canonical bytes of `value`.
pub fn append_value(out: &mut Vec<u8>, value: &Value) -> Result<(), CanonicalError> {
    write_value(out, value, 0)
}

fn write_value(out: &mut Vec<u8>, value: &Value, depth: usize) -> Result<(), CanonicalError> {
    if depth > MAX_DEPTH {
        return Err(CanonicalError::Depth);
    }
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => match number.as_i64() {
            Some(integer) if (-MAX_INTEGER..=MAX_INTEGER).contains(&integer) => append_integer(out, integer),
            _ => return Err(CanonicalError::Number(number.to_string())),
        },
        Value::String(text) => append_string(out, text),
        Value::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_value(out, item, depth + 1)?;
            }
            out.push(b']');
        }
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by(|(left, _), (right, _)| left.encode_utf16().cmp(right.encode_utf16()));
            out.push(b'{');
            for (at, (name, member)) in sorted.into_iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                append_string(out, name);
                out.push(b':');
                write_value(out, member, depth + 1)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

/// Appends an object whose members are texts.
pub fn append_texts(out: &mut Vec<u8>, members: &BTreeMap<String, String>) {
    let mut sorted: Vec<_> = members.iter().collect();
    if !members.keys().all(|name| name.is_ascii()) {
        sorted.sort_by(|(left, _), (right, _)| left.encode_utf16().cmp(right.encode_utf16()));
    }
    out.push(b'{');
    for (at, (name, text)) in sorted.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        append_string(out, name);
        out.push(b':');
        append_string(out, text);
    }
    out.push(b'}');
}

/// Appends a JSON string with RFC 8785 escapes, quotes included.
pub fn append_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    // Nearly every text; the loop without branches is many times faster than the one below.
    let special = |byte: u8| u8::from(byte < 0x20) | u8::from(byte == b'"') | u8::from(byte == b'\\');
    if text.bytes().fold(0, |any, byte| any | special(byte)) == 0 {
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0x08 => b"\\b",
            0x0c => b"\\f",
            0..=0x1f => b"",
            _ => continue,
        };
        out.extend_from_slice(text.as_bytes().get(plain..at).unwrap_or_default());
        if escape.is_empty() {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            out.push(b'0' + (byte >> 4));
            out.push(*DIGITS.get(usize::from(byte & 15)).unwrap_or(&b'0'));
        } else {
            out.extend_from_slice(escape);
        }
        plain = at + 1;
    }
    out.extend_from_slice(text.as_bytes().get(plain..).unwrap_or_default());
    out.push(b'"');
}

fn append_integer(out: &mut Vec<u8>, integer: i64) {
    let mut digits = [0; 20];
    let mut rest = integer.unsigned_abs();
    let mut length = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        length += 1;
        if rest == 0 {
            break;
        }
    }
    if integer < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(digits.get(20 - length..).unwrap_or_default());
}

/// What is written as text that JSON does not escape: identifiers, digests, times.
pub trait PlainText {
    /// Appends the same bytes that `Display` writes.
    // INVARIANT: printable ASCII without quotation mark and backslash.
    fn append(&self, out: &mut Vec<u8>);
}

/// Writes one object member by member, each name greater than the one before.
// INVARIANT: names are ASCII and ascending, so the bytes equal what `to_vec` makes; debug builds check it.
#[derive(Debug)]
pub struct Object<'a> {
    out: &'a mut Vec<u8>,
    last: &'static str,
}

impl<'a> Object<'a> {
    pub fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, last: "" }
    }

    pub fn string(&mut self, name: &'static str, text: &str) -> &mut Self {
        append_string(self.name(name), text);
        self
    }

    /// A member whose text needs no escapes.
    pub fn plain(&mut self, name: &'static str, value: &impl PlainText) -> &mut Self {
        let out = self.name(name);
        out.push(b'"');
        value.append(out);
        out.push(b'"');
        self
    }

    pub fn integer(&mut self, name: &'static str, integer: i64) -> &mut Self {
        append_integer(self.name(name), integer);
        self
    }

    /// A member whose value is already canonical.
    pub fn raw(&mut self, name: &'static str, canonical: &[u8]) -> &mut Self {
        self.name(name).extend_from_slice(canonical);
        self
    }

    /// A member that is itself an object, written by `members`.
    pub fn object(&mut self, name: &'static str, members: impl FnOnce(&mut Object<'_>)) -> &mut Self {
        let mut inner = Object::begin(self.name(name));
        members(&mut inner);
        inner.end();
        self
    }

    /// A member that is an array of strings.
    pub fn strings<'t>(&mut self, name: &'static str, texts: impl IntoIterator<Item = &'t str>) -> &mut Self {
        let out = self.name(name);
        out.push(b'[');
        for (at, text) in texts.into_iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            append_string(out, text);
        }
        out.push(b']');
        self
    }

    pub fn end(self) {
        self.out.push(b'}');
    }

    fn name(&mut self, name: &'static str) -> &mut Vec<u8> {
        debug_assert!(self.last < name, "`{name}` after `{}`", self.last);
        self.out.reserve(name.len() + 4);
        self.out.extend_from_slice(if self.last.is_empty() { b"\"" } else { b",\"" });
        self.last = name;
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-MAX_INTEGER..=MAX_INTEGER).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..8)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_an_independent_writer(value in values()) {
            prop_assert_eq!(to_vec(&value).unwrap(), serde_json_canonicalizer::to_vec(&value).unwrap());
        }
    }

    proptest! {
        #[test]
        fn texts_are_written_as_any_object_is(members in prop::collection::btree_map(any::<String>(), any::<String>(), 0..8)) {
            let mut out = Vec::new();
            append_texts(&mut out, &members);
            prop_assert_eq!(out, to_vec(&json!(members)).unwrap());
        }
    }

    #[test]
    fn the_hot_path_writes_the_same_bytes() {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        object.integer("a", -12).object("b", |inner| {
            inner.string("x", "\u{1}\"é\n");
        });
        object.strings("c", ["1", "2"]).raw("d", b"null");
        object.end();
        let value = json!({"a": -12, "b": {"x": "\u{1}\"é\n"}, "c": ["1", "2"], "d": null});
        assert_eq!(out, to_vec(&value).unwrap());
    }

    #[test]
    fn what_has_no_exact_form_is_refused() {
        for bad in [json!(1.5), json!(u64::MAX), json!(-(1_i64 << 53) - 1)] {
            assert!(matches!(to_vec(&bad), Err(CanonicalError::Number(_))), "{bad}");
        }
        let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
        assert_eq!(to_vec(&deep), Err(CanonicalError::Depth));
    }
}
