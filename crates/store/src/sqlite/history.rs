//! Questions about entries, asked of a read-only connection.

use super::{
    private,
    row::{bytes, integer, parsed, unsigned},
};
use bytes::Bytes;
use countersign_core::{ActionId, Digest, canonical::append_string};
use countersign_engine::port::store::{FindEntries, OpenExecution, StoredEntry};
use countersign_ledger::tree::leaf_hash;
use rusqlite::{Connection, OptionalExtension as _, Result, ToSql, params_from_iter};
use std::{collections::BTreeMap, fmt::Write as _};

/// What a query by type says so that `SQLite` can use the index that leaves out the two most common types.
pub(super) const INDEXED_TYPES: &str = " AND type NOT IN ('execution.authorized', 'execution.result')";

/// Whether the index by type holds entries of this type.
pub(super) fn has_type_index(kind: &str) -> bool {
    !matches!(kind, "execution.authorized" | "execution.result")
}

/// The entries that match, newest first, each with what was not erased of its private values.
pub(super) fn entries(connection: &Connection, find: &FindEntries) -> Result<Vec<StoredEntry>> {
    let question = question(find);
    let mut statement = connection.prepare_cached(&question.sql)?;
    let values = params_from_iter(question.values.iter().map(AsRef::as_ref));
    let found = statement.query_map(values, |row| Ok((unsigned(row.get(0)?), bytes(row, 1)?)))?;
    let stored = |found: Result<(u64, Bytes)>| {
        let (index, bytes) = found?;
        Ok(StoredEntry { index, bytes, private: private::read(connection, integer(index))? })
    };
    found.map(stored).collect()
}

/// A query as it grows: its text and its values in order. (Writing to a String cannot fail.)
struct Question {
    sql: String,
    values: Vec<Box<dyn ToSql>>,
}

impl Question {
    /// Adds a value and says how the text refers to it.
    fn bind(&mut self, value: impl ToSql + 'static) -> String {
        self.values.push(Box::new(value));
        format!("?{}", self.values.len())
    }

    /// Adds `column operator value` when there is a value.
    fn and(&mut self, condition: &str, value: Option<impl ToSql + 'static>) {
        if let Some(value) = value {
            let place = self.bind(value);
            let _ = write!(self.sql, " AND {condition} {place}");
        }
    }
}

/// `since` is included and `until` is not, so that periods follow each other without overlap.
fn question(find: &FindEntries) -> Question {
    let sql = String::from("SELECT e.idx, e.bytes FROM entry e WHERE 1");
    let mut question = Question { sql, values: Vec::new() };
    question.and("e.id =", find.entry.map(|entry| entry.to_string()));
    question.and("e.action =", find.action.map(|action| action.to_string()));
    question.and("e.type =", find.kind.clone());
    if find.kind.as_deref().is_some_and(has_type_index) {
        question.sql += INDEXED_TYPES;
    }
    question.and("e.actor =", find.actor.clone());
    question.and("e.target =", find.target.clone());
    question.and("e.at >=", find.since.map(|since| since.0));
    question.and("e.at <", find.until.map(|until| until.0));
    question.and("e.idx <", find.before.map(integer));
    if let Some(text) = &find.text {
        // In public bytes a quotation mark or a line feed stands escaped; private values are as they were.
        let mut quoted = Vec::new();
        append_string(&mut quoted, text);
        let escaped = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_vec();
        let (escaped, raw) = (question.bind(escaped), question.bind(text.clone().into_bytes()));
        let _ = write!(
            question.sql,
            " AND (instr(e.bytes, {escaped}) > 0 OR EXISTS \
              (SELECT 1 FROM private p WHERE p.entry = e.idx AND instr(p.vals, {raw}) > 0))"
        );
    }
    let limit = question.bind(integer(find.limit as u64));
    let _ = write!(question.sql, " ORDER BY e.idx DESC LIMIT {limit}");
    question
}

/// Executions authorized and not ended, oldest first. Only the tail is read: nothing before `open_from` is open.
pub(super) fn open_executions(connection: &Connection) -> Result<Vec<OpenExecution>> {
    let authorized = open_indexes(connection)?;
    let mut last = connection.prepare_cached(
        "SELECT bytes FROM entry WHERE idx = (SELECT max(idx) FROM entry WHERE action = ?1)",
    )?;
    let mut text = connection.prepare_cached("SELECT bytes FROM entry WHERE idx = ?1")?;
    let mut found: Vec<_> = authorized.into_iter().map(|(action, index)| (index, action)).collect();
    found.sort_unstable();
    let open = |(index, action): (u64, ActionId)| {
        let authorized = text.query_row([integer(index)], |row| bytes(row, 0))?;
        let last = last.query_row([action.to_string()], |row| Ok(leaf_hash(row.get_ref(0)?.as_blob()?)))?;
        Ok(OpenExecution { action, authorized, last: Digest(last.0) })
    };
    found.into_iter().map(open).collect()
}

/// The open executions' actions and the tree index of what authorized each.
pub(super) fn open_indexes(connection: &Connection) -> Result<BTreeMap<ActionId, u64>> {
    let from: Option<i64> =
        connection.query_row("SELECT open_from FROM head", [], |row| row.get(0)).optional()?;
    let mut statement = connection.prepare(
        "SELECT idx, action, execution FROM entry \
         WHERE idx >= ?1 AND execution IS NOT NULL AND action IS NOT NULL ORDER BY idx",
    )?;
    let mut rows = statement.query([from.unwrap_or(0)])?;
    let mut open = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let action: ActionId = parsed(row, 1)?;
        if row.get(2)? {
            open.insert(action, unsigned(row.get(0)?));
        } else {
            open.remove(&action);
        }
    }
    Ok(open)
}
