//! Text that somebody else wrote, for Adaptive Cards. It stands in text runs alone, where the cards' Markdown subset (bold,
//! italic, lists, links) means nothing (<https://adaptivecards.io/explorer/TextRun.html>); what is left of markup there is
//! `{{DATE(…)}}` and `{{TIME(…)}}`, which a client replaces by other words: no two braces that open stand beside each other.
//! Clients draw several spaces as one: all but single ones become spaces that do not break, and so stay. Hidden characters,
//! such spaces among them, were written out before ([`countersign_core::visible`]); the marks here are the same.

use countersign_core::visible::label;
use std::borrow::Cow;

/// A space that is drawn wherever it stands.
const FIXED_SPACE: &str = "\u{a0}";

/// The whole text, on one line.
pub(super) fn escaped(text: &str) -> String {
    cut(text, usize::MAX).0
}

/// As much of the text as fits into `most` characters when escaped, and how many characters were left out.
pub(super) fn cut(text: &str, most: usize) -> (String, usize) {
    let mut out = String::new();
    let (mut used, mut before) = (0, ' ');
    let mut left = text.chars();
    while let [Some(character), behind] = [left.clone().next(), left.clone().nth(1)] {
        let piece = piece(before, character, behind);
        used += piece.chars().count();
        if used > most {
            break;
        }
        out.push_str(&piece);
        before = character;
        left.next();
    }
    (out, left.count())
}

fn piece(before: char, character: char, behind: Option<char>) -> Cow<'static, str> {
    match character {
        '{' if before == '{' => label(character).into(),
        '\n' | '\t' | '\r' => label(character).into(),
        ' ' if before == ' ' || matches!(behind, None | Some(' ')) => FIXED_SPACE.into(),
        other => String::from(other).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_replaced_and_no_space_is_lost() {
        for (text, want) in [
            (
                "{{DATE(2017-02-14T06:08:39Z)}} {{{x}}}",
                "{⟨U+007B⟩DATE(2017-02-14T06:08:39Z)}} {⟨U+007B⟩⟨U+007B⟩x}}}",
            ),
            ("a  b   c ", "a\u{a0}\u{a0}b\u{a0}\u{a0}\u{a0}c\u{a0}"),
            ("  in", "\u{a0}\u{a0}in"),
            (" in a row", "\u{a0}in a row"),
            ("a\n\tb\r", "a⟨U+000A⟩⟨U+0009⟩b⟨U+000D⟩"),
            ("**b** [x](y) <at>all</at>", "**b** [x](y) <at>all</at>"),
        ] {
            assert_eq!(escaped(text), want);
        }
    }

    #[test]
    fn what_is_cut_is_counted() {
        assert_eq!(cut("abc", 3), ("abc".into(), 0));
        assert_eq!(cut("abc", 2), ("ab".into(), 1));
        assert_eq!(cut("a{{", 9), ("a{".into(), 1));
        assert_eq!(cut("a{{", 10), ("a{⟨U+007B⟩".into(), 0));
        assert_eq!(cut("🎈🎈", 1), ("🎈".into(), 1));
    }
}
