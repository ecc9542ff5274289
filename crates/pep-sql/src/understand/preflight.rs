//! What may be asked beforehand: how many rows a statement is about, and how the server would run it. Only texts built
//! from the tree here, and only where nothing in them can do more than read.

use super::{
    Access, Asked, Question, SessionFacts, bounds,
    catalog::{Path, Relate},
    command, names, parse, setting,
    tree::{self, Unplaced},
    walk::{Obscure, Scope, Walker},
};
use pg_query::{
    Node, NodeEnum,
    protobuf::{
        AConst, Alias, BoolExpr, BoolExprType, DropBehavior, InsertStmt, Integer, JoinExpr, JoinType,
        LimitOption, List, MergeMatchKind, MergeStmt, ObjectType, ParseResult, RangeSubselect, RangeVar,
        RawStmt, ResTarget, SelectStmt, SetOperation, SubLink, SubLinkType, Token, WithClause, a_const::Val,
    },
};

/// What to ask before somebody decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preflight {
    /// One for every statement that is about rows, in order; one that says why where none is.
    pub counts: Vec<Counted>,
    /// The search path it must be asked with, or names would stand for something else.
    pub search_path: Vec<String>,
}

/// One statement to be counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Which of the action's statements, the first being 0.
    pub statement: usize,
    /// `DELETE`, `TRUNCATE`…, as a person would call it.
    pub verb: &'static str,
    pub rows: Result<Rows, String>,
}

/// Ways to ask how many rows a statement is about. None holds a word of the statement that was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Returns one number.
    pub count: String,
    /// Returns one JSON text: the plan of the same query without its bound.
    pub explain: String,
    /// Returns one number: the bytes on disk of what would be gone. Where whole tables go.
    pub bytes: Option<String>,
    /// Which of the action's texts it is made from; the values of its parameters are those of that text.
    pub asked: usize,
    /// Which of the text's values are bound to the parameters, in order; the first is 0.
    pub parameters: Vec<usize>,
    /// The greatest number `count` returns: there may be more.
    pub most: u64,
    /// Whether the number is the very one: not where branches decide for each row, and not behind a statement that writes.
    pub sure: bool,
}

/// Rows are counted up to here.
const MOST: u64 = 10_001;

/// No more statements than this are counted: each takes its time.
const MOST_STATEMENTS: usize = 4;

/// What differs with who asks, so that nobody can ask it for somebody else, or from one moment to the next.
const OF_THE_ASKER: [&str; 32] = [
    "age",
    "clock_timestamp",
    "current_database",
    "current_query",
    "current_schemas",
    "current_setting",
    "currval",
    "gen_random_uuid",
    "getpgusername",
    "has_any_column_privilege",
    "has_column_privilege",
    "has_database_privilege",
    "has_schema_privilege",
    "has_table_privilege",
    "inet_client_addr",
    "inet_client_port",
    "lastval",
    "pg_backend_pid",
    "pg_conf_load_time",
    "pg_current_xact_id",
    "pg_current_xact_id_if_assigned",
    "pg_has_role",
    "pg_is_other_temp_schema",
    "pg_my_temp_schema",
    "pg_trigger_depth",
    "random",
    "random_normal",
    "row_security_active",
    "timeofday",
    "txid_current",
    "txid_current_if_assigned",
    "uuidv7",
];

/// What may be asked about an action beforehand, and if nothing, why.
pub fn preflight(question: &Question) -> Preflight {
    let own = question.session.role.as_ref().unwrap_or(&question.session.user);
    let search_path = question.session.search_path.iter();
    let search_path =
        search_path.map(|name| if name == "$user" { own.clone() } else { name.clone() }).collect();
    let counts = all(question)
        .unwrap_or_else(|Obscure(why)| vec![Counted { statement: 0, verb: "STATEMENT", rows: Err(why) }]);
    Preflight { counts, search_path }
}

