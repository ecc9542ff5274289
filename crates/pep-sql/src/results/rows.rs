//! What was kept of a result as somebody reads it: the protocol's messages, written out as JSON. Never guesses what a value
//! in binary form means.

use super::{About, ResultsError};
use crate::{
    frame::{self, Fields, FrameError, HEADER},
    message::Backend,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::BytesMut;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The rows among kept bytes: `{"columns": […]}` where the server named them, `{"row": […]}` for each, `{"copied": …}` for
/// copied data, and `{"error": {…}}` or `{"notice": {…}}` for what the server said. A value is its text, `{"base64": …}` where
/// that is no UTF-8, or `{"binary": …}` where it was asked for in binary form. What is cut off is left out.
pub fn rows(about: &About, kept: &[u8]) -> Result<Vec<Value>, ResultsError> {
    let mut buffer = BytesMut::from(kept);
    let mut reading = Reading { told: about.formats.as_deref(), statement: 0, described: Arc::from([]) };
    let mut found = Vec::new();
    while let Some(frame) = frame::take(&mut buffer, usize::MAX - HEADER)? {
        if let Some(message) = Backend::of(frame.tag) {
            found.extend(reading.read(message, frame.body())?);
        }
    }
    Ok(found)
}

/// How far the reading is.
struct Reading<'a> {
    told: Option<&'a [Arc<[i16]>]>,
    /// How many statements of a pipeline have ended.
    statement: usize,
    /// The formats that the server described or, of a copy, began with.
    described: Arc<[i16]>,
}

impl Reading<'_> {
    fn read(&mut self, message: Backend, body: &[u8]) -> Result<Option<Value>, FrameError> {
        let mut fields = Fields::new(body);
        #[expect(clippy::wildcard_enum_match_arm, reason = "nothing else carries values")]
        Ok(match message {
            Backend::RowDescription => Some(json!({ "columns": self.columns(&mut fields)? })),
            Backend::DataRow => {
                let count = fields.count()?;
                let values = (0..count).map(|index| {
                    Ok(match usize::try_from(fields.i32()?) {
                        Ok(size) => value(fields.bytes(size)?, self.format(index)),
                        Err(_) => Value::Null,
                    })
                });
                Some(json!({ "row": values.collect::<Result<Vec<_>, FrameError>>()? }))
            }
            Backend::CopyOutResponse => {
                self.described = [i16::from(fields.byte()?)].into();
                None
            }
            Backend::CopyData => Some(json!({ "copied": value(body, one_of(&self.described, 0)) })),
            Backend::ErrorResponse => Some(json!({ "error": said(&mut fields)? })),
            Backend::NoticeResponse => Some(json!({ "notice": said(&mut fields)? })),
            Backend::CommandComplete | Backend::PortalSuspended | Backend::EmptyQueryResponse => {
                self.statement += 1;
                None
            }
            _ => None,
        })
    }

    fn columns(&mut self, fields: &mut Fields<'_>) -> Result<Vec<Value>, FrameError> {
        let (mut names, mut formats) = (Vec::new(), Vec::new());
        for _ in 0..fields.count()? {
            names.push(value(terminated(fields)?, 0));
            // Where it comes from, and of which type it is.
            fields.bytes(16)?;
            formats.push(fields.i16()?);
        }
        self.described = formats.into();
        Ok(names)
    }

    /// A pipeline's columns come as they were asked for, whatever a description of its text says.
    fn format(&self, column: usize) -> i16 {
        match self.told {
            None => one_of(&self.described, column),
            Some(told) => told.get(self.statement).map_or(0, |formats| one_of(formats, column)),
        }
    }
}

fn one_of(formats: &[i16], column: usize) -> i16 {
    match formats {
        [all] => *all,
        each => each.get(column).copied().unwrap_or(0),
    }
}

fn value(bytes: &[u8], format: i16) -> Value {
    match (format, std::str::from_utf8(bytes)) {
        (0, Ok(text)) => json!(text),
        (0, Err(_)) => json!({ "base64": STANDARD.encode(bytes) }),
        _ => json!({ "binary": STANDARD.encode(bytes) }),
    }
}

/// The words of an error or a notice.
fn said(fields: &mut Fields<'_>) -> Result<Value, FrameError> {
    let mut said = Map::new();
    loop {
        let name = match fields.byte()? {
            0 => return Ok(said.into()),
            b'C' => "code",
            b'M' => "message",
            b'D' => "detail",
            b'H' => "hint",
            _ => {
                terminated(fields)?;
                continue;
            }
        };
        said.insert(name.into(), value(terminated(fields)?, 0));
    }
}

/// Bytes up to a zero, which may be none of UTF-8.
fn terminated<'a>(fields: &mut Fields<'a>) -> Result<&'a [u8], FrameError> {
    let end = fields.rest().iter().position(|byte| *byte == 0).ok_or(FrameError::Short)?;
    let bytes = fields.bytes(end)?;
    fields.byte()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_core::Digest;

    fn shown(formats: Option<Vec<Arc<[i16]>>>, kept: &[u8]) -> Vec<String> {
        let about =
            About { bytes: kept.len() as u64, sha256: Digest::of(kept), kept: kept.len() as u64, formats };
        rows(&about, kept).unwrap().iter().map(Value::to_string).collect()
    }

    const NAMED: &[u8] = b"T\0\0\0\x1b\0\x01id\0\0\0\x40\0\0\x01\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0";
    const ROWS: &[u8] = b"D\0\0\0\x0c\0\x01\0\0\0\x02\x34\x32D\0\0\0\x0b\0\x01\0\0\0\x01\xff\
        D\0\0\0\x0a\0\x01\xff\xff\xff\xffC\0\0\0\x0dSELECT 3\0";

    #[test]
    fn values_are_shown_in_the_form_they_were_sent_in() {
        let text = [r#"{"row":["42"]}"#, r#"{"row":[{"base64":"/w=="}]}"#, r#"{"row":[null]}"#];
        let binary =
            [r#"{"row":[{"binary":"NDI="}]}"#, r#"{"row":[{"binary":"/w=="}]}"#, r#"{"row":[null]}"#];
        let named = [NAMED, ROWS].concat();
        assert_eq!(shown(None, &named), [&[r#"{"columns":["id"]}"#], &text[..]].concat());
        // A pipeline's formats are those of its `Execute`, one after the other.
        let twice = [ROWS, ROWS].concat();
        assert_eq!(shown(Some(vec![[1].into(), [].into()]), &twice), [binary, text].concat());
        assert_eq!(shown(Some(vec![[0].into(), [0, 1].into()]), &twice), [text, text].concat());
        // A binary cursor is described as one.
        let mut described = NAMED.to_vec();
        *described.last_mut().unwrap() = 1;
        assert_eq!(shown(None, &[&described, ROWS].concat())[1..], binary);
    }

    #[test]
    fn what_is_cut_off_is_left_out_and_what_is_no_protocol_is_an_error() {
        assert_eq!(shown(None, &ROWS[..20]).len(), 1);
        assert_eq!(
            shown(None, b"E\0\0\0\x1dSERROR\0C22P02\0Mwhy: \"x\"\0\0d\0\0\0\x06a\n"),
            [r#"{"error":{"code":"22P02","message":"why: \"x\""}}"#, r#"{"copied":"a\n"}"#]
        );
        let about = About { bytes: 7, sha256: Digest::of(b""), kept: 7, formats: None };
        assert!(rows(&about, b"D\0\0\0\x06\0\x01").is_err());
    }
}
