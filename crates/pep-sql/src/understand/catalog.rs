//! What the gateway knows of a database's own catalog: which names stand for what, and what runs behind them.
//!
//! A snapshot is filled from the answers to [`Catalog::QUERIES`] over a connection of the gateway's own, and is never
//! changed. Temporary objects of an agent's session cannot be seen from there; they come with its facts.

mod meaning;
mod read;
mod resolve;

pub(super) use meaning::{Stands, named};
pub use read::CatalogError;
pub(super) use resolve::{Path, Relate, Routine};

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// A snapshot of a catalog at one moment. Never changed: a newer one has another version.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    version: u64,
    /// Nothing is resolved in a catalog that was never read.
    read: bool,
    stamp: String,
    /// The database's own encoding is not UTF-8.
    foreign: bool,
    schemas: BTreeSet<String>,
    /// Names of relations in `pg_catalog`.
    system: BTreeSet<String>,
    relations: BTreeMap<String, Vec<Relation>>,
    routines: BTreeMap<String, Vec<Function>>,
    operators: BTreeMap<String, Vec<Function>>,
    types: BTreeMap<String, Vec<Type>>,
}

/// A table, a view or whatever else can stand in `FROM`, outside the system's own schemas.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Relation {
    pub(super) oid: u32,
    pub(super) schema: String,
    pub(super) name: String,
    /// `pg_class.relkind`.
    pub(super) kind: String,
    pub(super) columns: BTreeSet<String>,
    /// Columns by their number, as a server names them beside the rows it sends.
    pub(super) numbers: BTreeMap<String, String>,
    /// Sets of columns in which no two rows agree.
    pub(super) keys: Vec<BTreeSet<String>>,
    /// The definition of a view, with every name outside `pg_catalog` qualified.
    pub(super) definition: Option<String>,
    /// The events that rules other than a view's own rewrite (`pg_rewrite.ev_type`).
    pub(super) rules: BTreeSet<String>,
    pub(super) triggers: Vec<Trigger>,
    /// Expressions of row security policies, when row security is on.
    pub(super) policies: Vec<String>,
    /// Expressions that run when a row is written: defaults, generated columns, checks of its own and of its columns'
    /// types, indexes.
    pub(super) expressions: Vec<String>,
    /// Whether it, or anything that inherits from it, is kept by another server.
    pub(super) far: bool,
    /// Tables that inherit from it without being its partitions: its keys do not reach into them.
    pub(super) heirs: u32,
    /// The foreign keys that point here, and what they do when a row is deleted or its key changes.
    pub(super) cascades: Vec<Cascade>,
    /// A hash of its rules and triggers as they are written.
    #[serde(default)]
    pub(super) behind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trigger {
    /// `pg_trigger.tgtype`.
    pub(super) events: i32,
    /// `schema.name` of the function it calls.
    pub(super) function: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cascade {
    /// `schema.name`.
    pub(super) table: String,
    /// `pg_constraint.confdeltype`, `confupdtype`.
    pub(super) on_delete: String,
    pub(super) on_update: String,
}

/// A function, procedure or aggregate outside `pg_catalog`, or what stands behind an operator.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Function {
    pub(super) schema: String,
    pub(super) name: String,
    /// `i`, `s`, `v`.
    pub(super) volatility: String,
    pub(super) definer: bool,
    pub(super) language: String,
    /// Whether an extension brought it.
    pub(super) extension: bool,
    /// A hash of its code and of how it runs.
    #[serde(default)]
    pub(super) code: String,
}

/// A type outside `pg_catalog`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Type {
    pub(super) schema: String,
    pub(super) name: String,
    /// Expressions that run whenever a value becomes one of this type.
    pub(super) checks: Vec<String>,
    /// Whether a cast to it runs a function somebody wrote in SQL or a procedural language.
    pub(super) runs: bool,
}

impl Catalog {
    /// A catalog that knows nothing: every name stays unresolved.
    pub fn unknown() -> Self {
        Self::default()
    }

    /// Distinct for every snapshot this process has read; 0 is the catalog that knows nothing.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Of a database in this encoding. In any but UTF-8 the server cuts long names elsewhere than they are cut here, and
    /// in some it folds letters beyond ASCII.
    #[must_use]
    pub fn encoded(mut self, encoding: &str) -> Self {
        self.foreign = encoding != "UTF8";
        self
    }

    /// Whether names beyond ASCII may stand for something else at the server than here.
    pub(super) const fn is_foreign(&self) -> bool {
        self.foreign
    }

    /// The relation with this identifier.
    pub(super) fn relation(&self, oid: u32) -> Option<&Relation> {
        self.relations.values().flatten().find(|relation| relation.oid == oid)
    }

    /// What [`Catalog::STAMP`] said when it was read. Another answer today: the snapshot is stale.
    pub fn stamp(&self) -> &str {
        &self.stamp
    }
}

impl Function {
    /// C code, or what an extension brought, that promises to depend on its arguments only. Whatever somebody could
    /// write by themselves is not taken at its word.
    pub(super) fn is_trusted(&self) -> bool {
        self.volatility == "i" && !self.definer && (self.is_native() || self.extension)
    }

    pub(super) fn is_native(&self) -> bool {
        matches!(self.language.as_str(), "c" | "internal")
    }

    pub(super) fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}
