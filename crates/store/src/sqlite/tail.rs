//! Where the ledger ends, as the writer knows it, and what a group of commits adds there.

use super::{group::Group, kinds, known::Known, places, row::integer, writer::Failure};
use countersign_core::ActionId;
use countersign_engine::port::store::{Commit, Execution};
use countersign_ledger::{
    Committed, LogKeys, extend,
    tree::{Frontier, Hash, LeafHash},
};
use rusqlite::{Connection, params};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// How many leaf hashes have a row of their own (a tile of C2SP tlog-tiles).
pub(super) const TILE: u64 = 256;
const PAGE: usize = 4096;
/// Pages a commit touches beside those its bytes fill: the right edge of the table, and the first page.
const EDGES: usize = 3;

#[derive(Debug)]
pub(super) struct Tail {
    pub(super) keys: Arc<LogKeys>,
    pub(super) epoch: u64,
    pub(super) frontier: Frontier,
    pub(super) root: Hash,
    /// The leaf hashes after the last full tile.
    pub(super) begun: Vec<LeafHash>,
    /// The largest time in any entry's id, in Unix milliseconds.
    pub(super) clock_ms: u64,
    pub(super) known: Known,
    /// Executions under way, with the index of what authorized each.
    pub(super) open: Open,
    /// Pages of write-ahead log since the last checkpoint, by estimate.
    pub(super) pages: usize,
    /// Whether the write-ahead log may still hold something that was erased.
    pub(super) scrub: bool,
}

/// Executions under way, by action and by age.
#[derive(Debug, Default)]
pub(super) struct Open {
    // INVARIANT: the values of one are the members of the other.
    by_action: BTreeMap<ActionId, u64>,
    indexes: BTreeSet<u64>,
}

impl Open {
    pub(super) fn begin(&mut self, action: ActionId, index: u64) {
        self.end(action);
        self.by_action.insert(action, index);
        self.indexes.insert(index);
    }

    fn end(&mut self, action: ActionId) {
        if let Some(index) = self.by_action.remove(&action) {
            self.indexes.remove(&index);
        }
    }

    fn oldest(&self) -> Option<u64> {
        self.indexes.first().copied()
    }
}

impl Tail {
    /// How many entries the ledger has.
    pub(super) const fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Signs the group and writes its row, and what is found by an index; nothing when it has no entries.
    pub(super) fn sign(&self, connection: &Connection, group: &Group) -> Result<Option<Committed>, Failure> {
        const ROW: &str = "INSERT INTO batch \
             (first, count, clock, open_from, epoch, key_id, signature, note, facts, entries, private) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
        if group.leaves.is_empty() {
            return Ok(None);
        }
        let committed = extend(&self.frontier, &group.leaves, &self.keys, self.epoch)?;
        let Committed { batch, head } = &committed;
        let clock = self.clock_with(group);
        // Executions that this very group opens lie at its first leaf or after it.
        let open_from = self.open.oldest().unwrap_or(batch.first);
        connection.prepare_cached(ROW)?.execute(params![
            integer(batch.first),
            batch.count,
            integer(clock),
            integer(open_from),
            integer(batch.epoch),
            batch.key_id.0,
            batch.signature,
            head.note,
            group.facts,
            group.entries,
            group.private,
        ])?;
        self.fill_tiles(connection, &group.leaves)?;
        for (at, entry, action) in &group.places {
            if !places::is_near(entry.unix_ms(), clock) {
                places::add(connection, entry.to_bytes(), *at)?;
            }
            if let Some(action) = action.filter(|action| !places::is_near(action.unix_ms(), clock)) {
                places::add(connection, action.to_bytes(), *at)?;
            }
        }
        for (at, kind) in &group.kinds {
            kinds::add(connection, kind, *at)?;
        }
        Ok(Some(committed))
    }

    fn clock_with(&self, group: &Group) -> u64 {
        group.ids.last().map_or(self.clock_ms, |id| id.unix_ms().max(self.clock_ms))
    }

    /// Writes the tiles that these leaves fill.
    fn fill_tiles(&self, connection: &Connection, leaves: &[LeafHash]) -> rusqlite::Result<()> {
        let (before, after) = (self.size() / TILE, (self.size() + leaves.len() as u64) / TILE);
        if before == after {
            return Ok(());
        }
        let mut frontier = self.frontier.clone();
        let mut hashes: Vec<u8> = self.begun.iter().flat_map(|leaf| leaf.0).collect();
        for leaf in leaves {
            frontier.append(*leaf);
            hashes.extend_from_slice(&leaf.0);
            if frontier.size().is_multiple_of(TILE) {
                let number = integer(frontier.size() / TILE - 1);
                connection
                    .prepare_cached("INSERT INTO tile (number, leaves, frontier) VALUES (?1, ?2, ?3)")?
                    .execute(params![number, hashes, frontier.to_bytes()])?;
                hashes.clear();
            }
        }
        Ok(())
    }

    /// Follows what was committed but for the head: ids, executions begun and ended, and how much was written.
    pub(super) fn follow<'c>(&mut self, group: Group, commits: impl Iterator<Item = &'c Commit>) {
        let mut bytes = group.facts.len() + group.entries.len() + group.private.len();
        let mut index = self.size();
        for commit in commits {
            for row in &commit.entries {
                match (row.execution, row.sealed.action) {
                    (Execution::Opens, Some(action)) => self.open.begin(action, index),
                    (Execution::Closes, Some(action)) => self.open.end(action),
                    (Execution::Opens | Execution::Closes | Execution::Neither, _) => {}
                }
                index += 1;
            }
            bytes += commit.changes.len() * PAGE;
        }
        self.pages += EDGES + bytes / PAGE;
        self.clock_ms = self.clock_with(&group);
        self.begun.extend_from_slice(&group.leaves);
        let full = self.begun.len() - self.begun.len() % usize::try_from(TILE).unwrap_or(usize::MAX);
        self.begun.drain(..full);
        self.known.add(group.ids);
    }
}
