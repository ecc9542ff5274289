//! Why the engine could not go on. Whatever the reason, nothing ran.

use crate::{
    journal::JournalError,
    port::store::{CommitError, Kind, ReadError},
};
use countersign_core::canonical::CanonicalError;
use countersign_ledger::error::EntryError;

/// A failure on our side. The wire adapter answers that nothing ran and that the same request may be repeated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("nothing could be recorded, so nothing ran")]
    NotRecordable(#[from] JournalError),
    #[error("the store could not be read")]
    Read(#[from] ReadError),
    #[error("the action has no canonical form")]
    NotCanonical(#[from] CanonicalError),
    #[error("`{kind}` `{id}` does not exist", kind = .kind.as_str())]
    Missing { kind: Kind, id: String },
    #[error("`{kind}` `{id}` kept changing; try again", kind = .kind.as_str())]
    Contended { kind: Kind, id: String },
}

impl From<CommitError> for Error {
    fn from(error: CommitError) -> Self {
        Self::NotRecordable(error.into())
    }
}

impl From<EntryError> for Error {
    fn from(error: EntryError) -> Self {
        Self::NotRecordable(error.into())
    }
}
