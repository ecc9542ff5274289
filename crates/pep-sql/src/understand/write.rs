//! `INSERT`, `UPDATE`, `DELETE`, `MERGE`: what is written, how far it reaches, and what fires behind it.

use super::{
    SqlOperation,
    account::{Leaving, Thing},
    bounds::{self, Condition},
    catalog::{Relate, Relation, Stands},
    names::{self, Name},
    tree::{self, Unplaced},
    walk::{Obscure, Scope, Walked, Walker},
};
use pg_query::{
    Node, NodeEnum, NodeRef,
    protobuf::{
        CmdType, DeleteStmt, InsertStmt, MergeStmt, OnConflictAction, RangeVar, ReturningClause, SelectStmt,
        UpdateStmt,
    },
};
use std::collections::{BTreeMap, BTreeSet};

/// What is done to rows, as triggers and rules know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Insert,
    Update,
    Delete,
    Truncate,
}

impl Event {
    /// The bit in `pg_trigger.tgtype`.
    const fn trigger(self) -> i32 {
        match self {
            Self::Insert => 4,
            Self::Delete => 8,
            Self::Update => 16,
            Self::Truncate => 32,
        }
    }

    /// `pg_rewrite.ev_type`.
    const fn rule(self) -> &'static str {
        match self {
            Self::Update => "2",
            Self::Insert => "3",
            Self::Delete => "4",
            Self::Truncate => "",
        }
    }

    pub(super) const fn unbounded(self) -> SqlOperation {
        match self {
            Self::Insert => SqlOperation::Insert,
            Self::Update => SqlOperation::UpdateUnbounded,
            Self::Delete | Self::Truncate => SqlOperation::DeleteUnbounded,
        }
    }

    const fn bounded(self) -> SqlOperation {
        match self {
            Self::Insert => SqlOperation::Insert,
            Self::Update => SqlOperation::UpdateBounded,
            Self::Delete => SqlOperation::DeleteBounded,
            Self::Truncate => SqlOperation::DeleteUnbounded,
        }
    }
}

const INSTEAD: i32 = 64;

