//! What each role may change: every write of the API, one by one, and that a change of role is an entry.

use crate::stage::{Browser, Stage};
use serde_json::{Value, json};

const ROLES: [&str; 4] = ["reviewer", "auditor", "administrator", "operator"];
const ADMINISTRATOR: &[&str] = &["administrator"];
const NOT_AUDITORS: &[&str] = &["reviewer", "administrator", "operator"];
const OPERATES: &[&str] = &["administrator", "operator"];
const NOBODY: &[&str] = &[];

/// Every write, with a body that can be read, and the roles that are let through to it. What then becomes of it is not
/// looked at here.
fn writes() -> Vec<(&'static str, &'static str, Value, &'static [&'static str])> {
    let agent = json!({"name": "x", "kind": "agent", "owner": "nobody@example.com"});
    let person = json!({"name": "x", "email": "nope", "role": "auditor"});
    let why = json!({"reason": "because"});
    vec![
        ("POST", "/api/v1/people", person, ADMINISTRATOR),
        ("PATCH", "/api/v1/people/PERSON", json!({}), ADMINISTRATOR),
        ("PUT", "/api/v1/people/PERSON/role", json!({"role": "auditor"}), ADMINISTRATOR),
        (
            "PUT",
            "/api/v1/people/PERSON/delegation",
            json!({"to": "per_01ARZ3NDEKTSV4RRFFQ69G5FAV", "from": "2026-11-21T02:00:00Z", "until": "2026-11-22T02:00:00Z"}),
            ADMINISTRATOR,
        ),
        ("DELETE", "/api/v1/people/PERSON/delegation", Value::Null, ADMINISTRATOR),
        ("POST", "/api/v1/people/PERSON/link", json!({}), ADMINISTRATOR),
        ("DELETE", "/api/v1/people/PERSON", Value::Null, ADMINISTRATOR),
        ("DELETE", "/api/v1/people/PERSON/sessions", Value::Null, ADMINISTRATOR),
        ("DELETE", "/api/v1/people/PERSON/bindings/CREDENTIAL", Value::Null, ADMINISTRATOR),
        ("DELETE", "/api/v1/passkeys/CREDENTIAL", Value::Null, ADMINISTRATOR),
        ("DELETE", "/api/v1/subscriptions/CREDENTIAL", Value::Null, ADMINISTRATOR),
        ("POST", "/api/v1/subscriptions/CREDENTIAL/test", Value::Null, ADMINISTRATOR),
        ("POST", "/api/v1/agents/AGENT/tokens", json!({"label": "x", "expires_in": "1d"}), ADMINISTRATOR),
        ("POST", "/api/v1/scim/tokens", json!({"label": "x", "expires_in": "soon"}), NOBODY),
        ("DELETE", "/api/v1/scim/tokens/CREDENTIAL", Value::Null, NOBODY),
        ("POST", "/api/v1/agents", agent, ADMINISTRATOR),
        ("PATCH", "/api/v1/agents/AGENT", json!({}), ADMINISTRATOR),
        ("DELETE", "/api/v1/agents/AGENT", Value::Null, ADMINISTRATOR),
        ("POST", "/api/v1/freezes", json!({"scope": "target", "name": "nowhere"}), NOT_AUDITORS),
        ("DELETE", "/api/v1/freezes", json!({"scope": "target", "name": "nowhere"}), OPERATES),
        ("POST", "/api/v1/actions/ACTION/resolve", json!({"found": "ran", "note": "looked"}), NOT_AUDITORS),
        ("POST", "/api/v1/approvals/APPROVAL/revoke", why, ADMINISTRATOR),
        (
            "POST",
            "/api/v1/approvals/APPROVAL/ballot",
            json!({"decision": "approve"}),
            &["reviewer", "administrator"],
        ),
        (
            "POST",
            "/api/v1/approvals/APPROVAL/review",
            json!({"broken_by": "per_01ARZ3NDEKTSV4RRFFQ69G5FAV", "found": "justified", "note": "looked"}),
            NOT_AUDITORS,
        ),
        ("POST", "/api/v1/targets/nowhere/tools/look", Value::Null, OPERATES),
        (
            "POST",
            "/api/v1/targets/nowhere/tools/decide",
            json!({"definition": "sha256:0", "verdict": "accept"}),
            ADMINISTRATOR,
        ),
        ("POST", "/api/v1/ledger/tiles", json!({"folder": "/nowhere"}), NOBODY),
        (
            "POST",
            "/api/v1/ledger/redact",
            json!({"entry": "ent_01ARZ3NDEKTSV4RRFFQ69G5FAV", "paths": ["x"], "reason": "because"}),
            NOBODY,
        ),
        ("POST", "/api/v1/channels/nowhere/replay", json!({}), OPERATES),
    ]
}

/// What everybody does with what is their own, their agents' tokens too, or before they are signed in; what a channel says under its signature; and
/// what changes nothing.
const OWN: [&str; 12] = [
    "/api/v1/session",
    "/api/v1/passkeys",
    "/api/v1/subscriptions",
    "/api/v1/bindings",
    "/api/v1/accounts",
    "/api/v1/channels/{id}/events",
    "/api/v1/channels/{id}/slack",
    "/api/v1/channels/{id}/teams",
    "/api/v1/channels/{id}/jira",
    "/api/v1/policy/why",
    "/api/v1/tokens/{id}",
    "/api/v1/approvals/{id}/summons",
];

