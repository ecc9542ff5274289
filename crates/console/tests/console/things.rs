//! People, agents, tokens, policy and freezes.

use crate::stage::Stage;
use countersign_core::Class;
use countersign_engine::Reply;
use http::StatusCode;
use serde_json::{Value, json};

#[tokio::test]
async fn only_administrators_write_people_and_agents() {
    let stage = Stage::new().await;
    let ana = stage.person("Ana", &["sre"], "reviewer").await;
    let invite = json!({"name": "X", "email": "x@example.com"});
    let create = json!({"name": "x", "kind": "agent", "owner": "ana@example.com"});
    for (method, path, body) in [
        ("POST", "/api/v1/people".to_owned(), Some(invite.clone())),
        ("POST", format!("/api/v1/people/{}/link", ana.id), None),
        ("PATCH", format!("/api/v1/people/{}", ana.id), Some(json!({"add": ["privacy"]}))),
        ("DELETE", format!("/api/v1/people/{}", stage.olga.id), None),
        ("POST", "/api/v1/agents".to_owned(), Some(create.clone())),
        ("PATCH", format!("/api/v1/agents/{}", stage.agent), Some(json!({"groups": []}))),
        ("DELETE", format!("/api/v1/agents/{}", stage.agent), None),
        ("POST", format!("/api/v1/agents/{}/tokens", stage.agent), Some(json!({"label": "x"}))),
    ] {
        let answer = stage.as_person(&ana, method, &path, body).await;
        assert_eq!(answer.problem(), (403, "not-allowed".into()), "{method} {path}");
    }
    let invited = stage.as_person(&stage.olga, "POST", "/api/v1/people", Some(invite)).await.ok();
    assert!(invited["link"].as_str().unwrap().starts_with("http://localhost:7100/enrol#"));
    let own = json!({"add": ["agents"]});
    let path = format!("/api/v1/people/{}", stage.olga.id);
    assert_eq!(
        stage.as_person(&stage.olga, "PATCH", &path, Some(own)).await.problem(),
        (403, "not-allowed".into())
    );
    let nobody = json!({"name": "x", "kind": "agent", "owner": "nobody@example.com"});
    let answer = stage.as_person(&stage.olga, "POST", "/api/v1/agents", Some(nobody)).await;
    assert_eq!(answer.problem(), (422, "invalid".into()));
}

#[tokio::test]
async fn a_token_is_shown_once_and_revoked_at_once() {
    let stage = Stage::new().await;
    let path = format!("/api/v1/agents/{}/tokens", stage.agent);
    let made = stage
        .as_person(&stage.olga, "POST", &path, Some(json!({"label": "ci", "expires_in": "1d"})))
        .await
        .ok();
    let secret = made["token"].as_str().unwrap();
    let listed = stage.as_person(&stage.olga, "GET", &path, None).await.text();
    assert!(listed.contains("\"label\":\"ci\"") && !listed.contains(secret));
    assert!(!stage.page(&stage.olga, "/agents").await.text().contains(secret));
    let path = format!("/api/v1/tokens/{}", made["id"].as_str().unwrap());
    assert_eq!(stage.as_person(&stage.olga, "DELETE", &path, None).await.status, StatusCode::NO_CONTENT);
    let presented = countersign_engine::port::identity::Presented::Bearer(secret);
    assert!(stage.gate.authenticate(presented).await.is_err());
}

#[tokio::test]
async fn reviewers_freeze_and_administrators_lift() {
    let stage = Stage::new().await;
    let ana = stage.person("Ana", &["sre"], "reviewer").await;
    for scope in [
        json!({"scope": "all"}),
        json!({"scope": "agent", "id": stage.agent}),
        json!({"scope": "target", "name": "cloud"}),
    ] {
        let frozen = stage.as_person(&ana, "POST", "/api/v1/freezes", Some(scope.clone())).await.ok();
        assert_eq!(frozen, Value::Array(vec![scope.clone()]));
        let refused = stage.ask(Class::Read, b"", "Read x.", None).await;
        assert!(matches!(refused, Reply::Refused(_)), "{scope}");
        assert!(stage.page(&ana, "/").await.text().contains("frozen"), "{scope}");
        let lift = stage.as_person(&ana, "DELETE", "/api/v1/freezes", Some(scope.clone())).await;
        assert_eq!(lift.problem(), (403, "not-allowed".into()));
        let left = stage.as_person(&stage.olga, "DELETE", "/api/v1/freezes", Some(scope)).await.ok();
        assert_eq!(left, Value::Array(vec![]));
    }
    let audrey = stage.person("Audrey", &[], "auditor").await;
    let all = Some(json!({"scope": "all"}));
    assert_eq!(
        stage.as_person(&audrey, "POST", "/api/v1/freezes", all).await.problem(),
        (403, "not-allowed".into())
    );
    for bad in [
        json!({"scope": "target", "name": "nowhere"}),
        json!({"scope": "agent", "id": "x"}),
        json!({"scope": "all", "x": 1}),
    ] {
        let answer = stage.as_person(&stage.olga, "POST", "/api/v1/freezes", Some(bad.clone())).await;
        assert_eq!(answer.problem(), (422, "invalid".into()), "{bad}");
    }
}

#[tokio::test]
async fn the_policy_in_force_is_told_whole_and_explains_itself() {
    let stage = Stage::new().await;
    let policy = stage.as_person(&stage.olga, "GET", "/api/v1/policy", None).await.ok();
    let kinds: Vec<&str> =
        policy["rules"].as_array().unwrap().iter().map(|rule| rule["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["permit", "wall", "gate", "gate", "gate"]);
    assert!(policy["sources"][0]["text"].as_str().unwrap().contains("@gate"));
    assert!(policy["warnings"][0].as_str().unwrap().contains("gate `data`"), "{policy}");
    let id = stage.hold(Class::Export, b"x").await;
    let hold = countersign_engine::read::hold(&stage.gate, id.parse().unwrap()).await.unwrap().unwrap();
    let action = countersign_engine::read::action(&stage.gate, hold.action()).await.unwrap().unwrap();
    let action = serde_json::to_value(action).unwrap();
    let why = stage.as_person(&stage.olga, "POST", "/api/v1/policy/why", Some(action)).await.ok();
    assert_eq!(why["decision"], "review");
    let targets = stage.as_person(&stage.olga, "GET", "/api/v1/targets", None).await.ok();
    assert_eq!((targets[0]["name"].as_str(), targets[0]["frozen"].as_bool()), (Some("cloud"), Some(false)));
}
