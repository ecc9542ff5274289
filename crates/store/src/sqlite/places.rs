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
use std::{
    collections::{BTreeSet, HashMap},
    ops::RangeInclusive,
};

/// How far behind the clock of its batch an id may be without a row of its own, in milliseconds.
const NEAR_MS: u64 = 500;
/// The span of time whose actions are read at once by whoever asks for many, in milliseconds.
const MOMENT_MS: u64 = 100;
/// How many such spans are kept: entries of neighbouring ones stand among each other.
const MOMENTS: usize = 4;

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
    let mut found = far(connection, id)?;
    each_near(connection, &(made_ms..=made_ms), |index, facts| {
        if wanted(facts) {
            found.push(index);
        }
    })?;
    Ok(in_order(found))
}

/// What has a row of its own under this id.
fn far(connection: &Connection, id: [u8; 16]) -> Result<Vec<u64>> {
    let mut far = connection.prepare_cached("SELECT at FROM place WHERE id = ?1")?;
    far.query_map([id], |row| Ok(unsigned(row.get(0)?)))?.collect()
}

fn in_order(mut found: Vec<u64>) -> Vec<u64> {
    found.sort_unstable();
    found.dedup();
    found
}

/// The actions of the moments that were asked for last, in one view of the database. Whoever goes through a log asks for
/// each action, and would otherwise look through the same batches for every one of a busy moment.
#[derive(Debug, Default)]
pub(super) struct Moments(Vec<Moment>);

/// Actions made in one span of [`MOMENT_MS`], with their entries but for those with rows of their own.
#[derive(Debug)]
struct Moment {
    number: u64,
    entries: HashMap<ActionId, Vec<u64>>,
}

impl Moments {
    /// The tree indexes of all entries of the action, in order.
    pub(super) fn of_action(&mut self, connection: &Connection, id: ActionId) -> Result<Vec<u64>> {
        let number = id.unix_ms() / MOMENT_MS;
        if !self.0.iter().any(|moment| moment.number == number) {
            let moment = Moment::read(connection, number)?;
            self.0.truncate(MOMENTS - 1);
            self.0.insert(0, moment);
        }
        let mut found = far(connection, id.to_bytes())?;
        let near = self.0.iter().filter(|moment| moment.number == number);
        found.extend(near.filter_map(|moment| moment.entries.get(&id)).flatten());
        Ok(in_order(found))
    }
}

impl Moment {
    fn read(connection: &Connection, number: u64) -> Result<Self> {
        let first = number.saturating_mul(MOMENT_MS);
        let mut entries: HashMap<ActionId, Vec<u64>> = HashMap::new();
        each_near(connection, &(first..=first.saturating_add(MOMENT_MS - 1)), |index, facts| {
            if let Some(action) = facts.action.filter(|action| action.unix_ms() / MOMENT_MS == number) {
                entries.entry(action).or_default().push(index);
            }
        })?;
        Ok(Self { number, entries })
    }
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