#[test]
fn no_write_of_the_api_is_left_out() {
    let document = serde_json::to_value(countersign_console::openapi()).unwrap();
    let shape = |path: &str| {
        let parts = path.split('/').map(|part| match part {
            part if part.starts_with('{') => "*",
            "nowhere" => "*",
            part if part.chars().all(|one| one.is_ascii_uppercase()) && !part.is_empty() => "*",
            part => part,
        });
        parts.collect::<Vec<_>>().join("/")
    };
    let known: Vec<(String, String)> =
        writes().iter().map(|(method, path, ..)| (method.to_lowercase(), shape(path))).collect();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in
            item.as_object().unwrap().keys().filter(|method| *method != "get" && *method != "parameters")
        {
            let own = OWN.iter().any(|own| path.starts_with(own))
                && path != "/api/v1/passkeys/{id}"
                && !path.starts_with("/api/v1/subscriptions/");
            // A vote is cast on a ballot, which is in the list.
            let listed = known.contains(&(method.clone(), shape(path))) || path.ends_with("/votes");
            assert!(own || listed, "{method} {path} is in neither list");
        }
    }
}

/// Whether the role itself kept somebody from it.
async fn is_kept(stage: &Stage, who: &Browser, method: &str, path: &str, body: &Value) -> bool {
    let body = Some(body.clone()).filter(|body| !body.is_null());
    let answer = stage.as_person(who, method, path, body).await;
    !answer.status.is_success() && answer.problem().1 == "not-allowed"
}

#[tokio::test]
async fn every_write_is_open_to_the_roles_that_are_meant_and_to_no_other() {
    let stage = Stage::new().await;
    let approval = stage.hold(countersign_core::Class::Configure, b"x").await;
    for role in ROLES {
        let who = stage.person(&format!("some-{role}"), &[], role).await;
        for (method, path, body, allowed) in writes() {
            // Things that are not there: whoever is let through is told so, and nothing happens.
            let named = path
                .replace("PERSON", "per_01ARZ3NDEKTSV4RRFFQ69G5FAV")
                .replace("AGENT", "agt_01ARZ3NDEKTSV4RRFFQ69G5FAV")
                .replace("CREDENTIAL", "crd_01ARZ3NDEKTSV4RRFFQ69G5FAV")
                .replace("ACTION", "act_01ARZ3NDEKTSV4RRFFQ69G5FAV")
                .replace("APPROVAL", &approval);
            if (method, role) == ("POST", "administrator") && path.ends_with("revoke") {
                continue;
            }
            let kept = is_kept(&stage, &who, method, &named, &body).await;
            assert_eq!(kept, !allowed.contains(&role), "{role} {method} {path}");
        }
    }
    assert_eq!(stage.state(&approval).await, "pending");
}

#[tokio::test]
async fn a_change_of_role_counts_at_once_and_is_an_entry() {
    let stage = Stage::new().await;
    let ana = stage.person("Ana", &["sre"], "reviewer").await;
    let path = format!("/api/v1/people/{}/role", ana.id);
    let invite = json!({"name": "x", "email": "nope"});
    assert!(is_kept(&stage, &ana, "POST", "/api/v1/people", &invite).await);
    // Nobody raises themself, and no administrator takes the role from themself.
    assert!(is_kept(&stage, &ana, "PUT", &path, &json!({"role": "administrator"})).await);
    let own = format!("/api/v1/people/{}/role", stage.olga.id);
    assert!(is_kept(&stage, &stage.olga, "PUT", &own, &json!({"role": "reviewer"})).await);
    let raised =
        stage.as_person(&stage.olga, "PUT", &path, Some(json!({"role": "administrator"}))).await.ok();
    assert_eq!(raised["role"], "administrator");
    assert!(!is_kept(&stage, &ana, "POST", "/api/v1/people", &invite).await, "in the session she has");
    assert_eq!(stage.count("person.role_changed").await, 1);
    stage.as_person(&stage.olga, "PUT", &path, Some(json!({"role": "administrator"}))).await.ok();
    assert_eq!(stage.count("person.role_changed").await, 1, "no change, no entry");
    stage.operator("PUT", &path, Some(json!({"role": "operator"}))).await.ok();
    assert_eq!(stage.count("person.role_changed").await, 2);
    let wrong = stage.operator("PUT", &path, Some(json!({"role": "king"}))).await;
    assert_eq!(wrong.problem().0, 422);
}

#[tokio::test]
async fn an_auditor_who_owns_an_agent_makes_and_revokes_no_token_of_it() {
    let stage = Stage::new().await;
    let audrey = stage.person("Audrey", &[], "auditor").await;
    let agent = json!({"name": "hers", "kind": "agent", "owner": "audrey@example.com", "groups": ["agents"]});
    let made = stage.operator("POST", "/api/v1/agents", Some(agent)).await.ok();
    let path = format!("/api/v1/agents/{}/tokens", made["id"].as_str().unwrap());
    let label = json!({"label": "x", "expires_in": "1d"});
    let token = stage.operator("POST", &path, Some(label.clone())).await.ok();
    assert!(is_kept(&stage, &audrey, "POST", &path, &label).await);
    let path = format!("/api/v1/tokens/{}", token["id"].as_str().unwrap());
    assert!(is_kept(&stage, &audrey, "DELETE", &path, &Value::Null).await);
}
