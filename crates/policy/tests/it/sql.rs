//! Actions of the SQL wire: operations that stand in each other, every effect asked for by itself, counters.

use crate::world::*;
use countersign_core::{Action, Class, Operation, Resource};
use countersign_policy::{Bundle, DeclaredOperation, Source, Vocabulary};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const ALL: &str = "@id(\"all\") permit (principal, action, resource);\n";

fn with_sql() -> Vocabulary {
    let mut vocabulary = vocabulary();
    vocabulary.operations.extend(sql_operations("crm"));
    vocabulary
}

fn bundle(rules: &str) -> Bundle {
    Bundle::load(vec![Source::new("rules.cedar", rules)], &with_sql())
        .unwrap_or_else(|errors| panic!("{}", told(&errors)))
}

fn decided(rules: &str, action: &Action) -> String {
    word(&bundle(rules).decide(action, NOW).decision)
}

fn table(name: &str, labels: &[&str]) -> Resource {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    Resource { kind: "table".into(), name: name.into(), labels }
}

/// Rows of `users` (personal data) go into `summary`.
fn copy() -> Action {
    let mut facts = sql_facts();
    let effects = json!([
        { "operation": "sql.insert", "resources": [0] },
        { "operation": "sql.read.sensitive", "resources": [1] },
    ]);
    facts.insert("effects".into(), effects);
    Action {
        wire: "postgres".into(),
        operation: Operation { name: Some("sql.insert".into()), class: Class::Write },
        resources: vec![table("public.summary", &[]), table("public.users", &["pii"])],
        facts,
        ..export()
    }
}

fn with(name: &str, value: Value) -> Action {
    let mut action = copy();
    action.facts.insert(name.into(), value);
    action
}

#[test]
#[rustfmt::skip]
fn operations_stand_in_each_other_and_in_their_class() {
    let delete = |scope: &str| format!("{ALL}@id(\"w\") forbid (principal, action {scope}, resource);");
    let mut action = copy();
    action.operation = Operation { name: Some("sql.delete.unbounded".into()), class: Class::Delete };
    action.facts.insert("effects".into(), json!([{ "operation": "sql.delete.unbounded", "resources": [0, 1] }]));
    for (scope, want) in [
        ("== Action::\"crm/sql.delete.unbounded\"", "wall w"),
        ("in Action::\"sql.delete.unbounded\"",     "wall w"),
        ("in Action::\"sql.delete\"",               "wall w"),
        ("in Action::\"sql\"",                      "wall w"),
        ("in Action::\"delete\"",                   "wall w"),
        ("in Action::\"sql.delete.bounded\"",       "permit all"),
        ("in Action::\"sql.update\"",               "permit all"),
        ("in Action::\"write\"",                    "permit all"),
    ] {
        assert_eq!(decided(&delete(scope), &action), want, "{scope}");
    }
}

