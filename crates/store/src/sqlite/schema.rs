//! The schema and how an older one becomes the present one. Never a newer one an older one.

use crate::error::OpenError;
use rusqlite::{Connection, TransactionBehavior};
use std::collections::BTreeMap;

/// `CSN1`: what `SQLite`'s file header says this is.
const APPLICATION: i64 = 0x4353_4E31;
/// The step at index n takes schema n to schema n + 1.
const STEPS: [&str; 2] =
    [include_str!("../../migrations/0001_records.sql"), include_str!("../../migrations/0002_ledger.sql")];

/// Brings the schema up to date, all steps in one transaction. What has the right number and is otherwise made, as by a build
/// between two releases, is left alone.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), OpenError> {
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let application: i64 = transaction.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != APPLICATION && (application != 0 || tables != 0) {
        return Err(OpenError::NotOurs);
    }
    if found > known {
        return Err(OpenError::NewerSchema { found, known });
    }
    for step in STEPS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute_batch(step)?;
    }
    check(&transaction)?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", known)?;
    Ok(transaction.commit()?)
}

/// Whether every table and index is as the steps make them.
fn check(found: &Connection) -> Result<(), OpenError> {
    let fresh = Connection::open_in_memory()?;
    for step in STEPS {
        fresh.execute_batch(step)?;
    }
    let (wanted, found) = (made(&fresh)?, made(found)?);
    let differs = |name: &&String| wanted.get(*name) != found.get(*name);
    match wanted.keys().chain(found.keys()).find(differs) {
        Some(name) => Err(OpenError::OtherBuild { name: name.clone() }),
        None => Ok(()),
    }
}

/// How each table and index is made, by name.
fn made(connection: &Connection) -> Result<BTreeMap<String, String>, OpenError> {
    // What SQLite keeps for its planner is nobody's business here.
    let sql = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'";
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
