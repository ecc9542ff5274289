//! The walk over queries and expressions: every node is visited, and what it reads, calls or does is written down.
//!
//! What is not known here to be harmless is not: functions, operators and casts count as harmless only when nothing
//! else can be meant.

use super::{
    BoundValue, SessionFacts, SqlOperation, SqlTarget, Temporary,
    account::{Account, Thing},
    builtin::{self, Known},
    catalog::{Function, Path, Relate, Relation, Routine, Stands},
    names::{self, Name},
    parse, setting,
    tree::{self, Place, Unplaced},
};
use pg_query::{
    Node, NodeEnum, NodeRef,
    protobuf::{
        AExpr, AExprKind, ColumnRef, CteMaterialize, FuncCall, IntoClause, RangeVar, SelectStmt, TypeName,
        WithClause,
    },
};
use std::cell::Cell;

/// Views in views deeper than this are not followed.
const DEEPEST_VIEW: u32 = 8;

/// Named queries are counted no more often than this; beyond it no bound is known.
const MOST_COUNTS: u32 = 1_000;

/// Why a statement is not understood, in one clause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Obscure(pub(super) String);

impl From<Unplaced> for Obscure {
    fn from(unplaced: Unplaced) -> Self {
        Self(match unplaced {
            Unplaced::UnknownKind => "it holds something this build does not know".into(),
            Unplaced::OnlyAnalysed => "it holds something no statement can hold".into(),
        })
    }
}

pub(super) type Walked = Result<(), Obscure>;

/// What one statement is walked with, and what was found so far.
#[derive(Debug)]
pub(super) struct Walker<'q> {
    pub(super) path: Path<'q>,
    pub(super) session: &'q SessionFacts,
    pub(super) target: &'q SqlTarget,
    pub(super) values: Option<&'q [BoundValue]>,
    pub(super) account: Account,
    /// The whole text of the statement.
    pub(super) text: &'q str,
    /// The one setting that `name` stands for in a list of settings.
    pub(super) setting_name: Option<String>,
    /// Kept statements that are being run inside each other.
    pub(super) nested: u32,
    views: u32,
    /// How often a query that has a name may still be counted: one that is named twice is counted twice.
    pub(super) counts: Cell<u32>,
}

/// Names that `WITH` gives to queries, the innermost last.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope<'t>(Vec<(&'t str, Option<&'t SelectStmt>)>);

impl<'t> Scope<'t> {
    pub(super) fn names(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| *known == name)
    }

    /// The query behind a name, when its rows can be counted, and what names mean in it: neither itself nor what came
    /// behind it.
    pub(super) fn query(&self, name: &str) -> Option<(&'t SelectStmt, Self)> {
        let at = self.0.iter().rposition(|(known, _)| *known == name)?;
        let (_, select) = self.0.get(at)?;
        Some(((*select)?, Self(self.0.get(..at)?.to_vec())))
    }

    /// With the queries of a `WITH`, without walking them.
    pub(super) fn within(&self, with: Option<&'t WithClause>) -> Self {
        let mut inner = self.clone();
        let Some(with) = with else { return inner };
        for node in &with.ctes {
            if let Some(NodeEnum::CommonTableExpr(named)) = &node.node {
                let select = if with.recursive { None } else { counted(named.ctequery.as_deref()) };
                inner.0.push((&named.ctename, select));
            }
        }
        inner
    }
}

impl<'q> Walker<'q> {
    pub(super) fn new(
        path: Path<'q>,
        session: &'q SessionFacts,
        target: &'q SqlTarget,
        values: Option<&'q [BoundValue]>,
        text: &'q str,
    ) -> Self {
        Self {
            path,
            session,
            target,
            values,
            account: Account::default(),
            text,
            setting_name: None,
            nested: 0,
            views: 0,
            counts: Cell::new(MOST_COUNTS),
        }
    }

