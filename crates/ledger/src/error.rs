//! What can go wrong in the ledger, one type for each thing a caller can act on.

use countersign_core::{Timestamp, canonical::CanonicalError};

/// An entry cannot be sealed, or bytes are not an entry.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    #[error("the entry has {0} bytes, and a leaf holds at most 65535")]
    TooLarge(usize),
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    #[error("`{0}` is not a path of a private field: use 1 to 128 of `a-z`, `0-9`, `_`, `.`, `-`")]
    Path(String),
    #[error("the private field `{0}` is there twice")]
    PathTwice(String),
    #[error("the entry is not readable: {0}")]
    Unreadable(String),
    #[error("the entry is not in canonical form")]
    NotCanonical,
}

/// Whatever keeps the ledger could not read it.
#[derive(Debug, thiserror::Error)]
#[error("the ledger cannot be read")]
pub struct ReadError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl ReadError {
    pub fn new(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(source.into())
    }
}

/// A tree operation was asked for what the tree does not hold, or a proof does not prove.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    #[error("`{0}` lies beyond the tree of {1} entries")]
    OutOfRange(u64, u64),
    #[error("the frontier is not readable")]
    Frontier,
    #[error("the proof has the wrong number of hashes")]
    ProofLength,
    #[error("the proof leads to another root")]
    RootMismatch,
    #[error("`{0}` is not a tlog-proof")]
    ProofText(String),
    #[error(transparent)]
    Note(#[from] NoteError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A signed note, a checkpoint or a key in text form is not good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("not a signed note: {0}")]
    Malformed(&'static str),
    #[error("`{0}` is not a verifier key such as `name+1a2b3c4d+AX…`")]
    VerifierKey(String),
    #[error("`{0}` cannot name a key: it must be without spaces, line breaks and `+`")]
    Name(String),
    #[error("no signature by `{0}` on the note")]
    Unsigned(String),
    #[error("the signature by `{0}` is wrong")]
    BadSignature(String),
    #[error("not a checkpoint: {0}")]
    Checkpoint(&'static str),
    #[error("the checkpoint is of the log `{found}`, not of `{expected}`")]
    OtherLog { expected: String, found: String },
    #[error("the signer failed")]
    Signer,
}

/// The ledger's keys cannot be used. `Display` holds the hint for the operator.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("cannot read or write the key `{path}`: {source}")]
    Io { path: String, source: std::io::Error },
    #[error(
        "the key `{path}` can be read by others (mode {mode:o})\n\nhint: run `chmod 600 {path}`; if others had access to this machine, rotate the key"
    )]
    LoosePermissions { path: String, mode: u32 },
    #[error(
        "the key `{path}` is not readable as a signer key\n\nhint: restore it from its backup; without it this log cannot be continued"
    )]
    Malformed { path: String },
    #[error(
        "the key `{path}` belongs to `{found}`, not to `{expected}`\n\nhint: check the configured origin of the log"
    )]
    OtherName { path: String, expected: String, found: String },
    #[error(
        "the key `{missing}` is missing while its companion is there\n\nhint: restore it from its backup"
    )]
    Half { missing: String },
    #[error(transparent)]
    Note(#[from] NoteError),
    #[error("no key could be made: the system gave no randomness")]
    Randomness,
}

/// The high-water mark cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MarkError {
    #[error("cannot read or write the high-water mark `{path}`: {source}")]
    Io { path: String, source: std::io::Error },
    #[error(
        "the high-water mark `{path}` is damaged in both places\n\nhint: restore it from its backup, or accept the present log with `countersign log accept-rollback`"
    )]
    Damaged { path: String },
    #[error(
        "the high-water mark `{path}` is not signed by a key of this log: {source}\n\nhint: check that mark, keys and database belong together"
    )]
    Foreign { path: String, source: NoteError },
    #[error("the checkpoint is too long for the high-water mark")]
    TooLong,
}

/// The log is older than, or another than, what was already promised.
#[derive(Debug, thiserror::Error)]
pub enum Rollback {
    #[error(
        "the log holds {local} entries and the high-water mark is gone\n\nhint: restore the mark from its backup, or accept the present log with `countersign log accept-rollback`, which records it"
    )]
    NoMark { local: u64 },
    #[error(
        "the log holds {local} entries, and {mark} were already committed: a backup was restored or the machine was cloned\n\nhint: restore the newest database; entries that are lost for good are accepted with `countersign log accept-rollback`, which records it"
    )]
    Shorter { local: u64, mark: u64 },
    #[error(
        "the first {size} entries are not those that were committed: the log was rewritten\n\nhint: keep this database for the investigation and restore one that matches the high-water mark"
    )]
    Rewritten { size: u64 },
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// A passkey's assertion or registration does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    #[error("`{0}` is not base64url")]
    Base64(&'static str),
    #[error("the client data is not readable: {0}")]
    ClientData(String),
    #[error("the client data says `{found}`, not `{expected}`")]
    Type { expected: &'static str, found: String },
    #[error("the passkey signed another challenge")]
    Challenge,
    #[error("the passkey signed for the origin `{found}`, not for `{expected}`")]
    Origin { expected: String, found: String },
    #[error("the page stood inside a page of another origin")]
    CrossOrigin,
    #[error("the authenticator data is not readable: {0}")]
    AuthenticatorData(&'static str),
    #[error("the passkey signed for another relying party than `{0}`")]
    RelyingParty(String),
    #[error("the person was not present")]
    NotPresent,
    #[error("the person was not verified")]
    NotVerified,
    #[error("the public key is not usable: {0}")]
    Key(&'static str),
    #[error("the signature is wrong")]
    Signature,
    #[error("the attestation object is not readable: {0}")]
    Attestation(&'static str),
}

/// A private field cannot be opened with what was disclosed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value and salt disclosed for `{0}` are not those committed to")]
pub struct DisclosureError(pub String);

/// A bundle or a folder of tiles cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("cannot write: {0}")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error("entry {index}: {source}")]
    Entry { index: u64, source: EntryError },
    #[error("`{from}..{to}` is not a range of the log's {size} entries")]
    Range { from: u64, to: u64, size: u64 },
    #[error("the folder holds a checkpoint that is none of this log")]
    Foreign,
    #[error("the policy bundle `{0}` is not kept")]
    NoPolicy(String),
    #[error("batches do not cover the log from {0} on")]
    Uncovered(u64),
    #[error("the statement of {at} cannot be written: {what}")]
    Shape { at: Timestamp, what: String },
}
