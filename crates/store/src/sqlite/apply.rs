//! The records of one commit against the database: first every guard, then every write. A refused commit has written
//! nothing.

use super::row::unsigned;
use countersign_engine::port::store::{Change, Commit, CommitError, Expect, Key, Kind};
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Result, params};

// Without being told, SQLite reads every key of the kind, through the primary key.
const FORGET_KEYS: &str = "DELETE FROM record_key INDEXED BY record_key_of WHERE kind = ?1 AND id = ?2";
const DELETE: &str = "DELETE FROM record WHERE kind = ?1 AND id = ?2";
const UPDATE: &str = "UPDATE record SET version = version + 1, doc = ?3 WHERE kind = ?1 AND id = ?2";
const INDEX: &str = "INSERT INTO record_key (kind, name, value, id, sole) VALUES (?1, ?2, ?3, ?4, ?5) \
     ON CONFLICT (kind, name, value, id) DO UPDATE SET sole = max(sole, excluded.sole)";
const HOLDERS: &str = "SELECT id FROM record_key \
     WHERE kind = ?1 AND name = ?2 AND value = ?3 AND (?4 OR sole = 1) AND id <> ?5";
const SOLE: &str = "SELECT id FROM record_key \
     WHERE kind = ?1 AND name = ?2 AND value = ?3 AND sole = 1 AND id <> ?4";

/// Checks everything the commit expects of records, the effects of earlier commits of the same batch included.
/// The inner error is the conflict.
pub(super) fn check(
    connection: &Connection,
    commit: &Commit,
) -> Result<std::result::Result<(), CommitError>> {
    for (at, change) in commit.changes.iter().enumerate() {
        let (kind, id, expect) = subject(change);
        let twice = commit.changes.iter().take(at).any(|before| is_about(before, kind, id));
        if twice || !holds(connection, kind, id, expect)? {
            return Ok(Err(conflict(kind, id)));
        }
    }
    for change in &commit.changes {
        let Change::Put { kind, id, keys, .. } = change else { continue };
        for key in keys {
            if shared_within(commit, *kind, id, key)
                || shared_with_stored(connection, commit, *kind, id, key)?
            {
                return Ok(Err(conflict(*kind, id)));
            }
        }
    }
    Ok(Ok(()))
}

/// Writes the changes.
pub(super) fn write(connection: &Connection, commit: &Commit) -> Result<()> {
    // All old keys go before any new one comes, so that a unique key can pass from one record to another.
    for change in &commit.changes {
        forget(connection, change)?;
    }
    for change in &commit.changes {
        if let Change::Put { kind, id, expect, doc, keys } = change {
            put(connection, *kind, id, *expect, doc)?;
            for key in keys {
                index(connection, *kind, id, key)?;
            }
        }
    }
    Ok(())
}

fn subject(change: &Change) -> (Kind, &str, Expect) {
    match change {
        Change::Put { kind, id, expect, .. } | Change::Delete { kind, id, expect } => (*kind, id, *expect),
    }
}

fn is_about(change: &Change, kind: Kind, id: &str) -> bool {
    let (its_kind, its_id, _) = subject(change);
    its_kind == kind && its_id == id
}

fn conflict(kind: Kind, id: &str) -> CommitError {
    CommitError::Conflict { kind, id: id.into() }
}

fn holds(connection: &Connection, kind: Kind, id: &str, expect: Expect) -> Result<bool> {
    let mut statement = cached(connection, "SELECT version FROM record WHERE kind = ?1 AND id = ?2")?;
    let version: Option<i64> =
        statement.query_row(params![kind.as_str(), id], |row| row.get(0)).optional()?;
    Ok(match expect {
        Expect::Absent => version.is_none(),
        Expect::Version(wanted) => version.is_some_and(|version| unsigned(version) == wanted),
    })
}

/// Whether another put of the same commit claims the key.
fn shared_within(commit: &Commit, kind: Kind, id: &str, key: &Key) -> bool {
    let same =
        |other: &Key| other.name == key.name && other.value == key.value && (other.unique || key.unique);
    commit.changes.iter().any(|change| match change {
        Change::Put { kind: its_kind, id: its_id, keys, .. } => {
            *its_kind == kind && its_id != id && keys.iter().any(same)
        }
        Change::Delete { .. } => false,
    })
}

/// Whether a record that the commit leaves alone has the key, and one of the two has it as unique.
fn shared_with_stored(
    connection: &Connection,
    commit: &Commit,
    kind: Kind,
    id: &str,
    key: &Key,
) -> Result<bool> {
    let keeps = |holder: &str| !commit.changes.iter().any(|change| is_about(change, kind, holder));
    if key.unique {
        let mut statement = cached(connection, HOLDERS)?;
        let mut rows = statement.query(params![kind.as_str(), key.name, key.value, true, id])?;
        while let Some(row) = rows.next()? {
            if keeps(row.get_ref(0)?.as_str()?) {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    // Through the index of unique keys: a common value of an ordinary key may have very many holders.
    let mut statement = cached(connection, SOLE)?;
    let holder: Option<String> =
        statement.query_row(params![kind.as_str(), key.name, key.value, id], |row| row.get(0)).optional()?;
    Ok(holder.is_some_and(|holder| keeps(&holder)))
}

fn forget(connection: &Connection, change: &Change) -> Result<()> {
    let (kind, id, expect) = subject(change);
    if expect == Expect::Absent {
        return Ok(());
    }
    cached(connection, FORGET_KEYS)?.execute(params![kind.as_str(), id])?;
    if matches!(change, Change::Delete { .. }) {
        cached(connection, DELETE)?.execute(params![kind.as_str(), id])?;
    }
    Ok(())
}

fn put(connection: &Connection, kind: Kind, id: &str, expect: Expect, doc: &[u8]) -> Result<()> {
    match expect {
        Expect::Absent => {
            cached(connection, "INSERT INTO record (kind, id, version, doc) VALUES (?1, ?2, 1, ?3)")?
                .execute(params![kind.as_str(), id, doc])?
        }
        Expect::Version(_) => cached(connection, UPDATE)?.execute(params![kind.as_str(), id, doc])?,
    };
    Ok(())
}

fn index(connection: &Connection, kind: Kind, id: &str, key: &Key) -> Result<()> {
    cached(connection, INDEX)?.execute(params![kind.as_str(), key.name, key.value, id, key.unique])?;
    Ok(())
}

fn cached<'c>(connection: &'c Connection, sql: &str) -> Result<CachedStatement<'c>> {
    connection.prepare_cached(sql)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With ten thousand holds, a statement that reads all of them costs a vote its twenty milliseconds.
    #[test]
    fn no_statement_of_a_commit_reads_more_than_its_own_rows() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("../../migrations/0001_records.sql")).unwrap();
        for (sql, values) in [(FORGET_KEYS, 2), (INDEX, 5), (UPDATE, 3), (DELETE, 2), (HOLDERS, 5), (SOLE, 4)]
        {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let nothing = vec![rusqlite::types::Null; values];
            let plan =
                statement.query_map(rusqlite::params_from_iter(nothing), |row| row.get::<_, String>(3));
            for step in plan.unwrap().map(std::result::Result::unwrap) {
                // A search by the kind alone reads every record of it.
                assert!(step.starts_with("SEARCH") && step.contains(" AND "), "{sql}: {step}");
            }
        }
    }
}