/// Every statement that reads or changes rows; transaction control beside it is no matter.
fn all(question: &Question) -> Result<Vec<Counted>, Obscure> {
    let mut counts = Vec::new();
    let (mut number, mut before) = (0, Before::Nothing);
    for (at, asked) in question.asked.iter().enumerate() {
        if asked.sql.contains('\0') {
            return Err(Obscure("it cannot be read".into()));
        }
        let options = parse::options(&question.session);
        let statements = parse::in_catalog(&asked.sql, options, &question.catalog)
            .map_err(|unread| Obscure(unread.reason()))?;
        for statement in statements {
            let node = statement.stmt.and_then(|node| node.node).ok_or(Unplaced::UnknownKind)?;
            number += 1;
            if matches!(node, NodeEnum::TransactionStmt(_)) {
                continue;
            }
            let verb = tree::node(&Node { node: Some(node.clone()) }).ok().and_then(command::verb);
            let rows = match before {
                _ if counts.len() >= MOST_STATEMENTS => Err("it is one of too many statements".into()),
                Before::Unclear => Err("a statement before it can change what it is about".into()),
                Before::Nothing | Before::Writes => rows(question, at, asked, &node)
                    .map(|rows| Rows { sure: rows.sure && before == Before::Nothing, ..rows })
                    .map_err(|Obscure(why)| why),
            };
            before = before.then(&node);
            counts.push(Counted { statement: number - 1, verb: verb.unwrap_or("STATEMENT"), rows });
        }
    }
    if counts.is_empty() { Err(Obscure("it holds no statement".into())) } else { Ok(counts) }
}

/// What stands before a statement in the same action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    /// Rows are not what they were.
    Writes,
    /// Names may not be what they were.
    Unclear,
}

impl Before {
    fn then(self, node: &NodeEnum) -> Self {
        let of_rows = matches!(
            node,
            NodeEnum::InsertStmt(_)
                | NodeEnum::UpdateStmt(_)
                | NodeEnum::DeleteStmt(_)
                | NodeEnum::MergeStmt(_)
                | NodeEnum::TruncateStmt(_)
        );
        let reads = matches!(node, NodeEnum::SelectStmt(select) if select.into_clause.is_none());
        match self {
            Self::Unclear => Self::Unclear,
            before if reads => before,
            Self::Nothing | Self::Writes if of_rows => Self::Writes,
            Self::Nothing | Self::Writes => Self::Unclear,
        }
    }
}

fn rows(question: &Question, at: usize, asked: &Asked, statement: &NodeEnum) -> Result<Rows, Obscure> {
    let gone = gone(statement)?;
    let (all, sure) = match &gone {
        Some(tables) => (of_tables(tables)?, true),
        None => rows_of(statement)?,
    };
    only_reads(question, asked, &all)?;
    let bounded = SelectStmt {
        limit_count: Some(Box::new(number(i32::try_from(MOST).unwrap_or(i32::MAX)))),
        limit_option: LimitOption::Count.into(),
        ..all.clone()
    };
    let written = |query| text_of(NodeEnum::SelectStmt(Box::new(query))).and_then(|text| renumbered(&text));
    let ((explained, parameters), (counted, also)) = (written(all)?, written(bounded)?);
    if parameters != also {
        return Err(Obscure("its parameters cannot be read".into()));
    }
    same_for_everybody(&counted)?;
    Ok(Rows {
        count: format!("SELECT count(*) FROM ({counted}) AS counted"),
        explain: format!("EXPLAIN (FORMAT JSON) {explained}"),
        bytes: gone.as_deref().and_then(|tables| bytes(question, tables)),
        asked: at,
        parameters,
        most: MOST,
        sure,
    })
}

