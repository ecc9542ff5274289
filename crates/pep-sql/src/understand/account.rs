//! What was found while walking over one statement.

use super::catalog::{Relation, Stands};
use super::{
    Access, SessionEffect, SettingChange, SqlOperation, SqlRefusal, SqlTarget, bounds::Condition, names,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Everything one statement touches and does.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a finding of its own")]
pub(super) struct Account {
    /// In the order found.
    pub(super) effects: Vec<(SqlOperation, Vec<Thing>)>,
    /// What it does to the session.
    pub(super) session: Vec<SessionEffect>,
    /// A setting it may not change.
    pub(super) refused: Option<SqlRefusal>,
    /// Uses of `a.b` that call a function unless `b` is a column of `a`.
    pub(super) attributes: Vec<(Option<String>, String)>,
    /// Relations that are read, by the name shown.
    pub(super) reads: BTreeMap<String, Thing>,
    /// Columns named anywhere.
    pub(super) columns: BTreeSet<String>,
    /// Whether whole rows are used: every column counts as named.
    pub(super) star: bool,
    /// Functions called, hidden calls included.
    pub(super) functions: BTreeSet<String>,
    /// Names that could not be resolved.
    pub(super) unresolved: BTreeSet<String>,
    /// What its names stand for, as far as that is more than PostgreSQL brings.
    pub(super) stands: BTreeSet<Stands>,
    /// Functions of triggers that fire.
    pub(super) triggers: BTreeSet<String>,
    /// Tables that change through foreign keys.
    pub(super) cascades: BTreeSet<String>,
    /// Why it is more than it seems, in plain words.
    pub(super) reasons: BTreeSet<String>,
    /// A function runs that is on no list of harmless ones: its words are not to be counted or explained beforehand.
    pub(super) runs_code: bool,
    /// Code of the database runs that is harmless by the configuration's word alone.
    pub(super) believed: bool,
    /// Texts kept from earlier that run in it, by the names they were kept under.
    pub(super) kept: BTreeMap<String, Arc<str>>,
    /// Row locks are taken.
    pub(super) locks: bool,
    /// Settings that change, with their new values (`None`: the default).
    pub(super) settings: Vec<(String, Option<String>)>,
    /// Rows that go to the client.
    pub(super) leaves: Leaving,
    /// One row of it can hold any number of rows of other tables.
    pub(super) heavy: bool,
    /// What exactly, where the verb does not say it: rights, new names, columns. Ready to be shown.
    pub(super) details: Vec<String>,
    /// Relations that are written.
    pub(super) targets: Vec<Thing>,
    /// The weakest condition of all unbounded writes.
    pub(super) condition: Option<Condition>,
    /// Asked for by `EXPLAIN`.
    pub(super) explains: Option<Explains>,
    /// A write returns rows.
    pub(super) returns: bool,
}

/// One relation or other object, before labels are looked up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Thing {
    /// `table`, `view`, `role`…
    pub(super) kind: &'static str,
    pub(super) name: String,
    /// Schema and name where the relation is known, for labels.
    pub(super) relation: Option<(String, String)>,
    /// Other names it goes by in the statement.
    pub(super) aliases: BTreeSet<String>,
    /// Its columns, where they are known.
    pub(super) columns: BTreeSet<String>,
    /// A system relation with secrets.
    pub(super) sensitive: bool,
}

/// How many rows of its own a statement sends to the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Leaving {
    #[default]
    Nothing,
    AtMost(u64),
    AnyNumber,
}

impl From<Option<u64>> for Leaving {
    fn from(rows: Option<u64>) -> Self {
        rows.map_or(Self::AnyNumber, Self::AtMost)
    }
}

impl Leaving {
    pub(super) fn limited(self, most: u64) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::AtMost(rows) => Self::AtMost(rows.min(most)),
            Self::AnyNumber => Self::AtMost(most),
        }
    }
}

/// What an `EXPLAIN` does with its statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Explains {
    Plan,
    Run,
}

impl Thing {
    pub(super) fn plain(kind: &'static str, name: impl Into<String>) -> Self {
        Self {
            kind,
            name: name.into(),
            relation: None,
            aliases: BTreeSet::new(),
            columns: BTreeSet::new(),
            sensitive: false,
        }
    }

