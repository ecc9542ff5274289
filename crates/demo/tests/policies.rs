//! The demo's policies and OpenAPI document, read as the gateway reads them, decide as the story tells.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use countersign_core::{
    Action, ActionId, AgentId, Body, CredentialId, Decision, EnvironmentName, GroupName, Payload, PersonId,
    PrincipalId, PrincipalKind, RefusalCode, Requester, TargetName, Timestamp,
};
use countersign_demo::{cloud, policy};
use countersign_pep_http::{
    classify::{Classifier, Shape, Surroundings},
    facts::{ALWAYS, FactType},
    openapi, path,
};
use countersign_policy::{
    Bundle, DeclaredOperation, DeclaredTarget, FactType as PolicyFact, MCP_OPERATIONS, Membership, Source,
    Vocabulary,
};
use std::collections::{BTreeMap, BTreeSet};

fn classifier() -> Classifier {
    let around = Surroundings {
        target: TargetName::new(policy::TARGET).unwrap(),
        environment: EnvironmentName::new(policy::ENVIRONMENT).unwrap(),
        labels: BTreeSet::new(),
    };
    Classifier::new(around, openapi::operations("cloud", cloud::OPENAPI.as_bytes()).unwrap()).unwrap()
}

fn bundle(classifier: &Classifier) -> Bundle {
    let kind = |kind| match kind {
        FactType::Text => PolicyFact::String,
        FactType::Number => PolicyFact::Long,
        FactType::Flag | FactType::Present => PolicyFact::Bool,
        FactType::TextSet => PolicyFact::SetOfString,
    };
    let always: BTreeSet<&str> = ALWAYS.iter().map(|(name, _)| *name).collect();
    let operation = |one: countersign_pep_http::classify::DeclaredOperation| DeclaredOperation {
        target: one.target,
        name: one.name,
        class: one.class,
        facts: one
            .facts
            .into_iter()
            .filter(|(name, _)| !always.contains(name.as_str()))
            .map(|(name, fact)| (name, kind(fact)))
            .collect(),
    };
    let environment = EnvironmentName::new(policy::ENVIRONMENT).unwrap();
    let target = DeclaredTarget { environment, labels: BTreeSet::new() };
    let tools = TargetName::new(policy::TOOLS).unwrap();
    let session = MCP_OPERATIONS.into_iter().map(|(name, class)| DeclaredOperation {
        target: TargetName::new(policy::TOOLS).unwrap(),
        name: name.into(),
        class,
        facts: BTreeMap::new(),
    });
    let vocabulary = Vocabulary {
        environments: policy::ENVIRONMENTS.iter().map(|name| EnvironmentName::new(*name).unwrap()).collect(),
        targets: [(TargetName::new(policy::TARGET).unwrap(), target.clone()), (tools.clone(), target)].into(),
        groups: policy::GROUPS.iter().map(|name| GroupName::new(*name).unwrap()).collect(),
        labels: policy::LABELS.iter().map(|label| (*label).to_owned()).collect(),
        operations: classifier.declared().into_iter().map(operation).chain(session).collect(),
        mcp: [tools].into(),
        channels: BTreeSet::new(),
        ticket_channels: BTreeSet::new(),
    };
    let sources = policy::FILES.iter().map(|(name, text)| Source::new(*name, *text)).collect();
    Bundle::load(sources, &vocabulary).unwrap_or_else(|errors| {
        let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
        unreachable!("the demo's policies do not load:\n{}", told.join("\n"))
    })
}

fn action(
    classifier: &Classifier,
    groups: &[&str],
    method: &str,
    target: &str,
    body: &'static str,
) -> Action {
    let location = path::read(target).unwrap();
    let method = method.parse().unwrap();
    let found = classifier.find(&method, &location.segments);
    let understood = classifier
        .understand(&found, Shape::Exchange, &method, &location, &http::HeaderMap::new(), body.as_bytes())
        .unwrap();
    Action {
        id: ActionId::from_parts(1, 1),
        received_at: Timestamp(0),
        requester: Requester {
            principal: PrincipalId::Agent(AgentId::from_parts(1, 1)),
            kind: PrincipalKind::Agent,
            name: "night-ops".into(),
            groups: groups.iter().map(|name| GroupName::new(*name).unwrap()).collect(),
            clearances: BTreeSet::new(),
            claims: BTreeMap::new(),
            owners: [PersonId::from_parts(1, 2)].into(),
            created_by: Some(PersonId::from_parts(1, 3)),
            on_behalf_of: vec![],
            credential: CredentialId::from_parts(1, 1),
        },
        target: TargetName::new(policy::TARGET).unwrap(),
        environment: EnvironmentName::new(policy::ENVIRONMENT).unwrap(),
        credential_profile: policy::CREDENTIAL_PROFILE.into(),
        wire: "http".into(),
        operation: understood.operation,
        resources: understood.resources,
        facts: understood.facts,
        session: BTreeMap::new(),
        payload: Payload {
            head: "head".into(),
            body: if body.is_empty() { Body::Unbound } else { Body::Bound(body.into()) },
        },
        idempotency_key: None,
        sentence: understood.sentence,
        evidence: None,
        claimed_reason: None,
        claimed_ticket: None,
    }
}

