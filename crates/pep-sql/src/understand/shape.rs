//! The shape of a text: the same text with parameters in the place of some of its constants. Texts of one shape read
//! alike, so one reading does for all of them, and that reading never saw a constant.
//!
//! Only what cannot mean anything else is lifted out: a plain constant that is compared with a column, assigned to one,
//! added to one in a `SET`, or listed in `VALUES`, in a text of plain words and marks. Behind such a mark the grammar takes
//! a constant and a parameter for the same thing, and before one of [`closes`] it goes on alike. Of equal
//! constants all are lifted out, as the same parameter, or none: what is the same in the text stays the same.

use std::fmt::Write as _;

/// Longer texts have no shape.
const LONGEST: usize = 8 * 1024;
/// Longer numbers may be no integers.
const DIGITS: usize = 9;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'s> {
    /// A keyword or a name, without quotes.
    Word(&'s str),
    /// Digits only.
    Number(&'s str),
    /// A string with its quotes, and nothing in it that could be read in two ways.
    Text(&'s str),
    Mark(&'s str),
}

impl Token<'_> {
    fn is(self, word: &str) -> bool {
        matches!(self, Self::Word(own) if own.eq_ignore_ascii_case(word))
    }

    fn is_any(self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(word))
    }

    fn is_mark(self, mark: &str) -> bool {
        self == Token::Mark(mark)
    }
}

/// The shape of a text; `None` when it has none, or has no constants to lift out.
pub(super) fn of(sql: &str) -> Option<String> {
    if sql.len() > LONGEST {
        return None;
    }
    let tokens = tokens(sql)?;
    let mut rows = Rows::default();
    let (mut free, mut fixed) = (Vec::new(), Vec::new());
    for (at, (start, token)) in tokens.iter().enumerate() {
        rows.pass(&tokens, at, *token);
        if let Token::Number(text) | Token::Text(text) = *token {
            if closes(next(&tokens, at)) && opens(&tokens, at, &rows) {
                free.push((*start, text));
            } else {
                fixed.push(text);
            }
        }
    }
    // All that are the same, or none of them.
    free.retain(|(_, text)| !fixed.contains(text));
    if free.is_empty() {
        return None;
    }
    let mut shape = String::with_capacity(sql.len());
    let mut lifted: Vec<&str> = Vec::new();
    let mut copied = 0;
    for (start, text) in free {
        let known = lifted.iter().position(|known| *known == text).unwrap_or_else(|| {
            lifted.push(text);
            lifted.len() - 1
        });
        shape.push_str(sql.get(copied..start)?);
        write!(shape, "${}", known + 1).ok()?;
        copied = start + text.len();
    }
    shape.push_str(sql.get(copied..)?);
    Some(shape)
}

/// The words and marks of a text with where they begin; `None` as soon as something in it is not plain.
fn tokens(sql: &str) -> Option<Vec<(usize, Token<'_>)>> {
    let bytes = sql.as_bytes();
    let mut tokens: Vec<(usize, Token<'_>)> = Vec::with_capacity(32);
    let run = |from: usize, belongs: fn(u8) -> bool| {
        let rest = bytes.get(from..).unwrap_or_default();
        from + rest.iter().position(|byte| !belongs(*byte)).unwrap_or(rest.len())
    };
    let mut at = 0;
    while let Some(first) = bytes.get(at).copied() {
        let end = match first {
            b' ' | b'\t' | b'\n' | b'\r' => {
                at += 1;
                continue;
            }
            _ if is_word(first) => run(at, is_word),
            b'\'' => {
                // A quote or a backslash inside may be an escape, or not.
                let end = run(at + 1, |byte| !matches!(byte, b'\'' | b'\\' | 0));
                if bytes.get(end) != Some(&b'\'') {
                    return None;
                }
                end + 1
            }
            b'(' | b')' | b',' | b';' | b'.' => at + 1,
            _ => run(at, is_operator),
        };
        let text = sql.get(at..end)?;
        let token = match first {
            b'0'..=b'9' if text.bytes().all(|byte| byte.is_ascii_digit()) => Token::Number(text),
            b'0'..=b'9' => return None,
            b'\'' => Token::Text(text),
            _ if is_word(first) => Token::Word(text),
            _ if matches!(text, "(" | ")" | "," | ";" | "." | "=" | "<" | ">" | "<=" | ">=" | "<>") => {
                Token::Mark(text)
            }
            _ if matches!(text, "+" | "-" | "*" | "/") => Token::Mark(text),
            _ => return None,
        };
        if let Some((before, last)) = tokens.last() {
            let touches = before + length(*last) == at;
            let joined = match (*last, token) {
                // A string goes on in the next one, and a point changes what a number is.
                (Token::Text(_), Token::Text(_))
                | (Token::Number(_), Token::Mark("."))
                | (Token::Mark("."), Token::Number(_)) => true,
                // A prefix changes what a string is.
                (Token::Word(_), Token::Text(_)) | (Token::Text(_), Token::Word(_)) => touches,
                _ => false,
            };
            if joined {
                return None;
            }
        }
        tokens.push((at, token));
        at = end;
    }
    Some(tokens)
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

const fn is_operator(byte: u8) -> bool {
    matches!(byte, b'=' | b'<' | b'>' | b'+' | b'-' | b'*' | b'/')
}

const fn length(token: Token<'_>) -> usize {
    let (Token::Word(text) | Token::Number(text) | Token::Text(text) | Token::Mark(text)) = token;
    text.len()
}

fn next<'s>(tokens: &[(usize, Token<'s>)], at: usize) -> Option<Token<'s>> {
    tokens.get(at + 1).map(|(_, token)| *token)
}