    pub(super) fn relation(relation: &Relation) -> Self {
        let kind = match relation.kind.as_str() {
            "v" => "view",
            "m" => "materialized-view",
            "f" => "foreign-table",
            "S" => "sequence",
            _ => "table",
        };
        let named = names::qualified(&relation.schema, &relation.name);
        Self {
            relation: Some((relation.schema.clone(), relation.name.clone())),
            columns: relation.columns.clone(),
            ..Self::plain(kind, named)
        }
    }
}

impl Account {
    pub(super) fn does(&mut self, operation: SqlOperation, things: &[Thing]) {
        let effect = (operation, things.to_vec());
        if !self.effects.contains(&effect) {
            self.effects.push(effect);
        }
    }

    /// What keeps it from being understood, in one clause.
    pub(super) fn is_indirect(&mut self, things: &[Thing], why: String) {
        self.runs_code = true;
        self.reasons.insert(why);
        self.does(SqlOperation::Indirect, things);
    }

    pub(super) fn reads(&mut self, thing: Thing) {
        match self.reads.get_mut(&thing.name) {
            Some(known) => known.aliases.extend(thing.aliases),
            None => {
                self.reads.insert(thing.name.clone(), thing);
            }
        }
    }

    /// Once everything is walked: reads and locks become effects.
    pub(super) fn settle(&mut self, export_rows: u64, target: &SqlTarget) {
        let reads: Vec<Thing> = self.reads.values().cloned().collect();
        if self.locks {
            self.does(SqlOperation::Lock, &reads);
        }
        let (sensitive, plain): (Vec<Thing>, Vec<Thing>) = reads
            .into_iter()
            .partition(|thing| thing.sensitive || !self.labels_of(thing, target, None).is_empty());
        let of_users =
            |thing: &&Thing| !matches!(thing.kind, "system-table" | "temporary-table" | "sequence");
        let leaving: Vec<Thing> = plain.iter().chain(&sensitive).filter(of_users).cloned().collect();
        let many = match self.leaves {
            Leaving::Nothing => false,
            Leaving::AtMost(rows) => rows > export_rows,
            Leaving::AnyNumber => true,
        };
        if many && !leaving.is_empty() {
            self.does(SqlOperation::Export, &leaving);
        }
        if !sensitive.is_empty() {
            self.does(SqlOperation::ReadSensitive, &sensitive);
        }
        if !plain.is_empty() || self.effects.is_empty() {
            self.does(SqlOperation::Read, &plain);
        }
        self.leave();
    }

    /// What the statement leaves behind for the ones after it: definitions nobody else sees yet, or the unknown.
    fn leave(&mut self) {
        let defines = self.effects.iter().any(|(operation, things)| match operation {
            SqlOperation::DdlAdditive => !things
                .iter()
                .all(|thing| matches!(thing.kind, "table" | "temporary-table" | "sequence" | "schema")),
            SqlOperation::DdlRewriting
            | SqlOperation::DdlDestructive
            | SqlOperation::Code
            | SqlOperation::Authz
            | SqlOperation::Network
            | SqlOperation::Server => true,
            SqlOperation::Txn
            | SqlOperation::Setting
            | SqlOperation::Read
            | SqlOperation::ReadSensitive
            | SqlOperation::Lock
            | SqlOperation::Notify
            | SqlOperation::Export
            | SqlOperation::Insert
            | SqlOperation::UpdateBounded
            | SqlOperation::DeleteBounded
            | SqlOperation::Maintenance
            | SqlOperation::UpdateUnbounded
            | SqlOperation::DeleteUnbounded
            | SqlOperation::TxnPrepared
            | SqlOperation::Session
            | SqlOperation::FileOrProgram
            | SqlOperation::Indirect
            | SqlOperation::Unknown => false,
        });
        if defines {
            self.session.push(SessionEffect::Defines);
        }
        if !self.triggers.is_empty() {
            // A trigger may set anything for the session: whoever keeps its facts must ask the server.
            self.session.push(SessionEffect::Set(SettingChange::of_code()));
        }
        let unknown = |operation| matches!(operation, SqlOperation::Indirect | SqlOperation::Unknown);
        if self.effects.iter().any(|(operation, _)| unknown(*operation)) {
            self.session.push(SessionEffect::Opaque);
        }
    }

    /// Whether every column of a relation may be touched.
    fn touches_whole(&self, thing: &Thing) -> bool {
        self.star || thing.aliases.iter().any(|alias| self.columns.contains(alias))
    }