/// The tables whose rows are all gone afterwards.
#[expect(clippy::wildcard_enum_match_arm, reason = "no other statement does that")]
fn gone(statement: &NodeEnum) -> Result<Option<Vec<RangeVar>>, Obscure> {
    let (nodes, behavior) = match statement {
        NodeEnum::TruncateStmt(truncate) => (truncate.relations.clone(), truncate.behavior()),
        NodeEnum::DropStmt(drop) => {
            if !matches!(drop.remove_type(), ObjectType::ObjectTable | ObjectType::ObjectMatview) {
                return Err(Obscure("what it drops holds no rows of its own".into()));
            }
            let named: Option<Vec<Node>> = drop.objects.iter().map(dropped).collect();
            (named.ok_or(Unplaced::UnknownKind)?, drop.behavior())
        }
        _ => return Ok(None),
    };
    if behavior == DropBehavior::DropCascade {
        return Err(Obscure("it reaches whatever depends on what it names".into()));
    }
    let table = |node: Node| match node.node {
        Some(NodeEnum::RangeVar(table)) => Ok(table),
        _ => Err(Obscure::from(Unplaced::UnknownKind)),
    };
    nodes.into_iter().map(table).collect::<Result<_, _>>().map(Some)
}

/// A name in `DROP TABLE`, as one would read from it.
fn dropped(name: &Node) -> Option<Node> {
    let Some(NodeEnum::List(name)) = &name.node else { return None };
    let mut parts = names::strings(&name.items)?;
    let (relname, schemaname) = (parts.pop()?, parts.pop().unwrap_or_default());
    let relation =
        RangeVar { relname, schemaname, inh: true, relpersistence: "p".into(), ..RangeVar::default() };
    parts.is_empty().then(|| node(NodeEnum::RangeVar(relation)))
}

/// One row for every row of these tables.
fn of_tables(tables: &[RangeVar]) -> Result<SelectStmt, Obscure> {
    let each = tables.iter().map(|table| plain(vec![node(NodeEnum::RangeVar(table.clone()))], None, None));
    let both = |left, right| SelectStmt {
        op: SetOperation::SetopUnion.into(),
        all: true,
        larg: Some(Box::new(left)),
        rarg: Some(Box::new(right)),
        limit_option: LimitOption::Default.into(),
        ..SelectStmt::default()
    };
    each.reduce(both).ok_or_else(|| Unplaced::UnknownKind.into())
}

/// Asks for the bytes of tables that the catalog knows. Partitions are tables of their own, and counted with theirs.
fn bytes(question: &Question, tables: &[RangeVar]) -> Option<String> {
    let path = Path::new(&question.catalog, &question.session);
    let size = |table: &RangeVar| {
        let schema = Some(table.schemaname.as_str()).filter(|schema| !schema.is_empty());
        let Relate::Known(known) = path.relation(schema, &table.relname) else { return None };
        Some(format!(
            "(SELECT coalesce(pg_catalog.sum(pg_catalog.pg_total_relation_size(t.relid)), \
             pg_catalog.pg_total_relation_size({oid}::pg_catalog.oid))::pg_catalog.int8 \
             FROM pg_catalog.pg_partition_tree({oid}::pg_catalog.oid) AS t)",
            oid = known.oid
        ))
    };
    let sizes: Option<Vec<String>> = tables.iter().map(size).collect();
    sizes.map(|sizes| format!("SELECT ({})::text", sizes.join(" + ")))
}

/// Refuses what another role, or another moment, would answer differently.
fn same_for_everybody(text: &str) -> Result<(), Obscure> {
    let tokens = pg_query::scan(text).map_err(|_| Obscure("it cannot be read".into()))?.tokens;
    for token in tokens {
        let place = usize::try_from(token.start).ok().zip(usize::try_from(token.end).ok());
        let word = place.and_then(|(start, end)| text.get(start..end)).unwrap_or_default();
        let named = matches!(
            token.token(),
            Token::CurrentCatalog
                | Token::CurrentRole
                | Token::CurrentSchema
                | Token::CurrentUser
                | Token::SessionUser
                | Token::User
        );
        let bare = word.trim_matches('"').to_ascii_lowercase();
        if named || (token.token() == Token::Ident && OF_THE_ASKER.contains(&bare.as_str())) {
            return Err(Obscure(format!("`{bare}` depends on who asks, or when")));
        }
    }
    Ok(())
}

