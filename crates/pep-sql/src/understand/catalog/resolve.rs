//! Names to what they stand for, as the session would find them.

use super::{
    super::{SessionFacts, builtin},
    Catalog, Function, Relation, Type,
};

/// What a relation's name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Relate<'c> {
    Known(&'c Relation),
    /// In a schema of the system's own.
    System,
    /// Made by this session, seen by nobody else.
    Temporary,
    /// Not found, or not to be told from here.
    Unresolved,
}

/// What a function or operator may turn out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Routine<'c> {
    /// One of the system's own and nothing else.
    System,
    /// Any of these, or the system's own of that name where there is one.
    AnyOf(Vec<&'c Function>),
    Unresolved,
}

/// The schemas a name without one is looked for in.
#[derive(Clone, Debug)]
pub(in super::super) struct Path<'c> {
    catalog: &'c Catalog,
    session: &'c SessionFacts,
    /// Everything before `pg_catalog`, then `pg_catalog`, then the rest; temporary schemas left out.
    before: Vec<&'c str>,
    after: Vec<&'c str>,
}

impl<'c> Path<'c> {
    pub(in super::super) const fn catalog(&self) -> &'c Catalog {
        self.catalog
    }

    pub(in super::super) fn new(catalog: &'c Catalog, session: &'c SessionFacts) -> Self {
        let own = session.role.as_deref().unwrap_or(&session.user);
        let listed = session.search_path.iter().map(|name| if name == "$user" { own } else { name.as_str() });
        let listed: Vec<&str> = listed.filter(|name| *name != "pg_temp").collect();
        let (before, after) = match listed.iter().position(|name| *name == "pg_catalog") {
            Some(at) => {
                (listed.iter().take(at).copied().collect(), listed.into_iter().skip(at + 1).collect())
            }
            None => (Vec::new(), listed),
        };
        Self { catalog, session, before, after }
    }

    /// The schema a new relation without one would go into.
    pub(in super::super) fn creates_in(&self) -> Option<&'c str> {
        self.before.iter().chain(&self.after).find(|schema| self.catalog.schemas.contains(**schema)).copied()
    }

    /// For texts the catalog itself printed: every name outside `pg_catalog` is qualified.
    pub(in super::super) fn of_definitions(&self) -> Self {
        Self { catalog: self.catalog, session: self.session, before: Vec::new(), after: Vec::new() }
    }

    /// Whether which rows of a relation are seen depends on who looks.
    pub(in super::super) fn is_secured(&self, schema: &str, name: &str) -> bool {
        let mut known = self.catalog.relations.get(name).into_iter().flatten();
        known.any(|relation| relation.schema == schema && !relation.policies.is_empty())
    }

    /// Whether the session may hold what the catalog does not show.
    fn hides(&self) -> bool {
        self.session.opaque || self.session.uncommitted
    }

    /// Whether names without a schema can be looked up at all.
    fn is_certain(&self) -> bool {
        self.catalog.read && !self.hides()
    }

    pub(in super::super) fn relation(&self, schema: Option<&str>, name: &str) -> Relate<'c> {
        match schema {
            Some("pg_temp") if self.is_temporary_table(name) => Relate::Temporary,
            Some("pg_temp") => Relate::Unresolved,
            Some(schema) if schema.starts_with("pg_temp_") || schema.starts_with("pg_toast") => {
                Relate::Unresolved
            }
            Some(schema) if builtin::is_system_schema(schema) => Relate::System,
            // A view or function of that name may stand there by now.
            Some(_) if self.session.uncommitted => Relate::Unresolved,
            Some(schema) => self.in_schema(schema, name).map_or(Relate::Unresolved, Relate::Known),
            None if self.hides() => Relate::Unresolved,
            None if self.session.temporary.contains(name) => match self.unqualified(name) {
                Relate::Unresolved if self.is_temporary_table(name) && self.is_nowhere(name) => {
                    Relate::Temporary
                }
                // It may be gone by now, dropped or at the end of its transaction, and what it hid be seen again.
                Relate::Known(_) | Relate::System | Relate::Temporary | Relate::Unresolved => {
                    Relate::Unresolved
                }
            },
            None => self.unqualified(name),
        }
    }

    fn is_temporary_table(&self, name: &str) -> bool {
        let SessionFacts { temporary, temporary_views, .. } = self.session;
        temporary.contains(name) && !temporary_views.contains(name)
    }

    /// Whether the catalog knows no relation of this name, in whatever schema.
    fn is_nowhere(&self, name: &str) -> bool {
        self.catalog.read && self.catalog.relations.get(name).is_none_or(Vec::is_empty)
    }

    fn unqualified(&self, name: &str) -> Relate<'c> {
        if let Some(found) = self.before.iter().find_map(|schema| self.in_schema(schema, name)) {
            return Relate::Known(found);
        }
        if self.catalog.system.contains(name) {
            return Relate::System;
        }
        self.after
            .iter()
            .find_map(|schema| self.in_schema(schema, name))
            .map_or(Relate::Unresolved, Relate::Known)
    }

    fn in_schema(&self, schema: &str, name: &str) -> Option<&'c Relation> {
        self.catalog.relations.get(name)?.iter().find(|relation| relation.schema == schema)
    }

    /// A function by name. Which of several is called depends on types nobody knows here, so all of them count.
    pub(in super::super) fn function(
        &self,
        schema: Option<&str>,
        name: &str,
        arguments: usize,
    ) -> Routine<'c> {
        // Without arguments no other can be a better match: the first schema wins, and that is the system's.
        let exact = arguments == 0
            && !self.session.opaque
            && self.before.is_empty()
            && builtin::function(name).is_some();
        if schema.is_none() && exact {
            return Routine::System;
        }
        self.routine(&self.catalog.routines, schema, name)
    }

    pub(in super::super) fn operator(&self, schema: Option<&str>, name: &str) -> Routine<'c> {
        self.routine(&self.catalog.operators, schema, name)
    }

    fn routine(
        &self,
        named: &'c std::collections::BTreeMap<String, Vec<Function>>,
        schema: Option<&str>,
        name: &str,
    ) -> Routine<'c> {
        let all = named.get(name).map_or(&[][..], Vec::as_slice);
        let found: Vec<&Function> = match schema {
            Some("pg_temp") => return Routine::Unresolved,
            Some(schema) if self.session.uncommitted && !builtin::is_system_schema(schema) => {
                return Routine::Unresolved;
            }
            Some(schema) => all.iter().filter(|routine| routine.schema == schema).collect(),
            None if !self.is_certain() => return Routine::Unresolved,
            None => all.iter().filter(|routine| self.sees(&routine.schema)).collect(),
        };
        match schema {
            _ if !found.is_empty() => Routine::AnyOf(found),
            Some(schema) if builtin::is_system_schema(schema) => Routine::System,
            Some(_) => Routine::Unresolved,
            None => Routine::System,
        }
    }

    fn sees(&self, schema: &str) -> bool {
        schema == "pg_catalog" || self.before.contains(&schema) || self.after.contains(&schema)
    }

    /// A type outside the system's own; `Ok(None)` for one of the system's.
    pub(in super::super) fn kind(&self, schema: Option<&str>, name: &str) -> Result<Option<&'c Type>, ()> {
        let all = self.catalog.types.get(name).map_or(&[][..], Vec::as_slice);
        let within = |schema: &str| all.iter().find(|kind| kind.schema == schema);
        match schema {
            Some(schema) if builtin::is_system_schema(schema) => Ok(within(schema)),
            Some(schema) => within(schema).map(Some).ok_or(()),
            None if !self.session.temporary.is_empty() && self.session.temporary.contains(name) => Err(()),
            None if self.hides() => Err(()),
            None => {
                let first = self.before.iter().find_map(|schema| within(schema));
                if let Some(found) = first {
                    return Ok(Some(found));
                }
                if is_system_type(name) && (self.catalog.read || self.before.is_empty()) {
                    return Ok(within("pg_catalog"));
                }
                let later = self.after.iter().find_map(|schema| within(schema));
                later.map(Some).ok_or(())
            }
        }
    }
}

