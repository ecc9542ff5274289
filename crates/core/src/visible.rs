//! Text that somebody else wrote, made safe to look at: nothing invisible stays invisible, nothing is removed.
//!
//! Every surface that shows such text sends it through [`segments`] or [`escaped`] first, then through its own
//! escaper (HTML, terminal, chat).

use std::fmt::Write as _;
use unicode_general_category::{GeneralCategory, get_general_category};

/// A piece of a text as a person should see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment<'t> {
    Plain(&'t str),
    /// A character that would not be seen, or would change how its neighbours are seen.
    Hidden(char),
}

/// Splits a text into what can be shown and what must be made visible.
pub fn segments(text: &str) -> Vec<Segment<'_>> {
    let mut found = Vec::new();
    let mut plain = 0;
    let mut marks = 0;
    let mut push = |from: usize, to: usize, hidden: Option<char>| {
        if let Some(run) = text.get(from..to).filter(|run| !run.is_empty()) {
            found.push(Segment::Plain(run));
        }
        found.extend(hidden.map(Segment::Hidden));
    };
    for (at, character) in text.char_indices() {
        marks = if is_mark(character) { marks + 1 } else { 0 };
        if is_hidden(text, at, character) || marks > 3 {
            push(plain, at, Some(character));
            plain = at + character.len_utf8();
        }
    }
    push(plain, text.len(), None);
    found
}

/// Whether the text holds anything a reviewer would not see as it is.
pub fn has_hidden(text: &str) -> bool {
    segments(text).iter().any(|segment| matches!(segment, Segment::Hidden(_)))
}

/// The text with every hidden character written out, such as `⟨U+202E⟩`.
pub fn escaped(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    segments(text).iter().fold(String::with_capacity(text.len()), |mut out, segment| {
        match segment {
            Segment::Plain(run) => out.push_str(run),
            Segment::Hidden(character) => out.push_str(&label(*character)),
        }
        out
    })
}

/// A message of ours that may repeat what somebody else wrote: hidden characters are written out. Marks that stand there
/// already, because the repeated part went through [`one_line`], stay as they are.
pub fn told(message: &str) -> String {
    segments(message).iter().fold(String::with_capacity(message.len()), |mut out, segment| {
        match segment {
            Segment::Plain(run) => out.push_str(run),
            Segment::Hidden(mark @ ('⟨' | '⟩')) => out.push(*mark),
            Segment::Hidden(character) => out.push_str(&label(*character)),
        }
        out
    })
}

/// A name somebody chose, for a message: on one line, hidden characters written out, the rest of a very long one left out.
pub fn name(text: &str) -> String {
    const SHOWN: usize = 80;
    let mut characters = text.chars();
    let start: String = characters.by_ref().take(SHOWN).collect();
    let rest = characters.count();
    if rest == 0 { one_line(&start) } else { format!("{}… ({rest} characters more)", one_line(&start)) }
}

/// The text on one line: line ends and tabs are written out as well. A carriage return that ended a line would
/// otherwise overwrite it in a terminal.
pub fn one_line(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    escaped(text).replace('\r', "⟨U+000D⟩").replace('\n', "⟨U+000A⟩").replace('\t', "⟨U+0009⟩")
}

/// How a hidden character is written.
pub fn label(character: char) -> String {
    let mut out = String::with_capacity(10);
    // Writing to a String cannot fail.
    let _ = write!(out, "⟨U+{:04X}⟩", u32::from(character));
    out
}

/// Bytes as text: what is UTF-8 as [`segments`] shows it, every other byte as `⟨0xFF⟩`.
pub fn bytes(raw: &[u8]) -> String {
    raw.utf8_chunks().fold(String::with_capacity(raw.len()), |mut out, chunk| {
        out.push_str(&escaped(chunk.valid()));
        for byte in chunk.invalid() {
            let _ = write!(out, "⟨0x{byte:02X}⟩");
        }
        out
    })
}

