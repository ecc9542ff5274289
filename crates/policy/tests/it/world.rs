//! One small company: a production CRM with personal data, a staging shop, and the policies of the documentation.

use countersign_core::{
    Action, ActionId, AgentId, Body, Class, CredentialId, Decision, EnvironmentName, GroupName, Operation,
    Payload, PersonId, PrincipalId, PrincipalKind, RefusalCode, Requester, Resource, TargetName, Terms,
    Timestamp,
};
use countersign_policy::{
    Bundle, DeclaredOperation, DeclaredTarget, FactType, PolicyError, SQL_FACTS, SQL_OPERATIONS, Source,
    Vocabulary,
};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The three policies of `ARCHITECTURE.md`, word for word.
pub(crate) const EXAMPLES: &str = r#"
// Agents of the platform team may work in production.
@id("platform-agents")
permit (principal in Group::"platform-agents", action, resource in Environment::"prod");

// Leaving the FedRAMP boundary is never approvable.
@id("fedramp-wall") @reason("production data stays inside the FedRAMP boundary")
forbid (principal, action in Action::"read", resource)
when { resource.labels.contains("fedramp") && !principal.clearances.contains("fedramp") };

// Exports of personal data need two people from privacy, each with a passkey, within half an hour.
@id("pii-export") @gate("pii-export") @approvers("Group::\"privacy\"") @quorum("2") @expires("30m") @step_up("passkey")
@reason("personal data leaves the system")
forbid (principal, action in Action::"export", resource) when { resource.labels.contains("pii") };
"#;

pub(crate) const NOW: Timestamp = Timestamp(1_795_226_400_000_000);

pub(crate) fn vocabulary() -> Vocabulary {
    let facts = || {
        BTreeMap::from([
            ("columns".to_owned(), FactType::SetOfString),
            ("dry_run".to_owned(), FactType::Bool),
            ("format".to_owned(), FactType::String),
            ("rows".to_owned(), FactType::Long),
        ])
    };
    let operation = |name: &str, class, facts| DeclaredOperation {
        target: target("crm"),
        name: name.into(),
        class,
        facts,
    };
    let in_environment =
        |name: &str| DeclaredTarget { environment: environment(name), labels: BTreeSet::new() };
    Vocabulary {
        environments: ["prod", "staging"].map(environment).into(),
        targets: [(target("crm"), in_environment("prod")), (target("shop"), in_environment("staging"))]
            .into(),
        groups: ["platform-agents", "privacy", "security", "sre"].map(group).into(),
        labels: ["fedramp", "pii"].map(str::to_owned).into(),
        operations: vec![
            operation("exportCustomers", Class::Export, facts()),
            operation("listCustomers", Class::Read, BTreeMap::new()),
            operation("deleteCustomer", Class::Delete, BTreeMap::new()),
        ],
        channels: ["privacy-chat", "siem", "changes"].map(|name| name.parse().unwrap()).into(),
        ticket_channels: ["changes"].map(|name| name.parse().unwrap()).into(),
        ..Vocabulary::default()
    }
}

pub(crate) fn load(text: &str) -> Bundle {
    try_load(text).unwrap_or_else(|errors| panic!("{}", told(&errors)))
}

pub(crate) fn try_load(text: &str) -> Result<Bundle, Vec<PolicyError>> {
    Bundle::load(vec![Source::new("rules.cedar", text)], &vocabulary())
}

