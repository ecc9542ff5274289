//! Rows as the words of the store's door, and numbers between `SQLite`'s signed and our unsigned.

use bytes::Bytes;
use countersign_engine::port::store::{ReadError, Record};
use countersign_ledger::tree::LeafHash;
use rusqlite::{Row, types::Type};

/// For numbers that count or number something; none comes near 2^63.
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// For columns that only ever hold what [`integer`] made.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// `id, version, doc`.
pub(super) fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record { id: row.get(0)?, version: unsigned(row.get(1)?), doc: bytes(row, 2)? })
}

pub(super) fn bytes(row: &Row<'_>, column: usize) -> rusqlite::Result<Bytes> {
    Ok(row.get::<_, Vec<u8>>(column)?.into())
}

/// The leaf hashes of a tile, in order.
pub(super) fn leaves(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<LeafHash>> {
    let (hashes, _) = row.get_ref(column)?.as_blob()?.as_chunks::<32>();
    Ok(hashes.iter().copied().map(LeafHash).collect())
}

/// The error for something stored that is not as it was written.
pub(super) fn garbled(what: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Blob, format!("the {what} are not as written").into())
}

/// Any failure to read, as the door tells it.
pub(super) fn unreadable(error: impl std::fmt::Display) -> ReadError {
    ReadError::Backend(error.to_string())
}