/// Whether it is printable ASCII on one line, as nearly every text is: nothing of that is ever hidden.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

fn is_mark(character: char) -> bool {
    matches!(
        get_general_category(character),
        GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark
    )
}

fn is_hidden(text: &str, at: usize, character: char) -> bool {
    match character {
        '\n' | '\t' | ' ' => false,
        // A carriage return is a line end only before a line feed; alone it overwrites the line.
        '\r' => !text.get(at + 1..).is_some_and(|rest| rest.starts_with('\n')),
        // Letters that are drawn as nothing, variation selectors, and our own marks, which nobody may imitate.
        '\u{115f}'
        | '\u{1160}'
        | '\u{3164}'
        | '\u{ffa0}'
        | '\u{2800}'
        | '\u{034f}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{e0100}'..='\u{e01ef}'
        | '⟨'
        | '⟩' => true,
        _ => is_hidden_category(get_general_category(character)),
    }
}

fn is_hidden_category(category: GeneralCategory) -> bool {
    matches!(
        category,
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
            | GeneralCategory::SpaceSeparator
            | GeneralCategory::PrivateUse
            | GeneralCategory::Unassigned
            | GeneralCategory::Surrogate
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_repeats_a_name_hides_nothing_and_marks_nothing_twice() {
        let hostile = "a\u{202e}b";
        assert_eq!(told(&format!("no `{hostile}` here")), "no `a⟨U+202E⟩b` here");
        assert_eq!(told(&format!("no `{}` here", name(hostile))), "no `a⟨U+202E⟩b` here");
        assert_eq!(name("a\nb"), "a⟨U+000A⟩b");
        assert_eq!(name(&"ü".repeat(80)), "ü".repeat(80));
        assert_eq!(name(&"ü".repeat(90)), format!("{}… (10 characters more)", "ü".repeat(80)));
    }

    #[test]
    #[rustfmt::skip]
    fn nothing_invisible_stays_invisible() {
        for (raw, shown) in [
            ("plain – naïve Ωπ 日本", "plain – naïve Ωπ 日本"),
            ("a\u{202e}b\u{2066}c", "a⟨U+202E⟩b⟨U+2066⟩c"),
            ("zero\u{200b}width\u{feff}", "zero⟨U+200B⟩width⟨U+FEFF⟩"),
            ("\u{1b}[31mred\0", "⟨U+001B⟩[31mred⟨U+0000⟩"),
            ("two\r\nlines\rover", "two\r\nlines⟨U+000D⟩over"),
            ("nb\u{a0}sp\u{3164}", "nb⟨U+00A0⟩sp⟨U+3164⟩"),
            ("tag\u{e0041}", "tag⟨U+E0041⟩"),
            ("⟨U+0041⟩", "⟨U+27E8⟩U+0041⟨U+27E9⟩"),
            ("a\u{301}\u{301}\u{301}\u{301}", "a\u{301}\u{301}\u{301}⟨U+0301⟩"),
        ] {
            assert_eq!(escaped(raw), shown, "{raw:?}");
        }
    }

    #[test]
    fn what_is_taken_for_plain_hides_nothing() {
        let plain = (0..=0x7f_u8).map(char::from).filter(|character| is_plain(&character.to_string()));
        let plain: String = plain.collect();
        assert_eq!(plain.len(), 95);
        assert_eq!(segments(&plain), [Segment::Plain(&plain)]);
    }

    #[test]
    fn one_line_is_one_line_in_any_terminal() {
        assert_eq!(one_line("1500\r\n\tok"), "1500⟨U+000D⟩⟨U+000A⟩⟨U+0009⟩ok");
    }

    #[test]
    fn bytes_that_are_no_text_are_written_out() {
        assert_eq!(bytes(b"ok\xff\xfeok"), "ok⟨0xFF⟩⟨0xFE⟩ok");
    }
}
