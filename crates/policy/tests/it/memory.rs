//! Remembered answers are the answers.

use crate::world::*;
use countersign_core::{Action, Class, Operation, PrincipalKind, Timestamp};
use countersign_policy::Bundle;
use proptest::prelude::*;
use serde_json::json;
use std::sync::LazyLock;

fn actions() -> impl Strategy<Value = Action> {
    let groups = prop::sample::subsequence(vec!["platform-agents", "privacy", "sre"], 0..=3);
    let labels = prop::sample::subsequence(vec!["pii", "fedramp"], 0..=2);
    let operation = prop_oneof![Just(0), Just(1), Just(2), Just(3)];
    let resources = prop::collection::vec((prop_oneof![Just("a"), Just("b"), Just("a/b")], labels), 0..3);
    (groups, operation, resources, prop::option::of(0..3_i64), any::<bool>(), any::<bool>(), any::<bool>())
        .prop_map(|(groups, operation, resources, rows, cleared, claims, service)| {
            let mut action = if operation == 0 { export() } else { list() };
            if operation == 2 {
                action.operation = Operation { name: None, class: Class::Unknown };
            } else if operation == 3 {
                action.operation = Operation { name: Some("deleteCustomer".into()), class: Class::Delete };
            }
            action.requester.groups = groups.into_iter().map(group).collect();
            if cleared {
                action.requester.clearances.insert("fedramp".into());
            }
            if service {
                action.requester.kind = PrincipalKind::Service;
            }
            action.resources = resources.iter().map(|(name, labels)| resource(name, labels)).collect();
            if let Some(rows) = rows {
                action.facts.insert("rows".into(), json!(rows));
            }
            action.claimed_reason = claims.then(|| "because".into());
            if cleared != service {
                let value = if claims { "main" } else { "feature" };
                action.requester.claims.insert("ref".into(), value.into());
            }
            action
        })
}

const MORE: &str = r#"
@id("sre") permit (principal in Group::"sre", action in [Action::"read", Action::"delete"], resource);
@id("services") forbid (principal is Service, action in Action::"delete", resource);
@id("rows") @gate("rows") @approvers("Group::\"sre\"") forbid (principal, action == Action::"crm/exportCustomers", resource)
when { context has http && context.http has rows && context.http.rows > 1 };
@id("feature") forbid (principal, action in Action::"export", resource)
when { principal.hasTag("ref") && principal.getTag("ref") == "feature" };
@id("named") forbid (principal, action, resource) when { resource.name == "b" && !context.claimed_reason };
"#;

/// One bundle for every case, so that what earlier cases left in its memory is there to be mistaken for an answer.
static BUNDLE: LazyLock<Bundle> = LazyLock::new(|| load(&format!("{EXAMPLES}{MORE}")));

proptest! {
    /// Actions are decided with the memory and without: always alike.
    #[test]
    fn memory_changes_no_answer(action in actions()) {
        let fresh = BUNDLE.decide_afresh(&action, NOW);
        let (first, second) = (BUNDLE.decide(&action, NOW), BUNDLE.decide(&action, NOW));
        prop_assert!(second.remembered || !fresh.trace.errors.is_empty());
        for kept in [first, second] {
            prop_assert_eq!(&kept.decision, &fresh.decision);
            prop_assert_eq!(&kept.trace, &fresh.trace);
        }
    }
}

#[test]
fn equal_actions_are_remembered_whatever_does_not_matter() {
    let bundle = load(EXAMPLES);
    assert!(!bundle.decide(&export(), NOW).remembered);
    let mut again = export();
    again.id = countersign_core::ActionId::from_parts(9, 9);
    again.requester.name = "other name".into();
    again.facts.insert("undeclared".into(), json!("x"));
    assert!(bundle.decide(&again, Timestamp(0)).remembered);
}

#[test]
#[rustfmt::skip]
fn whatever_a_rule_may_read_is_asked_anew() {
    let bundle = load(EXAMPLES);
    bundle.decide(&export(), NOW);
    let changes: [fn(&mut Action); 15] = [
        |a| a.requester.kind = PrincipalKind::Service,
        |a| a.requester.principal = countersign_core::PrincipalId::Agent(countersign_core::AgentId::from_parts(0, 8)),
        |a| _ = a.requester.groups.insert(group("sre")),
        |a| _ = a.requester.clearances.insert("x".into()),
        |a| _ = a.requester.owners.insert(person(7)),
        |a| a.requester.on_behalf_of.push(person(7)),
        |a| a.operation.name = None,
        |a| a.resources[0].name = "x".into(),
        |a| a.resources[0].kind = "x".into(),
        |a| a.resources[0].labels.clear(),
        |a| a.resources.push(resource("more", &[])),
        |a| _ = a.facts.insert("rows".into(), json!(1)),
        |a| _ = a.facts.insert("path".into(), json!("/x")),
        |a| a.payload.body = countersign_core::Body::Unbound,
        |a| a.claimed_reason = Some(String::new()),
    ];
    for (row, change) in changes.into_iter().enumerate() {
        let mut action = export();
        change(&mut action);
        assert!(!bundle.decide(&action, NOW).remembered, "row {row}");
    }
}

#[test]
fn labels_do_not_run_into_names_in_the_key() {
    let bundle = load(EXAMPLES);
    let mut action = export();
    action.resources = vec![resource("ab", &["c"])];
    bundle.decide(&action, NOW);
    action.resources = vec![resource("a", &["bc"])];
    assert!(!bundle.decide(&action, NOW).remembered);
}

#[test]
fn answers_that_depend_on_time_are_never_remembered() {
    let bundle = load(&format!(
        "{EXAMPLES}@id(\"late\") forbid (principal, action in Action::\"export\", resource) when {{ context.now > 10 }};"
    ));
    bundle.decide(&export(), NOW);
    assert!(!bundle.decide(&export(), NOW).remembered);
    bundle.decide(&list(), NOW);
    assert!(bundle.decide(&list(), NOW).remembered, "the rule about time is not about reads");
}

#[test]
fn evaluation_failures_before_cedar_are_not_remembered() {
    let bundle = load(EXAMPLES);
    let mut action = export();
    action.target = target("other");
    bundle.decide(&action, NOW);
    assert!(!bundle.decide(&action, NOW).remembered);
}

#[test]
fn large_answers_do_not_fill_the_memory() {
    let bundle = load(EXAMPLES);
    let mut action = export();
    action.resources = vec![resource(&"x".repeat(4000), &[])];
    bundle.decide(&action, NOW);
    assert!(!bundle.decide(&action, NOW).remembered);
    action.resources = (0..9).map(|number| resource(&number.to_string(), &[])).collect();
    bundle.decide(&action, NOW);
    assert!(!bundle.decide(&action, NOW).remembered);
}

#[test]
fn evaluation_errors_are_not_remembered() {
    let bundle = load(&format!(
        "{EXAMPLES}@id(\"sum\") forbid (principal, action == Action::\"crm/exportCustomers\", resource) when {{ context has http && context.http has rows && context.http.rows * 2 > 5 }};"
    ));
    let mut action = export();
    action.facts.insert("rows".into(), json!(i64::MAX));
    assert_eq!(word(&bundle.decide(&action, NOW).decision), "policy-error");
    assert!(!bundle.decide(&action, NOW).remembered);
}