/// A decision in a few words.
fn told(decision: &Decision) -> String {
    match decision {
        Decision::Permit(_) => "permit".into(),
        Decision::Forbid(refusal) => refusal.code.as_str().into(),
        Decision::Review(terms) => {
            let gates = terms
                .gates
                .iter()
                .map(|gate| format!("{} {} {}", gate.name, gate.quorum, gate.assurance.as_str()));
            gates.collect::<Vec<_>>().join(" + ")
        }
    }
}

const AGENT: &[&str] = &["platform-agents"];

#[test]
#[rustfmt::skip]
fn the_demo_policies_decide_as_the_story_tells() {
    let classifier = classifier();
    let bundle = bundle(&classifier);
    for (method, target, body, wanted, sentence) in [
        ("GET", "/v1/services/checkout/status", "", "permit", "Read the status of service “checkout” (prod)."),
        ("GET", "/v1/customers/export?format=csv", "", "privacy 2 passkey", "Export the whole customer table of cloud as “csv” (prod, personal data)."),
        ("POST", "/v1/iam/roles/administrator/bindings", r#"{"member":"night-ops"}"#, "security 1 passkey", "Give the role “administrator” to “night-ops” (prod)."),
        ("PUT", "/v1/config/prod/checkout-timeout-ms", r#"{"value":"3000"}"#, "sre 1 session", "Set “checkout-timeout-ms” to “3000” in the “prod” configuration (prod)."),
        ("PUT", "/v1/config/staging/checkout-timeout-ms", r#"{"value":"3000"}"#, "permit", "Set “checkout-timeout-ms” to “3000” in the “staging” configuration (prod)."),
        ("POST", "/v1/services/checkout/restart", "", "sre 1 session", "Restart service “checkout” (prod)."),
        ("GET", "/v1/zones/eu-1/records", "", "permit", "Read the records of zone “eu-1” (prod)."),
        ("GET", "/v1/zones/fedramp-east/records", "", "wall", "Read the records of FedRAMP zone “east” (prod, fedramp)."),
        ("DELETE", "/v1/databases/shop/tables/orders/rows?where=id%3D7", "", "deletion 2 passkey", "Delete rows of table “orders” in database “shop” where “id=7” (prod)."),
        ("DELETE", "/v1/databases/shop/tables/orders/rows", "", "wall", "Delete rows of table “orders” in database “shop” where (nothing) (prod)."),
        ("DELETE", "/v1/services/checkout/status", "", "not-permitted", "Unrecognised request: DELETE /v1/services/checkout/status on cloud (prod). Countersign cannot tell what it does."),
        ("GET", "/__effects", "", "not-permitted", "Unrecognised request: GET /__effects on cloud (prod). Countersign cannot tell what it does."),
    ] {
        let action = action(&classifier, AGENT, method, target, body);
        assert_eq!(told(&bundle.decide(&action, Timestamp(0)).decision), wanted, "{method} {target}");
        assert_eq!(action.sentence, sentence);
    }
}

#[test]
fn an_agent_outside_the_group_may_do_nothing() {
    let classifier = classifier();
    let bundle = bundle(&classifier);
    let stranger = action(&classifier, &["sre"], "GET", "/v1/services/checkout/status", "");
    assert_eq!(told(&bundle.decide(&stranger, Timestamp(0)).decision), RefusalCode::NotPermitted.as_str());
}

#[test]
fn the_demo_people_can_lift_every_gate() {
    let bundle = bundle(&classifier());
    let people: BTreeSet<_> = [1, 2].map(|person| PersonId::from_parts(1, person)).into();
    let groups = ["privacy", "security", "sre"].map(|name| (GroupName::new(name).unwrap(), people.clone()));
    let membership: Membership = groups.into();
    assert_eq!(bundle.unreachable_quorums(&membership), []);
}
