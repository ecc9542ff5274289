use super::*;
use crate::{DeclaredOperation, DeclaredTarget, FactType, Source, Vocabulary};
use countersign_core::{
    Action, ActionId, AgentId, Body, Class, CredentialId, EnvironmentName, GroupName, Operation, Payload,
    PrincipalId, Requester, TargetName,
};
use std::collections::BTreeMap;

fn bundle() -> Bundle {
    let environment = EnvironmentName::new("prod").unwrap();
    let target = TargetName::new("crm").unwrap();
    let operation = DeclaredOperation {
        target: target.clone(),
        name: "export".into(),
        class: Class::Export,
        facts: [
            ("rows", FactType::Long),
            ("dry", FactType::Bool),
            ("as", FactType::String),
            ("of", FactType::SetOfString),
        ]
        .map(|(name, kind)| (name.to_owned(), kind))
        .into(),
    };
    let vocabulary = Vocabulary {
        environments: [environment.clone()].into(),
        targets: [(target, DeclaredTarget { environment, labels: ["pii".to_owned()].into() })].into(),
        groups: [GroupName::new("sre").unwrap()].into(),
        labels: ["pii".to_owned()].into(),
        operations: vec![operation],
        ..Vocabulary::default()
    };
    let hidden = "@id(\"h\") forbid (principal, action, resource) when { context.hidden_characters };";
    Bundle::load(vec![Source::new("a.cedar", hidden)], &vocabulary).unwrap()
}

fn action(kind: PrincipalKind) -> Action {
    let facts = serde_json::json!({
        "method": "POST", "path": "/", "host": "h", "query": ["q"], "rows": 1, "dry": true, "as": "csv", "of": ["a", "b"],
    });
    let people = [1, 2].map(|number| PersonId::from_parts(0, number));
    Action {
        id: ActionId::from_parts(0, 1),
        received_at: Timestamp(0),
        requester: Requester {
            principal: if kind == PrincipalKind::Person {
                PrincipalId::Person(people[0])
            } else {
                PrincipalId::Agent(AgentId::from_parts(0, 1))
            },
            kind,
            name: "x".into(),
            groups: ["sre", "undeclared"].map(|name| GroupName::new(name).unwrap()).into(),
            clearances: ["c".to_owned()].into(),
            claims: BTreeMap::new(),
            owners: people.into(),
            created_by: None,
            on_behalf_of: people.into(),
            credential: CredentialId::from_parts(0, 1),
        },
        target: TargetName::new("crm").unwrap(),
        environment: EnvironmentName::new("prod").unwrap(),
        credential_profile: "p".into(),
        wire: "http".into(),
        operation: Operation { name: Some("export".into()), class: Class::Export },
        resources: ["a", "b"]
            .map(|name| Resource {
                kind: "table".into(),
                name: name.into(),
                labels: ["pii".to_owned()].into(),
            })
            .into(),
        facts: facts.as_object().cloned().unwrap(),
        session: BTreeMap::new(),
        payload: Payload { head: "POST /".into(), body: Body::Bound("{}".into()) },
        idempotency_key: None,
        sentence: String::new(),
        evidence: None,
        claimed_reason: None,
        claimed_ticket: None,
    }
}

/// What the schema promises to policies is in every slice: nothing thinner and nothing else.
#[test]
fn every_slice_conforms_to_the_schema() {
    let bundle = bundle();
    for kind in [PrincipalKind::Agent, PrincipalKind::Service, PrincipalKind::Person] {
        for change in [
            |_: &mut Action| {},
            |a: &mut Action| a.resources.clear(),
            |a: &mut Action| a.operation.name = None,
        ] {
            let mut action = action(kind);
            change(&mut action);
            let subject = Subject::read(&bundle, &action).unwrap();
            let slice = Slice::new(&bundle, &subject, Timestamp(0)).unwrap();
            let entities: Vec<Entity> = slice.entities.iter().cloned().collect();
            Entities::from_entities(entities, Some(&bundle.schema)).unwrap();
            for asked in &slice.asked {
                for named in [&slice.principal, &asked.resource, &subject.known.uid] {
                    assert!(slice.entities.get(named).is_some(), "{named}");
                }
                let chain = asked.ancestors.iter().chain(&slice.groups);
                assert!(chain.clone().all(|ancestor| slice.entities.get(ancestor).is_some()));
                assert!(
                    asked.ancestors.iter().all(|above| slice.entities.is_ancestor_of(above, &asked.resource))
                );
                assert!(
                    slice.groups.iter().all(|group| slice.entities.is_ancestor_of(group, &slice.principal))
                );
            }
        }
    }
}

#[test]
fn parts_of_a_resource_id_do_not_run_into_each_other() {
    let named = |kind: &str, name: &str| {
        resource_id("t", &Resource { kind: kind.into(), name: name.into(), labels: BTreeSet::new() })
    };
    assert_eq!(named("a/b", "c"), "t/a%2Fb/c");
    assert_ne!(named("a/b", "c"), named("a", "b/c"));
    assert_ne!(named("a", "b%2Fc"), named("a", "b/c"));
}
