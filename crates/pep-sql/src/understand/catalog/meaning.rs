//! What the names of a statement stand for, in one digest: another one later, and somebody has changed what would run.

use super::{Catalog, Function, Relation};
use countersign_core::Digest;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A name that was looked up, with its schema.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in super::super) enum Stands {
    Relation {
        schema: String,
        name: String,
    },
    /// `schema.name`, whatever its arguments.
    Function(String),
    Operator(String),
    Type {
        schema: String,
        name: String,
    },
}

impl Stands {
    /// As it is shown, where it is worth showing.
    pub(in super::super) fn shown(&self) -> Option<String> {
        match self {
            Self::Relation { schema, name } => Some(super::super::names::qualified(schema, name)),
            Self::Function(name) => Some(format!("{name}()")),
            Self::Operator(_) | Self::Type { .. } => None,
        }
    }
}

/// Which things these are, in one digest.
pub(in super::super) fn named(names: &BTreeSet<Stands>) -> Digest {
    let one = |name: &Stands| match name {
        Stands::Relation { schema, name } => json!(["relation", schema, name]),
        Stands::Function(name) => json!(["function", name]),
        Stands::Operator(name) => json!(["operator", name]),
        Stands::Type { schema, name } => json!(["type", schema, name]),
    };
    let all: Vec<Value> = names.iter().map(one).collect();
    Digest::of_parts("countersign/sql-names/v1", &[Value::from(all).to_string().as_bytes()])
}

impl Catalog {
    /// Whether it was read at all.
    pub fn is_known(&self) -> bool {
        self.read
    }

    /// Over the definitions of all these: queries of views, rules, triggers, policies, defaults and checks of tables, foreign
    /// keys, code of functions. Columns of a table are no part of it.
    pub(in super::super) fn meaning(&self, names: &BTreeSet<Stands>) -> Digest {
        let all: Vec<Value> = names.iter().map(|name| self.definition(name)).collect();
        Digest::of_parts("countersign/sql-meaning/v1", &[Value::from(all).to_string().as_bytes()])
    }

    fn definition(&self, of: &Stands) -> Value {
        match of {
            Stands::Relation { schema, name } => {
                let mut found = self.relations.get(name).into_iter().flatten();
                let found = found.find(|relation| relation.schema == *schema);
                json!(["relation", schema, name, found.map(relation)])
            }
            Stands::Function(name) => {
                let all = self.routines.values().flatten().filter(|found| found.full_name() == *name);
                json!(["function", name, codes(all)])
            }
            Stands::Operator(name) => {
                let all = self.operators.values().flatten().filter(|found| found.full_name() == *name);
                json!(["operator", name, codes(all)])
            }
            Stands::Type { schema, name } => {
                let mut found = self.types.get(name).into_iter().flatten();
                let found = found.find(|kind| kind.schema == *schema);
                json!(["type", schema, name, found.map(|kind| json!([kind.checks, kind.runs]))])
            }
        }
    }
}

fn relation(relation: &Relation) -> Value {
    let cascades = relation.cascades.iter();
    let cascades: Vec<_> = cascades.map(|one| json!([one.table, one.on_delete, one.on_update])).collect();
    json!([
        relation.oid,
        relation.kind,
        relation.definition,
        relation.behind,
        relation.policies,
        relation.expressions,
        relation.far,
        cascades,
    ])
}

fn codes<'f>(all: impl Iterator<Item = &'f Function>) -> Vec<Value> {
    let one = |found: &Function| json!([found.code, found.volatility, found.definer, found.language]);
    let mut codes: Vec<Value> = all.map(one).collect();
    codes.sort_by_key(Value::to_string);
    codes
}
