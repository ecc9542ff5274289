//! Text to tree, by PostgreSQL's own grammar, within bounds.

use super::{BackslashQuote, SessionFacts};
use pg_query::{ParserOptions, protobuf::RawStmt};

/// The grammar's version, as trees carry it.
pub(super) const VERSION: i32 = 180_000;
/// Longer texts are not read.
pub(super) const LONGEST_TEXT: usize = 64 * 1024;
/// More tokens than this are not read.
const MOST_TOKENS: usize = 32 * 1024;
/// More statements than this in one text are not read.
pub(super) const MOST_STATEMENTS: usize = 256;

/// Why a text could not be made into a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    TooLong,
    TooComplex,
    Syntax(String),
}

impl Unread {
    pub(super) fn reason(&self) -> String {
        match self {
            Self::TooLong => format!("it is longer than {LONGEST_TEXT} bytes"),
            Self::TooComplex => "it is too complex to verify".into(),
            Self::Syntax(message) => format!("PostgreSQL's grammar does not accept it ({message})"),
        }
    }
}

/// How this session reads strings.
pub(super) fn options(session: &SessionFacts) -> ParserOptions {
    let strings = if session.standard_conforming_strings {
        ParserOptions::DEFAULT
    } else {
        ParserOptions::DISABLE_STANDARD_CONFORMING_STRINGS
    };
    let quotes = match session.backslash_quote {
        BackslashQuote::On | BackslashQuote::SafeEncoding => ParserOptions::DEFAULT,
        BackslashQuote::Off => ParserOptions::DISABLE_BACKSLASH_QUOTE,
    };
    strings | quotes | ParserOptions::DISABLE_ESCAPE_STRING_WARNING
}

/// The statements of a text. It must hold no NUL.
pub(super) fn statements(text: &str, options: ParserOptions) -> Result<Vec<RawStmt>, Unread> {
    if text.len() > LONGEST_TEXT {
        return Err(Unread::TooLong);
    }
    if tokens(text) > MOST_TOKENS {
        return Err(Unread::TooComplex);
    }
    let parsed = pg_query::parse(text, options).map_err(|error| match error {
        // The tree was made and is nested deeper than it may be.
        pg_query::Error::Decode(_) => Unread::TooComplex,
        pg_query::Error::Parse(message) if message.contains("stack depth limit") => Unread::TooComplex,
        pg_query::Error::Parse(message) => Unread::Syntax(message),
        pg_query::Error::Conversion(_)
        | pg_query::Error::InvalidJson(_)
        | pg_query::Error::InvalidPointer
        | pg_query::Error::Scan(_)
        | pg_query::Error::IsUtility(_)
        | pg_query::Error::Split(_) => Unread::Syntax("it cannot be read".into()),
    })?;
    if parsed.protobuf.stmts.len() > MOST_STATEMENTS {
        return Err(Unread::TooComplex);
    }
    Ok(parsed.protobuf.stmts)
}

/// At least as many as the grammar will see outside strings: runs of word characters and every other character.
fn tokens(text: &str) -> usize {
    let mut count = 0;
    let mut in_word = false;
    for byte in text.bytes() {
        let is_word = byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
        if (is_word && !in_word) || !(is_word || byte.is_ascii_whitespace()) {
            count += 1;
        }
        in_word = is_word;
    }
    count
}
