//! Text that somebody else wrote, for a mail's two parts. Hidden characters were written out before
//! ([`countersign_core::visible`]); the marks here are the same. Mail programs make links of what looks like an address, in
//! either part, so what begins one is written out.

use std::borrow::Cow;

/// On one line, and no link.
pub(crate) fn line(text: &str) -> String {
    inert(text).replace('\r', "⟨U+000D⟩").replace('\n', "⟨U+000A⟩").replace('\t', "⟨U+0009⟩")
}

/// With its lines, and no link.
pub(super) fn lines(text: &str) -> String {
    inert(text).replace("\r\n", "\n").replace('\r', "⟨U+000D⟩")
}

/// As HTML, between tags or in a quoted attribute.
pub(super) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// Without what mail programs take for the beginning of an address of the web, of mail or of a telephone.
fn inert(text: &str) -> Cow<'_, str> {
    let begins = |text: &str| {
        let small = text.to_ascii_lowercase();
        ["://", "www.", "mailto:", "tel:", "callto:"].iter().any(|start| small.contains(start))
    };
    if !begins(text) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for (at, character) in text.char_indices() {
        let before = text.get(..at).unwrap_or_default().as_bytes();
        let ends = |word: &str| {
            let start = before.len().checked_sub(word.len());
            start
                .and_then(|start| before.get(start..))
                .is_some_and(|end| end.eq_ignore_ascii_case(word.as_bytes()))
        };
        let behind = text.get(at..).unwrap_or_default();
        let colon = character == ':'
            && (behind.starts_with("://") || ["mailto", "tel", "callto"].into_iter().any(ends));
        if colon {
            out.push_str("⟨U+003A⟩");
        } else if character == '.' && ends("www") {
            out.push_str("⟨U+002E⟩");
        } else {
            out.push(character);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_begins_an_address_is_left_and_the_rest_stays_as_it_is() {
        for (text, want) in [
            ("shop.orders: 7, a:b", "shop.orders: 7, a:b"),
            ("see HTTPS://evil.example", "see HTTPS⟨U+003A⟩//evil.example"),
            ("WwW.evil.example", "WwW⟨U+002E⟩evil.example"),
            ("MailTo:x@evil.example tel:+49", "MailTo⟨U+003A⟩x@evil.example tel⟨U+003A⟩+49"),
            ("www..a ://", "www⟨U+002E⟩.a ⟨U+003A⟩//"),
            ("ä://ö", "ä⟨U+003A⟩//ö"),
        ] {
            assert_eq!(line(text), want, "{text}");
        }
        assert_eq!(
            (line("a\r\nb\tc"), lines("a\r\nb\rc")),
            ("a⟨U+000D⟩⟨U+000A⟩b⟨U+0009⟩c".into(), "a\nb⟨U+000D⟩c".into())
        );
        assert_eq!(html("<a href=\"x\">'&amp;'"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;amp;&#39;");
    }
}
