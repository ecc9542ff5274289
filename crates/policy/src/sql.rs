//! The words of SQL: operations every SQL target offers, how they stand in each other, and the facts of
//! `context.sql`. Fixed, so that one policy speaks of all databases; a test of the SQL wire holds it to them.

use crate::FactType;
use countersign_core::Class;

/// The operations of an SQL target, each with its class, from the most harmless on.
pub const SQL_OPERATIONS: [(&str, Class); 25] = [
    ("sql.txn", Class::Read),
    ("sql.setting", Class::Read),
    ("sql.read", Class::Read),
    ("sql.read.sensitive", Class::Read),
    ("sql.lock", Class::Write),
    ("sql.notify", Class::Write),
    ("sql.export", Class::Export),
    ("sql.insert", Class::Write),
    ("sql.update.bounded", Class::Write),
    ("sql.delete.bounded", Class::Delete),
    ("sql.maintenance", Class::Configure),
    ("sql.ddl.additive", Class::Configure),
    ("sql.ddl.rewriting", Class::Configure),
    ("sql.update.unbounded", Class::Write),
    ("sql.delete.unbounded", Class::Delete),
    ("sql.code", Class::Execute),
    ("sql.ddl.destructive", Class::Delete),
    ("sql.two_phase", Class::Write),
    ("sql.session", Class::Administer),
    ("sql.network", Class::Connect),
    ("sql.server", Class::Configure),
    ("sql.authz", Class::Administer),
    ("sql.file_or_program", Class::Execute),
    ("sql.indirect", Class::Unknown),
    ("sql.unknown", Class::Unknown),
];

/// Reads that a database can be made to guard, so that they can be recorded a moment afterwards.
pub(crate) const DEFERRABLE: [&str; 2] = ["sql.read", "sql.read.sensitive"];

/// The facts of `context.sql`. All of them are there every time, except those about rows, which somebody has to have
/// counted.
pub const SQL_FACTS: [(&str, FactType); 32] = [
    ("access", FactType::String),
    ("bounded", FactType::Bool),
    ("cascades", FactType::SetOfString),
    ("columns", FactType::SetOfString),
    ("condition", FactType::String),
    ("est_exact", FactType::Bool),
    ("est_problem", FactType::String),
    ("est_rows", FactType::Long),
    ("explain", FactType::Bool),
    ("functions", FactType::SetOfString),
    ("in_transaction", FactType::Bool),
    ("limit_rows", FactType::Long),
    ("limited", FactType::Bool),
    ("masked", FactType::Bool),
    ("operations", FactType::SetOfString),
    ("reasons", FactType::SetOfString),
    ("returning", FactType::Bool),
    ("risk", FactType::String),
    ("role", FactType::String),
    ("session_refusals", FactType::Long),
    ("session_rows_read", FactType::Long),
    ("session_rows_written", FactType::Long),
    ("session_statements", FactType::Long),
    ("settings", FactType::SetOfString),
    ("statements", FactType::Long),
    ("tables", FactType::SetOfString),
    ("triggers", FactType::SetOfString),
    ("understood", FactType::Bool),
    ("unresolved", FactType::SetOfString),
    ("verbs", FactType::SetOfString),
    ("whole_rows", FactType::Bool),
    ("writes", FactType::SetOfString),
];

/// The fact that names each effect with its resources: read here, not seen by policies.
pub(crate) const EFFECTS: &str = "effects";

/// Under which name the facts of another wire hold those of a text of SQL.
pub(crate) const LANGUAGE: &str = "sql";

/// The wires whose facts are `context.sql`.
pub(crate) fn is_sql_wire(wire: &str) -> bool {
    wire == "postgres"
}

/// Facts that are missing where nobody has counted.
pub(crate) fn is_optional(fact: &str) -> bool {
    fact.starts_with("est_")
}

/// Facts that change with every statement of a session.
pub(crate) fn is_counter(fact: &str) -> bool {
    fact.starts_with("session_")
}

/// The class of an SQL operation; `None` for any other name.
pub(crate) fn class_of(operation: &str) -> Option<Class> {
    SQL_OPERATIONS.iter().find(|(name, _)| *name == operation).map(|(_, class)| *class)
}

/// The actions an SQL operation stands in, of all targets: `sql.delete.unbounded`, `sql.delete`, `sql`.
pub(crate) fn lineage(operation: &str) -> Vec<&str> {
    let ends = operation.match_indices('.').map(|(at, _)| at).chain([operation.len()]);
    let mut names: Vec<&str> = ends.filter_map(|end| operation.get(..end)).collect();
    names.reverse();
    names
}

/// Every action of the lineages, each once, with those it stands in.
pub(crate) fn actions() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut all: Vec<(&str, Vec<&str>)> = Vec::new();
    for (operation, class) in SQL_OPERATIONS {
        let lineage = lineage(operation);
        for (at, name) in lineage.iter().enumerate() {
            if all.iter().any(|(known, _)| known == name) {
                continue;
            }
            let mut parents: Vec<&str> = lineage.get(at + 1).copied().into_iter().collect();
            // What only gathers others may gather several classes.
            parents.extend(class_of(name).map(|_| class.as_str()));
            all.push((name, parents));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_an_operation_is_of_its_class() {
        for (name, class) in SQL_OPERATIONS {
            for above in lineage(name) {
                assert!(class_of(above).is_none_or(|of_above| of_above == class), "{name} in {above}");
            }
        }
    }

    #[test]
    fn every_operation_is_an_action_once() {
        let actions = actions();
        for (name, class) in SQL_OPERATIONS {
            let found: Vec<_> = actions.iter().filter(|(known, _)| *known == name).collect();
            assert_eq!(found.len(), 1, "{name}");
            assert!(found[0].1.contains(&class.as_str()), "{name}");
        }
        assert_eq!(lineage("sql.delete.unbounded"), ["sql.delete.unbounded", "sql.delete", "sql"]);
    }
}