fn before<'s>(tokens: &[(usize, Token<'s>)], at: usize, back: usize) -> Option<Token<'s>> {
    tokens.get(at.checked_sub(back)?).map(|(_, token)| *token)
}

/// What may stand behind a constant that is an operand of its own.
fn closes(token: Option<Token<'_>>) -> bool {
    let Some(token) = token else { return true };
    let words = ["and", "or", "where", "from", "group", "order", "limit", "for", "returning", "on"];
    token.is_mark(")") || token.is_mark(",") || token.is_mark(";") || token.is_any(&words)
}

/// Whether the constant here stands where its value changes nothing of what is read.
fn opens(tokens: &[(usize, Token<'_>)], at: usize, rows: &Rows) -> bool {
    let Some((_, constant)) = tokens.get(at) else { return false };
    if let Token::Number(digits) = constant
        && (digits.len() > DIGITS || (digits.len() > 1 && digits.starts_with('0')))
    {
        return false;
    }
    let Some(mark) = before(tokens, at, 1) else { return false };
    if matches!(mark, Token::Mark("=" | "<" | ">" | "<=" | ">=" | "<>")) {
        return column_starts(tokens, at - 1).is_some();
    }
    let signed = mark.is_mark("-") && matches!(constant, Token::Number(_));
    let listed = |back| matches!(before(tokens, at, back), Some(Token::Mark("(" | ",")));
    if rows.inside() && (listed(1) || (signed && listed(2))) {
        return true;
    }
    // `SET a = a + 1`, `SET a = a + -1`.
    let sum = |back| matches!(before(tokens, at, back), Some(Token::Mark("+" | "-")));
    let operator = if signed && sum(2) { at - 2 } else { at - 1 };
    if !sum(at - operator) {
        return false;
    }
    let Some(column) = column_ends_at(tokens, operator) else { return false };
    before(tokens, column, 1).is_some_and(|mark| mark.is_mark("="))
        && column_starts(tokens, column - 1)
            .is_some_and(|start| before(tokens, start, 1).is_some_and(|word| word.is_any(&["set"])))
}

/// Where the column begins that ends before the operator, when it is the whole operand: behind one of the few words and
/// marks after which an operand begins.
fn column_starts(tokens: &[(usize, Token<'_>)], operator: usize) -> Option<usize> {
    let start = column_ends_at(tokens, operator)?;
    let opened = before(tokens, start, 1)?;
    let words = ["where", "and", "or", "not", "on", "set", "having"];
    (opened.is_any(&words) || opened.is_mark("(") || opened.is_mark(",")).then_some(start)
}

/// Where the name begins that ends before `end`.
fn column_ends_at(tokens: &[(usize, Token<'_>)], end: usize) -> Option<usize> {
    let mut start = end.checked_sub(1)?;
    loop {
        let (_, Token::Word(name)) = tokens.get(start)? else { return None };
        if ["true", "false", "null", "default"].iter().any(|constant| name.eq_ignore_ascii_case(constant)) {
            return None;
        }
        match before(tokens, start, 1) {
            Some(Token::Mark(".")) => start = start.checked_sub(2)?,
            _ => return Some(start),
        }
    }
}

/// Whether the text is inside of a row of `VALUES` just now.
#[derive(Debug, Default)]
struct Rows {
    /// For each parenthesis that is open: whether it is such a row.
    open: Vec<bool>,
    /// Whether the one closed last was.
    closed: bool,
}

impl Rows {
    fn pass(&mut self, tokens: &[(usize, Token<'_>)], at: usize, token: Token<'_>) {
        if token.is_mark("(") {
            let first = before(tokens, at, 1).is_some_and(|word| word.is("values"));
            let further = before(tokens, at, 1) == Some(Token::Mark(","))
                && before(tokens, at, 2) == Some(Token::Mark(")"))
                && self.closed;
            self.open.push(first || further);
        } else if token.is_mark(")") {
            self.closed = self.open.pop().unwrap_or(false);
        }
    }

    fn inside(&self) -> bool {
        self.open.last().copied().unwrap_or(false)
    }
}

#[cfg(test)]
mod tests;
