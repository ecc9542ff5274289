//! Questions about records, asked of a read-only connection.

use super::row::{integer, record};
use countersign_engine::port::store::{Find, Kind, Record};
use rusqlite::{Connection, OptionalExtension as _, Result, ToSql, params, params_from_iter};
use std::fmt::Write as _;

/// The record under a kind and an id.
pub(super) fn fetch(connection: &Connection, kind: Kind, id: &str) -> Result<Option<Record>> {
    let mut statement =
        connection.prepare_cached("SELECT id, version, doc FROM record WHERE kind = ?1 AND id = ?2")?;
    statement.query_row(params![kind.as_str(), id], record).optional()
}

/// The records that have every key, newest id first. With keys the first of them leads, through its index.
pub(super) fn find(connection: &Connection, kind: Kind, find: &Find) -> Result<Vec<Record>> {
    let kind = kind.as_str();
    let limit = integer(find.limit as u64);
    let mut values: Vec<&dyn ToSql> = vec![&kind];
    let mut sql = String::from("SELECT r.id, r.version, r.doc FROM ");
    let mut keys = find.keys.iter();
    let id = if let Some((name, value)) = keys.next() {
        values.extend([name as &dyn ToSql, value]);
        sql += "record_key k CROSS JOIN record r ON r.kind = k.kind AND r.id = k.id \
                WHERE k.kind = ?1 AND k.name = ?2 AND k.value = ?3";
        "k.id"
    } else {
        sql += "record r WHERE r.kind = ?1";
        "r.id"
    };
    for (name, value) in keys {
        let at = values.len();
        values.extend([name as &dyn ToSql, value]);
        // Writing to a String cannot fail.
        let _ = write!(
            sql,
            " AND EXISTS (SELECT 1 FROM record_key o WHERE o.kind = ?1 AND o.name = ?{} AND o.value = ?{} AND o.id = {id})",
            at + 1,
            at + 2,
        );
    }
    if let Some(before) = &find.before {
        values.push(before);
        let _ = write!(sql, " AND {id} < ?{}", values.len());
    }
    values.push(&limit);
    let _ = write!(sql, " ORDER BY {id} DESC LIMIT ?{}", values.len());
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_map(params_from_iter(values), record)?.collect()
}
