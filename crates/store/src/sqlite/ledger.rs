//! The ledger as one snapshot: the view exports, proofs and checks are made from.

use super::{
    batch::{self, Stored},
    kinds,
    places::Moments,
    row::{bytes, integer, leaves, unsigned},
    tail::TILE,
};
use bytes::Bytes;
use countersign_core::{ActionId, BundleDigest};
use countersign_engine::port::store::Kind;
use countersign_ledger::{Batch, Commitment, LeafHash, LeafHashes, LedgerReader, error::ReadError};
use rusqlite::{Connection, OptionalExtension as _, Params, Row, params};
use std::{cell::RefCell, ops::ControlFlow};

/// One moment of the ledger, for as long as this lives.
#[derive(Debug)]
pub(super) struct Snapshot {
    // INVARIANT: within a read transaction, so that everything read is of the same moment.
    connection: Connection,
    /// Size and signed checkpoint; `None` before the first entry.
    head: Option<(u64, String)>,
    /// The batch read last: whoever goes through the entries asks for each of them.
    last: RefCell<Option<Stored>>,
    moments: RefCell<Moments>,
}

impl Snapshot {
    pub(super) fn take(connection: Connection) -> rusqlite::Result<Self> {
        connection.execute_batch("BEGIN")?;
        let read = |row: &Row<'_>| Ok((unsigned(row.get(0)?), row.get(1)?));
        let newest = "SELECT first + count, note FROM batch ORDER BY first DESC LIMIT 1";
        let head = connection.query_row(newest, [], read).optional()?;
        Ok(Self { connection, head, last: RefCell::new(None), moments: RefCell::default() })
    }

    /// Asks the batch that holds the entry at this tree index.
    fn within<T>(
        &self,
        index: u64,
        ask: impl FnOnce(&Stored) -> rusqlite::Result<T>,
    ) -> Result<T, ReadError> {
        let mut last = self.last.borrow_mut();
        let holds = |batch: &Stored| batch.entry(index).is_some();
        if !last.as_ref().is_some_and(holds) {
            *last = Stored::around(&self.connection, index).map_err(ReadError::new)?;
        }
        let Some(batch) = last.as_ref().filter(|batch| holds(batch)) else {
            return Err(ReadError::new(format!("entry {index} is missing")));
        };
        ask(batch).map_err(ReadError::new)
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
        let end = start.saturating_add(count);
        let (low, high) = (integer(start / TILE), integer(end.div_ceil(TILE)));
        let sql = "SELECT number, leaves FROM tile WHERE number >= ?1 AND number < ?2 ORDER BY number";
        let read = |row: &Row<'_>| Ok((unsigned(row.get(0)?), leaves(row, 1)?));
        let wanted = usize::try_from(count).unwrap_or(usize::MAX);
        let mut found = Vec::with_capacity(wanted.min(1 << 20));
        let mut next = start;
        for (number, tile) in self.all(sql, params![low, high], read)? {
            let skipped = usize::try_from(next.saturating_sub(number * TILE)).unwrap_or(usize::MAX);
            found.extend(tile.into_iter().skip(skipped).take(wanted - found.len()));
            next = start + found.len() as u64;
        }
        // The newest are not in a tile yet.
        if next < end {
            batch::each_from(&self.connection, next, |batch| {
                let skipped = usize::try_from(next.saturating_sub(batch.first)).unwrap_or(usize::MAX);
                found.extend(batch.leaves().skip(skipped).take(wanted - found.len()));
                next = start + found.len() as u64;
                Ok(if next < end { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            })
            .map_err(ReadError::new)?;
        }
        if found.len() == wanted { Ok(found) } else { Err(ReadError::new("leaf hashes are missing")) }
    }
}

impl LedgerReader for Snapshot {
    fn head(&self) -> Result<(u64, String), ReadError> {
        self.head.clone().ok_or_else(|| ReadError::new("the log has no entries yet"))
    }

    fn entry(&self, index: u64) -> Result<Bytes, ReadError> {
        self.within(index, |batch| Ok(batch.entry(index).cloned().unwrap_or_default()))
    }

    fn batches(&self, index: u64, limit: u32) -> Result<Vec<Batch>, ReadError> {
        let sql = "SELECT first, count, epoch, key_id, signature FROM batch WHERE first >= \
             (SELECT max(first) FROM batch WHERE first <= ?1) AND first + count > ?1 ORDER BY first LIMIT ?2";
        self.all(sql, params![integer(index), limit], batch::signed)
    }

    fn entries_of_action(&self, action: ActionId) -> Result<Vec<u64>, ReadError> {
        self.moments.borrow_mut().of_action(&self.connection, action).map_err(ReadError::new)
    }

    fn entries_of_kind(&self, kind: &str) -> Result<Vec<u64>, ReadError> {
        kinds::entries(&self.connection, kind).map_err(ReadError::new)
    }

    fn policy_bundle(&self, digest: &BundleDigest) -> Result<Option<Bytes>, ReadError> {
        let sql = "SELECT doc FROM record WHERE kind = ?1 AND id = ?2";
        let found = self.all(sql, params![Kind::Bundle.as_str(), digest.to_string()], |row| bytes(row, 0))?;
        Ok(found.into_iter().next())
    }

    fn disclosures(&self, index: u64) -> Result<Vec<Commitment>, ReadError> {
        let found = self.within(index, |batch| batch.private(index))?;
        let open = |private: countersign_engine::port::store::PrivateValue| Commitment {
            path: private.path.into(),
            salt: private.salt,
            value: private.value,
        };
        Ok(found.into_iter().map(open).collect())
    }
}
