//! The most rows a query can return, where its text and the keys of its tables say so.

use super::{
    bounds::{self, Says},
    builtin::{self, Known},
    catalog::Relate,
    names::Name,
    tree,
    walk::{Scope, Walker},
};
use pg_query::{
    Node, NodeEnum, NodeRef,
    protobuf::{ColumnRef, JoinType, LimitOption, RangeVar, SelectStmt, SetOperation, SubLinkType},
};
use std::collections::{BTreeMap, BTreeSet};

/// One entry of `FROM`.
struct Entry {
    names: BTreeSet<String>,
    columns: BTreeSet<String>,
    keys: Vec<BTreeSet<String>>,
    rows: Option<u64>,
}

/// A condition, and the entries it may bind (`None`: any).
struct Given<'t> {
    says: Says<'t>,
    binds: Option<std::ops::Range<usize>>,
}

impl Walker<'_> {
    /// `None`: no bound is known.
    pub(super) fn rows(&self, select: &SelectStmt, scope: &Scope<'_>) -> Option<u64> {
        let scope = &scope.within(select.with_clause.as_ref());
        let limit = match (select.limit_option(), select.limit_count.as_deref()) {
            (LimitOption::Count | LimitOption::Default, Some(count)) => bounds::count(count, self.values),
            (
                LimitOption::Count | LimitOption::Default | LimitOption::WithTies | LimitOption::Undefined,
                _,
            ) => None,
        };
        let rows = match select.op() {
            SetOperation::SetopNone => self.plain_rows(select, scope),
            SetOperation::SetopUnion => {
                let left = self.rows(select.larg.as_deref()?, scope);
                let right = self.rows(select.rarg.as_deref()?, scope);
                left.zip(right).and_then(|(left, right)| left.checked_add(right))
            }
            SetOperation::SetopIntersect | SetOperation::SetopExcept => {
                self.rows(select.larg.as_deref()?, scope)
            }
            SetOperation::Undefined => None,
        };
        // What one row of the result can carry of other tables.
        let carried = self.carried(select, scope)?;
        match (rows, limit) {
            (Some(rows), Some(limit)) => rows.min(limit).checked_mul(carried),
            (rows, limit) => rows.or(limit)?.checked_mul(carried),
        }
    }

    fn plain_rows(&self, select: &SelectStmt, scope: &Scope<'_>) -> Option<u64> {
        if !select.values_lists.is_empty() {
            return u64::try_from(select.values_lists.len()).ok();
        }
        let folded = select.group_clause.is_empty() && folds(&select.target_list);
        if folded {
            return Some(1);
        }
        self.joined_rows(&select.from_clause, select.where_clause.as_deref(), scope)
    }

    /// The product over all entries of `FROM`, each bound by a key.
    fn joined_rows(&self, from: &[Node], clause: Option<&Node>, scope: &Scope<'_>) -> Option<u64> {
        let mut entries = Vec::new();
        let mut given = Vec::new();
        for item in from {
            self.enter(item, scope, &mut entries, &mut given)?;
        }
        if let Some(clause) = clause {
            let said =
                bounds::conjuncts(clause).into_iter().filter_map(|part| bounds::says(part, self.values));
            given.extend(said.map(|says| Given { says, binds: None }));
        }
        loop {
            let before = entries.iter().filter(|entry| entry.rows.is_some()).count();
            for at in 0..entries.len() {
                let Some(entry) = entries.get(at).filter(|entry| entry.rows.is_none()) else { continue };
                let fixed = fixed(at, &entries, &given);
                let rows = bounds::keyed(&entry.keys, &fixed);
                if let Some(entry) = entries.get_mut(at) {
                    entry.rows = rows;
                }
            }
            if entries.iter().filter(|entry| entry.rows.is_some()).count() == before {
                break;
            }
        }
        entries.iter().try_fold(1_u64, |product, entry| product.checked_mul(entry.rows?))
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "whatever else can stand in FROM has no bound")]
    fn enter<'t>(
        &self,
        item: &'t Node,
        scope: &Scope<'_>,
        entries: &mut Vec<Entry>,
        given: &mut Vec<Given<'t>>,
    ) -> Option<()> {
        match item.node.as_ref()? {
            NodeEnum::RangeVar(relation) => {
                entries.push(self.entry(relation, scope)?);
                Some(())
            }
            NodeEnum::RangeSubselect(inner) => {
                let Some(NodeEnum::SelectStmt(select)) = inner.subquery.as_ref()?.node.as_ref() else {
                    return None;
                };
                let rows = self.rows(select, scope)?;
                let names = inner.alias.iter().map(|alias| alias.aliasname.clone()).collect();
                entries.push(Entry { names, columns: BTreeSet::new(), keys: Vec::new(), rows: Some(rows) });
                Some(())
            }
            NodeEnum::JoinExpr(join) => {
                self.enter(join.larg.as_deref()?, scope, entries, given)?;
                let right = entries.len();
                self.enter(join.rarg.as_deref()?, scope, entries, given)?;
                let binds = match join.jointype() {
                    JoinType::JoinInner => None,
                    // Rows of the left side stay, whatever the condition says.
                    JoinType::JoinLeft => Some(right..entries.len()),
                    JoinType::Undefined
                    | JoinType::JoinFull
                    | JoinType::JoinRight
                    | JoinType::JoinSemi
                    | JoinType::JoinAnti
                    | JoinType::JoinRightSemi
                    | JoinType::JoinRightAnti
                    | JoinType::JoinUniqueOuter
                    | JoinType::JoinUniqueInner => return None,
                };
                if let Some(clause) = join.quals.as_deref() {
                    let said = bounds::conjuncts(clause).into_iter();
                    let said = said.filter_map(|part| bounds::says(part, self.values));
                    given.extend(said.map(|says| Given { says, binds: binds.clone() }));
                }
                Some(())
            }
            _ => None,
        }
    }

    fn entry(&self, relation: &RangeVar, scope: &Scope<'_>) -> Option<Entry> {
        let mut names: BTreeSet<String> = [relation.relname.clone()].into();
        if let Some(alias) = &relation.alias {
            // An alias that renames columns would have to be followed.
            if !alias.colnames.is_empty() {
                return None;
            }
            names = [alias.aliasname.clone()].into();
        }
        if relation.schemaname.is_empty() && scope.names(&relation.relname) {
            let (select, inner) = self.with_query(&relation.relname, scope)?;
            let rows = self.rows(select, &inner)?;
            return Some(Entry { names, columns: BTreeSet::new(), keys: Vec::new(), rows: Some(rows) });
        }
        let name = Name::of_relation(relation);
        match self.path.relation(name.schema.as_deref(), &name.name) {
            Relate::Known(known) => {
                // Keys of a parent do not hold for what inherits from it.
                let keys = if known.heirs > 0 && relation.inh { Vec::new() } else { known.keys.clone() };
                Some(Entry { names, columns: known.columns.clone(), keys, rows: None })
            }
            Relate::System | Relate::Temporary | Relate::Unresolved => None,
        }
    }

    /// A query that `WITH` names, unless too many were counted already.
    fn with_query<'t>(&self, name: &str, scope: &Scope<'t>) -> Option<(&'t SelectStmt, Scope<'t>)> {
        self.counts.set(self.counts.get().checked_sub(1)?);
        scope.query(name)
    }

    /// Whether what is returned holds a countable number of rows of other tables.
    pub(super) fn is_light(&self, returned: &Node, scope: &Scope<'_>) -> bool {
        tree::node(returned).is_ok_and(|node| self.carried_by(node, scope).is_some())
            && !gathers(std::slice::from_ref(returned))
    }

    /// How many rows one row of the result can hold inside: arrays and aggregates, here and in what it is made from.
    /// `None`: any number.
    pub(super) fn carried(&self, select: &SelectStmt, scope: &Scope<'_>) -> Option<u64> {
        let scope = &scope.within(select.with_clause.as_ref());
        let mut product = 1_u64;
        let mut times = |rows: Option<u64>| {
            product = product.checked_mul(rows?.max(1))?;
            Some(())
        };
        for side in select.larg.iter().chain(&select.rarg) {
            times(self.carried(side, scope))?;
        }
        for item in select.target_list.iter().chain(&select.values_lists) {
            times(self.carried_by(tree::node(item).ok()?, scope))?;
        }
        for item in &select.from_clause {
            times(self.carried_from(item, scope))?;
        }
        if gathers(&select.target_list) {
            times(self.joined_rows(&select.from_clause, select.where_clause.as_deref(), scope))?;
        }
        Some(product)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "whatever else can stand in FROM may hold anything")]
    fn carried_from(&self, item: &Node, scope: &Scope<'_>) -> Option<u64> {
        match item.node.as_ref()? {
            NodeEnum::RangeVar(relation) => {
                if relation.schemaname.is_empty() && scope.names(&relation.relname) {
                    let (select, inner) = self.with_query(&relation.relname, scope)?;
                    return self.carried(select, &inner);
                }
                let name = Name::of_relation(relation);
                match self.path.relation(name.schema.as_deref(), &name.name) {
                    // A view may gather rows as well; its text is not counted, only looked at.
                    Relate::Known(known) => {
                        let gathers = |text: &String| text.contains("agg(") || text.contains("ARRAY(");
                        known.definition.as_ref().is_none_or(|text| !gathers(text)).then_some(1)
                    }
                    Relate::System | Relate::Temporary | Relate::Unresolved => Some(1),
                }
            }
            NodeEnum::RangeSubselect(inner) => {
                let Some(NodeEnum::SelectStmt(select)) = inner.subquery.as_ref()?.node.as_ref() else {
                    return None;
                };
                self.carried(select, scope)
            }
            NodeEnum::JoinExpr(join) => {
                let left = self.carried_from(join.larg.as_deref()?, scope)?;
                left.checked_mul(self.carried_from(join.rarg.as_deref()?, scope)?)
            }
            NodeEnum::RangeTableSample(sample) => self.carried_from(sample.relation.as_deref()?, scope),
            NodeEnum::RangeFunction(_) | NodeEnum::RangeTableFunc(_) | NodeEnum::JsonTable(_) => {
                self.carried_by(tree::node(item).ok()?, scope)
            }
            _ => None,
        }
    }

    fn carried_by(&self, node: NodeRef<'_>, scope: &Scope<'_>) -> Option<u64> {
        if let NodeRef::SubLink(link) = node {
            let Some(NodeEnum::SelectStmt(select)) = link.subselect.as_ref()?.node.as_ref() else {
                return None;
            };
            return match link.sub_link_type() {
                SubLinkType::ArraySublink => self.rows(select, scope),
                SubLinkType::ExprSublink if gathers(&select.target_list) => self.rows(select, scope),
                SubLinkType::ExprSublink => self.carried(select, scope),
                SubLinkType::ExistsSublink | SubLinkType::AllSublink | SubLinkType::AnySublink => Some(1),
                SubLinkType::Undefined
                | SubLinkType::RowcompareSublink
                | SubLinkType::MultiexprSublink
                | SubLinkType::CteSublink => None,
            };
        }
        let parts = tree::parts(node).ok()?;
        parts
            .into_iter()
            .map(|part| self.carried_by(part, scope))
            .try_fold(1_u64, |all, one| all.checked_mul(one?.max(1)))
    }
}