pub(crate) fn told(errors: &[PolicyError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// An agent of the platform team exports customers of the production CRM, which are personal data.
pub(crate) fn export() -> Action {
    Action {
        id: ActionId::from_parts(0, 1),
        received_at: NOW,
        requester: agent(),
        target: target("crm"),
        environment: environment("prod"),
        credential_profile: "crm".into(),
        wire: "http".into(),
        operation: Operation { name: Some("exportCustomers".into()), class: Class::Export },
        resources: vec![resource("customers", &["pii"])],
        facts: http("POST", "/v1/customers/export"),
        session: BTreeMap::new(),
        payload: Payload { head: "POST /v1/customers/export".into(), body: Body::Bound("{}".into()) },
        idempotency_key: None,
        sentence: "Export customers from crm (prod).".into(),
        evidence: None,
        claimed_reason: None,
        claimed_ticket: None,
    }
}

/// The same agent reads the list of customers.
pub(crate) fn list() -> Action {
    Action {
        operation: Operation { name: Some("listCustomers".into()), class: Class::Read },
        facts: http("GET", "/v1/customers"),
        ..export()
    }
}

pub(crate) fn http(method: &str, path: &str) -> Map<String, Value> {
    [("method".to_owned(), json!(method)), ("path".to_owned(), json!(path))].into_iter().collect()
}

pub(crate) fn agent() -> Requester {
    Requester {
        principal: PrincipalId::Agent(AgentId::from_parts(0, 9)),
        kind: PrincipalKind::Agent,
        name: "reporting bot".into(),
        groups: [group("platform-agents")].into(),
        clearances: BTreeSet::new(),
        claims: BTreeMap::new(),
        owners: [person(1)].into(),
        created_by: Some(person(2)),
        on_behalf_of: vec![person(3)],
        credential: CredentialId::from_parts(0, 1),
    }
}

pub(crate) fn resource(name: &str, labels: &[&str]) -> Resource {
    Resource {
        kind: "customer-table".into(),
        name: name.into(),
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
    }
}

pub(crate) fn person(number: u128) -> PersonId {
    PersonId::from_parts(0, number)
}

pub(crate) fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

pub(crate) fn target(name: &str) -> TargetName {
    TargetName::new(name).unwrap()
}

pub(crate) fn environment(name: &str) -> EnvironmentName {
    EnvironmentName::new(name).unwrap()
}

/// A decision in one word, with what determined it.
pub(crate) fn word(decision: &Decision) -> String {
    let names = |policies: &BTreeSet<countersign_core::PolicyId>| {
        policies.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    match decision {
        Decision::Permit(basis) => format!("permit {}", names(&basis.policies)),
        Decision::Review(terms) => {
            let gates: Vec<_> = terms.gates.iter().map(|gate| gate.name.to_string()).collect();
            format!("review {}", gates.join(" "))
        }
        Decision::Forbid(refusal) if refusal.code == RefusalCode::Wall => {
            format!("wall {}", names(&refusal.basis.as_ref().unwrap().policies))
        }
        Decision::Forbid(refusal) => refusal.code.as_str().to_owned(),
    }
}

pub(crate) fn decided(text: &str, action: &Action) -> String {
    word(&load(text).decide(action, NOW).decision)
}

pub(crate) fn terms(text: &str, action: &Action) -> Terms {
    match load(text).decide(action, NOW).decision {
        Decision::Review(terms) => terms,
        other @ (Decision::Permit(_) | Decision::Forbid(_)) => panic!("{other:?}"),
    }
}

/// What SQL can do at a target.
pub(crate) fn sql_operations(of: &str) -> [DeclaredOperation; SQL_OPERATIONS.len()] {
    SQL_OPERATIONS.map(|(name, class)| DeclaredOperation {
        target: target(of),
        name: name.into(),
        class,
        facts: BTreeMap::new(),
    })
}

/// Facts of SQL that say nothing.
pub(crate) fn sql_facts() -> Map<String, Value> {
    let always = SQL_FACTS.into_iter().filter(|(name, _)| !name.starts_with("est_"));
    let nothing = always.map(|(name, kind)| {
        let value = match kind {
            FactType::String => json!(""),
            FactType::Long => json!(0),
            FactType::Bool => json!(false),
            FactType::SetOfString => json!([]),
        };
        (name.to_owned(), value)
    });
    nothing.collect()
}