#[test]
fn every_effect_is_asked_for_with_its_own_resources() {
    let gate = "@id(\"g\") @gate(\"pii\") @approvers(\"Group::\\\"privacy\\\"\")
        forbid (principal, action in Action::\"sql.read.sensitive\", resource) when { resource.labels.contains(\"pii\") };";
    assert_eq!(decided(&format!("{ALL}{gate}"), &copy()), "review pii");
    let writes = "@id(\"s\") permit (principal, action in Action::\"write\", resource == Resource::\"crm/table/public.summary\");";
    let reads = "@id(\"r\") permit (principal, action in Action::\"read\", resource == Resource::\"crm/table/public.users\");";
    assert_eq!(decided(writes, &copy()), "not-permitted", "nobody may read");
    assert_eq!(decided(reads, &copy()), "not-permitted", "nobody may write");
    assert_eq!(decided(&format!("{writes}\n{reads}"), &copy()), "permit r s");
    let wall = "@id(\"w\") forbid (principal, action in Action::\"write\", resource == Resource::\"crm/table/public.users\");";
    assert_eq!(decided(&format!("{ALL}{wall}"), &copy()), "permit all", "nothing is written there");
}

#[test]
fn whoever_covers_an_action_is_told_each_thing_that_it_does() {
    let bundle = bundle(ALL);
    let told = |action: &Action| {
        let effects = bundle.effects(action)?.into_iter();
        Some(
            effects.map(|one| (one.class, one.resources.into_iter().collect::<Vec<_>>())).collect::<Vec<_>>(),
        )
    };
    // What is read besides, and what is done without a resource, is not lost in what is written.
    assert_eq!(told(&copy()), Some(vec![(Class::Write, vec![0]), (Class::Read, vec![1])]));
    let bare = json!([{ "operation": "sql.insert", "resources": [0, 1] }, { "operation": "sql.insert", "resources": [] }]);
    assert_eq!(told(&with("effects", bare)), Some(vec![(Class::Write, vec![0, 1]), (Class::Write, vec![])]));
    for unread in [
        json!("x"),
        json!([{ "operation": "sql.invented", "resources": [0, 1] }]),
        json!([{ "operation": "sql.insert" }]),
    ] {
        assert_eq!(told(&with("effects", unread)), None);
    }
    assert_eq!(told(&export()), Some(vec![(Class::Export, vec![0])]));
}

#[test]
fn effects_that_cannot_be_read_or_leave_something_out_refuse() {
    for effects in [
        json!("sql.read"),
        json!([{ "operation": "sql.insert", "resources": [0] }]),
        json!([{ "operation": "sql.insert", "resources": [0, 1, 2] }]),
        json!([{ "operation": "sql.insert", "resources": [0, -1] }]),
        json!([{ "operation": "sql.invented", "resources": [0, 1] }]),
        json!([{ "resources": [0, 1] }]),
        json!([{ "operation": "sql.insert" }]),
    ] {
        assert_eq!(decided(ALL, &with("effects", effects.clone())), "policy-error", "{effects}");
    }
}

#[test]
fn facts_are_all_there_and_of_their_kind() {
    let high = format!(
        "{ALL}@id(\"w\") forbid (principal, action, resource) when {{ context has sql && context.sql.risk == \"high\" }};"
    );
    assert_eq!(decided(&high, &with("risk", json!("high"))), "wall w");
    assert_eq!(decided(&high, &with("risk", json!("low"))), "permit all");
    assert_eq!(decided(&high, &with("risk", json!(3))), "policy-error");
    let mut action = copy();
    action.facts.remove("understood");
    assert_eq!(decided(ALL, &action), "policy-error");
    let rows = format!(
        "{ALL}@id(\"w\") forbid (principal, action, resource) when {{ context has sql && context.sql has est_rows && context.sql.est_rows > 10 }};"
    );
    assert_eq!(decided(&rows, &copy()), "permit all");
    assert_eq!(decided(&rows, &with("est_rows", json!(11))), "wall w");
    assert_eq!(decided(&high, &export()), "permit all", "another wire has none of these");
}

#[test]
fn what_a_session_did_before_counts_where_a_rule_asks() {
    let bundle = bundle(ALL);
    assert!(!bundle.decide(&copy(), NOW).remembered);
    assert!(bundle.decide(&with("session_statements", json!(7)), NOW).remembered, "no rule asks");
    let limit = format!(
        "{ALL}@id(\"w\") forbid (principal, action, resource) when {{ context has sql && context.sql.session_rows_read > 100 }};"
    );
    let bundle = super::sql::bundle(&limit);
    assert_eq!(word(&bundle.decide(&copy(), NOW).decision), "permit all");
    assert_eq!(word(&bundle.decide(&with("session_rows_read", json!(101)), NOW).decision), "wall w");
}

#[test]
fn names_of_sql_operations_are_taken() {
    let mut vocabulary = vocabulary();
    vocabulary.operations.push(DeclaredOperation {
        target: target("crm"),
        name: "sql.read".into(),
        class: Class::Delete,
        facts: BTreeMap::new(),
    });
    assert!(told(&vocabulary.check()).contains("named like an SQL operation and is none"));
    assert_eq!(with_sql().check(), []);
}

#[test]
fn what_could_never_be_recorded_afterwards_is_a_warning() {
    let deferred = |scope: &str| {
        let text = format!("@id(\"p\") @record(\"deferred\")\npermit (principal, {scope});");
        bundle(&text).idle_deferrals()
    };
    for scope in [
        "action, resource",
        r#"action in Action::"read", resource"#,
        r#"action in Action::"sql", resource in Environment::"prod""#,
        r#"action in [Action::"delete", Action::"sql.read.sensitive"], resource"#,
    ] {
        assert_eq!(deferred(scope), [], "{scope}");
    }
    for scope in [
        r#"action in Action::"export", resource"#,
        r#"action in [Action::"sql.txn", Action::"sql.setting"], resource"#,
        r#"action in Action::"read", resource in Target::"shop""#,
        r#"action in Action::"read", resource in Environment::"staging""#,
        r#"action == Action::"crm/listCustomers", resource"#,
    ] {
        let told = deferred(scope).iter().map(ToString::to_string).collect::<Vec<_>>();
        let [told] = &told[..] else { panic!("{scope}: {told:?}") };
        assert!(
            told.starts_with("rules.cedar:1:1: `@record(\"deferred\")` of policy `p` has no effect"),
            "{told}"
        );
    }
    // What is recorded first is so anywhere.
    let text = "@id(\"p\") permit (principal, action in Action::\"export\", resource);";
    assert_eq!(bundle(text).idle_deferrals(), []);
}
