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
    /// More rows than this is an export, even with a limit.
    pub export_rows: u64,
}

/// Labels of the tables that a pattern names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TableLabels {
    /// `schema.table`, where either may be `*`.
    pub table: String,
    /// Only when one of these columns may be touched; empty: the table as a whole.
    pub columns: BTreeSet<String>,
    pub labels: BTreeSet<String>,
}

impl SqlTarget {
    /// Reads above this many rows are exports unless the configuration says otherwise.
    pub const EXPORT_ROWS: u64 = 1_000;
}
