//! Batches read back: the entries of one commit group, from its one row.

use super::{
    facts::{self, Facts},
    private,
    row::{garbled, integer, unsigned},
};
use bytes::Bytes;
use countersign_engine::port::store::PrivateValue;
use countersign_ledger::{
    Batch, KeyId,
    tree::{LeafHash, leaf_hash},
};
use rusqlite::{Connection, OptionalExtension as _, Result, Row};
use std::ops::ControlFlow;

/// The signature, of a row that begins with `first, count, epoch, key_id, signature`.
pub(super) fn signed(row: &Row<'_>) -> Result<Batch> {
    Ok(Batch {
        first: unsigned(row.get(0)?),
        count: row.get(1)?,
        epoch: unsigned(row.get(2)?),
        key_id: KeyId(row.get(3)?),
        signature: row.get(4)?,
    })
}

/// The entries of one batch.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) first: u64,
    /// The leaves in order.
    pub(super) entries: Vec<Bytes>,
    facts: Vec<u8>,
    private: Vec<u8>,
}

impl Stored {
    /// From a row whose columns from this one on are `first, facts, entries, private`.
    pub(super) fn read(row: &Row<'_>, column: usize) -> Result<Self> {
        let first = unsigned(row.get(column)?);
        let wrong = || garbled(&format!("entries of the batch from entry {first} on"));
        let facts: Vec<u8> = row.get(column + 1)?;
        let mut rest: Bytes = row.get::<_, Vec<u8>>(column + 2)?.into();
        let mut entries = Vec::new();
        for one in facts::unpack(&facts)? {
            if one.length > rest.len() {
                return Err(wrong());
            }
            entries.push(rest.split_to(one.length));
        }
        if !rest.is_empty() {
            return Err(wrong());
        }
        Ok(Self { first, entries, facts, private: row.get(column + 3)? })
    }

    /// The newest batch that begins at this tree index or before it.
    pub(super) fn around(connection: &Connection, index: u64) -> Result<Option<Self>> {
        let mut statement = connection.prepare_cached(
            "SELECT first, facts, entries, private FROM batch WHERE first <= ?1 ORDER BY first DESC LIMIT 1",
        )?;
        statement.query_row([integer(index)], |row| Self::read(row, 0)).optional()
    }

    /// The leaf at this tree index; an error if there is none.
    pub(super) fn leaf(connection: &Connection, index: u64) -> Result<Bytes> {
        let batch = Self::around(connection, index)?;
        batch
            .as_ref()
            .and_then(|batch| batch.entry(index))
            .cloned()
            .ok_or_else(|| garbled("indexes of entries"))
    }

    pub(super) fn facts(&self) -> Result<Vec<Facts<'_>>> {
        facts::unpack(&self.facts)
    }

    pub(super) fn leaves(&self) -> impl Iterator<Item = LeafHash> {
        self.entries.iter().map(|entry| leaf_hash(entry))
    }

    /// The leaf at this tree index, if it is in this batch.
    pub(super) fn entry(&self, index: u64) -> Option<&Bytes> {
        self.entries.get(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }

    /// What was not erased of the private values of the entry at this tree index.
    pub(super) fn private(&self, index: u64) -> Result<Vec<PrivateValue>> {
        private::unpack(&self.private, self.place(index))
    }

    /// The private values of all, without those under these paths of the entry at this tree index.
    pub(super) fn without(&self, index: u64, paths: &[String]) -> Result<Vec<u8>> {
        private::without(&self.private, self.place(index), paths)
    }

    fn place(&self, index: u64) -> u32 {
        u32::try_from(index.wrapping_sub(self.first)).unwrap_or(u32::MAX)
    }
}

/// Goes through the batches in order, from the one that holds this tree index on, for as long as it is told to.
pub(super) fn each_from(
    connection: &Connection,
    index: u64,
    mut visit: impl FnMut(&Stored) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "SELECT first, facts, entries, private FROM batch \
         WHERE first >= ifnull((SELECT max(first) FROM batch WHERE first <= ?1), 0) ORDER BY first",
    )?;
    let mut rows = statement.query([integer(index)])?;
    while let Some(row) = rows.next()? {
        if visit(&Stored::read(row, 0)?)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Goes through the facts of all entries in order, from the batch on that holds this tree index, and reads no entry.
pub(super) fn each_facts_from(
    connection: &Connection,
    index: u64,
    mut visit: impl FnMut(u64, &Facts<'_>),
) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "SELECT first, facts FROM batch \
         WHERE first >= ifnull((SELECT max(first) FROM batch WHERE first <= ?1), 0) ORDER BY first",
    )?;
    let mut rows = statement.query([integer(index)])?;
    while let Some(row) = rows.next()? {
        let all = facts::unpack(row.get_ref(1)?.as_blob()?)?;
        (unsigned(row.get(0)?)..).zip(&all).for_each(|(index, facts)| visit(index, facts));
    }
    Ok(())
}
