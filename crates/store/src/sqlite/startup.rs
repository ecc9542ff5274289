//! What is checked before anything is served: that the head is signed, that the newest batch is what was signed,
//! and that no more was ever promised than is there. Nothing is written to the ledger.

use super::{
    SqliteOptions, history,
    row::{bytes, leaves, unsigned},
    writer::{Open, Tail},
};
use crate::error::OpenError;
use countersign_ledger::{
    Batch, Entry, KeyId, LogKeys, MarkFile, VerifierKey,
    checkpoint::Checkpoint,
    error::{MarkError, NoteError, ReadError, Rollback, TreeError},
    event::Event,
    keys::endorsed_keys,
    mark,
    tree::{Frontier, Hash, LeafHash, leaf_hash},
};
use rusqlite::{Connection, OptionalExtension as _, params};
use std::{fs, sync::Arc};

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

/// Reads the head and checks it against keys, newest batch and mark.
pub(super) fn verify(
    connection: &Connection,
    options: &SqliteOptions,
) -> Result<(Tail, MarkFile, Option<AcceptedRollback>), OpenError> {
    let keys = Arc::clone(&options.keys);
    let head = head(connection)?;
    let chain = key_chain(connection, &keys)?;
    let trusted = newest_signers(&chain, head.frontier.size());
    let mut epoch = 1;
    if let Some(note) = &head.note {
        let found = signed_by_any(note, &trusted)?;
        if (found.size, found.root) != (head.frontier.size(), head.frontier.root()) {
            return Err(damaged("the checkpoint is of another tree"));
        }
        epoch = newest_batch(connection, options, &trusted, head.frontier.size())? + 1;
    }
    let rows: i64 =
        connection.query_row("SELECT ifnull(max(idx) + 1, 0) FROM entry", [], |row| row.get(0))?;
    if unsigned(rows) != head.frontier.size() {
        return Err(damaged("there are entries beyond the checkpoint, or fewer than it says"));
    }
    let (mark, accepted) = verify_mark(connection, options, &head, &chain)?;
    let mut open = Open::default();
    for (action, index) in history::open_indexes(connection)? {
        open.begin(action, index);
    }
    let root = head.frontier.root();
    Ok((Tail { keys, epoch, frontier: head.frontier, root, open, pages: 0, scrub: false }, mark, accepted))
}

struct StoredHead {
    frontier: Frontier,
    /// `None` before the first entry.
    note: Option<String>,
}

/// The keys of one time: of the log, and of the gateway.
type KeyPair = (VerifierKey, VerifierKey);

fn head(connection: &Connection) -> Result<StoredHead, OpenError> {
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, String>(1)?));
    let found = connection.query_row("SELECT frontier, note FROM head", [], read).optional()?;
    let Some((frontier, note)) = found else {
        return Ok(StoredHead { frontier: Frontier::default(), note: None });
    };
    let frontier = Frontier::from_bytes(&frontier).map_err(|error| damaged(&error.to_string()))?;
    Ok(StoredHead { frontier, note: Some(note) })
}

