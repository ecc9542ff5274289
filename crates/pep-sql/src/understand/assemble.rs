//! From texts to one action: statement after statement, each read in the session the ones before it leave behind.

use super::{
    Access, Effect, Question, SessionFacts, SqlOperation, SqlRefusal, Statement, Understood,
    account::{Account, Thing},
    catalog::Path,
    command, facts, parse,
    sentence::{self, Sentence, Told},
    tree,
    walk::{Obscure, Walker},
};
use countersign_core::Resource;
use pg_query::protobuf::RawStmt;
use std::collections::{BTreeMap, BTreeSet};

/// What one statement came to.
struct Draft {
    verb: &'static str,
    asked: usize,
    account: Account,
}

/// Labels by kind and name, over the whole action: a thing never carries some here and others there.
type Labels = BTreeMap<(String, String), BTreeSet<String>>;

/// Says what the action does when it runs in this session.
pub fn understand(question: &Question) -> Understood {
    let mut session = question.session.clone();
    let mut drafts = Vec::new();
    let mut refused = None;
    for (at, asked) in question.asked.iter().enumerate() {
        if asked.sql.contains('\0') {
            refused.get_or_insert(SqlRefusal::Nul);
            drafts.push(Draft::unread(at, "it holds a NUL byte".into()));
            continue;
        }
        match parse::in_catalog(&asked.sql, parse::options(&session), &question.catalog) {
            Ok(statements) => {
                for statement in &statements {
                    let draft = draft(question, &session, at, statement);
                    draft.account.session.iter().for_each(|effect| session.apply(effect));
                    drafts.push(draft);
                }
            }
            Err(unread) => drafts.push(Draft::unread(at, unread.reason())),
        }
    }
    for draft in &drafts {
        refused = refused.or_else(|| draft.account.refused.clone());
    }
    assemble(question, drafts, refused)
}

/// The answer where there is no reading.
pub(super) fn unread(question: &Question, why: &str) -> Understood {
    assemble(question, vec![Draft::unread(0, why.into())], None)
}

impl Draft {
    fn unread(asked: usize, why: String) -> Self {
        let mut account = Account::default();
        account.reasons.insert(why);
        account.runs_code = true;
        account.session.push(super::SessionEffect::Opaque);
        account.does(SqlOperation::Unknown, &[]);
        Self { verb: "STATEMENT", asked, account }
    }
}

fn draft(question: &Question, session: &SessionFacts, at: usize, statement: &RawStmt) -> Draft {
    let Some(asked) = question.asked.get(at) else { return Draft::unread(at, "it is not there".into()) };
    let text = text_of(&asked.sql, statement);
    let path = Path::new(&question.catalog, session);
    let mut walker = Walker::new(path, session, &question.target, asked.values.as_deref(), text);
    let walked = statement
        .stmt
        .as_deref()
        .ok_or(tree::Unplaced::UnknownKind)
        .and_then(tree::node)
        .map_err(Obscure::from)
        .and_then(|node| walker.command(node).map(|()| command::verb(node).unwrap_or("STATEMENT")));
    match walked {
        Ok(verb) => {
            walker.settle_attributes();
            let mut account = walker.account;
            account.settle(question.target.export_rows, &question.target);
            Draft { verb, asked: at, account }
        }
        Err(Obscure(why)) => {
            // What was found before is still true.
            let mut draft = Draft::unread(at, why);
            draft.account.absorb(walker.account);
            draft
        }
    }
}

/// The part of a text that is one statement.
fn text_of<'s>(sql: &'s str, statement: &RawStmt) -> &'s str {
    let start = usize::try_from(statement.stmt_location).unwrap_or(0);
    let length = usize::try_from(statement.stmt_len).ok().filter(|length| *length > 0);
    let end = length.map_or(sql.len(), |length| start.saturating_add(length));
    sql.get(start..end).unwrap_or(sql).trim()
}

