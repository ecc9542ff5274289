//! What an editor has in front of them: a record, and the version of it that they saw.

use crate::{error::IdentityError, record::Held};

/// Names the record to change. With a version, it is changed only if it still is what the editor saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen<I> {
    pub id: I,
    /// `None`: whatever it is by now.
    pub version: Option<u64>,
}

impl<I> From<I> for Seen<I> {
    fn from(id: I) -> Self {
        Self { id, version: None }
    }
}

impl<I> Seen<I> {
    pub(crate) fn is_present<T>(&self, held: &Held<T>) -> Result<(), IdentityError> {
        match self.version {
            Some(seen) if seen != held.version => Err(IdentityError::ChangedSince),
            Some(_) | None => Ok(()),
        }
    }
}
