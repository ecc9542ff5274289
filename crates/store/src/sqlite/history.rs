//! Questions about entries, asked of a read-only connection.

use super::{
    batch::{Stored, each_facts_from},
    facts::{self, Facts},
    kinds, places,
    row::{garbled, integer, unsigned},
};
use countersign_core::{ActionId, Digest, canonical::append_string};
use countersign_engine::port::store::{Execution, FindEntries, OpenExecution, StoredEntry};
use countersign_ledger::tree::leaf_hash;
use memchr::memmem;
use rusqlite::{Connection, OptionalExtension as _, Result};
use std::collections::BTreeMap;

/// The entries that match, newest first, each with what was not erased of its private values.
pub(super) fn entries(connection: &Connection, find: &FindEntries) -> Result<Vec<StoredEntry>> {
    let mut search = Search { find, text: find.text.as_deref().map(Text::new), found: Vec::new() };
    match listed(connection, find)? {
        Some(indexes) => search.at(connection, &indexes)?,
        None => search.backwards(connection)?,
    }
    Ok(search.found)
}

/// Where the entries are that can match, in order, if anything leads there.
fn listed(connection: &Connection, find: &FindEntries) -> Result<Option<Vec<u64>>> {
    if let Some(entry) = find.entry {
        return Ok(Some(places::of_entry(connection, entry)?.into_iter().collect()));
    }
    if let Some(action) = find.action {
        return places::of_action(connection, action).map(Some);
    }
    match &find.kind {
        Some(kind) if kinds::is_listed(kind) => kinds::entries(connection, kind).map(Some),
        _ => Ok(None),
    }
}

struct Search<'f> {
    find: &'f FindEntries,
    text: Option<Text<'f>>,
    found: Vec<StoredEntry>,
}

impl Search<'_> {
    fn is_done(&self) -> bool {
        self.found.len() >= self.find.limit
    }

    /// Looks at the entries at these indexes.
    fn at(&mut self, connection: &Connection, indexes: &[u64]) -> Result<()> {
        let mut last: Option<Stored> = None;
        for index in indexes.iter().rev() {
            if self.is_done() {
                break;
            }
            let batch = match last.take().filter(|batch| batch.first <= *index) {
                Some(batch) => batch,
                None => Stored::around(connection, *index)?.ok_or_else(|| garbled("indexes of entries"))?,
            };
            let place = usize::try_from(*index - batch.first).unwrap_or(usize::MAX);
            let matches = {
                let facts = batch.facts()?;
                facts.get(place).is_some_and(|facts| self.asks_for(*index, facts))
            };
            if matches {
                self.take(&batch, *index)?;
            }
            last = Some(batch);
        }
        Ok(())
    }

    /// Looks at all entries, newest first. Of most batches no entry is read.
    fn backwards(&mut self, connection: &Connection) -> Result<()> {
        let mut statement = connection
            .prepare_cached("SELECT first, facts FROM batch WHERE first < ?1 ORDER BY first DESC")?;
        let mut rows = statement.query([integer(self.find.before.unwrap_or(u64::MAX))])?;
        while let Some(row) = rows.next()?.filter(|_| !self.is_done()) {
            let first = unsigned(row.get(0)?);
            let all = facts::unpack(row.get_ref(1)?.as_blob()?)?;
            let numbered = (first..).zip(&all);
            let wanted: Vec<u64> =
                numbered.filter(|(at, facts)| self.asks_for(*at, facts)).map(|(at, _)| at).collect();
            if wanted.is_empty() {
                continue;
            }
            let batch = Stored::around(connection, first)?.ok_or_else(|| garbled("indexes of entries"))?;
            for index in wanted.into_iter().rev() {
                if !self.is_done() {
                    self.take(&batch, index)?;
                }
            }
        }
        Ok(())
    }

    /// `since` is included and `until` is not, so that periods follow each other without overlap.
    fn asks_for(&self, index: u64, facts: &Facts<'_>) -> bool {
        let find = self.find;
        find.entry.is_none_or(|entry| facts.id == entry)
            && find.action.is_none_or(|action| facts.action == Some(action))
            && find.kind.as_deref().is_none_or(|kind| facts.kind == kind)
            && find.actor.as_deref().is_none_or(|actor| facts.actor == actor)
            && find.target.as_deref().is_none_or(|target| facts.target == Some(target))
            && find.since.is_none_or(|since| facts.at >= since)
            && find.until.is_none_or(|until| facts.at < until)
            && find.before.is_none_or(|before| index < before)
    }

    /// Takes the entry, unless the text is not in it.
    fn take(&mut self, batch: &Stored, index: u64) -> Result<()> {
        let bytes = batch.entry(index).cloned().ok_or_else(|| garbled("indexes of entries"))?;
        let unseen = self.find.bare && self.text.is_none();
        let private = if unseen { Vec::new() } else { batch.private(index)? };
        let mut entry = StoredEntry { index, bytes, private };
        if self.text.as_ref().is_none_or(|text| text.is_in(&entry)) {
            if self.find.bare {
                entry.private = Vec::new();
            }
            self.found.push(entry);
        }
        Ok(())
    }
}