    /// Any node of a query.
    pub(super) fn walk(&mut self, node: NodeRef<'_>, scope: &Scope<'_>) -> Walked {
        match tree::place(node) {
            Place::Query | Place::Definition => {}
            Place::Command => {
                return Err(Obscure(format!("a command ({}) stands inside it", tree::kind(node))));
            }
            Place::Analysed => return Err(Unplaced::OnlyAnalysed.into()),
        }
        self.visit(node, scope)
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "`tree::place` has placed every kind; these need more"
    )]
    fn visit(&mut self, node: NodeRef<'_>, scope: &Scope<'_>) -> Walked {
        match node {
            NodeRef::SelectStmt(select) => return self.select(select, scope),
            NodeRef::InsertStmt(insert) => return self.insert(insert, scope),
            NodeRef::UpdateStmt(update) => return self.update(update, scope),
            NodeRef::DeleteStmt(delete) => return self.delete(delete, scope),
            NodeRef::MergeStmt(merge) => return self.merge(merge, scope),
            NodeRef::RangeVar(relation) => return self.read(relation, scope),
            NodeRef::WithClause(_) | NodeRef::IntoClause(_) => {
                return Err(Obscure("a clause stands where none can be".into()));
            }
            NodeRef::FuncCall(call) => self.call(call),
            NodeRef::AExpr(expression) => self.expression(expression)?,
            NodeRef::TypeName(kind) => self.kind(kind)?,
            NodeRef::ColumnRef(column) => return self.column(column),
            NodeRef::AIndirection(indirection) => {
                for name in indirection.indirection.iter().filter_map(names::string) {
                    self.account.attributes.push((None, name));
                }
                let stars =
                    indirection.indirection.iter().any(|part| matches!(part.node, Some(NodeEnum::AStar(_))));
                self.account.star |= stars;
            }
            NodeRef::SubLink(link) => match Name::of(&link.oper_name) {
                Some(name) => self.operator(&name),
                None => self.equals(),
            },
            NodeRef::CaseExpr(case) if case.arg.is_some() => self.equals(),
            NodeRef::SortBy(sort) => {
                if let Some(name) = Name::of(&sort.use_op) {
                    self.operator(&name);
                }
            }
            NodeRef::JoinExpr(join) => {
                self.account.star |= join.is_natural;
                self.account.columns.extend(join.using_clause.iter().filter_map(names::string));
                if join.is_natural || !join.using_clause.is_empty() {
                    self.equals();
                }
            }
            NodeRef::RangeTableSample(sample) => {
                let name = Name::of(&sample.method)
                    .ok_or_else(|| Obscure("a sampling method has no name".into()))?;
                if !matches!(name.name.as_str(), "bernoulli" | "system") {
                    self.account.is_indirect(&[], format!("it samples with {}", name.shown()));
                }
            }
            NodeRef::LockingClause(_) => {
                self.account.locks = true;
                return Ok(());
            }
            _ => {}
        }
        for part in tree::parts(node)? {
            self.walk(part, scope)?;
        }
        Ok(())
    }

    pub(super) fn all(&mut self, nodes: &[Node], scope: &Scope<'_>) -> Walked {
        nodes.iter().try_for_each(|node| self.walk(tree::node(node)?, scope))
    }

    pub(super) fn maybe(&mut self, node: Option<&Node>, scope: &Scope<'_>) -> Walked {
        node.map_or(Ok(()), |node| self.walk(tree::node(node)?, scope))
    }

    pub(super) fn select(&mut self, select: &SelectStmt, scope: &Scope<'_>) -> Walked {
        let scope = &self.with(select.with_clause.as_ref(), scope)?;
        if let Some(into) = &select.into_clause {
            self.creates(into)?;
        }
        let outer = std::mem::replace(&mut self.setting_name, setting::only_setting(select));
        for part in tree::parts(NodeRef::SelectStmt(select))? {
            if !matches!(part, NodeRef::WithClause(_) | NodeRef::IntoClause(_)) {
                self.walk(part, scope)?;
            }
        }
        self.setting_name = outer;
        Ok(())
    }

    /// Walks the queries of a `WITH` and names them.
    pub(super) fn with<'t>(
        &mut self,
        with: Option<&'t WithClause>,
        scope: &Scope<'t>,
    ) -> Result<Scope<'t>, Obscure> {
        let mut inner = scope.clone();
        let Some(with) = with else { return Ok(inner) };
        if with.recursive {
            inner = scope.within(Some(with));
        }
        for node in &with.ctes {
            let Some(NodeEnum::CommonTableExpr(named)) = &node.node else {
                return Err(Unplaced::UnknownKind.into());
            };
            debug_assert!(named.ctematerialized() != CteMaterialize::CtematerializeUndefined);
            for part in tree::parts(NodeRef::CommonTableExpr(named))? {
                self.walk(part, &inner)?;
            }
            if !with.recursive {
                inner.0.push((&named.ctename, counted(named.ctequery.as_deref())));
            }
        }
        Ok(inner)
    }

    /// `INTO`, `CREATE TABLE AS`: a table made out of a query.
    pub(super) fn creates(&mut self, into: &IntoClause) -> Walked {
        let relation = into.rel.as_ref().ok_or_else(|| Obscure("the new table has no name".into()))?;
        let thing = self.new_relation("table", Temporary::of(into.on_commit()), relation);
        self.account.does(SqlOperation::DdlAdditive, &[thing]);
        for part in tree::parts(NodeRef::IntoClause(into))? {
            if !matches!(part, NodeRef::RangeVar(_)) {
                self.walk(part, &Scope::default())?;
            }
        }
        Ok(())
    }

    /// A relation that is about to be made; a temporary one joins the session.
    pub(super) fn new_relation(
        &mut self,
        kind: &'static str,
        temporary: Temporary,
        relation: &RangeVar,
    ) -> Thing {
        let name = Name::of_relation(relation);
        if relation.relpersistence == "t" || name.schema.as_deref() == Some("pg_temp") {
            let name = relation.relname.clone();
            self.account.session.push(super::SessionEffect::CreateTemporary { name, kind: temporary });
            return Thing::plain("temporary-table", names::qualified("pg_temp", &relation.relname));
        }
        let schema = name.schema.clone().or_else(|| self.path.creates_in().map(str::to_owned));
        let mut thing = Thing::plain(kind, Name { schema: schema.clone(), ..name.clone() }.shown());
        thing.relation = schema.map(|schema| (schema, name.name));
        thing
    }

    /// A relation in `FROM`.
    pub(super) fn read(&mut self, relation: &RangeVar, scope: &Scope<'_>) -> Walked {
        if relation.schemaname.is_empty() && scope.names(&relation.relname) {
            return Ok(());
        }
        let mut thing = self.thing(relation);
        thing.aliases.insert(relation.relname.clone());
        thing.aliases.extend(relation.alias.iter().map(|alias| alias.aliasname.clone()));
        let name = Name::of_relation(relation);
        self.account.reads(thing.clone());
        match self.path.relation(name.schema.as_deref(), &name.name) {
            Relate::Known(known) => {
                if known.far {
                    self.account.does(SqlOperation::Network, &[thing]);
                }
                self.behind(known)
            }
            Relate::System | Relate::Temporary => Ok(()),
            Relate::Unresolved => {
                self.unresolved(&thing);
                Ok(())
            }
        }
    }

    pub(super) fn unresolved(&mut self, thing: &Thing) {
        self.account.unresolved.insert(thing.name.clone());
        let why = format!("what `{}` stands for could not be looked up", thing.name);
        self.account.is_indirect(std::slice::from_ref(thing), why);
    }

    /// A relation as it is shown.
    pub(super) fn thing(&self, relation: &RangeVar) -> Thing {
        let name = Name::of_relation(relation);
        match self.path.relation(name.schema.as_deref(), &name.name) {
            Relate::Known(known) => Thing::relation(known),
            Relate::System => {
                let schema = name.schema.unwrap_or_else(|| "pg_catalog".into());
                let sensitive = builtin::is_sensitive(&name.name);
                Thing { sensitive, ..Thing::plain("system-table", names::qualified(&schema, &name.name)) }
            }
            Relate::Temporary => Thing::plain("temporary-table", names::qualified("pg_temp", &name.name)),
            Relate::Unresolved => {
                let relation = name.schema.clone().map(|schema| (schema, name.name.clone()));
                Thing { relation, ..Thing::plain("unresolved-table", name.shown()) }
            }
        }
    }

    /// What runs when a relation is read: the query of a view, the conditions of row security.
    pub(super) fn behind(&mut self, relation: &Relation) -> Walked {
        if relation.definition.is_none() && relation.policies.is_empty() {
            return Ok(());
        }
        if self.views >= DEEPEST_VIEW {
            return Err(Obscure("views stand in views too deep to follow".into()));
        }
        self.views += 1;
        let attributes = std::mem::take(&mut self.account.attributes);
        let inside = self.path.of_definitions();
        let outer = std::mem::replace(&mut self.path, inside);
        let result = self.definitions(relation);
        // An attribute in a definition is looked up there.
        self.settle_attributes();
        self.path = outer;
        self.account.attributes = attributes;
        self.views -= 1;
        result
    }

    fn definitions(&mut self, relation: &Relation) -> Walked {
        if let Some(definition) = &relation.definition {
            self.definition(definition)?;
        }
        relation.policies.iter().try_for_each(|policy| self.definition(&format!("SELECT ({policy})")))
    }

    /// A text the server's catalog printed.
    pub(super) fn definition(&mut self, text: &str) -> Walked {
        let unread = |_| Obscure("a definition in the catalog cannot be read".into());
        let (options, catalog) = (pg_query::ParserOptions::DEFAULT, self.path.catalog());
        let statements = parse::in_catalog(text, options, catalog).map_err(unread)?;
        for statement in &statements {
            let node = statement.stmt.as_deref().ok_or(Unplaced::UnknownKind)?;
            self.walk(tree::node(node)?, &Scope::default())?;
        }
        Ok(())
    }

    fn call(&mut self, call: &FuncCall) {
        let Some(name) = Name::of(&call.funcname) else {
            self.account.is_indirect(&[], "a function has no name".into());
            return;
        };
        self.account.functions.insert(name.shown());
        self.function(&name, call.args.len(), Some(call));
    }

    /// A function that runs, by call or hidden.
    pub(super) fn function(&mut self, name: &Name, arguments: usize, call: Option<&FuncCall>) {
        let found = self.path.function(name.schema.as_deref(), &name.name, arguments);
        let known = builtin::function(&name.name);
        let thing = [Thing::plain("function", name.shown())];
        match found {
            Routine::System if known.is_none() => {
                self.account.is_indirect(&thing, format!("`{}` is not known to be harmless", name.shown()));
            }
            Routine::System => {}
            Routine::AnyOf(functions) => {
                self.account.stands.extend(functions.iter().map(|found| Stands::Function(found.full_name())));
                let dangerous = matches!(known, Some(Known::Does(_) | Known::SetsSetting));
                // What an extension's C code of a known dangerous name does is known.
                let told = |function: &Function| dangerous && function.is_native();
                let mut others =
                    functions.iter().filter(|function| !function.is_trusted() && !told(function)).peekable();
                self.account.believed |= others.peek().is_some();
                if let Some(other) = others.find(|other| !self.target.trusts(&other.full_name())) {
                    let named = names::qualified(&other.schema, &other.name);
                    self.account.is_indirect(&thing, format!("`{named}` runs code of its own"));
                }
            }
            Routine::Unresolved => {
                self.account.unresolved.insert(name.shown());
                let why = format!("which `{}` is called could not be looked up", name.shown());
                self.account.is_indirect(&thing, why);
            }
        }
        match known {
            Some(Known::Does(operation)) => {
                self.account.runs_code = true;
                if operation == SqlOperation::Indirect {
                    self.account.reasons.insert(format!("`{}` runs what its arguments name", name.shown()));
                }
                self.account.does(operation, &thing);
            }
            Some(Known::SetsSetting) => {
                self.account.runs_code = true;
                self.set_config(call);
            }
            Some(Known::Safe | Known::Fold) | None => {}
        }
    }

    fn equals(&mut self) {
        self.operator(&Name { schema: None, name: "=".into() });
    }

    fn operator(&mut self, name: &Name) {
        match self.path.operator(name.schema.as_deref(), &name.name) {
            Routine::System => {}
            Routine::AnyOf(functions) => {
                self.account.stands.extend(functions.iter().map(|found| Stands::Operator(found.full_name())));
                let mut others = functions.iter().filter(|function| !function.is_trusted()).peekable();
                self.account.believed |= others.peek().is_some();
                if let Some(other) = others.find(|other| !self.target.trusts(&other.full_name())) {
                    let why = format!(
                        "the operator {} of schema `{}` runs code of its own",
                        other.name, other.schema
                    );
                    self.account.is_indirect(&[], why);
                }
            }
            Routine::Unresolved => {
                self.account.unresolved.insert(format!("operator {}", name.shown()));
                self.account.is_indirect(
                    &[],
                    format!("which operator {} is meant could not be looked up", name.name),
                );
            }
        }
    }

    fn expression(&mut self, expression: &AExpr) -> Walked {
        match expression.kind() {
            AExprKind::Undefined => Err(Unplaced::UnknownKind.into()),
            AExprKind::AexprBetween
            | AExprKind::AexprNotBetween
            | AExprKind::AexprBetweenSym
            | AExprKind::AexprNotBetweenSym => {
                for name in [">=", "<=", "<", ">"] {
                    self.operator(&Name { schema: None, name: name.into() });
                }
                Ok(())
            }
            AExprKind::AexprOp
            | AExprKind::AexprOpAny
            | AExprKind::AexprOpAll
            | AExprKind::AexprDistinct
            | AExprKind::AexprNotDistinct
            | AExprKind::AexprNullif
            | AExprKind::AexprIn
            | AExprKind::AexprLike
            | AExprKind::AexprIlike
            | AExprKind::AexprSimilar => {
                let name =
                    Name::of(&expression.name).ok_or_else(|| Obscure("an operator has no name".into()))?;
                self.operator(&name);
                Ok(())
            }
        }
    }

    fn kind(&mut self, kind: &TypeName) -> Walked {
        if kind.names.is_empty() {
            return Ok(());
        }
        let Some(name) = Name::of(&kind.names) else { return Err(Obscure("a type has no name".into())) };
        // `%TYPE` names a column.
        if kind.pct_type {
            return Ok(());
        }
        match self.path.kind(name.schema.as_deref(), &name.name) {
            Ok(None) => Ok(()),
            Ok(Some(found)) => {
                let (schema, name) = (found.schema.clone(), found.name.clone());
                self.account.stands.insert(Stands::Type { schema, name });
                if found.runs {
                    let shown = names::qualified(&found.schema, &found.name);
                    self.account.is_indirect(&[], format!("making a `{shown}` runs code of its own"));
                }
                let inside = self.path.of_definitions();
                let outer = std::mem::replace(&mut self.path, inside);
                let walked =
                    found.checks.iter().try_for_each(|check| self.definition(&format!("SELECT ({check})")));
                self.path = outer;
                walked
            }
            Err(()) => {
                self.account.unresolved.insert(format!("type {}", name.shown()));
                self.account
                    .is_indirect(&[], format!("what type `{}` is could not be looked up", name.shown()));
                Ok(())
            }
        }
    }

    fn column(&mut self, column: &ColumnRef) -> Walked {
        let mut parts = Vec::with_capacity(column.fields.len());
        for field in &column.fields {
            match &field.node {
                Some(NodeEnum::String(string)) => parts.push(string.sval.clone()),
                Some(NodeEnum::AStar(_)) => {
                    self.account.star = true;
                    return Ok(());
                }
                _ => return Err(Unplaced::UnknownKind.into()),
            }
        }
        let Some(name) = parts.pop() else { return Err(Unplaced::UnknownKind.into()) };
        if let Some(of) = parts.pop() {
            self.account.attributes.push((Some(of), name.clone()));
        }
        self.account.columns.insert(name);
        Ok(())
    }

    /// Once everything is walked: `a.b` and `(a).b` call a function `b` unless `b` is a column of `a`.
    pub(super) fn settle_attributes(&mut self) {
        for (of, name) in std::mem::take(&mut self.account.attributes) {
            let harmless = match self.path.function(None, &name, 1) {
                Routine::System => {
                    !matches!(builtin::function(&name), Some(Known::Does(_) | Known::SetsSetting))
                }
                Routine::AnyOf(functions) => functions.iter().all(|function| function.is_trusted()),
                Routine::Unresolved => false,
            };
            let is_column = |of: &str| {
                let mut of_that_name = self
                    .account
                    .reads
                    .values()
                    .chain(&self.account.targets)
                    .filter(|thing| thing.aliases.contains(of))
                    .peekable();
                of_that_name.peek().is_some() && of_that_name.all(|thing| thing.columns.contains(&name))
            };
            if harmless || of.as_deref().is_some_and(is_column) {
                continue;
            }
            self.account.functions.insert(name.clone());
            self.function(&Name { schema: None, name }, 1, None);
        }
    }
}

/// A query whose rows can be counted.
fn counted(query: Option<&Node>) -> Option<&SelectStmt> {
    if let Some(NodeEnum::SelectStmt(select)) = &query?.node { Some(select) } else { None }
}
