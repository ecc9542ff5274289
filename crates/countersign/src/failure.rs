//! How a command fails: a sentence, what to do about it, and an exit status.

use countersign_core::visible;
use std::{error::Error, fmt};

/// The command could not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    pub(crate) exit: Exit,
}

/// Exit statuses, as documented in `countersign --help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did not work.
    Failed = 1,
    /// The command line or a file is wrong.
    Usage = 2,
    /// Something was checked and does not hold.
    NotAsPromised = 3,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, exit: Exit::Failed }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, ..Self::new(message) }
    }

    pub(crate) fn not_as_promised(message: impl Into<String>) -> Self {
        Self { exit: Exit::NotAsPromised, ..Self::new(message) }
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// An error with its sources on one line.
    pub(crate) fn of(what: &str, error: &dyn Error) -> Self {
        Self::new(format!("{what}: {}", chain(error)))
    }
}

/// An error with its sources on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut out = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let text = inner.to_string();
        if !out.ends_with(&text) {
            out = format!("{out}: {text}");
        }
        source = inner.source();
    }
    out
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is repeated of a file or an argument cannot play tricks on the terminal.
        write!(out, "error: {}", visible::told(&self.message))?;
        self.hint.iter().try_for_each(|hint| write!(out, "\n\nhint: {}", visible::told(hint)))
    }
}
