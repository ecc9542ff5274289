//! That no entry is recorded twice, without a look into the database for each.

use super::places;
use countersign_core::EntryId;
use countersign_engine::port::store::{Commit, CommitError, Kind};
use rusqlite::{Connection, Result};
use std::{collections::BTreeSet, ops::RangeInclusive};

/// How many ids are kept: about a quarter of a second's at full speed.
const KEPT: usize = 8192;
/// How much of the past is read for an id from there, in milliseconds before it and after it: for as long as the
/// system's clock is behind, those that follow are from there as well.
const BEFORE_MS: u64 = 100;
const AFTER_MS: u64 = 2_000;

/// The largest ids of all recorded entries. Ids begin with their time, so that those to come are larger, or among these.
#[derive(Debug)]
pub(super) struct Known {
    // INVARIANT: every recorded id larger than `floor`, and no other.
    largest: BTreeSet<EntryId>,
    floor: EntryId,
    past: Option<Past>,
}

/// The ids made in a span of time, but for those that have a row of their own.
#[derive(Debug)]
struct Past {
    span_ms: RangeInclusive<u64>,
    ids: BTreeSet<EntryId>,
}

impl Known {
    /// Of a ledger in which no entry's id has a time after this one, in Unix milliseconds.
    pub(super) fn until(clock_ms: u64) -> Self {
        let floor = EntryId::from_parts(clock_ms, (1 << 80) - 1);
        Self { largest: BTreeSet::new(), floor, past: None }
    }

    /// The conflict, if any of the commit's entries is recorded, or comes in `group` or in the commit twice. If not, they
    /// are added to `group`.
    pub(super) fn check(
        &mut self,
        connection: &Connection,
        commit: &Commit,
        group: &mut BTreeSet<EntryId>,
    ) -> Result<std::result::Result<(), CommitError>> {
        let mut added = Vec::with_capacity(commit.entries.len());
        for row in &commit.entries {
            let id = row.sealed.id;
            let fresh = group.insert(id);
            if fresh {
                added.push(id);
            }
            if !fresh || self.has(connection, id)? {
                group.retain(|id| !added.contains(id));
                return Ok(Err(CommitError::Conflict { kind: Kind::Meta, id: id.to_string() }));
            }
        }
        Ok(Ok(()))
    }

    fn has(&mut self, connection: &Connection, id: EntryId) -> Result<bool> {
        if id > self.floor {
            return Ok(self.largest.contains(&id));
        }
        if places::is_far(connection, id)? {
            return Ok(true);
        }
        if let Some(past) = self.past.as_ref().filter(|past| past.span_ms.contains(&id.unix_ms())) {
            return Ok(past.ids.contains(&id));
        }
        let span_ms = id.unix_ms().saturating_sub(BEFORE_MS)..=id.unix_ms() + AFTER_MS;
        let past = Past { ids: places::made_in(connection, &span_ms)?, span_ms };
        Ok(self.past.insert(past).ids.contains(&id))
    }

    /// Follows what was committed.
    pub(super) fn add(&mut self, recorded: BTreeSet<EntryId>) {
        for id in recorded {
            if let Some(past) = &mut self.past
                && past.span_ms.contains(&id.unix_ms())
            {
                past.ids.insert(id);
            }
            if id > self.floor {
                self.largest.insert(id);
            }
        }
        while self.largest.len() > KEPT {
            self.floor = self.largest.pop_first().unwrap_or(self.floor);
        }
    }
}
