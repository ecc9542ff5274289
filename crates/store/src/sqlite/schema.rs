//! The schema and how an older one becomes the present one. Never a newer one an older one.

use crate::error::OpenError;
use rusqlite::{Connection, TransactionBehavior};

/// `CSN1`: what `SQLite`'s file header says this is.
const APPLICATION: i64 = 0x4353_4E31;
/// The step at index n takes schema n to schema n + 1.
const STEPS: [&str; 2] =
    [include_str!("../../migrations/0001_records.sql"), include_str!("../../migrations/0002_ledger.sql")];

/// Brings the schema up to date, all steps in one transaction.
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
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", known)?;
    Ok(transaction.commit()?)
}