fn assemble(question: &Question, drafts: Vec<Draft>, refused: Option<SqlRefusal>) -> Understood {
    let target = &question.target;
    let mut labels = Labels::new();
    for draft in &drafts {
        draft.account.label(target, &mut labels);
    }
    let all_labels: BTreeSet<String> =
        labels.values().flatten().cloned().chain(target.labels.iter().cloned()).collect();
    let mut statements = Vec::with_capacity(drafts.len());
    let mut sentences = Vec::with_capacity(drafts.len());
    let mut accounts = Vec::with_capacity(drafts.len());
    for Draft { verb, asked, account } in drafts {
        let operation =
            account.effects.iter().map(|(operation, _)| *operation).max().unwrap_or(SqlOperation::Read);
        let told = Told { verb, operation, account: &account, target, labels: &all_labels };
        sentences.push(sentence::of(&told));
        let effects = account.effects.iter().map(|(operation, things)| Effect {
            operation: *operation,
            resources: things.iter().map(|thing| resource(thing, &labels)).collect(),
        });
        statements.push(Statement {
            verb,
            asked,
            operation,
            access: account.access(),
            believed: account.believed,
            effects: effects.collect(),
            session: account.session.clone(),
            kept: account.kept.clone(),
        });
        accounts.push(account);
    }
    let operation = statements.iter().map(|statement| statement.operation).max().unwrap_or(SqlOperation::Txn);
    let access =
        statements.iter().map(|statement| statement.access).reduce(Access::beside).unwrap_or(Access::Control);
    let understood = !statements.iter().any(|statement| {
        statement
            .effects
            .iter()
            .any(|effect| matches!(effect.operation, SqlOperation::Unknown | SqlOperation::Indirect))
    });
    let telling = tell(question, &statements, sentences, operation, &all_labels);
    let resources = resources(&statements, operation);
    Understood {
        class: operation.class(),
        operation,
        facts: facts::of(question, &accounts, &statements, &resources, access, understood),
        resources,
        sentence: telling.plain(),
        access,
        refused,
        unresolved: accounts.iter().flat_map(|account| account.unresolved.iter().cloned()).collect(),
        statements,
        stands: accounts.iter().flat_map(Account::definitions).collect(),
        telling,
    }
}

/// One sentence for all: the only one, or the gravest.
fn tell(
    question: &Question,
    statements: &[Statement],
    sentences: Vec<Sentence>,
    operation: SqlOperation,
    labels: &BTreeSet<String>,
) -> Sentence {
    let count = statements.len();
    let verbs: Vec<&str> = statements.iter().map(|statement| statement.verb).take(12).collect();
    let more = if count > verbs.len() { format!(" and {} more", count - verbs.len()) } else { String::new() };
    let gravest = statements.iter().zip(sentences).find(|(statement, _)| statement.operation == operation);
    match gravest {
        None => Sentence::whole(format!(
            "Do nothing {}: the text is empty.",
            sentence::place(&question.target, labels)
        )),
        Some((_, sentence)) if count == 1 => sentence,
        Some((_, sentence)) => {
            sentence.led_by(&format!("{count} statements ({}{more}). The gravest: ", verbs.join(", ")))
        }
    }
}

fn resource(thing: &Thing, labels: &Labels) -> Resource {
    let key = (thing.kind.to_owned(), thing.name.clone());
    let labels = labels.get(&key).cloned().unwrap_or_default();
    Resource { kind: thing.kind.into(), name: thing.name.clone(), labels }
}

/// Every resource once, those of the gravest effects first.
fn resources(statements: &[Statement], operation: SqlOperation) -> Vec<Resource> {
    let effects = || statements.iter().flat_map(|statement| &statement.effects);
    let first = effects().filter(|effect| effect.operation == operation);
    let rest = effects().filter(|effect| effect.operation != operation);
    let mut seen = BTreeSet::new();
    let all = first.chain(rest).flat_map(|effect| &effect.resources);
    all.filter(|resource| seen.insert((resource.kind.clone(), resource.name.clone()))).cloned().collect()
}