/// A text to look for. In public bytes a quotation mark or a line feed stands escaped; private values are as they were.
struct Text<'f> {
    raw: memmem::Finder<'f>,
    escaped: memmem::Finder<'static>,
}

impl<'f> Text<'f> {
    fn new(text: &'f str) -> Self {
        let mut quoted = Vec::new();
        append_string(&mut quoted, text);
        let escaped = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
        Self { raw: memmem::Finder::new(text), escaped: memmem::Finder::new(escaped).into_owned() }
    }

    fn is_in(&self, entry: &StoredEntry) -> bool {
        let in_private = || entry.private.iter().any(|value| self.raw.find(&value.value).is_some());
        self.escaped.find(&entry.bytes).is_some() || in_private()
    }
}

/// Executions authorized and not ended, oldest first.
pub(super) fn open_executions(connection: &Connection) -> Result<Vec<OpenExecution>> {
    let mut open: Vec<_> = open(connection)?.into_iter().collect();
    open.sort_unstable_by_key(|(_, open)| open.authorized);
    let execution = |(action, open): (ActionId, Open)| {
        let last = leaf_hash(&Stored::leaf(connection, open.last)?);
        let authorized = Stored::leaf(connection, open.authorized)?;
        Ok(OpenExecution { action, authorized, last: Digest(last.0) })
    };
    open.into_iter().map(execution).collect()
}

/// The open executions' actions and the tree index of what authorized each.
pub(super) fn open_indexes(connection: &Connection) -> Result<BTreeMap<ActionId, u64>> {
    Ok(open(connection)?.into_iter().map(|(action, open)| (action, open.authorized)).collect())
}

/// Tree indexes of two entries of an action whose execution is open: what authorized it, and the newest.
struct Open {
    authorized: u64,
    last: u64,
}

/// Only the tail is read: nothing before `open_from` is open.
fn open(connection: &Connection) -> Result<BTreeMap<ActionId, Open>> {
    let newest = "SELECT open_from FROM batch ORDER BY first DESC LIMIT 1";
    let from: Option<i64> = connection.query_row(newest, [], |row| row.get(0)).optional()?;
    let mut open = BTreeMap::new();
    each_facts_from(connection, unsigned(from.unwrap_or(0)), |index, facts| {
        let Some(action) = facts.action else { return };
        match facts.execution {
            Execution::Opens => {
                open.insert(action, Open { authorized: index, last: index });
            }
            Execution::Closes => {
                open.remove(&action);
            }
            Execution::Neither => {
                if let Some(open) = open.get_mut(&action) {
                    open.last = index;
                }
            }
        }
    })?;
    Ok(open)
}
