//! What is understood can be decided on: operations and facts are those that policies know.

use crate::cases::{Case, EVASIONS, evasions, target};
use countersign_core::{
    Action, ActionId, AgentId, Body, CredentialId, Operation, Payload, PersonId, PrincipalId, PrincipalKind,
    Requester, Timestamp,
};
use countersign_pep_sql::understand::SqlOperation;
use countersign_policy::{
    Bundle, DeclaredOperation, DeclaredTarget, FactType, SQL_FACTS, SQL_OPERATIONS, Source, Vocabulary,
};
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn operations_are_those_policies_know() {
    let ours = SqlOperation::ALL.map(|operation| (operation.as_str(), operation.class()));
    assert_eq!(ours, SQL_OPERATIONS);
}

/// The book's page names every operation with its class, and every fact.
#[test]
fn the_book_lists_operations_and_facts() {
    let page = include_str!("../../../../docs/book/src/reference/sql.md");
    for (name, class) in SQL_OPERATIONS {
        assert!(page.contains(&format!("| `{name}` | {} |", class.as_str())), "{name}");
    }
    for (name, kind) in SQL_FACTS {
        let kind = match kind {
            FactType::String => "text",
            FactType::Long => "number",
            FactType::Bool => "flag",
            FactType::SetOfString => "set",
        };
        assert!(page.contains(&format!("| `{name}` | {kind} |")), "{name}");
    }
}

/// Everything of the golden file, asked of policies that look at every fact there is.
#[test]
fn every_understanding_can_be_decided_on() {
    let bundle = bundle();
    let text = std::fs::read_to_string(EVASIONS).unwrap();
    for case in evasions(&text) {
        let evaluation = bundle.decide(&action(&case), Timestamp(0));
        assert_eq!(evaluation.trace.errors, Vec::<String>::new(), "{}", case.title);
    }
}

fn bundle() -> Bundle {
    let target = target();
    let operations = SQL_OPERATIONS.map(|(name, class)| DeclaredOperation {
        target: target.target.clone(),
        name: name.into(),
        class,
        facts: BTreeMap::new(),
    });
    let declared = DeclaredTarget { environment: target.environment.clone(), labels: BTreeSet::new() };
    let vocabulary = Vocabulary {
        environments: [target.environment].into(),
        targets: [(target.target, declared)].into(),
        groups: BTreeSet::new(),
        labels: ["pii".to_owned()].into(),
        operations: operations.into(),
        ..Vocabulary::default()
    };
    let rules = "@id(\"all\") permit (principal, action, resource);
        @id(\"wall\") forbid (principal, action in Action::\"sql\", resource)
        when { context has sql && context.sql.risk == \"critical\" && context.sql.tables.contains(\"public.users\")
               && context.sql.session_statements > 3 };";
    Bundle::load(vec![Source::new("rules.cedar", rules)], &vocabulary)
        .unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn action(case: &Case) -> Action {
    let understood = case.understood();
    let mut facts = understood.facts;
    for counter in ["session_statements", "session_rows_read", "session_rows_written", "session_refusals"] {
        facts.insert(counter.into(), 0.into());
    }
    facts.insert("masked".into(), false.into());
    Action {
        id: ActionId::from_parts(0, 1),
        received_at: Timestamp(0),
        requester: Requester {
            principal: PrincipalId::Agent(AgentId::from_parts(0, 1)),
            kind: PrincipalKind::Agent,
            name: "agent".into(),
            groups: BTreeSet::new(),
            clearances: BTreeSet::new(),
            claims: BTreeMap::new(),
            owners: [PersonId::from_parts(0, 1)].into(),
            created_by: None,
            on_behalf_of: Vec::new(),
            credential: CredentialId::from_parts(0, 1),
        },
        target: target().target,
        environment: target().environment,
        credential_profile: "shop".into(),
        wire: "postgres".into(),
        operation: Operation { name: Some(understood.operation.as_str().into()), class: understood.class },
        resources: understood.resources,
        facts,
        session: BTreeMap::new(),
        payload: Payload { head: case.text.clone().into(), body: Body::Bound(bytes::Bytes::new()) },
        idempotency_key: None,
        sentence: understood.sentence,
        evidence: None,
        claimed_reason: None,
        claimed_ticket: None,
    }
}