/// The columns of an entry that conditions hold to constants or to rows already bound.
fn fixed(at: usize, entries: &[Entry], given: &[Given<'_>]) -> BTreeMap<String, u64> {
    let mut fixed = BTreeMap::new();
    let mut fix = |column: String, count: u64| {
        let known = fixed.entry(column).or_insert(count);
        *known = count.min(*known);
    };
    for Given { says, binds } in given {
        if binds.as_ref().is_some_and(|binds| !binds.contains(&at)) {
            continue;
        }
        match says {
            Says::OneOf(column, count) => {
                if let Some((_, name)) = owner(column, entries).filter(|(owner, _)| *owner == at) {
                    fix(name, *count);
                }
            }
            Says::Same(one, other) => {
                let (Some(one), Some(other)) = (owner(one, entries), owner(other, entries)) else { continue };
                for ((mine, name), (theirs, _)) in [(&one, &other), (&other, &one)] {
                    let bound = entries.get(*theirs).is_some_and(|entry| entry.rows.is_some());
                    if *mine == at && *theirs != at && bound {
                        fix(name.clone(), 1);
                    }
                }
            }
        }
    }
    fixed
}

/// The entry a column belongs to, when there is no doubt.
fn owner(column: &ColumnRef, entries: &[Entry]) -> Option<(usize, String)> {
    let mut parts = super::names::strings(&column.fields)?;
    let name = parts.pop()?;
    let at = match parts.pop() {
        Some(of) => entries.iter().position(|entry| entry.names.contains(&of))?,
        None if entries.len() == 1 => 0,
        None => {
            // Where a column's owner is not known, its columns may be anything.
            let mut may = entries.iter().enumerate();
            let mut having =
                may.by_ref().filter(|(_, entry)| entry.columns.is_empty() || entry.columns.contains(&name));
            let (at, _) = having.next()?;
            if having.next().is_some() {
                return None;
            }
            at
        }
    };
    Some((at, name))
}

/// Whether everything that is returned is folded into one row.
fn folds(targets: &[Node]) -> bool {
    let mut any = false;
    let mut fold = |node: &Node| tree::node(node).is_ok_and(|node| is_folded(node, &mut any));
    !targets.is_empty() && targets.iter().all(&mut fold) && any
}

#[expect(clippy::wildcard_enum_match_arm, reason = "what is not named here counts as not folded")]
fn is_folded(node: NodeRef<'_>, any: &mut bool) -> bool {
    match node {
        NodeRef::FuncCall(call) => {
            let known = Name::of(&call.funcname).and_then(|name| builtin::function(&name.name));
            if known == Some(Known::Fold) && call.over.is_none() {
                *any = true;
                return true;
            }
            let plain = Name::of(&call.funcname).is_some_and(|name| PLAIN.contains(&name.name.as_str()));
            plain
                && call.over.is_none()
                && call
                    .args
                    .iter()
                    .all(|argument| tree::node(argument).is_ok_and(|argument| is_folded(argument, any)))
        }
        NodeRef::ColumnRef(_) | NodeRef::SubLink(_) => false,
        node => {
            let known = matches!(
                node,
                NodeRef::ResTarget(_)
                    | NodeRef::AConst(_)
                    | NodeRef::ParamRef(_)
                    | NodeRef::AExpr(_)
                    | NodeRef::TypeCast(_)
                    | NodeRef::TypeName(_)
                    | NodeRef::String(_)
                    | NodeRef::CoalesceExpr(_)
                    | NodeRef::NullTest(_)
                    | NodeRef::BoolExpr(_)
                    | NodeRef::List(_)
                    | NodeRef::Integer(_)
            );
            known && tree::parts(node).is_ok_and(|parts| parts.into_iter().all(|part| is_folded(part, any)))
        }
    }
}

/// Functions of one value that return one value, as one sees them around aggregates.
const PLAIN: [&str; 10] =
    ["abs", "ceil", "date_trunc", "floor", "pg_size_pretty", "round", "to_char", "trunc", "age", "now"];

/// Whether any aggregate here puts many rows into one value, or might.
fn gathers(targets: &[Node]) -> bool {
    targets.iter().any(|target| tree::node(target).map_or(true, is_gathering))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the parts of every other kind are looked at")]
fn is_gathering(node: NodeRef<'_>) -> bool {
    match node {
        NodeRef::FuncCall(call) => {
            let name = Name::of(&call.funcname).map(|name| name.name).unwrap_or_default();
            let known = matches!(builtin::function(&name), Some(Known::Fold | Known::Safe));
            if !known || name.ends_with("agg") || name.contains("_agg_") {
                return true;
            }
        }
        NodeRef::JsonObjectAgg(_) | NodeRef::JsonArrayAgg(_) => return true,
        _ => {}
    }
    tree::parts(node).map_or(true, |parts| parts.into_iter().any(is_gathering))
}