impl Walker<'_> {
    pub(super) fn insert(&mut self, insert: &InsertStmt, scope: &Scope<'_>) -> Walked {
        let relation = insert.relation.as_ref().ok_or(Unplaced::UnknownKind)?;
        let scope = &self.with(insert.with_clause.as_ref(), scope)?;
        let things = self.written(relation, Event::Insert)?;
        self.account.does(SqlOperation::Insert, &things);
        self.targets(&insert.cols, scope)?;
        self.maybe(insert.select_stmt.as_deref(), scope)?;
        if let Some(conflict) = &insert.on_conflict_clause {
            match conflict.action() {
                OnConflictAction::OnconflictUpdate => {
                    let things = self.written(relation, Event::Update)?;
                    let few = insert.select_stmt.as_deref().is_some_and(is_few);
                    let event = Event::Update;
                    self.account.does(if few { event.bounded() } else { event.unbounded() }, &things);
                    self.targets(&conflict.target_list, scope)?;
                }
                OnConflictAction::OnconflictNothing | OnConflictAction::OnconflictNone => {}
                OnConflictAction::Undefined => return Err(Unplaced::UnknownKind.into()),
            }
            for part in tree::parts(NodeRef::OnConflictClause(conflict))? {
                if !matches!(part, NodeRef::ResTarget(_)) {
                    self.walk(part, scope)?;
                }
            }
        }
        self.returning(insert.returning_clause.as_ref(), &things, Reach::Few, scope)
    }

    pub(super) fn update(&mut self, update: &UpdateStmt, scope: &Scope<'_>) -> Walked {
        let relation = update.relation.as_ref().ok_or(Unplaced::UnknownKind)?;
        let scope = &self.with(update.with_clause.as_ref(), scope)?;
        let things = self.written(relation, Event::Update)?;
        let clause = update.where_clause.as_deref();
        let reach = self.reach(relation, clause, !update.from_clause.is_empty());
        self.reaches(reach, clause);
        let set: BTreeSet<String> = update.target_list.iter().filter_map(target_name).collect();
        let far = self.cascade(relation, Event::Update, &set);
        let event = Event::Update;
        self.account
            .does(if reach == Reach::Few && !far { event.bounded() } else { event.unbounded() }, &things);
        self.targets(&update.target_list, scope)?;
        self.all(&update.from_clause, scope)?;
        self.maybe(clause, scope)?;
        self.returning(update.returning_clause.as_ref(), &things, reach, scope)
    }

    pub(super) fn delete(&mut self, delete: &DeleteStmt, scope: &Scope<'_>) -> Walked {
        let relation = delete.relation.as_ref().ok_or(Unplaced::UnknownKind)?;
        let scope = &self.with(delete.with_clause.as_ref(), scope)?;
        let things = self.written(relation, Event::Delete)?;
        let clause = delete.where_clause.as_deref();
        let reach = self.reach(relation, clause, !delete.using_clause.is_empty());
        self.reaches(reach, clause);
        let far = self.cascade(relation, Event::Delete, &BTreeSet::new());
        let event = Event::Delete;
        self.account
            .does(if reach == Reach::Few && !far { event.bounded() } else { event.unbounded() }, &things);
        self.all(&delete.using_clause, scope)?;
        self.maybe(clause, scope)?;
        self.returning(delete.returning_clause.as_ref(), &things, reach, scope)
    }

    pub(super) fn merge(&mut self, merge: &MergeStmt, scope: &Scope<'_>) -> Walked {
        let relation = merge.relation.as_ref().ok_or(Unplaced::UnknownKind)?;
        let scope = &self.with(merge.with_clause.as_ref(), scope)?;
        for node in &merge.merge_when_clauses {
            let Some(NodeEnum::MergeWhenClause(when)) = &node.node else {
                return Err(Unplaced::UnknownKind.into());
            };
            let event = match when.command_type() {
                CmdType::CmdInsert => Some(Event::Insert),
                CmdType::CmdUpdate => Some(Event::Update),
                CmdType::CmdDelete => Some(Event::Delete),
                CmdType::CmdNothing => None,
                CmdType::Undefined
                | CmdType::CmdUnknown
                | CmdType::CmdSelect
                | CmdType::CmdMerge
                | CmdType::CmdUtility => return Err(Unplaced::UnknownKind.into()),
            };
            if let Some(event) = event {
                let things = self.written(relation, event)?;
                self.account.does(event.unbounded(), &things);
                let set: BTreeSet<String> = when.target_list.iter().filter_map(target_name).collect();
                self.cascade(relation, event, &set);
            }
            self.targets(&when.target_list, scope)?;
            self.all(&when.values, scope)?;
            self.maybe(when.condition.as_deref(), scope)?;
        }
        self.maybe(merge.source_relation.as_deref(), scope)?;
        self.maybe(merge.join_condition.as_deref(), scope)?;
        let things = [self.thing(relation)];
        self.returning(merge.returning_clause.as_ref(), &things, Reach::Many, scope)
    }

    /// What is written when a statement names this relation, and what fires.
    pub(super) fn written(&mut self, relation: &RangeVar, event: Event) -> Result<Vec<Thing>, Obscure> {
        let mut thing = self.thing(relation);
        thing.aliases.insert(relation.relname.clone());
        thing.aliases.extend(relation.alias.iter().map(|alias| alias.aliasname.clone()));
        self.account.targets.push(thing.clone());
        let name = Name::of_relation(relation);
        let mut things = vec![thing.clone()];
        match self.path.relation(name.schema.as_deref(), &name.name) {
            Relate::Known(known) => {
                self.fires(known, event);
                if known.rules.contains(event.rule()) {
                    let why = format!("a rule on `{}` puts something else in its place", thing.name);
                    self.account.is_indirect(&things, why);
                }
                if known.far {
                    self.account.does(SqlOperation::Network, &things);
                }
                if matches!(event, Event::Insert | Event::Update) {
                    self.computes(known)?;
                }
                if known.kind == "v" {
                    things.extend(self.beneath(known)?);
                } else {
                    self.behind(known)?;
                }
            }
            Relate::System => {
                self.account.reasons.insert(format!("it changes the system's own `{}`", thing.name));
                self.account.does(SqlOperation::Server, &things);
            }
            Relate::Temporary => {}
            Relate::Unresolved => self.unresolved(&thing),
        }
        Ok(things)
    }

    fn fires(&mut self, known: &Relation, event: Event) {
        let firing = known.triggers.iter().filter(|trigger| trigger.events & event.trigger() != 0);
        for trigger in firing {
            self.account.triggers.insert(trigger.function.clone());
            self.account.stands.insert(Stands::Function(trigger.function.clone()));
            if trigger.events & INSTEAD != 0 {
                let name = names::qualified(&known.schema, &known.name);
                let why = format!("a trigger on `{name}` runs `{}` in its place", trigger.function);
                self.account.is_indirect(&[Thing::relation(known)], why);
            }
        }
    }

    /// What runs while a row is written: defaults, checks, indexes. Sequences that number rows go without saying.
    fn computes(&mut self, known: &Relation) -> Walked {
        if known.expressions.is_empty() {
            return Ok(());
        }
        let mut inner = Walker::new(self.path.of_definitions(), self.session, self.target, None, self.text);
        known
            .expressions
            .iter()
            .try_for_each(|expression| inner.definition(&format!("SELECT ({expression})")))?;
        inner.settle_attributes();
        let named = names::qualified(&known.schema, &known.name);
        for reason in inner.account.reasons {
            self.account.reasons.insert(format!("a default, check or index of `{named}`: {reason}"));
        }
        self.account.functions.extend(inner.account.functions);
        for (operation, things) in inner.account.effects {
            if !matches!(operation, SqlOperation::UpdateBounded | SqlOperation::Setting) {
                self.account.does(operation, &things);
            }
        }
        Ok(())
    }

    /// The tables a view shows: what is written to it is written to them.
    fn beneath(&mut self, view: &Relation) -> Result<Vec<Thing>, Obscure> {
        let mut inner = Walker::new(self.path.of_definitions(), self.session, self.target, None, self.text);
        inner.behind(view)?;
        self.behind(view)?;
        Ok(inner.account.reads.into_values().collect())
    }

    /// Whether it changes rows of other tables through foreign keys.
    fn cascade(&mut self, relation: &RangeVar, event: Event, set: &BTreeSet<String>) -> bool {
        let name = Name::of_relation(relation);
        let Relate::Known(known) = self.path.relation(name.schema.as_deref(), &name.name) else {
            return false;
        };
        let acts = |action: &str| matches!(action, "c" | "n" | "d");
        let key_changes = known.keys.iter().any(|key| !key.is_disjoint(set));
        let reached: Vec<String> = known
            .cascades
            .iter()
            .filter(|cascade| match event {
                Event::Delete => acts(&cascade.on_delete),
                Event::Update => acts(&cascade.on_update) && key_changes,
                Event::Insert => false,
                Event::Truncate => true,
            })
            .map(|cascade| cascade.table.clone())
            .collect();
        let far = !reached.is_empty();
        self.account.cascades.extend(reached);
        far
    }

    pub(super) fn truncates(&mut self, relation: &RangeVar) {
        self.cascade(relation, Event::Truncate, &BTreeSet::new());
    }

    /// How many rows a condition lets through.
    fn reach(&self, relation: &RangeVar, clause: Option<&Node>, joins: bool) -> Reach {
        let Some(clause) = clause else { return Reach::Many };
        if matches!(clause.node, Some(NodeEnum::CurrentOfExpr(_))) {
            return Reach::Few;
        }
        let name = Name::of_relation(relation);
        let Relate::Known(known) = self.path.relation(name.schema.as_deref(), &name.name) else {
            return Reach::Many;
        };
        if known.kind == "v" || (known.heirs > 0 && relation.inh) {
            return Reach::Many;
        }
        let called = relation.alias.as_ref().map_or(&relation.relname, |alias| &alias.aliasname);
        let mut fixed: BTreeMap<String, u64> = BTreeMap::new();
        for conjunct in bounds::conjuncts(clause) {
            let Some(bounds::Says::OneOf(column, count)) = bounds::says(conjunct, self.values) else {
                continue;
            };
            let Some(mut parts) = names::strings(&column.fields) else { continue };
            let Some(name) = parts.pop() else { continue };
            let ours = match parts.pop() {
                Some(of) => of == *called,
                // Where other tables stand beside it, a bare name could be theirs.
                None => !joins,
            };
            if ours && known.columns.contains(&name) {
                let least = fixed.entry(name).or_insert(count);
                *least = count.min(*least);
            }
        }
        if bounds::keyed(&known.keys, &fixed).is_some() { Reach::Few } else { Reach::Many }
    }

    fn reaches(&mut self, reach: Reach, clause: Option<&Node>) {
        if reach == Reach::Many {
            let condition = bounds::condition(clause);
            let least = self.account.condition.unwrap_or(Condition::Some);
            self.account.condition = Some(condition.min(least));
        }
    }

    /// `SET a = …`, the columns of an `INSERT`.
    fn targets(&mut self, targets: &[Node], scope: &Scope<'_>) -> Walked {
        self.account.columns.extend(targets.iter().filter_map(target_name));
        self.all(targets, scope)
    }

    fn returning(
        &mut self,
        clause: Option<&ReturningClause>,
        things: &[Thing],
        reach: Reach,
        scope: &Scope<'_>,
    ) -> Walked {
        let Some(clause) = clause else { return Ok(()) };
        self.walk(NodeRef::ReturningClause(clause), scope)?;
        self.account.returns = true;
        if clause.exprs.iter().any(|returned| !self.is_light(returned, scope)) {
            self.account.leaves = Leaving::AnyNumber;
        }
        if reach == Reach::Many {
            self.account.does(SqlOperation::Export, things);
        }
        Ok(())
    }
}

/// How far a write reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Few,
    Many,
}

fn target_name(target: &Node) -> Option<String> {
    if let Some(NodeEnum::ResTarget(target)) = &target.node { Some(target.name.clone()) } else { None }
}

/// Whether rows are written out one by one.
fn is_few(rows: &Node) -> bool {
    let values = |select: &SelectStmt| !select.values_lists.is_empty() && select.values_lists.len() <= 100;
    if let Some(NodeEnum::SelectStmt(select)) = &rows.node { values(select) } else { false }
}
