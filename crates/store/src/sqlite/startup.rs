//! What is checked before anything is served: that the head is signed, that the newest batch is what was signed,
//! and that no more was ever promised than is there. Nothing is written to the ledger.

use super::{
    SqliteOptions, audit,
    batch::{Stored, each_from, signed},
    history, kinds,
    known::Known,
    row::{leaves, unsigned},
    tail::{Open, TILE, Tail},
};
use crate::error::OpenError;
use countersign_ledger::{
    Batch, Entry, LogKeys, MarkFile, VerifierKey,
    checkpoint::Checkpoint,
    error::{MarkError, NoteError, ReadError, Rollback, TreeError},
    event::Event,
    keys::endorsed_keys,
    mark,
    tree::{Frontier, Hash, LeafHash},
};
use rusqlite::{Connection, OptionalExtension as _};
use std::{fs, ops::ControlFlow, sync::Arc};

/// What to do when the log is older than what was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnRollback {
    #[default]
    Refuse,
    /// Go on from what is there, as an operator decided who knows that the rest is lost. The caller records it.
    Accept,
}

/// The size of the log found, and how many entries had been promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedRollback {
    pub size: u64,
    /// 0 when the mark itself was lost.
    pub mark: u64,
}

/// Reads the newest batch and checks the end of the ledger against it, its keys and the mark.
pub(super) fn verify(
    connection: &Connection,
    options: &SqliteOptions,
) -> Result<(Tail, MarkFile, Option<AcceptedRollback>), OpenError> {
    let keys = Arc::clone(&options.keys);
    let head = head(connection)?;
    let frontier = &head.end.frontier;
    let chain = key_chain(connection, &keys)?;
    let mut epoch = 1;
    if let Some(newest) = &head.newest {
        let trusted = newest_signers(&chain, frontier.size());
        let found = signed_by_any(&newest.note, &trusted)?;
        if (found.size, found.root) != (frontier.size(), frontier.root()) {
            return Err(found_by_audit(connection, &keys, "the checkpoint is of another tree"));
        }
        let good = |(_, gateway): &KeyPair| {
            newest.batch.verify(gateway, options.keys.origin(), &head.end.newest).is_ok()
        };
        if !trusted.iter().any(good) {
            let why = "the signature over the newest batch does not hold";
            return Err(found_by_audit(connection, &keys, why));
        }
        epoch = newest.batch.epoch + 1;
    }
    let (mark, accepted) = verify_mark(connection, options, &head, &chain)?;
    let mut open = Open::default();
    for (action, index) in history::open_indexes(connection)? {
        open.begin(action, index);
    }
    let End { frontier, begun, .. } = head.end;
    let clock_ms = head.newest.map_or(0, |newest| newest.clock_ms);
    let (root, known) = (frontier.root(), Known::until(clock_ms));
    let tail = Tail { keys, epoch, frontier, root, begun, clock_ms, known, open, pages: 0, scrub: false };
    Ok((tail, mark, accepted))
}

struct StoredHead {
    /// `None` before the first entry.
    newest: Option<Newest>,
    end: End,
}

/// What the newest batch says beside its entries.
struct Newest {
    batch: Batch,
    clock_ms: u64,
    note: String,
}

/// The end of the ledger, computed from its entries after the last full tile.
#[derive(Default)]
struct End {
    frontier: Frontier,
    /// The leaf hashes after the last full tile.
    begun: Vec<LeafHash>,
    /// The leaf hashes of the newest batch.
    newest: Vec<LeafHash>,
}

/// The keys of one time: of the log, and of the gateway.
type KeyPair = (VerifierKey, VerifierKey);

fn head(connection: &Connection) -> Result<StoredHead, OpenError> {
    let newest =
        "SELECT first, count, epoch, key_id, signature, clock, note FROM batch ORDER BY first DESC LIMIT 1";
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Newest { batch: signed(row)?, clock_ms: unsigned(row.get(5)?), note: row.get(6)? })
    };
    let newest = connection.query_row(newest, [], read).optional()?;
    Ok(StoredHead { newest, end: end(connection)? })
}

