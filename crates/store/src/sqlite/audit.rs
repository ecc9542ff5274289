//! The whole ledger checked against itself and its signatures, as the offline verifier would, without an export.

use super::{
    batch::{Stored, signed},
    facts::Facts,
    kinds, places,
    row::{leaves, unsigned},
    startup::key_event,
    tail::TILE,
};
use crate::error::AuditError;
use countersign_ledger::{
    Batch, Entry, LogKeys, VerifierKey,
    checkpoint::Checkpoint,
    keys::endorsed_keys,
    tree::{Frontier, LeafHash},
};
use rusqlite::{Connection, OptionalExtension as _};

/// What a check of the whole ledger went through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audited {
    pub entries: u64,
    pub batches: u64,
}

/// Checks every entry's bytes, every batch's signature under the keys of its time, what entries are found by, and the
/// signed root, in one snapshot.
pub(super) fn verify(connection: &Connection, keys: &LogKeys) -> Result<Audited, AuditError> {
    let snapshot = connection.unchecked_transaction()?;
    let mut batches = snapshot.prepare(
        "SELECT first, count, epoch, key_id, signature, clock, first, facts, entries, private \
         FROM batch ORDER BY first",
    )?;
    let mut batches = batches.query([])?;
    let mut chain = Chain::of(&snapshot, keys)?;
    let mut indexed = Indexed::default();
    let (mut frontier, mut audited) = (Frontier::default(), Audited { entries: 0, batches: 0 });
    let (mut clock, mut tile) = (0, Vec::new());
    while let Some(row) = batches.next()? {
        let batch = signed(row)?;
        let stored = Stored::read(row, 6).map_err(|_| AuditError::Unreadable(batch.first))?;
        if batch.first != frontier.size() {
            return Err(AuditError::Uncovered(frontier.size()));
        }
        if stored.entries.len() != usize::try_from(batch.count).unwrap_or(usize::MAX) {
            return Err(AuditError::Missing(batch.first + stored.entries.len() as u64));
        }
        let before = std::mem::replace(&mut clock, unsigned(row.get(5)?));
        if clock < before {
            return Err(AuditError::Unindexed(batch.first));
        }
        let mut handover = None;
        for ((index, bytes), facts) in (batch.first..).zip(&stored.entries).zip(stored.facts()?) {
            let entry = Entry::parse(bytes).map_err(|_| AuditError::Unreadable(index))?;
            indexed.check(&snapshot, (index, clock), &entry, &facts)?;
            handover = handover.or_else(|| key_event(bytes));
        }
        let computed: Vec<LeafHash> = stored.leaves().collect();
        let exactly = |error| altered(&snapshot, batch.first, &computed).unwrap_or(error);
        chain.check(&batch, &computed, handover).map_err(exactly)?;
        for leaf in computed {
            frontier.append(leaf);
            tile.push(leaf);
            if frontier.size().is_multiple_of(TILE) {
                check_tile(&snapshot, &frontier, &tile)?;
                tile.clear();
            }
        }
        audited.batches += 1;
    }
    indexed.end(&snapshot, frontier.size())?;
    let newest = "SELECT note FROM batch ORDER BY first DESC LIMIT 1";
    let note: Option<String> = snapshot.query_row(newest, [], |row| row.get(0)).optional()?;
    audited.entries = frontier.size();
    match note {
        None => Ok(audited),
        Some(note) => {
            let signed = chain.checkpoint(&note).ok_or(AuditError::Root)?;
            let same = (signed.size, signed.root) == (frontier.size(), frontier.root());
            if same { Ok(audited) } else { Err(AuditError::Root) }
        }
    }
}

/// The first of these entries that its tile has another leaf hash of, if they have one.
fn altered(connection: &Connection, first: u64, computed: &[LeafHash]) -> Option<AuditError> {
    let mut statement = connection.prepare_cached("SELECT leaves FROM tile WHERE number = ?1").ok()?;
    let mut differs = |(index, leaf): &(u64, &LeafHash)| {
        let number = super::row::integer(index / TILE);
        let tile = statement.query_row([number], |row| leaves(row, 0)).unwrap_or_default();
        let place = usize::try_from(index % TILE).unwrap_or(usize::MAX);
        tile.get(place).is_some_and(|stored| stored != *leaf)
    };
    (first..).zip(computed).find(&mut differs).map(|(index, _)| AuditError::Altered(index))
}

/// The tile that ends where this frontier does.
fn check_tile(connection: &Connection, frontier: &Frontier, computed: &[LeafHash]) -> Result<(), AuditError> {
    let (number, first) = (frontier.size() / TILE - 1, frontier.size() - TILE);
    let mut statement = connection.prepare_cached("SELECT leaves, frontier FROM tile WHERE number = ?1")?;
    let read = |row: &rusqlite::Row<'_>| Ok((leaves(row, 0)?, row.get::<_, Vec<u8>>(1)?));
    let stored = statement.query_row([super::row::integer(number)], read).optional()?;
    let (stored, edge) = stored.ok_or(AuditError::Tile(first))?;
    if stored == computed && edge == frontier.to_bytes() { Ok(()) } else { Err(AuditError::Tile(first)) }
}

/// How many rows the indexes must have.
#[derive(Default)]
struct Indexed {
    places: u64,
    kinds: u64,
}

impl Indexed {
    /// That the entry is found by what it says. `at` is its tree index and the clock of its batch.
    fn check(
        &mut self,
        connection: &Connection,
        at: (u64, u64),
        entry: &Entry,
        facts: &Facts<'_>,
    ) -> Result<(), AuditError> {
        let ((index, clock), kind) = (at, entry.event.kind());
        let same = (facts.id, facts.at, facts.action, facts.kind) == (entry.id, entry.at, entry.action, kind);
        let mut found = same && entry.id.unix_ms() <= clock;
        let ids = [Some((entry.id.to_bytes(), entry.id.unix_ms()))]
            .into_iter()
            .chain([entry.action.map(|action| (action.to_bytes(), action.unix_ms()))]);
        for (id, made_ms) in ids.flatten() {
            if !places::is_near(made_ms, clock) {
                self.places += 1;
                found &= places::is_there(connection, id, index)?;
            }
        }
        if kinds::is_listed(kind) {
            self.kinds += 1;
            found &= kinds::is_there(connection, kind, index)?;
        }
        if found { Ok(()) } else { Err(AuditError::Unindexed(index)) }
    }

    /// That the indexes name nothing else. `size` is that of the tree.
    fn end(&self, connection: &Connection, size: u64) -> Result<(), AuditError> {
        let counted = "SELECT (SELECT count(*) FROM place), (SELECT count(*) FROM kind), \
             (SELECT count(*) FROM tile)";
        let counted = connection.query_row(counted, [], |row| {
            Ok((unsigned(row.get(0)?), unsigned(row.get(1)?), unsigned(row.get(2)?)))
        })?;
        if counted == (self.places, self.kinds, size / TILE) {
            return Ok(());
        }
        Err(AuditError::Unindexed(size))
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
        let first = Stored::around(connection, 0)?;
        let named = first.as_ref().and_then(|batch| batch.entry(0)).and_then(|bytes| key_event(bytes));
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
