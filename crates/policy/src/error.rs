//! What is wrong with a policy file or the configuration it is checked against, and where.

use serde::Serialize;
use std::fmt;

/// A place in a source: both count from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

/// One mistake. A load reports all it finds in one run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PolicyError {
    /// The file, or `configuration` where the vocabulary is at fault.
    pub file: String,
    /// Where it stands; `None` when the file as a whole is at fault.
    pub position: Option<Position>,
    /// Lower case, the offending text in backticks.
    pub message: String,
    /// What would put it right.
    pub hint: Option<String>,
}

impl PolicyError {
    pub fn of_file(file: &str, message: impl Into<String>) -> Self {
        Self { file: file.into(), position: None, message: message.into(), hint: None }
    }

    pub(crate) fn of_configuration(message: impl Into<String>) -> Self {
        Self::of_file("configuration", message)
    }

    #[must_use]
    pub fn at(mut self, position: Position) -> Self {
        self.position = Some(position);
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.file)?;
        if let Some(Position { line, column }) = self.position {
            write!(out, ":{line}:{column}")?;
        }
        write!(out, ": {}", self.message)?;
        self.hint.iter().try_for_each(|hint| write!(out, "\n  hint: {hint}"))
    }
}

impl std::error::Error for PolicyError {}

/// Something a person should look at that does not keep the bundle from loading.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PolicyWarning {
    pub file: String,
    pub position: Position,
    pub message: String,
}

impl fmt::Display for PolicyWarning {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column } = self.position;
        write!(out, "{}:{line}:{column}: {}", self.file, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_says_where_what_and_how_to_mend_it() {
        let error = PolicyError::of_file("a.cedar", "`x` is wrong");
        assert_eq!(error.to_string(), "a.cedar: `x` is wrong");
        let error = error.at(Position { line: 3, column: 7 }).hint("write `y`");
        assert_eq!(error.to_string(), "a.cedar:3:7: `x` is wrong\n  hint: write `y`");
    }
}