fn end(connection: &Connection) -> Result<End, OpenError> {
    let tile = "SELECT number, frontier FROM tile ORDER BY number DESC LIMIT 1";
    let read = |row: &rusqlite::Row<'_>| Ok((unsigned(row.get(0)?), row.get::<_, Vec<u8>>(1)?));
    let mut end = End::default();
    if let Some((number, frontier)) = connection.query_row(tile, [], read).optional()? {
        end.frontier = Frontier::from_bytes(&frontier).map_err(|error| damaged(&error.to_string()))?;
        if Some(end.frontier.size()) != number.checked_add(1).and_then(|tiles| tiles.checked_mul(TILE)) {
            return Err(damaged("a tile of leaf hashes is of another place"));
        }
    }
    let mut gap = false;
    each_from(connection, end.frontier.size(), |batch| {
        end.newest = batch.leaves().collect();
        gap |= batch.first > end.frontier.size();
        let known = usize::try_from(end.frontier.size().saturating_sub(batch.first)).unwrap_or(usize::MAX);
        let new = end.newest.get(known..).unwrap_or_default();
        end.frontier.extend(new.iter().copied());
        end.begun.extend_from_slice(new);
        Ok(ControlFlow::Continue(()))
    })
    .map_err(|error| {
        let garbled = matches!(error, rusqlite::Error::FromSqlConversionFailure(..));
        if garbled { damaged(&error.to_string()) } else { error.into() }
    })?;
    if gap {
        return Err(damaged("entries are missing near its end"));
    }
    Ok(end)
}

/// Every pair of keys this log had, the configured ones last, with the index of the entry that names each. Only the
/// configured ones when the entries do not lead to them: then nothing older is trusted.
fn key_chain(connection: &Connection, keys: &LogKeys) -> Result<Vec<(u64, KeyPair)>, OpenError> {
    let present = (keys.log().verifier().clone(), keys.gateway().verifier().clone());
    let mut named = kinds::entries(connection, "log.opened")?;
    named.extend(kinds::entries(connection, "key.rotated")?);
    named.sort_unstable();
    let mut chain: Vec<(u64, KeyPair)> = Vec::new();
    for index in named {
        let bytes = Stored::leaf(connection, index)?;
        let Some((log, gateway, endorsement)) = key_event(&bytes) else { break };
        // The first keys vouch for themselves, each later pair is vouched for by the one before.
        let authority = match chain.last() {
            Some((_, (authority, _))) => Ok(authority.clone()),
            None => log.parse(),
        };
        let pair = authority.and_then(|authority| endorsed_keys(&authority, &log, &gateway, &endorsement));
        let Ok(pair) = pair else { break };
        chain.push((index, pair));
    }
    let leads_here = chain.last().is_some_and(|(_, pair)| *pair == present);
    Ok(if leads_here { chain } else { vec![(0, present)] })
}

/// The keys that may have signed the newest batch: the configured ones; and where its last entry hands over to
/// them, those that handed over.
fn newest_signers(chain: &[(u64, KeyPair)], size: u64) -> Vec<KeyPair> {
    let handed_over = chain.last().is_some_and(|(at, _)| at + 1 == size);
    let signers = if handed_over { 2 } else { 1 };
    chain.iter().rev().take(signers).map(|(_, pair)| pair.clone()).collect()
}

/// Log key, gateway key and endorsement, if the entry names keys.
pub(super) fn key_event(bytes: &[u8]) -> Option<(String, String, String)> {
    let entry = Entry::parse(bytes).ok()?;
    if let Event::LogOpened { log_key, gateway_key, endorsement }
    | Event::KeyRotated { log_key, gateway_key, endorsement } = entry.event
    {
        return Some((log_key, gateway_key, endorsement));
    }
    None
}