    /// The labels the configuration gives to what is touched of a thing.
    fn labels_of(
        &self,
        thing: &Thing,
        target: &SqlTarget,
        operation: Option<SqlOperation>,
    ) -> BTreeSet<String> {
        let rows_go = operation.is_some_and(|operation| {
            !matches!(
                operation,
                SqlOperation::Read
                    | SqlOperation::ReadSensitive
                    | SqlOperation::Export
                    | SqlOperation::Insert
                    | SqlOperation::UpdateBounded
                    | SqlOperation::UpdateUnbounded
                    | SqlOperation::Lock
            )
        });
        let touched = if rows_go || self.touches_whole(thing) { None } else { Some(&self.columns) };
        match &thing.relation {
            Some((schema, name)) => target.labels_of(schema, name, touched),
            None if thing.kind == "unresolved-table" => target.labels_of_any(&thing.name),
            None => BTreeSet::new(),
        }
    }

    /// Adds the labels of everything this statement touches.
    pub(super) fn label(
        &self,
        target: &SqlTarget,
        labels: &mut BTreeMap<(String, String), BTreeSet<String>>,
    ) {
        for (operation, things) in &self.effects {
            for thing in things {
                let found = self.labels_of(thing, target, Some(*operation));
                let known = labels.entry((thing.kind.to_owned(), thing.name.clone())).or_default();
                known.extend(found.into_iter().chain(target.labels.iter().cloned()));
            }
        }
    }

    /// Everything it names that has a definition.
    pub(super) fn definitions(&self) -> impl Iterator<Item = Stands> {
        let done = self.effects.iter().flat_map(|(_, things)| things);
        let things = self.reads.values().chain(&self.targets).chain(done);
        let relations = things.filter_map(|thing| thing.relation.clone());
        let relations = relations.map(|(schema, name)| Stands::Relation { schema, name });
        self.stands.iter().cloned().chain(relations)
    }

    /// How it may be run.
    pub(super) fn access(&self) -> Access {
        let controls = self
            .effects
            .iter()
            .any(|(operation, _)| matches!(operation, SqlOperation::Txn | SqlOperation::Setting));
        let of_system = |things: &[Thing]| things.iter().all(|thing| thing.kind == "system-table");
        let of = |(operation, things): &(SqlOperation, Vec<Thing>)| match operation {
            // Where a setting comes from is no read to be guarded.
            SqlOperation::Read if controls && of_system(things) => Access::Control,
            SqlOperation::Read | SqlOperation::ReadSensitive | SqlOperation::Export => Access::ReadOnly,
            SqlOperation::Txn | SqlOperation::Setting => Access::Control,
            SqlOperation::Lock
            | SqlOperation::Notify
            | SqlOperation::Insert
            | SqlOperation::UpdateBounded
            | SqlOperation::DeleteBounded
            | SqlOperation::Maintenance
            | SqlOperation::DdlAdditive
            | SqlOperation::DdlRewriting
            | SqlOperation::UpdateUnbounded
            | SqlOperation::DeleteUnbounded
            | SqlOperation::DdlDestructive
            | SqlOperation::TxnPrepared
            | SqlOperation::Session
            | SqlOperation::Network
            | SqlOperation::Server
            | SqlOperation::Authz
            | SqlOperation::FileOrProgram
            | SqlOperation::Code => Access::Writes,
            SqlOperation::Indirect | SqlOperation::Unknown => Access::Unknown,
        };
        self.effects.iter().map(of).reduce(Access::beside).unwrap_or(Access::ReadOnly)
    }

    /// Takes over what another account found.
    pub(super) fn absorb(&mut self, other: Self) {
        self.effects.extend(other.effects);
        for thing in other.reads.into_values() {
            self.reads(thing);
        }
        self.columns.extend(other.columns);
        self.star |= other.star;
        self.functions.extend(other.functions);
        self.unresolved.extend(other.unresolved);
        self.triggers.extend(other.triggers);
        self.stands.extend(other.stands);
        self.cascades.extend(other.cascades);
        self.reasons.extend(other.reasons);
        self.settings.extend(other.settings);
        self.targets.extend(other.targets);
        self.refused = self.refused.take().or(other.refused);
        self.condition = self.condition.or(other.condition);
        self.locks |= other.locks;
        self.believed |= other.believed;
        self.kept.extend(other.kept);
    }
}
