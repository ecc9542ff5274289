//! The audit log: how entries are sealed, kept in a signed Merkle tree, exported and verified offline.
//!
//! Nothing here waits, reads a clock or draws randomness; the only files it touches are its keys, its
//! high-water mark and the tiles it is told to lay out.

pub mod assertion;
pub mod batch;
pub mod bundle;
pub mod checkpoint;
pub mod cose;
pub mod entry;
pub mod error;
pub mod event;
pub mod keys;
pub mod mark;
pub mod note;
pub mod proof;
pub mod reader;
pub mod registration;
#[cfg(test)]
mod testlog;
pub mod tile;
pub mod tree;
pub mod verify;

pub use batch::{Batch, Committed, Head, extend};
pub use cose::CoseKey;
pub use entry::{Commitment, Entry, EntryDraft, PrivateField, Sealed, Sealing, seal};
pub use error::{
    AssertionError, EntryError, ExportError, KeyError, MarkError, NoteError, ReadError, Rollback, TreeError,
};
pub use keys::LogKeys;
pub use mark::{Mark, MarkFile};
pub use note::{KeyId, VerifierKey};
pub use reader::{LedgerReader, bundle_digest};
pub use tree::{Frontier, LeafHash, LeafHashes};
pub use verify::{Fault, Report, Rule, verify};