/// Types of PostgreSQL that a text may name without their schema.
const TYPES: [&str; 68] = [
    "aclitem",
    "bit",
    "bool",
    "box",
    "bpchar",
    "bytea",
    "char",
    "cid",
    "cidr",
    "circle",
    "date",
    "datemultirange",
    "daterange",
    "float4",
    "float8",
    "inet",
    "int2",
    "int2vector",
    "int4",
    "int4multirange",
    "int4range",
    "int8",
    "int8multirange",
    "int8range",
    "interval",
    "json",
    "jsonb",
    "jsonpath",
    "line",
    "lseg",
    "macaddr",
    "macaddr8",
    "money",
    "name",
    "numeric",
    "nummultirange",
    "numrange",
    "oid",
    "oidvector",
    "path",
    "pg_lsn",
    "pg_snapshot",
    "point",
    "polygon",
    "record",
    "regclass",
    "regcollation",
    "regconfig",
    "regdictionary",
    "regnamespace",
    "regoper",
    "regoperator",
    "regproc",
    "regprocedure",
    "regrole",
    "regtype",
    "text",
    "tid",
    "time",
    "timestamp",
    "timestamptz",
    "timetz",
    "tsquery",
    "tsvector",
    "unknown",
    "uuid",
    "varbit",
    "varchar",
];
const MORE_TYPES: [&str; 12] = [
    "void",
    "xid",
    "xid8",
    "xml",
    "tsrange",
    "tstzrange",
    "tsmultirange",
    "tstzmultirange",
    "refcursor",
    "cstring",
    "anyelement",
    "txid_snapshot",
];

fn is_system_type(name: &str) -> bool {
    let plain = name.strip_prefix('_').unwrap_or(name);
    TYPES.contains(&plain) || MORE_TYPES.contains(&plain)
}