fn plain(
    from_clause: Vec<Node>,
    where_clause: Option<Box<Node>>,
    with_clause: Option<WithClause>,
) -> SelectStmt {
    SelectStmt {
        target_list: vec![one()],
        from_clause,
        where_clause,
        with_clause,
        op: SetOperation::SetopNone.into(),
        limit_option: LimitOption::Default.into(),
        ..SelectStmt::default()
    }
}

/// A condition that holds where the query finds a row.
fn meets(query: SelectStmt) -> Box<Node> {
    let link = SubLink {
        sub_link_type: SubLinkType::ExistsSublink.into(),
        subselect: Some(Box::new(node(NodeEnum::SelectStmt(Box::new(query))))),
        ..SubLink::default()
    };
    Box::new(node(NodeEnum::SubLink(Box::new(link))))
}

fn changed(
    relation: Option<&RangeVar>,
    others: &[Node],
    clause: Option<&Node>,
    with: Option<&WithClause>,
) -> Result<SelectStmt, Obscure> {
    let relation = relation.cloned().ok_or(Unplaced::UnknownKind)?;
    if clause.is_some_and(|clause| matches!(clause.node, Some(NodeEnum::CurrentOfExpr(_)))) {
        return Err(Obscure("it goes by a cursor".into()));
    }
    let from = vec![node(NodeEnum::RangeVar(relation))];
    let clause = clause.cloned().map(Box::new);
    if others.is_empty() {
        return Ok(plain(from, clause, with.cloned()));
    }
    // A row is changed once, however many rows of other tables it meets.
    Ok(plain(from, Some(meets(plain(others.to_vec(), clause, None))), with.cloned()))
}

/// A query with one row for every row the statement is about, and whether it is about every one of them.
#[expect(clippy::wildcard_enum_match_arm, reason = "what is not listed is not counted")]
fn rows_of(statement: &NodeEnum) -> Result<(SelectStmt, bool), Obscure> {
    let inner = |query: Option<&Node>| match query.and_then(|query| query.node.as_ref()) {
        Some(query) => rows_of(query),
        None => Err(Unplaced::UnknownKind.into()),
    };
    match statement {
        NodeEnum::UpdateStmt(update) => changed(
            update.relation.as_ref(),
            &update.from_clause,
            update.where_clause.as_deref(),
            update.with_clause.as_ref(),
        )
        .map(|query| (query, true)),
        NodeEnum::DeleteStmt(delete) => changed(
            delete.relation.as_ref(),
            &delete.using_clause,
            delete.where_clause.as_deref(),
            delete.with_clause.as_ref(),
        )
        .map(|query| (query, true)),
        NodeEnum::MergeStmt(merge) => merged(merge).map(|query| (query, false)),
        NodeEnum::SelectStmt(select) => selected(select).map(|query| (query, true)),
        NodeEnum::InsertStmt(insert) => inserted(insert),
        NodeEnum::CreateTableAsStmt(create) => inner(create.query.as_deref()),
        NodeEnum::DeclareCursorStmt(declare) => inner(declare.query.as_deref()),
        NodeEnum::CopyStmt(copy) if !copy.is_from => match &copy.relation {
            Some(relation) => Ok((plain(vec![node(NodeEnum::RangeVar(relation.clone()))], None, None), true)),
            None => inner(copy.query.as_deref()),
        },
        NodeEnum::ExplainStmt(explain) => {
            let options: Vec<_> = explain.options.iter().filter_map(setting::option).collect();
            if !options.iter().any(|option| option.0 == "analyze" && setting::is_on(option)) {
                return Err(Obscure("it only shows a plan".into()));
            }
            inner(explain.query.as_deref())
        }
        _ => Err(Obscure("it is not about rows that are there to be counted".into())),
    }
}

fn selected(select: &SelectStmt) -> Result<SelectStmt, Obscure> {
    if !select.locking_clause.is_empty() {
        return Err(Obscure("it does more than read".into()));
    }
    let select = SelectStmt { into_clause: None, ..select.clone() };
    let alias = Alias { aliasname: "asked".into(), colnames: Vec::new() };
    let whole = RangeSubselect {
        lateral: false,
        subquery: Some(Box::new(node(NodeEnum::SelectStmt(Box::new(select))))),
        alias: Some(alias),
    };
    Ok(plain(vec![node(NodeEnum::RangeSubselect(Box::new(whole)))], None, None))
}

