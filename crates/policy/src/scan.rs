//! Cuts a policy file into its statements, so that one mistake does not hide the next and every annotation has a
//! place. What a statement means is Cedar's to say: each piece is parsed by Cedar alone.

use crate::Position;
use countersign_core::visible::{Segment, label, segments};

/// One policy's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement<'s> {
    /// Byte offset of `text` in the source.
    pub(crate) offset: usize,
    /// From its first annotation or word to its `;`.
    pub(crate) text: &'s str,
    /// Annotation keys with their byte offsets in `text`.
    pub(crate) annotations: Vec<(String, usize)>,
}

/// The statements of a source. Together with white space and comments they are the whole of it.
pub(crate) fn statements(source: &str) -> Vec<Statement<'_>> {
    let mut found = Vec::new();
    let mut start = None;
    let mut pieces = Pieces { source, at: 0 };
    while let Some((at, piece)) = pieces.next() {
        match piece {
            Piece::Space | Piece::Comment => {}
            Piece::Text | Piece::Other(_) => {
                let from = *start.get_or_insert(at);
                if piece == Piece::Other(';') {
                    found.extend(statement(source, from, pieces.at));
                    start = None;
                }
            }
        }
    }
    found.extend(start.and_then(|from| statement(source, from, source.len())));
    found
}

/// Where a byte offset stands.
pub(crate) fn position(source: &str, offset: usize) -> Position {
    let before = source.get(..offset).unwrap_or(source);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    Position { line: before.matches('\n').count() + 1, column }
}

/// Every character a reviewer of the file would not see, with its place.
pub(crate) fn hidden(source: &str) -> Vec<(usize, String)> {
    let mut at = 0;
    let mut found = Vec::new();
    for segment in segments(source) {
        match segment {
            Segment::Plain(run) => at += run.len(),
            Segment::Hidden(character) => {
                found.push((at, label(character)));
                at += character.len_utf8();
            }
        }
    }
    found
}

fn statement(source: &str, from: usize, to: usize) -> Option<Statement<'_>> {
    let text = source.get(from..to)?.trim_end();
    Some(Statement { offset: from, text, annotations: annotations(text) })
}

/// The keys at the head of a statement: `@key`, `@key("value")`.
fn annotations(text: &str) -> Vec<(String, usize)> {
    let mut found: Vec<(String, usize)> = Vec::new();
    let mut depth = 0_usize;
    let mut open = false;
    let mut pieces = Pieces { source: text, at: 0 };
    while let Some((at, piece)) = pieces.next() {
        match piece {
            Piece::Other('@') if depth == 0 => {
                found.push((String::new(), at));
                open = true;
            }
            Piece::Other('(') => {
                depth += 1;
                open = false;
            }
            Piece::Other(')') => depth = depth.saturating_sub(1),
            Piece::Other(letter) if depth == 0 && (letter.is_alphanumeric() || letter == '_') => {
                let Some((key, _)) = found.last_mut().filter(|_| open) else { break };
                key.push(letter);
            }
            Piece::Space | Piece::Comment => open &= found.last().is_some_and(|(key, _)| key.is_empty()),
            Piece::Text | Piece::Other(_) => {}
        }
    }
    found
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    Space,
    Comment,
    /// A string literal, closed or not.
    Text,
    Other(char),
}

struct Pieces<'s> {
    source: &'s str,
    at: usize,
}

impl Pieces<'_> {
    fn next(&mut self) -> Option<(usize, Piece)> {
        let rest = self.source.get(self.at..)?;
        let first = rest.chars().next()?;
        let from = self.at;
        let (length, piece) = if first.is_whitespace() {
            (first.len_utf8(), Piece::Space)
        } else if rest.starts_with("//") {
            (rest.find(['\n', '\r']).unwrap_or(rest.len()), Piece::Comment)
        } else if first == '"' {
            (string_length(rest), Piece::Text)
        } else {
            (first.len_utf8(), Piece::Other(first))
        };
        self.at += length;
        Some((from, piece))
    }
}

fn string_length(rest: &str) -> usize {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_their_semicolon_only() {
        let source = "// a; b\n@id(\"x;\\\"y\") permit (principal, action, resource); // c\nforbid(q)";
        let texts: Vec<_> = statements(source).iter().map(|statement| statement.text).collect();
        assert_eq!(texts, ["@id(\"x;\\\"y\") permit (principal, action, resource);", "forbid(q)"]);
        assert_eq!(statements("// nothing\n "), []);
    }

    #[test]
    fn annotations_have_names_and_places() {
        let source = "@id(\"a\") @gate (\"@no\")\n@distinct\npermit (principal == U::\"@x\") when { @y };";
        let found = statements(source).remove(0).annotations;
        let names: Vec<_> = found.iter().map(|(name, at)| (name.as_str(), *at)).collect();
        assert_eq!(names, [("id", 0), ("gate", 9), ("distinct", 23)]);
    }

    #[test]
    fn positions_count_lines_and_characters() {
        assert_eq!(position("é\nüx", 5), Position { line: 2, column: 2 });
        assert_eq!(hidden("a\u{202e}b"), [(1, "⟨U+202E⟩".to_owned())]);
    }
}
