//! The ledger as one snapshot: the view exports, proofs and checks are made from.

use super::{
    history, private,
    row::{bytes, integer, leaves, unsigned},
    startup,
};
use bytes::Bytes;
use countersign_core::{ActionId, BundleDigest};
use countersign_engine::port::store::Kind;
use countersign_ledger::{Batch, Commitment, LeafHash, LeafHashes, LedgerReader, error::ReadError};
use rusqlite::{Connection, OptionalExtension as _, Params, Row, params};

/// One moment of the ledger, for as long as this lives.
#[derive(Debug)]
pub(super) struct Snapshot {
    // INVARIANT: within a read transaction, so that everything read is of the same moment.
    connection: Connection,
    /// Size and signed checkpoint; `None` before the first entry.
    head: Option<(u64, String)>,
}

impl Snapshot {
    pub(super) fn take(connection: Connection) -> rusqlite::Result<Self> {
        connection.execute_batch("BEGIN")?;
        let read = |row: &Row<'_>| Ok((unsigned(row.get(0)?), row.get(1)?));
        let head = connection.query_row("SELECT size, note FROM head", [], read).optional()?;
        Ok(Self { connection, head })
    }

    fn all<T>(
        &self,
        sql: &str,
        values: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, ReadError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(ReadError::new)?;
        let rows = statement.query_map(values, read).map_err(ReadError::new)?;
        rows.collect::<Result<_, _>>().map_err(ReadError::new)
    }
}

impl LeafHashes for Snapshot {
    fn leaf_hashes(&self, start: u64, count: u64) -> Result<Vec<LeafHash>, ReadError> {
        let sql = "SELECT first, leaves FROM batch WHERE first >= \
             ifnull((SELECT max(first) FROM batch WHERE first <= ?1), 0) AND first < ?2 ORDER BY first";
        let end = integer(start.saturating_add(count));
        let read = |row: &Row<'_>| Ok((unsigned(row.get(0)?), leaves(row, 1)?));
        let batches = self.all(sql, params![integer(start), end], read)?;
        let Some(before) = batches.first().map_or(Some(0), |(first, _)| start.checked_sub(*first)) else {
            return Err(ReadError::new("leaf hashes are missing"));
        };
        let found = batches.into_iter().flat_map(|(_, leaves)| leaves);
        let within = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let found: Vec<_> = found.skip(within(before)).take(within(count)).collect();
        if found.len() as u64 == count { Ok(found) } else { Err(ReadError::new("leaf hashes are missing")) }
    }
}

impl LedgerReader for Snapshot {
    fn head(&self) -> Result<(u64, String), ReadError> {
        self.head.clone().ok_or_else(|| ReadError::new("the log has no entries yet"))
    }

    fn entry(&self, index: u64) -> Result<Bytes, ReadError> {
        let found =
            self.all("SELECT bytes FROM entry WHERE idx = ?1", [integer(index)], |row| bytes(row, 0))?;
        found.into_iter().next().ok_or_else(|| ReadError::new(format!("entry {index} is missing")))
    }

    fn batches(&self, index: u64, limit: u32) -> Result<Vec<Batch>, ReadError> {
        let sql = "SELECT first, count, epoch, key_id, signature FROM batch WHERE first >= \
             (SELECT max(first) FROM batch WHERE first <= ?1) AND first + count > ?1 ORDER BY first LIMIT ?2";
        self.all(sql, params![integer(index), limit], startup::batch)
    }

    fn entries_of_action(&self, action: ActionId) -> Result<Vec<u64>, ReadError> {
        let sql = "SELECT idx FROM entry WHERE action = ?1 ORDER BY idx";
        self.all(sql, [action.to_string()], |row| Ok(unsigned(row.get(0)?)))
    }

    fn entries_of_kind(&self, kind: &str) -> Result<Vec<u64>, ReadError> {
        let indexed = if history::has_type_index(kind) { history::INDEXED_TYPES } else { "" };
        let sql = format!("SELECT idx FROM entry WHERE type = ?1{indexed} ORDER BY idx");
        self.all(&sql, [kind], |row| Ok(unsigned(row.get(0)?)))
    }

    fn policy_bundle(&self, digest: &BundleDigest) -> Result<Option<Bytes>, ReadError> {
        let sql = "SELECT doc FROM record WHERE kind = ?1 AND id = ?2";
        let found = self.all(sql, params![Kind::Bundle.as_str(), digest.to_string()], |row| bytes(row, 0))?;
        Ok(found.into_iter().next())
    }

    fn disclosures(&self, index: u64) -> Result<Vec<Commitment>, ReadError> {
        let found = private::read(&self.connection, integer(index)).map_err(ReadError::new)?;
        let open = |private: countersign_engine::port::store::PrivateValue| Commitment {
            path: private.path.into(),
            salt: private.salt,
            value: private.value,
        };
        Ok(found.into_iter().map(open).collect())
    }
}