/// The rows of the query, or as many as the text holds; a conflict may keep some of them out.
fn inserted(insert: &InsertStmt) -> Result<(SelectStmt, bool), Obscure> {
    let sure = insert.on_conflict_clause.is_none();
    let Some(NodeEnum::SelectStmt(select)) = insert.select_stmt.as_ref().and_then(|rows| rows.node.as_ref())
    else {
        return Ok((plain(Vec::new(), None, None), sure));
    };
    if insert.with_clause.is_some() {
        return Err(Obscure("it is not about rows that are there to be counted".into()));
    }
    if select.values_lists.is_empty() {
        return selected(select).map(|query| (query, sure));
    }
    // The values themselves are no matter, and may be computed.
    let row = || node(NodeEnum::List(List { items: vec![number(1)] }));
    let most = usize::try_from(MOST).unwrap_or(usize::MAX);
    let values = select.values_lists.iter().take(most).map(|_| row()).collect();
    let values = SelectStmt {
        values_lists: values,
        op: SetOperation::SetopNone.into(),
        limit_option: LimitOption::Default.into(),
        ..SelectStmt::default()
    };
    selected(&values).map(|query| (query, sure))
}

/// Every row that a branch may decide on: those of the source, with the rows they meet where only those matter, and
/// those that nothing meets. What the branches decide is not asked.
fn merged(merge: &MergeStmt) -> Result<SelectStmt, Obscure> {
    let relation = merge.relation.clone().ok_or(Unplaced::UnknownKind)?;
    let source = merge.source_relation.as_deref().cloned().ok_or(Unplaced::UnknownKind)?;
    let (target, on) = (node(NodeEnum::RangeVar(relation)), merge.join_condition.clone());
    let kinds = merge.merge_when_clauses.iter().map(|when| match &when.node {
        Some(NodeEnum::MergeWhenClause(when)) => Ok(when.match_kind()),
        _ => Err(Obscure::from(Unplaced::UnknownKind)),
    });
    let kinds = kinds.collect::<Result<Vec<_>, _>>()?;
    let has = |kind| kinds.contains(&kind);
    let kind = |left: bool| if left { JoinType::JoinLeft } else { JoinType::JoinInner };
    let join = JoinExpr {
        jointype: kind(has(MergeMatchKind::MergeWhenNotMatchedByTarget)).into(),
        larg: Some(Box::new(source.clone())),
        rarg: Some(Box::new(target.clone())),
        quals: on.clone(),
        ..JoinExpr::default()
    };
    let met = plain(vec![node(NodeEnum::JoinExpr(Box::new(join)))], None, merge.with_clause.clone());
    if !has(MergeMatchKind::MergeWhenNotMatchedBySource) {
        return Ok(met);
    }
    if merge.with_clause.is_some() {
        return Err(Obscure("it is not about rows that are there to be counted".into()));
    }
    let unmet = BoolExpr {
        boolop: BoolExprType::NotExpr.into(),
        args: vec![*meets(plain(vec![source], on, None))],
        ..BoolExpr::default()
    };
    let alone = plain(vec![target], Some(Box::new(node(NodeEnum::BoolExpr(Box::new(unmet))))), None);
    Ok(SelectStmt {
        op: SetOperation::SetopUnion.into(),
        all: true,
        larg: Some(Box::new(met)),
        rarg: Some(Box::new(alone)),
        limit_option: LimitOption::Default.into(),
        ..SelectStmt::default()
    })
}

fn walker<'q>(question: &'q Question, asked: &'q Asked, session: &'q SessionFacts) -> Walker<'q> {
    let path = Path::new(&question.catalog, session);
    Walker::new(path, session, &question.target, None, &asked.sql)
}

