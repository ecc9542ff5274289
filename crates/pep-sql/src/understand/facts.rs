//! What policy may look at as `context.sql`, by name, and the effects it is asked about. Every fact is there every
//! time; `countersign_policy::SQL_FACTS` lists them, with those the wire adds.

use super::{
    Access, Question, SqlOperation, Statement, TransactionStatus,
    account::{Account, Leaving},
    bounds::Condition,
};
use countersign_core::Resource;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The greatest number that has a canonical form: it stands for any number of rows.
const MOST: u64 = (1 << 53) - 1;

/// The facts of an action, from the accounts of its statements.
pub(super) fn of(
    question: &Question,
    accounts: &[Account],
    statements: &[Statement],
    resources: &[Resource],
    access: Access,
    understood: bool,
) -> Map<String, Value> {
    let operations: BTreeSet<&str> = statements
        .iter()
        .flat_map(|statement| &statement.effects)
        .map(|effect| effect.operation.as_str())
        .collect();
    let risk = statements.iter().map(|statement| statement.operation.risk()).max();
    let risk = if understood { risk.map_or("low", super::Risk::as_str) } else { "critical" };
    let union =
        |of: fn(&Account) -> Vec<&String>| -> BTreeSet<&String> { accounts.iter().flat_map(of).collect() };
    let tables = |written: bool| -> BTreeSet<&str> {
        let kinds = |kind: &str| kind.ends_with("table") || kind.ends_with("view") || kind == "sequence";
        accounts
            .iter()
            .flat_map(|account| {
                let read = account.reads.values().filter(move |_| !written);
                let named = account.effects.iter().filter(move |_| !written).flat_map(|(_, things)| things);
                read.chain(named).chain(&account.targets)
            })
            .filter(|thing| kinds(thing.kind))
            .map(|thing| thing.name.as_str())
            .collect()
    };
    let condition = accounts.iter().filter_map(|account| account.condition).min();
    let limit = accounts.iter().try_fold(0_u64, |sum, account| match account.leaves {
        Leaving::Nothing => Some(sum),
        Leaving::AtMost(rows) => sum.checked_add(rows),
        Leaving::AnyNumber => None,
    });
    let facts = json!({
        "access": access.as_str(),
        "bounded": condition.is_none(),
        "cascades": union(|account| account.cascades.iter().collect()),
        "columns": union(|account| account.columns.iter().collect()),
        "condition": match condition {
            None => "",
            Some(Condition::Missing) => "none",
            Some(Condition::Always) => "always-true",
            Some(Condition::Some) => "unbounded",
        },
        "effects": effects(statements, resources),
        "explain": accounts.iter().any(|account| account.explains.is_some()),
        "functions": union(|account| account.functions.iter().collect()),
        "in_transaction": question.session.transaction != TransactionStatus::Idle,
        "limit_rows": limit.unwrap_or(MOST).min(MOST),
        "limited": limit.is_some(),
        "operations": operations,
        "reasons": union(|account| account.reasons.iter().collect()),
        "returning": accounts.iter().any(|account| account.returns),
        "risk": risk,
        "role": question.session.role.as_deref().unwrap_or(&question.session.user),
        "settings": union(|account| account.settings.iter().map(|(name, _)| name).collect()),
        "statements": statements.len(),
        "tables": tables(false),
        "triggers": union(|account| account.triggers.iter().collect()),
        "understood": understood,
        "unresolved": union(|account| account.unresolved.iter().collect()),
        "verbs": statements.iter().map(|statement| statement.verb).collect::<BTreeSet<_>>(),
        "whole_rows": accounts.iter().any(|account| account.star),
        "writes": tables(true),
    });
    if let Value::Object(facts) = facts { facts } else { Map::new() }
}

/// Each effect with the places of its resources in the action's list: policy is asked about every one of them.
fn effects(statements: &[Statement], resources: &[Resource]) -> Vec<Value> {
    let mut all: BTreeMap<SqlOperation, BTreeSet<usize>> = BTreeMap::new();
    for effect in statements.iter().flat_map(|statement| &statement.effects) {
        let about = all.entry(effect.operation).or_default();
        let at = |one: &Resource| {
            resources.iter().position(|other| other.kind == one.kind && other.name == one.name)
        };
        about.extend(effect.resources.iter().filter_map(at));
    }
    all.into_iter()
        .map(|(operation, about)| json!({ "operation": operation.as_str(), "resources": about }))
        .collect()
}
