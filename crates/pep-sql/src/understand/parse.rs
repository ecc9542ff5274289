//! Text to tree, by PostgreSQL's own grammar, within bounds.

use super::{BackslashQuote, Catalog, SessionFacts};
use pg_query::{
    ParserOptions,
    protobuf::{RawStmt, Token},
};

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
    /// Names that the server may take for others than they are taken for here.
    Names,
    Syntax(String),
}

impl Unread {
    pub(super) fn reason(&self) -> String {
        match self {
            Self::TooLong => format!("it is longer than {LONGEST_TEXT} bytes"),
            Self::TooComplex => "it is too complex to verify".into(),
            Self::Names => {
                "it has names beyond ASCII, and the database's encoding is not UTF-8, so they may stand for others there"
                    .into()
            }
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

/// The statements of a text that runs in a database with this catalog. It must hold no NUL.
pub(super) fn in_catalog(
    text: &str,
    options: ParserOptions,
    catalog: &Catalog,
) -> Result<Vec<RawStmt>, Unread> {
    if catalog.is_foreign() && has_doubtful_names(text, options) {
        return Err(Unread::Names);
    }
    statements(text, options)
}

/// Whether something beyond ASCII may stand outside of strings and comments.
fn has_doubtful_names(text: &str, options: ParserOptions) -> bool {
    let escaped = text.as_bytes().windows(2).any(|two| two.eq_ignore_ascii_case(b"u&"));
    if text.is_ascii() && !escaped {
        return false;
    }
    let usual = options.bits() & ParserOptions::DISABLE_STANDARD_CONFORMING_STRINGS.bits() == 0;
    if !usual || text.len() > LONGEST_TEXT {
        return true;
    }
    let Ok(scanned) = pg_query::scan(text) else { return true };
    let part = |start: i32, end: i32| text.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?);
    scanned.tokens.iter().any(|found| {
        let token = Token::try_from(found.token);
        let harmless = matches!(
            token,
            Ok(Token::Sconst
                | Token::Usconst
                | Token::Bconst
                | Token::Xconst
                | Token::SqlComment
                | Token::CComment)
        );
        !harmless
            && (token == Ok(Token::Uident)
                || part(found.start, found.end).is_none_or(|part| !part.is_ascii()))
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_ascii_are_told_from_strings_and_comments() {
        let catalog = |encoding| Catalog::unknown().encoded(encoding);
        for (text, fine) in [
            ("select 1", true),
            ("select 'Köln' -- grün\n", true),
            ("select $$Köln$$, $a$ö$a$, E'\\u00e9', U&'\\00e9' /* ö */", true),
            ("select * from \"Köln\"", false),
            ("select * from köln", false),
            ("select größe('x')", false),
            ("select U&\"k\\00f6ln\"", false),
            ("select 1 as u&1", true),
            ("select $ö$x$ö$", true),
            ("select 'ö", false),
        ] {
            let read = in_catalog(text, ParserOptions::DEFAULT, &catalog("LATIN1"));
            assert_eq!(read != Err(Unread::Names), fine, "{text}: {read:?}");
            let read = in_catalog(text, ParserOptions::DEFAULT, &catalog("UTF8"));
            assert_ne!(read, Err(Unread::Names), "{text}");
        }
        // Where backslashes may end a string elsewhere, nothing is told apart.
        let options = ParserOptions::DISABLE_STANDARD_CONFORMING_STRINGS;
        assert_eq!(in_catalog("select 'ö'", options, &catalog("SQL_ASCII")), Err(Unread::Names));
    }
}