/// Every pair of keys this log had, the configured ones last, with the index of the entry that names each. Only the
/// configured ones when the entries do not lead to them: then nothing older is trusted.
fn key_chain(connection: &Connection, keys: &LogKeys) -> Result<Vec<(u64, KeyPair)>, OpenError> {
    let present = (keys.log().verifier().clone(), keys.gateway().verifier().clone());
    let mut statement = connection.prepare(&format!(
        "SELECT idx, bytes FROM entry WHERE type IN ('log.opened', 'key.rotated'){} ORDER BY idx",
        history::INDEXED_TYPES
    ))?;
    let mut rows = statement.query([])?;
    let mut chain: Vec<(u64, KeyPair)> = Vec::new();
    while let Some(row) = rows.next()? {
        let bytes = bytes(row, 1)?;
        let Some((log, gateway, endorsement)) = key_event(&bytes) else { break };
        // The first keys vouch for themselves, each later pair is vouched for by the one before.
        let authority = match chain.last() {
            Some((_, (authority, _))) => Ok(authority.clone()),
            None => log.parse(),
        };
        let pair = authority.and_then(|authority| endorsed_keys(&authority, &log, &gateway, &endorsement));
        let Ok(pair) = pair else { break };
        chain.push((unsigned(row.get(0)?), pair));
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

/// Checks signature and entries of the newest batch, and gives its epoch.
fn newest_batch(
    connection: &Connection,
    options: &SqliteOptions,
    trusted: &[KeyPair],
    size: u64,
) -> Result<u64, OpenError> {
    let newest =
        "SELECT first, count, epoch, key_id, signature, leaves FROM batch ORDER BY first DESC LIMIT 1";
    let (batch, signed_leaves) = connection
        .query_row(newest, [], |row| Ok((batch(row)?, leaves(row, 5)?)))
        .optional()?
        .ok_or_else(|| damaged("there is no signature over the newest entries"))?;
    if batch.first + u64::from(batch.count) != size {
        return Err(damaged("the newest signature is not over the newest entries"));
    }
    let mut statement = connection.prepare("SELECT bytes FROM entry WHERE idx >= ?1 ORDER BY idx")?;
    let hashed = statement.query_map(params![super::row::integer(batch.first)], |row| {
        Ok(leaf_hash(row.get_ref(0)?.as_blob()?))
    })?;
    let hashed: Vec<LeafHash> = hashed.collect::<rusqlite::Result<_>>()?;
    if hashed != signed_leaves {
        return Err(damaged("an entry of the newest batch was altered"));
    }
    let signed = |(_, gateway): &KeyPair| batch.verify(gateway, options.keys.origin(), &hashed).is_ok();
    if trusted.iter().any(signed) {
        return Ok(batch.epoch);
    }
    Err(damaged("the signature over the newest batch does not hold"))
}

/// `first, count, epoch, key_id, signature`.
pub(super) fn batch(row: &rusqlite::Row<'_>) -> rusqlite::Result<Batch> {
    Ok(Batch {
        first: unsigned(row.get(0)?),
        count: row.get(1)?,
        epoch: unsigned(row.get(2)?),
        key_id: KeyId(row.get(3)?),
        signature: row.get(4)?,
    })
}

fn verify_mark(
    connection: &Connection,
    options: &SqliteOptions,
    head: &StoredHead,
    chain: &[(u64, KeyPair)],
) -> Result<(MarkFile, Option<AcceptedRollback>), OpenError> {
    let accepts = options.on_rollback == OnRollback::Accept;
    let path = &options.mark_path;
    let size = head.frontier.size();
    // After a power loss the mark may be older than the last handover.
    let keys: Vec<&VerifierKey> = chain.iter().map(|(_, (log, _))| log).collect();
    let renew = |mark: u64| {
        fs::remove_file(path).map_err(|source| OpenError::Io {
            what: "remove",
            path: path.clone(),
            source,
        })?;
        let mut file = MarkFile::open(path)?;
        if let Some(note) = &head.note {
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
                if let Some(note) = &head.note {
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
    if size == head.frontier.size() {
        return Ok(head.frontier.root());
    }
    let mut frontier = Frontier::default();
    let mut read = || -> rusqlite::Result<()> {
        let mut statement = connection.prepare("SELECT leaves FROM batch WHERE first < ?1 ORDER BY first")?;
        let mut rows = statement.query([super::row::integer(size)])?;
        while let Some(row) = rows.next()? {
            let left = usize::try_from(size - frontier.size()).unwrap_or(usize::MAX);
            frontier.extend(leaves(row, 0)?.into_iter().take(left));
        }
        Ok(())
    };
    read().map_err(ReadError::new)?;
    Ok(frontier.root())
}

fn damaged(why: &str) -> OpenError {
    OpenError::Damaged(why.into())
}
