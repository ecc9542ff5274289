//! Text that somebody else wrote, for Slack: `&`, `<` and `>` as Slack asks, so that no mention, link or channel can be
//! made of it; what would end a code fence or a line, written out. Hidden characters were written out before
//! ([`countersign_core::visible`]); the marks here are the same.

use countersign_core::visible::label;
use std::borrow::Cow;

/// Where a text is put. Slack has no way to escape `*`, `_`, `~` or `:smile:`, so somebody else's text stands only where
/// these mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sink {
    /// A `plain_text` object, on one line.
    Plain,
    /// Inline code of a `mrkdwn` object, on one line.
    Code,
    /// A code fence of a `mrkdwn` object, with its lines.
    Fence,
}

/// Length as Slack is taken to count it: UTF-16 code units, more than characters and never fewer.
pub(super) fn length(text: &str) -> usize {
    text.encode_utf16().count()
}

/// The whole text.
pub(super) fn escaped(text: &str, sink: Sink) -> String {
    text.chars().map(|character| piece(character, sink)).collect()
}

/// As much of the text as fits into `most` when escaped, and how many characters were left out.
pub(super) fn cut(text: &str, sink: Sink, most: usize) -> (String, usize) {
    let mut out = String::new();
    let mut used = 0;
    let mut left = text.chars();
    while let Some(character) = left.clone().next() {
        let piece = piece(character, sink);
        used += length(&piece);
        if used > most {
            break;
        }
        out.push_str(&piece);
        left.next();
    }
    (out, left.count())
}

/// The whole text in pieces of at most `most` when escaped, ended where lines end if that is not far.
pub(super) fn pieces(text: &str, sink: Sink, most: usize) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (_, left_out) = cut(rest, sink, most);
        let mut end =
            rest.char_indices().rev().nth(left_out.wrapping_sub(1)).map_or(rest.len(), |(at, _)| at);
        if left_out == 0 {
            end = rest.len();
        } else if let Some(line) = rest.get(..end).and_then(|part| part.rfind('\n'))
            && line > end / 2
        {
            end = line + 1;
        }
        // Never without a step: one character is shorter than any piece.
        let (part, behind) = rest.split_at_checked(end.max(1)).unwrap_or((rest, ""));
        pieces.push(escaped(part, sink));
        rest = behind;
    }
    pieces
}

fn piece(character: char, sink: Sink) -> Cow<'static, str> {
    match (character, sink) {
        ('&', _) => "&amp;".into(),
        ('<', _) => "&lt;".into(),
        ('>', _) => "&gt;".into(),
        ('`', Sink::Code | Sink::Fence) | ('\n' | '\t' | '\r', Sink::Plain | Sink::Code) => {
            label(character).into()
        }
        (other, _) => String::from(other).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_means_anything_to_slack() {
        let hostile = "<!channel> <@U1> <https://evil|x> `a` ``` & &lt;\nb";
        let plain = "&lt;!channel&gt; &lt;@U1&gt; &lt;https://evil|x&gt; `a` ``` &amp; &amp;lt;⟨U+000A⟩b";
        assert_eq!(escaped(hostile, Sink::Plain), plain);
        assert_eq!(escaped("`a`\nb", Sink::Code), "⟨U+0060⟩a⟨U+0060⟩⟨U+000A⟩b");
        assert_eq!(escaped("```\n*b*\t_c_", Sink::Fence), "⟨U+0060⟩⟨U+0060⟩⟨U+0060⟩\n*b*\t_c_");
    }

    #[test]
    fn what_is_cut_is_counted_and_pieces_lose_nothing() {
        assert_eq!(cut("a&b", Sink::Plain, 7), ("a&amp;b".into(), 0));
        assert_eq!(cut("a&b", Sink::Plain, 6), ("a&amp;".into(), 1));
        assert_eq!(cut("a&b", Sink::Plain, 5), ("a".into(), 2));
        assert_eq!(cut("🎈🎈", Sink::Plain, 3), ("🎈".into(), 1));
        let text = "first line\nsecond & line\nthird 🎈 line with `code`\n".repeat(20);
        for most in [8, 9, 30, 100, 10_000] {
            let pieces = pieces(&text, Sink::Fence, most);
            assert_eq!(pieces.concat(), escaped(&text, Sink::Fence), "{most}");
            assert!(pieces.iter().all(|piece| length(piece) <= most), "{most}");
        }
    }
}
