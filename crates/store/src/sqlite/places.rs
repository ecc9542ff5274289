//! Where an entry is, by its own id or its action's.
//!
//! An id holds the time it was made at, and the entries of most actions follow within a moment. So each batch has a
//! *clock*, the largest time in the ids of all entries so far, and only what lies farther from it than [`NEAR_MS`] has a
//! row in the table `place`: the end of a slow request, what was held, and everything for as long as the system's clock
//! stands behind what it once was. The rest is found by looking through the batches of that moment. This costs a look-up
//! a few milliseconds at most, and spares each permitted request four rows.

use super::{
    facts::{self, Facts},
    row::{integer, unsigned},
};
use countersign_core::{ActionId, EntryId};
use rusqlite::{Connection, OptionalExtension as _, Result, params};
use std::{collections::BTreeSet, ops::RangeInclusive};

/// How far behind the clock of its batch an id may be without a row of its own, in milliseconds.
const NEAR_MS: u64 = 500;

/// Whether an id made at this time needs no row in a batch with this clock.
pub(super) fn is_near(made_ms: u64, clock_ms: u64) -> bool {
    made_ms <= clock_ms && clock_ms - made_ms <= NEAR_MS
}

/// Says where an entry is, for one of the ids it is found by.
pub(super) fn add(connection: &Connection, id: [u8; 16], at: u64) -> Result<()> {
    let sql = "INSERT INTO place (id, at) VALUES (?1, ?2)";
    connection.prepare_cached(sql)?.execute(params![id, integer(at)])?;
    Ok(())
}

/// Whether the entry at this index has a row under this id.
pub(super) fn is_there(connection: &Connection, id: [u8; 16], at: u64) -> Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM place WHERE id = ?1 AND at = ?2")?
        .exists(params![id, integer(at)])
}

/// Whether the entry has a row of its own.
pub(super) fn is_far(connection: &Connection, id: EntryId) -> Result<bool> {
    connection.prepare_cached("SELECT 1 FROM place WHERE id = ?1")?.exists([id.to_bytes()])
}

/// The ids of entries made in this span of time, in Unix milliseconds, but for those with a row of their own.
pub(super) fn made_in(connection: &Connection, span_ms: &RangeInclusive<u64>) -> Result<BTreeSet<EntryId>> {
    let mut found = BTreeSet::new();
    each_near(connection, span_ms, |_, facts| {
        if span_ms.contains(&facts.id.unix_ms()) {
            found.insert(facts.id);
        }
    })?;
    Ok(found)
}

/// The tree index of the entry.
pub(super) fn of_entry(connection: &Connection, id: EntryId) -> Result<Option<u64>> {
    let found = search(connection, id.to_bytes(), id.unix_ms(), |facts| facts.id == id)?;
    Ok(found.first().copied())
}

/// The tree indexes of all entries of the action, in order.
pub(super) fn of_action(connection: &Connection, id: ActionId) -> Result<Vec<u64>> {
    search(connection, id.to_bytes(), id.unix_ms(), |facts| facts.action == Some(id))
}

fn search(
    connection: &Connection,
    id: [u8; 16],
    made_ms: u64,
    wanted: impl Fn(&Facts<'_>) -> bool,
) -> Result<Vec<u64>> {
    let mut far = connection.prepare_cached("SELECT at FROM place WHERE id = ?1")?;
    let far = far.query_map([id], |row| Ok(unsigned(row.get(0)?)))?;
    let mut found: Vec<u64> = far.collect::<Result<_>>()?;
    each_near(connection, &(made_ms..=made_ms), |index, facts| {
        if wanted(facts) {
            found.push(index);
        }
    })?;
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Goes through all entries that may be found by an id made in this span of time without a row of their own.
fn each_near(
    connection: &Connection,
    span_ms: &RangeInclusive<u64>,
    mut visit: impl FnMut(u64, &Facts<'_>),
) -> Result<()> {
    let mut near = connection
        .prepare_cached("SELECT first, clock, facts FROM batch WHERE first >= ?1 ORDER BY first")?;
    let mut rows = near.query([integer(first_since(connection, *span_ms.start())?)])?;
    while let Some(row) = rows.next()? {
        if unsigned(row.get(1)?) > span_ms.end().saturating_add(NEAR_MS) {
            break;
        }
        let all = facts::unpack(row.get_ref(2)?.as_blob()?)?;
        (unsigned(row.get(0)?)..).zip(&all).for_each(|(index, facts)| visit(index, facts));
    }
    Ok(())
}

/// Where the first batch begins whose clock is not before this time; the size of the tree when there is none.
fn first_since(connection: &Connection, clock_ms: u64) -> Result<u64> {
    let mut around = connection.prepare_cached(
        "SELECT first, first + count, clock FROM batch WHERE first <= ?1 ORDER BY first DESC LIMIT 1",
    )?;
    let mut around = |index: u64| {
        let read = |row: &rusqlite::Row<'_>| {
            Ok((unsigned(row.get(0)?), unsigned(row.get(1)?), unsigned(row.get(2)?)))
        };
        around.query_row([integer(index)], read).optional()
    };
    let Some((_, size, _)) = around(u64::MAX)? else { return Ok(0) };
    let (mut low, mut high) = (0, size);
    while low < high {
        let Some((first, end, clock)) = around(low + (high - low) / 2)? else { return Ok(low) };
        if clock < clock_ms {
            low = end;
        } else {
            high = first;
        }
    }
    Ok(low)
}
