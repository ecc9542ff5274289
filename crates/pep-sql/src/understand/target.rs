//! What the configuration says about a database: its surroundings, and the labels of its tables and columns.

use countersign_core::{EnvironmentName, TargetName};
use std::collections::BTreeSet;

/// What is true of every statement sent to one target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SqlTarget {
    pub target: TargetName,
    pub environment: EnvironmentName,
    /// On every resource of the target.
    pub labels: BTreeSet<String>,
    pub tables: Vec<TableLabels>,
    /// Functions outside `pg_catalog` that are taken to be harmless: `schema.name` or `schema.*`.
    pub trusted_functions: BTreeSet<String>,
    /// More rows than this is an export, even with a limit.
    pub export_rows: u64,
}

/// Labels of the tables that a pattern names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TableLabels {
    /// As it is in the catalog, or `*`.
    pub schema: String,
    /// As it is in the catalog, or `*`.
    pub table: String,
    /// Only when one of these columns may be touched; empty: the table as a whole.
    pub columns: BTreeSet<String>,
    pub labels: BTreeSet<String>,
}

impl SqlTarget {
    /// Reads above this many rows are exports unless the configuration says otherwise.
    pub const EXPORT_ROWS: u64 = 1_000;

    /// Whether the configuration takes this function to be harmless.
    pub(super) fn trusts(&self, function: &str) -> bool {
        let schema = function.split_once('.').map_or(function, |(schema, _)| schema);
        self.trusted_functions.contains(function) || self.trusted_functions.contains(&format!("{schema}.*"))
    }

    /// The labels of a table, given the columns that are touched (`None`: all of them).
    pub(super) fn labels_of(
        &self,
        schema: &str,
        name: &str,
        touched: Option<&BTreeSet<String>>,
    ) -> BTreeSet<String> {
        let matching = self.tables.iter().filter(|labels| labels.matches(schema, name));
        let touching = matching.filter(|labels| {
            labels.columns.is_empty() || touched.is_none_or(|touched| !touched.is_disjoint(&labels.columns))
        });
        touching.flat_map(|labels| labels.labels.iter().cloned()).collect()
    }

    /// The labels of one column.
    pub(super) fn labels_of_column(&self, schema: &str, table: &str, column: &str) -> BTreeSet<String> {
        self.labels_of(schema, table, Some(&[column.to_owned()].into()))
    }

    /// The labels of a name that could stand for a table of any schema.
    pub(super) fn labels_of_any(&self, name: &str) -> BTreeSet<String> {
        let matching = self.tables.iter().filter(|labels| labels.table == "*" || labels.table == name);
        matching.flat_map(|labels| labels.labels.iter().cloned()).collect()
    }
}

impl TableLabels {
    fn matches(&self, schema: &str, name: &str) -> bool {
        (self.schema == "*" || self.schema == schema) && (self.table == "*" || self.table == name)
    }
}
