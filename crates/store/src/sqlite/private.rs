//! The private values of one entry as one row: what describes them in one column, the values in another, so that a
//! search for a text finds it in values alone.

use bytes::Bytes;
use countersign_engine::port::store::PrivateValue;
use countersign_ledger::Commitment;
use rusqlite::{Connection, OptionalExtension as _, Result, params};

/// Between two values, so that a text is seldom found across both; a search may show an entry too many, never miss one.
const BETWEEN: u8 = 0;
const SALT: usize = 32;

/// Keeps the values of the entry at `at`.
pub(super) fn keep(connection: &Connection, at: i64, values: &[Commitment]) -> Result<()> {
    write(connection, at, values.iter().map(|one| (&*one.path, &one.salt, &*one.value)))
}

/// What was not erased of the private values of the entry at `at`, by path.
pub(super) fn read(connection: &Connection, at: i64) -> Result<Vec<PrivateValue>> {
    let mut statement = connection.prepare_cached("SELECT shape, vals FROM private WHERE entry = ?1")?;
    let found = statement.query_row([at], |row| {
        let (shape, values) = (row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?);
        unpack(shape, values).ok_or_else(|| rusqlite::Error::InvalidColumnName("private".into()))
    });
    Ok(found.optional()?.unwrap_or_default())
}

/// Erases the values under these paths.
pub(super) fn erase(connection: &Connection, at: i64, paths: &[String]) -> Result<()> {
    let mut values = read(connection, at)?;
    values.retain(|value| !paths.contains(&value.path));
    connection.prepare_cached("DELETE FROM private WHERE entry = ?1")?.execute([at])?;
    if values.is_empty() {
        return Ok(());
    }
    write(connection, at, values.iter().map(|one| (&*one.path, &one.salt, &*one.value)))
}

fn write<'v>(
    connection: &Connection,
    at: i64,
    all: impl Iterator<Item = (&'v str, &'v [u8; SALT], &'v [u8])>,
) -> Result<()> {
    let (mut shape, mut values) = (Vec::with_capacity(256), Vec::with_capacity(512));
    for (path, salt, value) in all {
        // INVARIANT: paths are at most 128 bytes and values smaller than 4 GiB, which sealing and SQLite see to.
        shape.push(u8::try_from(path.len()).unwrap_or(u8::MAX));
        shape.extend_from_slice(path.as_bytes());
        shape.extend_from_slice(salt);
        shape.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
        values.extend_from_slice(value);
        values.push(BETWEEN);
    }
    let sql = "INSERT INTO private (entry, shape, vals) VALUES (?1, ?2, ?3)";
    connection.prepare_cached(sql)?.execute(params![at, shape, values])?;
    Ok(())
}

fn unpack(mut shape: &[u8], mut values: &[u8]) -> Option<Vec<PrivateValue>> {
    let mut out = Vec::new();
    while let Some((length, rest)) = shape.split_first() {
        let (path, rest) = rest.split_at_checked(usize::from(*length))?;
        let (salt, rest) = rest.split_first_chunk::<SALT>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (value, more) = values.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        values = more.strip_prefix(&[BETWEEN])?;
        shape = rest;
        out.push(PrivateValue {
            path: std::str::from_utf8(path).ok()?.into(),
            salt: *salt,
            value: Bytes::copy_from_slice(value),
        });
    }
    values.is_empty().then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("CREATE TABLE private (entry INTEGER PRIMARY KEY, shape BLOB, vals BLOB) STRICT")
            .unwrap();
        connection
    }

    fn value(path: &'static str, value: &[u8]) -> Commitment {
        Commitment { path: path.into(), salt: [7; SALT], value: Bytes::copy_from_slice(value) }
    }

    #[test]
    fn values_come_back_as_they_were_until_they_are_erased() {
        let connection = table();
        let all = [value("a", b""), value("b", b"one\0two"), value("c", &[0xff; 9_000])];
        keep(&connection, 3, &all).unwrap();
        let found = read(&connection, 3).unwrap();
        let found: Vec<_> = found.iter().map(|one| (&*one.path, &*one.value)).collect();
        assert_eq!(found, all.iter().map(|one| (&*one.path, &*one.value)).collect::<Vec<_>>());
        erase(&connection, 3, &["b".into()]).unwrap();
        let left: Vec<_> = read(&connection, 3).unwrap().into_iter().map(|one| one.path).collect();
        assert_eq!(left, ["a", "c"]);
        erase(&connection, 3, &["a".into(), "c".into()]).unwrap();
        assert_eq!(read(&connection, 3).unwrap(), []);
    }

    #[test]
    fn a_row_that_was_cut_is_an_error_and_not_a_shorter_list() {
        let connection = table();
        keep(&connection, 1, &[value("a", b"x")]).unwrap();
        connection.execute("UPDATE private SET vals = x'' WHERE entry = 1", []).unwrap();
        assert!(read(&connection, 1).is_err());
    }
}