/// Whether the query reads and does nothing else, with every name known.
fn only_reads(question: &Question, asked: &Asked, query: &SelectStmt) -> Result<(), Obscure> {
    let mut walker = walker(question, asked, &question.session);
    walker.select(query, &Scope::default())?;
    walker.settle_attributes();
    certain(&walker)?;
    let mut account = walker.account;
    account.settle(u64::MAX, &question.target);
    if account.access() == Access::ReadOnly {
        Ok(())
    } else {
        Err(Obscure("counting would do more than read".into()))
    }
}

fn certain(walker: &Walker<'_>) -> Result<(), Obscure> {
    let account = &walker.account;
    if account.runs_code || !account.unresolved.is_empty() {
        let why = account.reasons.first().cloned();
        return Err(Obscure(why.unwrap_or_else(|| "it calls what is not known to be harmless".into())));
    }
    let secured = account.reads.values().chain(&account.targets).any(|thing| {
        let relation = thing.relation.as_ref();
        relation.is_some_and(|(schema, name)| walker.path.is_secured(schema, name))
    });
    if secured {
        return Err(Obscure("row security may show other rows to another role".into()));
    }
    let of_session = |thing: &&super::account::Thing| thing.kind == "temporary-table";
    if account.reads.values().chain(&account.targets).any(|thing| of_session(&thing)) {
        return Err(Obscure("only the session itself can see its temporary tables".into()));
    }
    Ok(())
}

/// A query as text, which reads back as the very same tree.
fn text_of(query: NodeEnum) -> Result<String, Obscure> {
    let statement = RawStmt { stmt: Some(Box::new(node(query))), stmt_location: 0, stmt_len: 0 };
    let version = parse::VERSION;
    let tree = ParseResult { version, stmts: vec![statement] };
    let unwritten = || Obscure("it cannot be written down again with certainty".into());
    let text = pg_query::deparse(&tree, pg_query::DeparseOptions::default()).map_err(|_| unwritten())?;
    let again = parse::statements(&text, pg_query::ParserOptions::DEFAULT).map_err(|_| unwritten())?;
    let shape = |statements: &[RawStmt]| {
        statements.iter().map(|one| one.stmt.as_deref().map(bounds::without_places)).collect::<Vec<_>>()
    };
    if shape(&again) == shape(&tree.stmts) { Ok(text) } else { Err(unwritten()) }
}

/// Numbers the parameters of a text from 1 on; which they were, the first being 0.
fn renumbered(text: &str) -> Result<(String, Vec<usize>), Obscure> {
    let unread = || Obscure("its parameters cannot be read".into());
    let tokens = pg_query::scan(text).map_err(|_| unread())?.tokens;
    let mut used: Vec<usize> = Vec::new();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for token in tokens.iter().filter(|token| token.token() == Token::Param) {
        let place = |at: i32| usize::try_from(at).map_err(|_| unread());
        let (start, end) = (place(token.start)?, place(token.end)?);
        let number = text.get(start..end).and_then(|word| word.strip_prefix('$'));
        let number: usize = number.and_then(|number| number.parse().ok()).ok_or_else(unread)?;
        let index = number.checked_sub(1).ok_or_else(unread)?;
        let known = used.iter().position(|used| *used == index).unwrap_or_else(|| {
            used.push(index);
            used.len() - 1
        });
        out.push_str(text.get(at..start).ok_or_else(unread)?);
        out.push('$');
        out.push_str(&(known + 1).to_string());
        at = end;
    }
    out.push_str(text.get(at..).ok_or_else(unread)?);
    Ok((out, used))
}

fn node(of: NodeEnum) -> Node {
    Node { node: Some(of) }
}

fn number(value: i32) -> Node {
    node(NodeEnum::AConst(AConst {
        isnull: false,
        location: 0,
        val: Some(Val::Ival(Integer { ival: value })),
    }))
}

fn one() -> Node {
    let target = ResTarget { val: Some(Box::new(number(1))), ..ResTarget::default() };
    node(NodeEnum::ResTarget(Box::new(target)))
}
