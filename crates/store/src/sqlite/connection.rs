//! Connections as we want them: durable for the one writer, read-only for everyone else. What a pragma was told is
//! read back, since `SQLite` answers a pragma it cannot honour with silence.

use crate::error::OpenError;
use rusqlite::{Connection, OpenFlags};
use std::{ops::Deref, path::Path};

/// Older ones can corrupt a WAL when it is reset (fixed in 3.53.0).
const OLDEST: i32 = 3_053_000;
const STATEMENTS: usize = 64;

/// The write connection.
pub(super) fn writing(path: &Path) -> Result<Connection, OpenError> {
    if rusqlite::version_number() < OLDEST {
        return Err(OpenError::OldSqlite { found: rusqlite::version() });
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    for (name, value, wanted) in [
        ("journal_mode", "WAL", "wal"),
        ("synchronous", "FULL", "2"),
        ("fullfsync", "ON", "1"),
        ("checkpoint_fullfsync", "ON", "1"),
        // The writer checkpoints by itself: SQLite would keep a failed one to itself.
        ("wal_autocheckpoint", "0", "0"),
        // What is erased is overwritten.
        ("secure_delete", "ON", "1"),
        ("temp_store", "MEMORY", "2"),
        // A spike of writes does not keep its room for ever.
        ("journal_size_limit", "67108864", "67108864"),
        ("cache_size", "-65536", "-65536"),
        ("trusted_schema", "OFF", "0"),
    ] {
        set(&connection, name, value, wanted)?;
    }
    Ok(connection)
}

/// A connection that cannot write.
pub(super) fn reading(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "query_only", "ON")?;
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    Ok(connection)
}

/// A write transaction. Rolled back when it is let go before it is committed.
#[derive(Debug)]
pub(super) struct Writing<'c>(&'c Connection);

impl<'c> Writing<'c> {
    // The statements are kept: to compile the three words anew costs more than a commit of one entry does.
    pub(super) fn begin(connection: &'c Connection) -> rusqlite::Result<Self> {
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(Self(connection))
    }

    pub(super) fn commit(self) -> rusqlite::Result<()> {
        self.prepare_cached("COMMIT")?.execute([]).map(drop)
    }
}

impl Deref for Writing<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.0
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if !self.is_autocommit() {
            // A connection that cannot even go back refuses whatever is begun on it next.
            let _ = self.execute_batch("ROLLBACK");
        }
    }
}

fn set(connection: &Connection, name: &'static str, value: &str, wanted: &str) -> Result<(), OpenError> {
    // Some pragmas answer with a row and some do not; only what is read back counts.
    match connection.pragma_update(None, name, value) {
        Ok(()) | Err(rusqlite::Error::ExecuteReturnedResults) => {}
        Err(error) => return Err(error.into()),
    }
    let found = connection.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0))?;
    let found = match found {
        rusqlite::types::Value::Integer(number) => number.to_string(),
        rusqlite::types::Value::Text(text) => text,
        rusqlite::types::Value::Null | rusqlite::types::Value::Real(_) | rusqlite::types::Value::Blob(_) => {
            String::new()
        }
    };
    if found == wanted { Ok(()) } else { Err(OpenError::Pragma { name, wanted: wanted.into(), found }) }
}
