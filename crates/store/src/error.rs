//! Why a store does not open, and what a check of the whole ledger found.

use countersign_ledger::error::{MarkError, NoteError, Rollback};
use std::{io, path::PathBuf};

/// The store does not open. `Display` holds the hint for the operator.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "the database `{path}` is in use by {holder}\n\nhint: one gateway to a database; stop the other one first",
        path = .path.display(), holder = .pid.map_or_else(|| "another process".into(), |pid| format!("process {pid}"))
    )]
    InUse { path: PathBuf, pid: Option<u32> },
    #[error(
        "the database `{path}` can be read by others (mode {mode:o})\n\nhint: run `chmod 600 {path}`",
        path = .path.display()
    )]
    Permissions { path: PathBuf, mode: u32 },
    #[error("cannot {what} `{path}`: {source}", path = .path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("SQLite `{found}` is older than 3.53.0, which can corrupt its write-ahead log")]
    OldSqlite { found: &'static str },
    #[error("SQLite does not honour `{name}`: wanted `{wanted}`, found `{found}`")]
    Pragma { name: &'static str, wanted: String, found: String },
    #[error("the file is a database of another program\n\nhint: check the configured path")]
    NotOurs,
    #[error(
        "the database has schema {found}, and this version knows {known}\n\nhint: a newer version wrote it; run that version, downgrading is not possible"
    )]
    NewerSchema { found: i64, known: i64 },
    #[error(
        "the database was made by another build: its `{name}` is not as this version makes it\n\nhint: run the build that made it, or move the database and its mark away and begin a new log"
    )]
    OtherBuild { name: String },
    #[error(
        "the ledger in the database does not hold: {0}\n\nhint: keep this database for the investigation and restore one that verifies"
    )]
    Damaged(String),
    #[error(
        "the newest checkpoint is not signed by the configured keys: {0}\n\nhint: check that keys and database belong together"
    )]
    Keys(NoteError),
    #[error(transparent)]
    Mark(#[from] MarkError),
    #[error(transparent)]
    RolledBack(#[from] Rollback),
    #[error("the database failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

/// What does not hold in the stored ledger.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("the ledger cannot be read: {0}")]
    Read(String),
    #[error("entry {0} is missing")]
    Missing(u64),
    #[error("the bytes of entry {0} are not those its leaf hash was made of")]
    Altered(u64),
    #[error("entry {0} is not readable as an entry of this log")]
    Unreadable(u64),
    #[error("the signature over the batch from entry {first} on does not hold: {source}")]
    Batch { first: u64, source: NoteError },
    #[error("no batch covers entry {0}")]
    Uncovered(u64),
    #[error("the tile of leaf hashes from entry {0} on is not that of the entries")]
    Tile(u64),
    #[error("history would not find entry {0} by what it says, or finds what is not there")]
    Unindexed(u64),
    #[error("the root of the stored entries is not the signed one")]
    Root,
}

impl From<rusqlite::Error> for AuditError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Read(error.to_string())
    }
}