fn signed_by_any(note: &str, trusted: &[KeyPair]) -> Result<Checkpoint, OpenError> {
    let mut refusal = NoteError::Malformed("no key given");
    for (key, _) in trusted {
        match Checkpoint::open(note, key) {
            Ok(checkpoint) => return Ok(checkpoint),
            Err(error) => refusal = error,
        }
    }
    Err(OpenError::Keys(refusal))
}

fn verify_mark(
    connection: &Connection,
    options: &SqliteOptions,
    head: &StoredHead,
    chain: &[(u64, KeyPair)],
) -> Result<(MarkFile, Option<AcceptedRollback>), OpenError> {
    let accepts = options.on_rollback == OnRollback::Accept;
    let path = &options.mark_path;
    let size = head.end.frontier.size();
    // After a power loss the mark may be older than the last handover.
    let keys: Vec<&VerifierKey> = chain.iter().map(|(_, (log, _))| log).collect();
    let renew = |mark: u64| {
        fs::remove_file(path).map_err(|source| OpenError::Io {
            what: "remove",
            path: path.clone(),
            source,
        })?;
        let mut file = MarkFile::open(path)?;
        if let Some(Newest { note, .. }) = &head.newest {
            file.store(note)?;
            file.sync()?;
        }
        Ok((file, Some(AcceptedRollback { size, mark })))
    };
    let mut file = match MarkFile::open(path) {
        Err(MarkError::Damaged { .. }) if accepts => return renew(0),
        other => other?,
    };
    let Some(mark) = file.mark(&keys)? else {
        // Between the first commit and the first mark a process may have died; never between later ones.
        let batches: i64 =
            connection
                .query_row("SELECT count(*) FROM (SELECT 1 FROM batch LIMIT 2)", [], |row| row.get(0))?;
        return match (batches < 2, accepts) {
            (true, _) => {
                if let Some(Newest { note, .. }) = &head.newest {
                    file.store(note)?;
                    file.sync()?;
                }
                Ok((file, None))
            }
            (false, true) => renew(0),
            (false, false) => Err(Rollback::NoMark { local: size }.into()),
        };
    };
    match mark::check(Some(&mark), size, |size| root_at(connection, head, size)) {
        Ok(()) => Ok((file, None)),
        Err(Rollback::Shorter { .. }) if accepts => renew(mark.size),
        Err(refused) => Err(refused.into()),
    }
}

/// The root of the first `size` entries. A mark is rarely behind, so that its root is rarely computed.
fn root_at(connection: &Connection, head: &StoredHead, size: u64) -> Result<Hash, TreeError> {
    if size == head.end.frontier.size() {
        return Ok(head.end.frontier.root());
    }
    let mut frontier = Frontier::default();
    let mut take = |first: u64, found: &mut dyn Iterator<Item = LeafHash>| {
        let skipped = usize::try_from(frontier.size().saturating_sub(first)).unwrap_or(usize::MAX);
        let left = usize::try_from(size - frontier.size()).unwrap_or(usize::MAX);
        frontier.extend(found.skip(skipped).take(left));
        frontier.size()
    };
    let mut read = || -> rusqlite::Result<()> {
        let mut statement = connection.prepare("SELECT number, leaves FROM tile ORDER BY number")?;
        let mut rows = statement.query([])?;
        let mut known = 0;
        while let Some(row) = rows.next()?.filter(|_| known < size) {
            known = take(unsigned(row.get(0)?) * TILE, &mut leaves(row, 1)?.into_iter());
        }
        each_from(connection, known, |batch| {
            let known = take(batch.first, &mut batch.leaves());
            Ok(if known < size { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })
    };
    read().map_err(ReadError::new)?;
    Ok(frontier.root())
}

/// The damage, as exactly as a check of everything can say where it is.
fn found_by_audit(connection: &Connection, keys: &LogKeys, otherwise: &str) -> OpenError {
    match audit::verify(connection, keys) {
        Ok(_) => damaged(otherwise),
        Err(found) => damaged(&found.to_string()),
    }
}

fn damaged(why: &str) -> OpenError {
    OpenError::Damaged(why.into())
}
