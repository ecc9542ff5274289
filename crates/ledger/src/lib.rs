//! The audit log: how entries are sealed, kept in a signed Merkle tree, exported and verified offline.
//!
//! Nothing here waits, reads a clock or draws randomness; the only files it touches are its keys, its
//! high-water mark and the tiles it is told to lay out.

pub mod batch;
pub mod checkpoint;
pub mod entry;
pub mod error;
pub mod event;
pub mod keys;
pub mod mark;
pub mod note;
pub mod proof;
pub mod tree;

pub use batch::{Batch, Committed, Head, extend};
pub use entry::{Commitment, Entry, EntryDraft, PrivateField, Sealed, Sealing, seal};
pub use error::{EntryError, KeyError, MarkError, NoteError, ReadError, Rollback, TreeError};
pub use keys::LogKeys;
pub use mark::{Mark, MarkFile};
pub use note::{KeyId, VerifierKey};
pub use tree::{Frontier, LeafHash, LeafHashes};
