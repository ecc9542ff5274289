//! The whole ledger checked against itself and its signatures, as the offline verifier would, without an export.

use super::{
    row::{leaves, unsigned},
    startup::{batch, key_event},
};
use crate::error::AuditError;
use countersign_ledger::{
    Batch, Entry, LogKeys, VerifierKey,
    checkpoint::Checkpoint,
    keys::endorsed_keys,
    tree::{Frontier, LeafHash, leaf_hash},
};
use rusqlite::{Connection, OptionalExtension as _};

/// What a check of the whole ledger went through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audited {
    pub entries: u64,
    pub batches: u64,
}

/// Checks every entry's bytes, every batch's signature under the keys of its time, and the signed root, in one
/// snapshot.
pub(super) fn verify(connection: &Connection, keys: &LogKeys) -> Result<Audited, AuditError> {
    let snapshot = connection.unchecked_transaction()?;
    let mut batches = snapshot
        .prepare("SELECT first, count, epoch, key_id, signature, leaves FROM batch ORDER BY first")?;
    let mut entries = snapshot.prepare("SELECT idx, bytes FROM entry ORDER BY idx")?;
    let mut batches = batches.query([])?;
    let mut rows = entries.query([])?;
    let mut chain = Chain::of(&snapshot, keys)?;
    let (mut frontier, mut audited) = (Frontier::default(), Audited { entries: 0, batches: 0 });
    while let Some(row) = batches.next()? {
        let (batch, mut stored) = (batch(row)?, leaves(row, 5)?.into_iter());
        if batch.first != frontier.size() {
            return Err(AuditError::Uncovered(frontier.size()));
        }
        let mut computed_leaves = Vec::new();
        let mut handover = None;
        for index in batch.first..batch.first + u64::from(batch.count) {
            let row = rows.next()?.ok_or(AuditError::Missing(index))?;
            if unsigned(row.get(0)?) != index {
                return Err(AuditError::Missing(index));
            }
            let bytes = row.get_ref(1)?.as_blob().map_err(|error| AuditError::Read(error.to_string()))?;
            let computed = leaf_hash(bytes);
            if stored.next() != Some(computed) {
                return Err(AuditError::Altered(index));
            }
            computed_leaves.push(computed);
            Entry::parse(bytes).map_err(|_| AuditError::Unreadable(index))?;
            handover = handover.or_else(|| key_event(bytes));
        }
        chain.check(&batch, &computed_leaves, handover)?;
        for leaf in computed_leaves {
            frontier.append(leaf);
        }
        audited.batches += 1;
    }
    if rows.next()?.is_some() {
        return Err(AuditError::Uncovered(frontier.size()));
    }
    let note: Option<String> =
        snapshot.query_row("SELECT note FROM head", [], |row| row.get(0)).optional()?;
    audited.entries = frontier.size();
    match note {
        None if frontier.size() == 0 => Ok(audited),
        None => Err(AuditError::Root),
        Some(note) => {
            let signed = chain.checkpoint(&note).ok_or(AuditError::Root)?;
            let same = (signed.size, signed.root) == (frontier.size(), frontier.root());
            if same { Ok(audited) } else { Err(AuditError::Root) }
        }
    }
}

/// The keys in force, batch after batch.
struct Chain {
    origin: String,
    log: VerifierKey,
    gateway: VerifierKey,
    /// The log key before the last handover, which signed the handing over itself.
    before: Option<VerifierKey>,
}

impl Chain {
    /// From the keys the first entry names; where it names none, the configured ones.
    fn of(connection: &Connection, keys: &LogKeys) -> Result<Self, AuditError> {
        let first: Option<Vec<u8>> =
            connection.query_row("SELECT bytes FROM entry WHERE idx = 0", [], |row| row.get(0)).optional()?;
        let named = first.as_deref().and_then(key_event);
        let (log, gateway) = match named {
            Some((log, gateway, _)) => {
                log.parse().ok().zip(gateway.parse().ok()).ok_or(AuditError::Unreadable(0))?
            }
            None => (keys.log().verifier().clone(), keys.gateway().verifier().clone()),
        };
        Ok(Self { origin: keys.origin().into(), log, gateway, before: None })
    }

    fn check(
        &mut self,
        batch: &Batch,
        leaves: &[LeafHash],
        handover: Option<(String, String, String)>,
    ) -> Result<(), AuditError> {
        let wrong = |source| AuditError::Batch { first: batch.first, source };
        batch.verify(&self.gateway, &self.origin, leaves).map_err(wrong)?;
        if let Some((log, gateway, endorsement)) = handover {
            let (log, gateway) = endorsed_keys(&self.log, &log, &gateway, &endorsement).map_err(wrong)?;
            self.before = Some(std::mem::replace(&mut self.log, log));
            self.gateway = gateway;
        }
        Ok(())
    }

    fn checkpoint(&self, note: &str) -> Option<Checkpoint> {
        let mut keys = [Some(&self.log), self.before.as_ref()].into_iter().flatten();
        keys.find_map(|key| Checkpoint::open(note, key).ok())
    }
}
