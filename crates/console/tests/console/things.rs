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
    let tom = stage.person("Tom", &[], "administrator").await;
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
        let left = stage.as_person(&tom, "DELETE", "/api/v1/freezes", Some(scope)).await.ok();
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
    assert_eq!(kinds, ["permit", "wall", "gate", "gate", "gate", "gate"]);
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

#[tokio::test]
async fn what_agents_do_is_counted_and_what_they_never_need_is_told() {
    let stage = Stage::new().await;
    let mut ana = stage.person("Ana", &["sre"], "reviewer").await;
    let quiet =
        json!({"name": "forgotten", "kind": "service", "owner": "olga@example.com", "groups": ["agents"]});
    stage.operator("POST", "/api/v1/agents", Some(quiet)).await.ok();
    let before = stage.as_person(&ana, "GET", "/api/v1/activity", None).await.ok();
    assert!(before["agents"].as_array().unwrap().iter().all(|one| one["asked"] == 0), "{before}");
    let done = stage.hold(Class::Configure, b"1").await;
    stage.approve(&mut ana, &done).await.ok();
    stage.until(&done, "done").await;
    let rejected = stage.hold(Class::Configure, b"2").await;
    let why = json!({"reason": "not now"});
    stage.operator("POST", &format!("/api/v1/approvals/{rejected}/revoke"), Some(why)).await.ok();
    stage.hold(Class::Export, b"3").await;
    for body in [b"4", b"5"] {
        stage.ask(Class::Administer, body, "Administer it.", None).await;
    }
    let seen = stage.as_person(&ana, "GET", "/api/v1/activity?days=7", None).await.ok();
    assert_eq!(seen["whole"], true);
    let agents = seen["agents"].as_array().unwrap();
    let of = |name: &str| agents.iter().find(|one| one["agent"]["name"] == name).unwrap();
    let night = of("night-agent");
    for (figure, count) in
        [("asked", 5), ("permitted", 0), ("held", 3), ("refused", 2), ("approved", 1), ("taken_back", 1)]
    {
        assert_eq!(night[figure], count, "{figure} {night}");
    }
    assert_eq!((&night["approval_percent"], &night["refusal_percent"]), (&json!(100), &json!(40)));
    assert_eq!(night["operations"][0]["count"], 2);
    assert!(night["unused"].as_array().unwrap().is_empty(), "something ran by the permit: {night}");
    assert_eq!(agents[0]["agent"]["name"], "night-agent", "the last seen first");
    let forgotten = of("forgotten");
    assert_eq!(
        (&forgotten["last_seen_at"], &forgotten["unused"][0]["policy"]),
        (&Value::Null, &json!("agents"))
    );
    assert_eq!(stage.as_person(&ana, "GET", "/api/v1/activity?days=91", None).await.problem().0, 422);
    let page = stage.page(&ana, "/agents/activity").await.text();
    assert!(page.contains("Not seen in this time") && page.contains("Permits it did not use"), "{page}");
    // One click, for whoever may freeze.
    assert!(page.contains("data-api=\"POST /api/v1/freezes\""), "{page}");
    let auditor = stage.person("Ada", &[], "auditor").await;
    assert!(!stage.page(&auditor, "/agents/activity").await.text().contains("POST /api/v1/freezes"));
    stage.pass(std::time::Duration::from_hours(8 * 24));
    let later = stage.as_person(&ana, "GET", "/api/v1/activity?days=7", None).await;
    assert!(later.status.as_u16() == 401 || later.json()["agents"][0]["asked"] == 0);
}
