//! The one way text gets into a page: what would not be seen is written out, then HTML is escaped. The templates
//! cannot go around it; what is drawn as markup here is escaped here.

use askama::filters::{Escaper, Html};
use countersign_core::visible::{self, Segment};
use countersign_engine::shown::is_plain;
use std::fmt::{self, Write};

/// Writes hidden characters out and escapes HTML.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen;

impl Escaper for Seen {
    fn write_escaped_str<W: Write>(&self, dest: W, string: &str) -> fmt::Result {
        if is_plain(string) {
            return Html.write_escaped_str(dest, string);
        }
        Html.write_escaped_str(dest, &visible::escaped(string))
    }
}

/// A text as markup, with each run of hidden characters marked.
pub(crate) fn text(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    lines(&mut out, raw);
    out
}

/// Bytes as markup: hidden characters and bytes that are no text are marked.
pub(crate) fn bytes(raw: &[u8]) -> String {
    let mut out = String::with_capacity(raw.len());
    for chunk in raw.utf8_chunks() {
        lines(&mut out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.push_str("<mark>");
            for byte in chunk.invalid() {
                // Writing to a String cannot fail.
                let _ = write!(out, "⟨0x{byte:02X}⟩");
            }
            out.push_str("</mark>");
        }
    }
    out
}

/// Nothing that is marked depends on what stands in another line, and most lines hold nothing to be marked.
fn lines(out: &mut String, raw: &str) {
    for line in raw.split_inclusive('\n') {
        if is_plain(line) {
            // Writing to a String cannot fail.
            let _ = Html.write_escaped_str(&mut *out, line);
        } else {
            push(out, line);
        }
    }
}

fn push(out: &mut String, raw: &str) {
    let mut marked = false;
    for segment in visible::segments(raw) {
        match segment {
            Segment::Plain(run) => {
                if std::mem::take(&mut marked) {
                    out.push_str("</mark>");
                }
                let _ = Html.write_escaped_str(&mut *out, run);
            }
            Segment::Hidden(character) => {
                if !std::mem::replace(&mut marked, true) {
                    out.push_str("<mark>");
                }
                out.push_str(&visible::label(character));
            }
        }
    }
    if marked {
        out.push_str("</mark>");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_is_marked_and_what_is_markup_is_escaped() {
        for (raw, drawn) in [
            ("a<b>&\"'", "a&#60;b&#62;&#38;&#34;&#39;"),
            ("x\u{202e}\u{200b}y", "x<mark>⟨U+202E⟩⟨U+200B⟩</mark>y"),
            ("⟨U+0041⟩", "<mark>⟨U+27E8⟩</mark>U+0041<mark>⟨U+27E9⟩</mark>"),
        ] {
            assert_eq!(text(raw), drawn);
        }
        assert_eq!(bytes(b"ok\xff<"), "ok<mark>⟨0xFF⟩</mark>&#60;");
        let mut out = String::new();
        Seen.write_escaped_str(&mut out, "\u{202e}<i>").unwrap();
        assert_eq!(out, "⟨U+202E⟩&#60;i&#62;");
    }
}
