use super::*;
use crate::{AgentId, CredentialId, PersonId, PrincipalId, PrincipalKind};

fn action() -> Action {
    Action {
        id: ActionId::from_parts(1, 1),
        received_at: Timestamp(5),
        requester: Requester {
            principal: PrincipalId::Agent(AgentId::from_parts(1, 2)),
            kind: PrincipalKind::Agent,
            name: "bot".into(),
            groups: BTreeSet::new(),
            clearances: BTreeSet::new(),
            claims: BTreeMap::new(),
            owners: BTreeSet::new(),
            created_by: None,
            on_behalf_of: vec![],
            credential: CredentialId::from_parts(1, 3),
        },
        target: TargetName::new("cloud").unwrap(),
        environment: EnvironmentName::new("prod").unwrap(),
        credential_profile: "cloud-admin".into(),
        wire: "http".into(),
        operation: Operation { name: Some("exportCustomers".into()), class: Class::Export },
        resources: vec![],
        facts: Map::new(),
        session: BTreeMap::new(),
        payload: Payload {
            head: Bytes::from_static(b"POST /x"),
            body: Body::Bound(Bytes::from_static(b"{}")),
        },
        idempotency_key: None,
        sentence: "Export customers.".into(),
        evidence: None,
        claimed_reason: None,
        claimed_ticket: None,
    }
}

#[test]
fn whatever_runs_is_in_the_digest_and_nothing_else_is() {
    let asked = action().digest().unwrap();
    let changed: [fn(&mut Action); 10] = [
        |a| a.requester.principal = PrincipalId::Agent(AgentId::from_parts(1, 9)),
        |a| a.requester.on_behalf_of = vec![PersonId::from_parts(1, 4)],
        |a| a.requester.claims = [("ref".into(), "main".into())].into(),
        |a| a.target = TargetName::new("other").unwrap(),
        |a| a.environment = EnvironmentName::new("dev").unwrap(),
        |a| a.credential_profile = "other".into(),
        |a| a.payload.head = Bytes::from_static(b"POST /y"),
        |a| a.payload.body = Body::Bound(Bytes::from_static(b"{} ")),
        |a| a.session = [("search_path".into(), "x".into())].into(),
        |a| a.idempotency_key = Some("2".into()),
    ];
    for (row, change) in changed.into_iter().enumerate() {
        let mut other = action();
        change(&mut other);
        assert_ne!(other.digest().unwrap(), asked, "row {row}");
    }
    let same: [fn(&mut Action); 5] = [
        |a| a.id = ActionId::from_parts(9, 9),
        |a| a.received_at = Timestamp(99),
        |a| a.requester.credential = CredentialId::from_parts(7, 7),
        |a| a.claimed_reason = Some("because".into()),
        |a| a.claimed_ticket = Some("OPS-12".into()),
    ];
    for (row, change) in same.into_iter().enumerate() {
        let mut other = action();
        change(&mut other);
        assert_eq!(other.digest().unwrap(), asked, "row {row}");
    }
}

#[test]
fn the_canonical_form_is_jcs() {
    let mut with_claims = action();
    with_claims.requester.claims = [("/é".into(), "\n".into()), ("ref".into(), "main".into())].into();
    for action in [action(), with_claims] {
        let canonical = action.canonical().unwrap();
        let value: Value = serde_json::from_slice(&canonical).unwrap();
        assert_eq!(serde_json_canonicalizer::to_vec(&value).unwrap(), canonical);
    }
}

#[test]
fn an_action_is_kept_whole() {
    let kept = serde_json::to_vec(&action()).unwrap();
    assert_eq!(serde_json::from_slice::<Action>(&kept).unwrap(), action());
}
