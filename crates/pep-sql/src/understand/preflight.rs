//! What may be asked beforehand: how many rows a statement is about, and how the server would run it. Only texts built
//! from the tree here, and only where nothing in them can do more than read.

use super::{
    Access, Asked, Question, SessionFacts, bounds,
    catalog::Path,
    parse,
    tree::Unplaced,
    walk::{Obscure, Scope, Walker},
};
use pg_query::{
    Node, NodeEnum,
    protobuf::{
        AConst, Alias, Integer, LimitOption, ParseResult, RangeSubselect, RangeVar, RawStmt, ResTarget,
        SelectStmt, SetOperation, SubLink, SubLinkType, Token, WithClause, a_const::Val,
    },
};

/// What to ask before somebody decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preflight {
    pub rows: Result<Rows, String>,
    /// The search path it must be asked with, or names would stand for something else.
    pub search_path: Vec<String>,
}

/// Two ways to ask how many rows a statement is about. Neither holds a word of the statement that was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Returns one number.
    pub count: String,
    /// Returns one JSON text: the plan of the same query without its bound.
    pub explain: String,
    /// Which of the action's texts it is made from; the values of its parameters are those of that text.
    pub asked: usize,
    /// Which of the text's values are bound to the parameters, in order; the first is 0.
    pub parameters: Vec<usize>,
    /// The greatest number `count` returns: there may be more.
    pub most: u64,
}

/// Rows are counted up to here.
const MOST: u64 = 10_001;

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
    let rows = the_one(question).and_then(|(at, asked, statement)| rows(question, at, asked, &statement));
    Preflight { rows: rows.map_err(|Obscure(why)| why), search_path }
}

/// The one statement that reads or changes rows; transaction control beside it is no matter.
fn the_one(question: &Question) -> Result<(usize, &Asked, NodeEnum), Obscure> {
    let mut found = None;
    for (at, asked) in question.asked.iter().enumerate() {
        if asked.sql.contains('\0') {
            return Err(Obscure("it cannot be read".into()));
        }
        let statements = parse::statements(&asked.sql, parse::options(&question.session))
            .map_err(|unread| Obscure(unread.reason()))?;
        for statement in statements {
            let node = statement.stmt.and_then(|node| node.node).ok_or(Unplaced::UnknownKind)?;
            if matches!(node, NodeEnum::TransactionStmt(_)) {
                continue;
            }
            if found.replace((at, asked, node)).is_some() {
                return Err(Obscure("it holds several statements".into()));
            }
        }
    }
    found.ok_or_else(|| Obscure("it holds no statement".into()))
}

fn rows(question: &Question, at: usize, asked: &Asked, statement: &NodeEnum) -> Result<Rows, Obscure> {
    let all = rows_of(statement)?;
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
        asked: at,
        parameters,
        most: MOST,
    })
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

/// A query with one row for every row the statement is about.
fn rows_of(statement: &NodeEnum) -> Result<SelectStmt, Obscure> {
    let query = |from_clause, where_clause: Option<Box<Node>>, with_clause| SelectStmt {
        target_list: vec![one()],
        from_clause,
        where_clause,
        with_clause,
        op: SetOperation::SetopNone.into(),
        limit_option: LimitOption::Default.into(),
        ..SelectStmt::default()
    };
    let changed = |relation: &Option<RangeVar>,
                   others: &[Node],
                   clause: &Option<Box<Node>>,
                   with: &Option<WithClause>| {
        let relation = relation.clone().ok_or(Unplaced::UnknownKind)?;
        if clause.as_ref().is_some_and(|clause| matches!(clause.node, Some(NodeEnum::CurrentOfExpr(_)))) {
            return Err(Obscure("it goes by a cursor".into()));
        }
        let from = vec![node(NodeEnum::RangeVar(relation))];
        if others.is_empty() {
            return Ok(query(from, clause.clone(), with.clone()));
        }
        // A row is changed once, however many rows of other tables it meets.
        let meets = query(others.to_vec(), clause.clone(), None);
        let link = SubLink {
            sub_link_type: SubLinkType::ExistsSublink.into(),
            subselect: Some(Box::new(node(NodeEnum::SelectStmt(Box::new(meets))))),
            ..SubLink::default()
        };
        Ok(query(from, Some(Box::new(node(NodeEnum::SubLink(Box::new(link))))), with.clone()))
    };
    if let NodeEnum::UpdateStmt(update) = statement {
        return changed(&update.relation, &update.from_clause, &update.where_clause, &update.with_clause);
    }
    if let NodeEnum::DeleteStmt(delete) = statement {
        return changed(&delete.relation, &delete.using_clause, &delete.where_clause, &delete.with_clause);
    }
    if let NodeEnum::TruncateStmt(truncate) = statement {
        let [relation] = &truncate.relations[..] else {
            return Err(Obscure("it empties several tables".into()));
        };
        return Ok(query(vec![relation.clone()], None, None));
    }
    if let NodeEnum::SelectStmt(select) = statement {
        if select.into_clause.is_some() || !select.locking_clause.is_empty() {
            return Err(Obscure("it does more than read".into()));
        }
        let alias = Alias { aliasname: "asked".into(), colnames: Vec::new() };
        let whole = RangeSubselect {
            lateral: false,
            subquery: Some(Box::new(node(NodeEnum::SelectStmt(select.clone())))),
            alias: Some(alias),
        };
        return Ok(query(vec![node(NodeEnum::RangeSubselect(Box::new(whole)))], None, None));
    }
    if let NodeEnum::InsertStmt(insert) = statement
        && let Some(NodeEnum::SelectStmt(select)) =
            insert.select_stmt.as_ref().and_then(|rows| rows.node.clone())
        && select.values_lists.is_empty()
    {
        return rows_of(&NodeEnum::SelectStmt(select));
    }
    Err(Obscure("it is not about rows that are there to be counted".into()))
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
