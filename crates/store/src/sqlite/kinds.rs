//! Where the entries of each type are.

use super::{
    batch::each_facts_from,
    row::{integer, unsigned},
};
use rusqlite::{Connection, Result, params};

/// Whether entries of this type have a row each: all but the two that come with each request.
pub(super) fn is_listed(kind: &str) -> bool {
    !matches!(kind, "execution.authorized" | "execution.result")
}

pub(super) fn add(connection: &Connection, kind: &str, at: u64) -> Result<()> {
    let sql = "INSERT INTO kind (type, at) VALUES (?1, ?2)";
    connection.prepare_cached(sql)?.execute(params![kind, integer(at)])?;
    Ok(())
}

/// Whether the entry at this index has a row under this type.
pub(super) fn is_there(connection: &Connection, kind: &str, at: u64) -> Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM kind WHERE type = ?1 AND at = ?2")?
        .exists(params![kind, integer(at)])
}

/// The tree indexes of all entries of a type, in order.
pub(super) fn entries(connection: &Connection, kind: &str) -> Result<Vec<u64>> {
    if is_listed(kind) {
        let mut listed = connection.prepare_cached("SELECT at FROM kind WHERE type = ?1 ORDER BY at")?;
        return listed.query_map([kind], |row| Ok(unsigned(row.get(0)?)))?.collect();
    }
    let mut found = Vec::new();
    each_facts_from(connection, 0, |index, facts| {
        if facts.kind == kind {
            found.push(index);
        }
    })?;
    Ok(found)
}
